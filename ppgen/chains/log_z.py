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

The rungs of ``"adaptive"`` are laid out by a pilot run: along the path the spread of log w grows by the standard
deviation s(b) of d log p~_b / db at each b, and the sum of variances over a given number of rungs is least where their
density is proportional to s(b) (Gelman and Meng 1998, section 4).

Annealed importance sampling. Radford M. Neal, 2001.
On the quantitative analysis of deep belief networks. Ruslan Salakhutdinov and Iain Murray, 2008.
Accurate and conservative estimates of MRF log-likelihood using reverse annealing. Burda, Grosse, Salakhutdinov, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor

from ppgen.arguments import at_least, one_of
from ppgen.chains.annealing import Spacing, adapted, annealed, check_finite, temperatures
from ppgen.chains.growing import Grown, grown
from ppgen.errors import UsageError, shown
from ppgen.machine.entry import entry_point
from ppgen.pairs.energy import EnergyPair, energy_pair
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.looking import seeded
from ppgen.pairs.reductions import effective_sample_size, log_mean_exp, standard_error

__all__ = ["LogZ", "log_z"]

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

    Of data that differ in size, documents of n words, ``value`` is the mean over them, ``standard_error`` and
    ``upper`` are those of the mean, and ``effective_sample_size`` is a mean over the data too; ``sizes`` are the
    different ones among them, ascending, and ``of_sizes`` the log Z of each. None: there is one log Z.
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
    sizes: tuple[int, ...] | None = None
    of_sizes: tuple[float, ...] | None = None

    def of(self, sizes: Tensor | None) -> Tensor | float:
        """log Z of each datum, of its size (B,); None: the one that all data have.

        Raises:
            UsageError: there is none for a size.
        """
        if sizes is None:
            return self.value
        known = torch.tensor(self.sizes or (), dtype=sizes.dtype, device=sizes.device)
        missing = ~torch.isin(sizes, known)
        if bool(missing.any()):
            raise UsageError(
                f"there is one log Z for each length of documents, got none for {shown(int(sizes[missing][0]))} words: "
                "leave log_z out, give its options as a dict, or estimate it with ppgen.log_z(pair, sizes=x.sum(1))."
            )
        values = torch.tensor(self.of_sizes, dtype=torch.float64, device=sizes.device)
        return values[torch.searchsorted(known, sizes)]

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
    spacing: Spacing | None = None,
    sandwich: bool = False,
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
        start: states, (M', S), from which the chains that find these states begin, such as the persistent chains of a
            run; None: draws of the base distribution. Not read with ``sizes``, whose chains grow.
        sizes: (B,), of the data whose log Z is asked for, where it is another for each size: how many words each
            document has; None: of what the pair draws.
        seed: seeds the chains; the global random state is left as it was.
        progress: show a progress bar.

    Raises:
        UsageError: the pair is normalised or has no annealing path, T < 2, M < 2, an unknown spacing, more states
            than can be enumerated, or weights that are not finite.
    """
    pair = _unnormalised(pair)
    one_of("unknown spacing of temperatures,", spacing or "piecewise", get_args(Spacing))
    sizes = None if sizes is None or pair.are_usual(sizes) else sizes
    with torch.no_grad(), seeded(seed):
        if exact:
            return _enumerated(pair, sizes)
        at_least("num_chains", num_chains, 2, ": an error bar is made of their weights")
        if sizes is not None:
            how = spacing or "adaptive"
            found = grown(pair, sizes, num_temperatures, num_chains, how, sandwich=sandwich, progress=progress)
            return _mean_over(found, num_temperatures)
        is_adapted = spacing == "adaptive"
        betas = (
            adapted(pair, num_temperatures, num_chains)
            if is_adapted
            else temperatures(num_temperatures, spacing or "piecewise")
        )
        log_w = annealed(pair, pair.base_sample(num_chains), betas, progress=progress)
        one = _estimate(log_w + pair.base_log_z().double(), num_temperatures)
        return _with_upper(one, pair, betas, pair.chain_states(num_chains, start)[-1], progress) if sandwich else one


def _enumerated(pair: EnergyPair, sizes: Tensor | None) -> LogZ:
    if sizes is None:
        return LogZ(float(pair.exact_log_z()), 0.0, exact=True)
    different, of_data = sizes.unique(return_inverse=True)
    each = pair.exact_log_zs(different).double()  # (S,)
    return replace(LogZ(float(each[of_data].mean()), 0.0, exact=True), **_by_size(different, each))


def _by_size(sizes: Tensor, each: Tensor) -> dict[str, Any]:
    return {"sizes": tuple(int(size) for size in sizes), "of_sizes": tuple(each.tolist())}


def _mean_over(found: Grown, num_temperatures: int) -> LogZ:
    """Of one run of chains for all sizes. With w_km the weight of chain m at size k, the error of a mean over data with
    shares p_k is that of the mean over chains of sum_k p_k w_km / mean_m w_km (the delta method)."""
    check_finite(found.log_w.sum(0))
    each = log_mean_exp(found.log_w.T)  # (S,)
    w = (found.log_w - each[:, None]).exp()  # (S, M)
    size = (found.shares * effective_sample_size(found.log_w.T)).sum()
    error = standard_error(found.shares @ w)
    mean = LogZ(float(found.shares @ each), error, False, num_temperatures, w.shape[1], float(size))
    mean = replace(mean, **_by_size(found.sizes, each))
    if not len(found.above):
        return mean
    check_finite(found.above)
    beyond = found.above - each[torch.searchsorted(found.sizes, found.above_sizes)]  # (M,)
    return replace(mean, upper=mean.value + float(beyond.mean()), upper_standard_error=standard_error(beyond))


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


def _estimate(log_w: Tensor, num_temperatures: int) -> LogZ:
    """The logarithm of the weights' mean; its standard error by the delta method, sd(w) / mean(w) / sqrt(M)."""
    check_finite(log_w)
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
