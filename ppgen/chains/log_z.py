"""log Z of an unnormalised pair: by annealed importance sampling with an error bar, or exactly by enumeration.

Annealed importance sampling (AIS) goes from a base distribution with known log Z_0 to the model along distributions
p~_b, 0 = b_0 < b_1 < ... < b_T = 1. Each of M chains starts at a draw of the base and gathers

    log w = sum_t log p~_{b_t}(v_t) - log p~_{b_{t-1}}(v_t),    v_{t+1} ~ a sweep that leaves p_{b_t} invariant.

The mean of w over chains is an unbiased estimate of Z / Z_0, so by Jensen's inequality the logarithm reported here is
below log Z in expectation, and a log-likelihood that it is subtracted from errs upward; the error shrinks with T.

The other way round, from states of the model down to the base, the mean of the weights w' is an unbiased estimate of
Z_0 / Z: log Z_0 - log mean w' is above log Z in expectation, if the states are draws of the model. The two are a
*sandwich*. By Markov's inequality either is on the other side of log Z by more than t nats with probability exp(-t) at
most, the upper one if its states are draws of the model. They are where long chains stand, after 1,000 sweeps: what
these have not found lowers it.

The rungs of ``"adaptive"`` are laid out by a pilot run: along the path the spread of log w grows by the standard
deviation s(b) of d log p~_b / db at each b, and the sum of variances over a given number of rungs is least where their
density is proportional to s(b) (Gelman and Meng 1998, section 4).

Annealed importance sampling. Radford M. Neal, 2001.
On the quantitative analysis of deep belief networks. Ruslan Salakhutdinov and Iain Murray, 2008.
Accurate and conservative estimates of MRF log-likelihood using reverse annealing. Burda, Grosse, Salakhutdinov, 2015.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

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

__all__ = ["LogZ", "Spacing", "adapted", "log_z", "temperatures"]

Spacing = Literal["piecewise", "linear", "adaptive"]

_SHARES, _KNOTS = (0.0, 500 / 14_500, 4_500 / 14_500, 1.0), (0.0, 0.5, 0.9, 1.0)
"""Salakhutdinov and Murray (2008): 500 steps up to 0.5, 4,000 up to 0.9, 10,000 up to 1; here shares of all steps."""

_PILOT = 200
"""Temperatures of the pilot run, at most; it takes as many chains as the run itself."""

_FEW = 0.2
"""Of the chains, the share of effective ones below which their error bar is not to be trusted."""


@dataclass(frozen=True)
class LogZ:
    """log Z in nats, with the standard error of the estimate (0 where it is exact).

    ``effective_sample_size`` is that of the weights, (sum w)^2 / sum w^2: far below ``num_chains``, neither the value
    nor its error bar is to be trusted, and ``warning`` says so. It and the numbers of AIS are None where ``exact``.
    ``value`` is below log Z in expectation, and ``upper``, of a sandwich, above; each has its own standard error.

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
    upper: float | None = None
    upper_standard_error: float | None = None
    upper_effective_sample_size: float | None = None

    @property
    def warning(self) -> str:
        """What speaks against the estimate, a sentence; empty: nothing does."""
        if self.num_chains is None:
            return ""
        few, sizes = _FEW * self.num_chains, (self.effective_sample_size, self.upper_effective_sample_size)
        below, above = (f"{size:.1f} of {self.num_chains:,} chains" if size and size < few else "" for size in sizes)
        if below:
            return (
                f"log Z rests on {below}: it is likely too low, and the log-likelihood too high; take more "
                "temperatures, or a sandwich, which has an upper side."
            )
        return f"log Z from above rests on {above}: it is likely too high; take more temperatures." if above else ""


@entry_point
def log_z(
    pair: Any,
    exact: bool = False,
    num_temperatures: int = 10_000,
    num_chains: int = 100,
    *,
    spacing: Spacing = "piecewise",
    sandwich: bool = False,
    start: Tensor | None = None,
    seed: int = 0,
    progress: bool = False,
) -> LogZ:
    """log Z of an unnormalised pair, in nats.

    Args:
        pair: an :class:`ppgen.pairs.energy.EnergyPair`, trained or not.
        exact: enumerate the smaller of the two layers, up to 2^22 states, instead of sampling.
        num_temperatures: T, the number of steps from the base distribution to the model.
        num_chains: M, all run side by side.
        spacing: ``piecewise``, the finer the closer to the model, ``linear``, or ``adaptive``, by a pilot run.
        sandwich: anneal from states of the model to the base as well: an estimate from above.
        start: states, (M', S), from which the chains that find these states begin, such as the persistent chains of a
            run; None: draws of the base distribution.
        seed: seeds the chains; the global random state is left as it was.
        progress: show a progress bar.

    Raises:
        UsageError: the pair is normalised or has no annealing path, T < 2, M < 2, an unknown spacing, more states
            than can be enumerated, or weights that are not finite.
    """
    pair = _unnormalised(pair)
    one_of("unknown spacing of temperatures,", spacing, get_args(Spacing))
    with torch.no_grad(), seeded(seed):
        if exact:
            return LogZ(float(pair.exact_log_z()), 0.0, exact=True)
        at_least("num_chains", num_chains, 2, ": an error bar is made of their weights")
        is_adapted = spacing == "adaptive"
        betas = adapted(pair, num_temperatures, num_chains) if is_adapted else temperatures(num_temperatures, spacing)
        log_w = annealed(pair, pair.base_sample(num_chains), betas, progress=progress)
        found = _estimate(log_w + pair.base_log_z().double(), num_temperatures)
        return (
            _with_upper(found, pair, betas, pair.chain_states(num_chains, start)[-1], progress) if sandwich else found
        )


