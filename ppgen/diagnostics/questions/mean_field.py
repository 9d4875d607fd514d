"""How much of -F(v) does the mean field leave, where an energy-based pair's hidden units are not summed out?

    gap(v) = F_m(v) - F(v) = KL(q || p(h | v))        (nats), F_m the mean field's bound

F(v) is estimated by annealing the hidden units of each datum, v held: from fair bits, p~_0, whose sum over h is known,
along the pair's own tempered distributions to p~_1; and by the guide's K log-weights. Both estimates of -F(v) are below
it in expectation (:mod:`ppgen.chains.log_z`), and the gap with them: of the two that which is larger on average counts.

On the quantitative analysis of deep belief networks. Ruslan Salakhutdinov and Iain Murray, 2008.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.chains.annealing import annealed, temperatures
from ppgen.diagnostics.advice import advised
from ppgen.diagnostics.finding import Finding, Real
from ppgen.diagnostics.question import asks
from ppgen.evaluation.case import Case
from ppgen.pairs.energy import EnergyPair, energy_pair
from ppgen.pairs.looking import looking
from ppgen.pairs.reductions import log_mean_exp, standard_error

__all__ = ["MeanField", "annealed_free_energy", "mean_field"]

_NUM_DATA, _TEMPERATURES, _CHAINS = 16, 1000, 20
_SMALL = 1.0

_ADVICE = (
    "The posterior of the hidden units has more than one mode, or is far from independent: report the K-sample bound, "
    "which the guide's draws tighten, beside the mean field's; a smaller learning rate[ of {mean_field_pcd}] keeps the "
    "posterior where a mean field is good."
)


@dataclass(frozen=True, kw_only=True)
class MeanField:
    """Nats: the mean gap with its standard error over data, and that of each datum."""

    gap: Real
    standard_error: Real
    per_datum: list[Real]


@asks("Does the mean field lose little?")
def mean_field(case: Case) -> Finding[MeanField] | None:
    """The gap of up to 16 data, by annealing over 1,000 temperatures with 20 chains each, or by the guide's weights.

    Green up to 1 nat. None for a pair that sums its hidden units out, or whose chains cannot be held at a datum.
    """
    if not case.pair.has_chains:
        return None
    pair = energy_pair(case.pair, "the gap of a mean field")
    if pair.free_energy_is_exact or not pair.can_be_held:
        return None
    v = pair.datum(case.first(_NUM_DATA))
    with looking(pair, case.seed):
        bound = pair.mean_field_free_energy(v).double()
        annealed = -annealed_free_energy(pair, v, num_temperatures=_TEMPERATURES, progress=case.progress)
    weighed = log_mean_exp(case.log_w[:, : len(v)]).to(annealed)
    each = bound + max(annealed, weighed, key=lambda value: float(value.mean()))
    gap = float(each.mean())
    by = f"{float(annealed.mean()):.2f} by {_TEMPERATURES:,} temperatures of {_CHAINS} chains and "
    by += f"{float(weighed.mean()):.2f} by {case.num_particles:,} draws of the guide"
    return Finding(
        status="good" if gap <= _SMALL else "warn",
        number=gap,
        threshold=_SMALL,
        direction="at most",
        unit="nats",
        source="the mean field's bound against annealing (Salakhutdinov and Murray 2008); the limit of 1 nat is ours",
        meaning=f"nats between the mean field's bound on the free energy and its best estimate, over {len(v)} "
        f"{case.split} data: -F(v) is {by}, which err towards a small gap",
        advice="" if gap <= _SMALL else advised(case, _ADVICE),
        details=MeanField(gap=gap, standard_error=standard_error(each), per_datum=each.tolist()),
    )


@torch.no_grad()
def annealed_free_energy(pair: EnergyPair, v: Tensor, *, num_temperatures: int, progress: bool = False) -> Tensor:
    """An estimate of F(v), (B, D) -> (B,), in nats, from above in expectation, of a pair that ``can_be_held``."""
    s = pair.state_at(v.expand(_CHAINS, *v.shape))  # (M, B, S)
    hidden = s.shape[-1] - v.shape[-1]
    s = torch.cat([s[..., : v.shape[-1]], torch.randint_like(s[..., v.shape[-1] :], 2)], -1)
    base = pair.log_tempered(s, 0.0).double() + hidden * math.log(2)
    betas = temperatures(num_temperatures)
    return -log_mean_exp(base + annealed(pair, s, betas, sweep=pair.held_sweep, progress=progress))
