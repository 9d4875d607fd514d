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

Documents of n words have a log Z for each n. One path goes through all of them, from the empty document on
(:mod:`ppgen.chains.growing`): an estimate for each length from the same chains, and ``value`` is the mean over data.

With a ``budget`` temperatures or chains are doubled while the weights are worth fewer than 20 equal ones; where it ends
before, the other side is annealed too (:mod:`ppgen.chains.enough`). The interval of each side is asymmetric
(:mod:`ppgen.chains.intervals`).

The rungs of ``"adaptive"`` are laid out by a pilot run: along the path the spread of log w grows by the standard
deviation s(b) of d log p~_b / db at each b, and the sum of variances over a given number of rungs is least where their
density is proportional to s(b) (Gelman and Meng 1998, section 4).

Annealed importance sampling. Radford M. Neal, 2001.
On the quantitative analysis of deep belief networks. Ruslan Salakhutdinov and Iain Murray, 2008.
Accurate and conservative estimates of MRF log-likelihood using reverse annealing. Burda, Grosse, Salakhutdinov, 2015.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pyro.ops.stats
import torch
from torch import Tensor

from ppgen.arguments import at_least, one_of
from ppgen.chains.annealing import Spacing, annealed, check_finite, rungs
from ppgen.chains.enough import check_budget, within
from ppgen.chains.growing import Grown, grown
from ppgen.chains.intervals import CONFIDENCE, log_mean_interval
from ppgen.chains.normaliser import LogZ
from ppgen.errors import UsageError
from ppgen.machine.entry import entry_point
from ppgen.measuring.statistics import student_quantile
from ppgen.pairs.energy import SWEEPS, EnergyPair, energy_pair
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.looking import seeded
from ppgen.pairs.reductions import effective_sample_size, log_mean_exp, standard_error

__all__ = ["LogZ", "log_z"]