def _with_upper(found: LogZ, pair: EnergyPair, betas: Tensor, states: Tensor, progress: bool) -> LogZ:
    """With the estimate from above, annealed from the model's states to the base."""
    log_w = annealed(pair, states, betas.flip(0), progress=progress)
    above = _estimate(log_w - pair.base_log_z().double(), len(betas) - 1)
    return replace(
        found,
        upper=-above.value,
        upper_standard_error=above.standard_error,
        upper_effective_sample_size=above.effective_sample_size,
    )


def temperatures(num: int, spacing: Spacing = "piecewise") -> Tensor:
    """0 = b_0 < ... < b_num = 1, float64.

    Raises:
        UsageError: num < 2, or an unknown spacing.

    >>> temperatures(4, "linear").tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    one_of("unknown spacing of temperatures,", spacing, get_args(Spacing)[:2])
    at_least("num_temperatures", num, 2, ": thousands make the error bar small")
    steps = np.linspace(0.0, 1.0, num + 1)
    return torch.from_numpy(steps if spacing == "linear" else np.interp(steps, _SHARES, _KNOTS))


def adapted(pair: EnergyPair, num: int, num_chains: int = 100) -> Tensor:
    """0 = b_0 < ... < b_num = 1, float64, the denser the faster the chains' weights spread there.

    Raises:
        UsageError: num < 2; the pilot's weights are not finite.
    """
    at_least("num_temperatures", num, 2, ": thousands make the error bar small")
    pilot = temperatures(min(num, _PILOT))
    steps = annealed_steps(pair, pair.base_sample(num_chains), pilot)  # (T, M)
    _check_finite(steps.sum(0))
    spread = steps.std(1)  # of each rung, s(b) times its width
    reached = np.concatenate([[0.0], np.cumsum(spread.cpu().numpy() + 1e-12)])
    return torch.from_numpy(np.interp(np.linspace(0.0, reached[-1], num + 1), reached, pilot.numpy()))


Sweep: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Of states, (..., S), at a temperature, a scalar."""


def annealed(
    pair: EnergyPair, s: Tensor, betas: Tensor, *, sweep: Sweep | None = None, progress: bool = False
) -> Tensor:
    """log w of each chain from its state, (..., S), along ``betas``: (...,), float64, nats.

    ``sweep`` leaves the distribution at each temperature invariant; None: the pair's.
    """
    return annealed_steps(pair, s, betas, sweep=sweep, progress=progress).sum(0)


def annealed_steps(
    pair: EnergyPair, s: Tensor, betas: Tensor, *, sweep: Sweep | None = None, progress: bool = False
) -> Tensor:
    """The increments of :func:`annealed` at each rung, (T, ...)."""
    sweep, rungs = sweep or pair.tempered_sweep, list(betas.to(s).unfold(0, 2, 1))  # T times (2,)
    steps = torch.empty(len(rungs), *s.shape[:-1], dtype=torch.float64, device=s.device)
    for step, rung in zip(steps, track(rungs, "annealing", progress), strict=True):
        before, after = pair.log_tempered(s[None], rung.reshape(2, *(1,) * (s.dim() - 1)))  # (...,) each
        step.copy_(after - before)
        s = sweep(s, rung[1])
    return steps


def _estimate(log_w: Tensor, num_temperatures: int) -> LogZ:
    """The logarithm of the weights' mean; its standard error by the delta method, sd(w) / mean(w) / sqrt(M)."""
    _check_finite(log_w)
    w = (log_w - log_w.max()).exp()
    error, size = standard_error(w) / float(w.mean()), float(effective_sample_size(log_w[:, None]))
    return LogZ(float(log_mean_exp(log_w[:, None])), error, False, num_temperatures, len(w), size)


def _check_finite(log_w: Tensor) -> None:
    if not bool(log_w.isfinite().all()):
        raise UsageError(
            f"{int((~log_w.isfinite()).sum())} of {len(log_w)} chains ended with a weight that is not finite: the "
            "pair's parameters are not finite or far too large; train again with a smaller lr."
        )


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
