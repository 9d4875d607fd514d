"""Small restricted Boltzmann machines, whose chains' law after any number of sweeps is a power of a matrix.

    p(v) proportional to exp(-F(v)),    T(v, v') = sum_h p(h | v) p(v' | h),    law after n sweeps: p_0 T^n

Two modes, all units on and all off, are as deep as the weights are large, and one has more mass than the other: chains
that begin in either with the same probability, and stay there, have another law than p.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppgen.data import DataSpec
from ppgen.models import RBM
from ppgen.testing.planted.bits import states_of
from ppgen.testing.planted.fault import Planted, as_data, planted

__all__ = ["law_after", "machine"]

_VISIBLE, _HIDDEN, _SWEEPS = 8, 4, 1000


def machine(weight: Tensor, tilt: float) -> RBM:
    """A machine in float64 of those weights (D, H), whose units are on half of the time, but for ``tilt``, nats."""
    pair = RBM(DataSpec("planted", len(weight), "binary"), weight.shape[1]).double()
    with torch.no_grad():
        pair.weight.copy_(weight)
        pair.visible_bias.copy_(-weight.sum(1) / 2 + tilt / len(weight))
        pair.hidden_bias.copy_(-weight.sum(0) / 2)
    return pair


@torch.no_grad()
def law_after(pair: RBM, num_sweeps: int) -> tuple[Tensor, Tensor]:
    """log-probabilities of all states of v after so many sweeps from uniform ones, and under the model: (2^D,) each."""
    v, h = states_of(pair.weight.shape[0]), states_of(pair.weight.shape[1])
    down = (v @ pair.weight + pair.hidden_bias) @ h.T  # (2^D, 2^H), log p(h | v) up to a constant of v
    up = (h @ pair.weight.T + pair.visible_bias) @ v.T
    step = down.softmax(1) @ up.softmax(1)  # (2^D, 2^D)
    start = torch.full((len(v),), 1 / len(v), dtype=torch.float64)
    law = start @ torch.linalg.matrix_power(step, num_sweeps)
    return law.log(), (-pair.free_energy(v)).log_softmax(0)


def _planted(pair: RBM) -> Planted:
    log_law, log_p = law_after(pair, _SWEEPS)
    states = states_of(_VISIBLE)
    data = as_data(lambda num: states[torch.multinomial(log_p.exp(), num, replacement=True)], "binary")
    return Planted(pair, data, float((log_law.exp() * (log_law - log_p)).sum()))


@planted("chains")
def sound(t: float) -> Planted:
    """Weights of about 1/2 either way: there is one mode, and a chain forgets in a few sweeps where it began."""
    return _planted(machine(0.5 * torch.randn(_VISIBLE, _HIDDEN).double(), 0.5))


@planted("chains", "do not mix", "chain")
def do_not_mix(t: float) -> Planted:
    """Weights of 1.2 to 3, all of one sign, and up to 4 nats between the modes."""
    weight = (1.2 + 1.8 * t) * (1 + 0.1 * torch.randn(_VISIBLE, _HIDDEN).double())
    return _planted(machine(weight, 1 + 3 * float(torch.rand(()))))