_LOOKS = range(SWEEPS // 2 + SWEEPS // 40, SWEEPS + 1, SWEEPS // 40)
"""Sweeps, of the second half, after which chains that look for the model's states are compared: 20 times."""


@entry_point
def log_z(
    pair: Any,
    exact: bool = False,
    num_temperatures: int = 10_000,
    num_chains: int = 100,
    *,
    spacing: Spacing | None = None,
    sandwich: bool = False,
    budget: int | None = None,
    start: Tensor | None = None,
    sizes: Tensor | None = None,
    seed: int = 0,
    progress: bool = False,
) -> LogZ:
    """log Z of an unnormalised pair, in nats.

    Args:
        pair: an :class:`ppgen.pairs.energy.EnergyPair`, trained or not.
        exact: enumerate the smaller of the two layers, up to 2^22 states, instead of sampling.
        num_temperatures: T, the number of steps from the base distribution to the model.
        num_chains: M, all run side by side.
        spacing: ``piecewise``, the finer the closer to the model, ``linear``, or ``adaptive``, by a pilot run; None:
            piecewise, and adaptive for data that differ in size.
        sandwich: anneal from states of the model to the base as well: an estimate from above.
        budget: sweeps of a chain, temperatures x chains, that all runs together may take: T or M is doubled until the
            weights are worth 20 equal ones or less than the next run is left; then, if they are not, one ``sandwich``
            beyond it; None: one run of what is asked.
        start: states, (M', S), from which the chains that find these states begin, such as the persistent chains of a
            run; None: draws of the base distribution. Not read with ``sizes``, whose chains grow.
        sizes: (B,), of the data whose log Z is asked for, where it is another for each size: how many words each
            document has; None: of what the pair draws.
        seed: seeds the chains; the global random state is left as it was.
        progress: show a progress bar.

    Raises:
        UsageError: the pair is normalised or has no annealing path, T < 2, M < 2, an unknown spacing, more states
            than can be enumerated, a budget of less than one run, or weights that are not finite.
    """
    pair = _unnormalised(pair)
    one_of("unknown spacing of temperatures,", spacing or "piecewise", get_args(Spacing))
    sizes = None if sizes is None or pair.are_usual(sizes) else sizes
    with torch.no_grad(), seeded(seed):
        if exact:
            return _enumerated(pair, sizes)
        at_least("num_chains", num_chains, 2, ": an error bar is made of their weights")
        check_budget(budget, num_temperatures, num_chains)

        def run(num_temperatures: int, num_chains: int) -> tuple[LogZ, Callable[[], LogZ]]:
            if sizes is not None:
                return _of_sizes(pair, sizes, num_temperatures, num_chains, spacing, sandwich, progress)
            betas = rungs(pair, num_temperatures, num_chains, spacing)
            log_w = annealed(pair, pair.base_sample(num_chains), betas, progress=progress)
            found = _estimate(log_w + pair.base_log_z().double(), num_temperatures)
            return found, lambda: _with_upper(found, pair, betas, start, progress)

        return within(budget, run, num_temperatures, num_chains, sandwich)


def _enumerated(pair: EnergyPair, sizes: Tensor | None) -> LogZ:
    if sizes is None:
        return LogZ(float(pair.exact_log_z()), 0.0, exact=True)
    different, of_data = sizes.unique(return_inverse=True)
    each = pair.exact_log_zs(different).double()  # (S,)
    return replace(LogZ(float(each[of_data].mean()), 0.0, exact=True), **_by_size(different, each))


def _by_size(sizes: Tensor, each: Tensor) -> dict[str, Any]:
    return {"sizes": tuple(int(size) for size in sizes), "of_sizes": tuple(each.tolist())}


def _of_sizes(
    pair: EnergyPair, sizes: Tensor, num: int, num_chains: int, spacing: Spacing | None, sandwich: bool, progress: bool
) -> tuple[LogZ, Callable[[], LogZ]]:
    def run(sandwich: bool) -> LogZ:
        return _mean_over(
            grown(pair, sizes, num, num_chains, spacing or "adaptive", sandwich=sandwich, progress=progress), num
        )

    found = run(sandwich)
    return found, lambda: found if sandwich else run(True)


def _mean_over(found: Grown, num_temperatures: int) -> LogZ:
    """Of one run of chains for all sizes."""
    mean = _estimate(found.log_w, num_temperatures, found.shares)
    each = log_mean_exp(found.log_w.T)  # (S,)
    mean = replace(mean, **_by_size(found.sizes, each))
    if not len(found.above):
        return mean
    check_finite(found.above)
    beyond = found.above - each[torch.searchsorted(found.sizes, found.above_sizes)]  # (M,)
    upper, error = mean.value + float(beyond.mean()), standard_error(beyond)
    high = upper + student_quantile((1 - CONFIDENCE) / 2, len(beyond) - 1) * error
    return replace(mean, upper=upper, upper_standard_error=error, upper_high=high)


def _with_upper(found: LogZ, pair: EnergyPair, betas: Tensor, start: Tensor | None, progress: bool) -> LogZ:
    """With the estimate from above, annealed from where the model's chains stand to the base."""
    states = pair.chain_states(found.num_chains or 0, start, _LOOKS)  # (looks, M, S)
    log_w = annealed(pair, states[-1], betas.flip(0), progress=progress)
    above = _estimate(log_w - pair.base_log_z().double(), len(betas) - 1)
    return replace(
        found,
        upper=-above.value,
        upper_standard_error=above.standard_error,
        upper_effective_sample_size=above.effective_sample_size,
        upper_high=None if above.low is None else -above.low,
        upper_r_hat=_r_hat(pair, states),
    )


def _r_hat(pair: EnergyPair, states: Tensor) -> float:
    """The larger split R-hat of log p~ and of the states' first principal component, of chains (looks, M, S)."""
    energies = torch.stack([pair.log_tempered(s, 1.0) for s in states]).double()  # (looks, M)
    flat = states.flatten(0, 1).double()
    along = (flat @ torch.pca_lowrank(flat, q=1)[2]).reshape(energies.shape)  # (looks, M)
    seen = torch.stack([energies, along], -1)
    return float(pyro.ops.stats.split_gelman_rubin(seen, chain_dim=1, sample_dim=0).nan_to_num(1.0).max())


def _estimate(log_w: Tensor, num_temperatures: int, shares: Tensor | None = None) -> LogZ:
    """The logarithm of the weights' mean, or the mean of such over sizes, (S, M), with shares p_k.

    With w_km the weight of chain m at size k, its error is that of the mean over chains of sum_k p_k w_km / mean_m w_km
    (the delta method); of one size sd(w) / mean(w) / sqrt(M).
    """
    log_w, shares = log_w.reshape(-1, log_w.shape[-1]), log_w.new_ones(1) if shares is None else shares
    check_finite(log_w.sum(0))
    each = log_mean_exp(log_w.T)  # (S,)
    error = standard_error(shares @ (log_w - each[:, None]).exp())
    size = float(shares @ effective_sample_size(log_w.T))
    low, high = log_mean_interval(log_w, shares)
    found = LogZ(float(shares @ each), error, False, num_temperatures, log_w.shape[1], size)
    return replace(found, low=low, high=high)


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
