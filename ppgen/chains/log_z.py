"""log Z of an unnormalised pair: by annealed importance sampling with an error bar, or exactly by enumeration.

Annealed importance sampling (AIS) goes from a base distribution with known log Z_0 to the model along distributions
p~_b, 0 = b_0 < b_1 < ... < b_T = 1. Each of M chains starts at a draw of the base and gathers

    log w = sum_t log p~_{b_t}(v_t) - log p~_{b_{t-1}}(v_t),    v_{t+1} ~ a sweep that leaves p_{b_t} invariant.

The mean of w over chains is an unbiased estimate of Z / Z_0, so by Jensen's inequality the logarithm reported here is
below log Z in expectation, and a log-likelihood that it is subtracted from errs upward; the error shrinks with T.

Annealed importance sampling. Radford M. Neal, 2001.
On the quantitative analysis of deep belief networks. Ruslan Salakhutdinov and Iain Murray, 2008.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ppgen.arguments import at_least, one_of
from ppgen.errors import UsageError
from ppgen.machine.entry import entry_point
from ppgen.machine.progress import track
from ppgen.pairs.energy import EnergyPair, energy_pair
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.looking import seeded
from ppgen.pairs.reductions import effective_sample_size, log_mean_exp, standard_error

__all__ = ["LogZ", "Spacing", "log_z", "temperatures"]

Spacing = Literal["piecewise", "linear"]

_SHARES, _KNOTS = (0.0, 500 / 14_500, 4_500 / 14_500, 1.0), (0.0, 0.5, 0.9, 1.0)
"""Salakhutdinov and Murray (2008): 500 steps up to 0.5, 4,000 up to 0.9, 10,000 up to 1; here shares of all steps."""


@dataclass(frozen=True)
class LogZ:
    """log Z in nats, with the standard error of the estimate (0 where it is exact).

    ``effective_sample_size`` is that of the weights, (sum w)^2 / sum w^2: far below ``num_chains``, neither the value
    nor its error bar is to be trusted. It and the numbers of AIS are None where ``exact``.

    >>> import ppgen
    >>> pair = ppgen.models.RBM(ppgen.DataSpec("bits", 4, "binary"), hidden=2)
    >>> _ = torch.nn.init.zeros_(pair.weight)  # 2^6 states of equal energy
    >>> log_z(pair, exact=True)
    LogZ(value=4.158..., standard_error=0.0, exact=True, ...)
    >>> found = log_z(pair, num_temperatures=10, num_chains=5)
    >>> round(found.value, 3), round(found.effective_sample_size)  # of chains of equal weight
    (4.159, 5)
    """

    value: float
    standard_error: float
    exact: bool
    num_temperatures: int | None = None
    num_chains: int | None = None
    effective_sample_size: float | None = None


@entry_point
def log_z(
    pair: Any,
    exact: bool = False,
    num_temperatures: int = 10_000,
    num_chains: int = 100,
    *,
    spacing: Spacing = "piecewise",
    seed: int = 0,
    progress: bool = False,
) -> LogZ:
    """log Z of an unnormalised pair, in nats.

    Args:
        pair: an :class:`ppgen.pairs.energy.EnergyPair`, trained or not.
        exact: enumerate the smaller of the two layers, up to 2^22 states, instead of sampling.
        num_temperatures: T, the number of steps from the base distribution to the model.
        num_chains: M, all run side by side.
        spacing: ``piecewise``, the finer the closer to the model, or ``linear``.
        seed: seeds the chains; the global random state is left as it was.
        progress: show a progress bar.

    Raises:
        UsageError: the pair is normalised or has no annealing path, T < 2, M < 2, an unknown spacing, more states
            than can be enumerated, or weights that are not finite.
    """
    pair = _unnormalised(pair)
    with torch.no_grad(), seeded(seed):
        if exact:
            return LogZ(float(pair.exact_log_z()), 0.0, exact=True)
        at_least("num_chains", num_chains, 2, ": an error bar is made of their weights")
        betas = temperatures(num_temperatures, spacing)
        log_w = annealed_log_weights(pair, betas, num_chains, progress=progress)
        return _estimate(log_w + pair.base_log_z().double(), num_temperatures)


def temperatures(num: int, spacing: Spacing = "piecewise") -> Tensor:
    """0 = b_0 < ... < b_num = 1, float64.

    Raises:
        UsageError: num < 2, or an unknown spacing.

    >>> temperatures(4, "linear").tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    one_of("unknown spacing of temperatures,", spacing, get_args(Spacing))
    at_least("num_temperatures", num, 2, ": thousands make the error bar small")
    steps = np.linspace(0.0, 1.0, num + 1)
    return torch.from_numpy(steps if spacing == "linear" else np.interp(steps, _SHARES, _KNOTS))


def annealed_log_weights(pair: EnergyPair, betas: Tensor, num_chains: int, *, progress: bool = False) -> Tensor:
    """log w of each chain along ``betas``, relative to the base's Z: (num_chains,), float64, nats."""
    s = pair.base_sample(num_chains)  # (M, S)
    log_w = torch.zeros(num_chains, dtype=torch.float64, device=s.device)
    rungs = betas.to(s).unfold(0, 2, 1)[..., None]  # (T, 2, 1)
    for rung in track(list(rungs), "annealing", progress):
        before, after = pair.log_tempered(s[None], rung)  # (M,) each
        log_w += (after - before).double()
        s = pair.tempered_sweep(s, rung[1, 0])
    return log_w


def _estimate(log_w: Tensor, num_temperatures: int) -> LogZ:
    """The logarithm of the weights' mean; its standard error by the delta method, sd(w) / mean(w) / sqrt(M)."""
    if not bool(log_w.isfinite().all()):
        raise UsageError(
            f"{int((~log_w.isfinite()).sum())} of {len(log_w)} chains ended with a weight that is not finite: the "
            "pair's parameters are not finite or far too large; train again with a smaller lr."
        )
    w = (log_w - log_w.max()).exp()
    error, size = standard_error(w) / float(w.mean()), float(effective_sample_size(log_w[:, None]))
    return LogZ(float(log_mean_exp(log_w[:, None])), error, False, num_temperatures, len(w), size)


def _unnormalised(pair: Any) -> EnergyPair:
    pair = as_pair(pair)
    if not pair.needs_log_z:
        raise UsageError(
            f"log_z expects a pair whose density is unnormalised (a ppgen.pairs.EnergyPair, such as 'rbm'), got "
            f"{type(pair).__name__}, whose log Z is 0: read its log-likelihood from evaluate."
        )
    if not pair.has_chains:
        raise UsageError(
            f"log_z expects a ppgen.pairs.EnergyPair, whose annealing path it follows, got {type(pair).__name__}, "
            "which is unnormalised and has none: derive it from EnergyPair, or give evaluate your own log_z=."
        )
    return energy_pair(pair, "log_z")
