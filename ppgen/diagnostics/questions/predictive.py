"""Does the model make data like the data? Predictive checks by test quantities.

With a quantity T of a whole set of B data, and sets x^(s), s = 1..S, made by the model,

    p = 2 min( P(T(x^(s)) >= T(x)), P(T(x^(s)) <= T(x)) ),        P: (1 + how many of the S) / (1 + S), at most 1

Prior predictive: z ~ p(z), x^(s) ~ p(x | z), a new set of B data. On data that training did not see p is then exact:
were they the model's own, it would be at most a with probability at most a. Posterior predictive: z ~ q(z | x), each
datum made again from its own latents. There x is used twice, and p is conservative: large even where the model is
somewhat wrong. A small p says that a difference is seen in so many data, not that it matters: T(x) and the sd of
T(x^(s)) tell how large it is.

Rubin, Bayesianly justifiable and relevant frequency calculations, 1984. Gelman, Meng and Stern, Posterior predictive
assessment of model fitness via realized discrepancies, 1996. Box, Sampling and Bayes' inference in scientific
modelling and robustness, 1980 (prior predictive).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppgen.diagnostics.finding import Finding, Real
from ppgen.diagnostics.question import asks
from ppgen.errors import UsageError, shown
from ppgen.evaluation.case import Case
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.looking import looking, seeded
from ppgen.pairs.rows import first_data, num_rows
from ppgen.pairs.sampling import unconditioned
from ppgen.pairs.sites import is_point
from ppgen.pairs.tracing import Batch
from ppgen.posterior.groups import guide_groups
from ppgen.posterior.replay import Variables

__all__ = ["QUANTITIES", "Check", "Checks", "posterior_predictive", "predictive_checks", "prior_predictive"]

Quantity = Callable[[Tensor], Tensor]
"""A function of S sets of B data, (S, B, ...), that gives (S,)."""

_SETS = 500
"""S of a question."""

_NUMBERS = 2**25
"""Most numbers in all the sets of a question: fewer data are looked at where more would be made."""

_LEAST = 0.05

_AGAIN = (
    "The decoder does not make again what the latents hold: look at the reconstructions; train longer, take a "
    "likelihood that fits the data, or a larger decoder."
)
_ANOTHER = (
    "The model does not make such data: look at the quantities that differ; take a likelihood that fits the data, or "
    "let it depend on more of what is given with them. Held-out data may differ from the training data, too."
)


_OTHER = (
    "Samples differ from the data in these quantities: look at the samples beside data; train longer, with a larger "
    "network, or with an objective that is steadier near the end."
)


def _features(x: Tensor) -> Tensor:
    """Sets of data (S, B, ...) as rows of features, (S, B, D)."""
    return x.reshape(*x.shape[:2], -1)


def _mean(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1)


def _spread_within(x: Tensor) -> Tensor:
    return _features(x).std(2, correction=0).mean(1)  # 0 of data that are one number each


def _spread_between(x: Tensor) -> Tensor:
    return _features(x).mean(2).std(1, correction=0)


def _dependence(x: Tensor) -> Tensor:
    """The Frobenius norm of the features' covariance over the data: that of (1/B) X X', X centred."""
    centred = _features(x) - _features(x).mean(1, keepdim=True)
    return (centred @ centred.mT).square().sum((1, 2)).sqrt() / x.shape[1]


def _zeros(x: Tensor) -> Tensor:
    return (x == 0).flatten(1).to(x.dtype).mean(1)


QUANTITIES: dict[str, Quantity] = {
    "mean": _mean,
    "spread_within": _spread_within,
    "spread_between": _spread_between,
    "dependence": _dependence,
    "zeros": _zeros,
}
"""The mean of all numbers; the mean over data of a datum's standard deviation over its features; the standard deviation
over data of a datum's mean; the norm of the features' covariance over data; the share of zeros."""


@dataclass(frozen=True)
class Check:
    """One quantity: T(x), the mean and the standard deviation of T(x^(s)), and p.

    >>> Check("spread_between", observed=0.0712, mean=0.0683, sd=0.00134, p_value=0.04).in_words
    'spread between (0.0712 against 0.0683 ± 0.0013)'
    """

    name: str
    observed: Real
    mean: Real
    sd: Real
    p_value: float

    @property
    def in_words(self) -> str:
        """As ``spread between (0.071 against 0.068 ± 0.001)``: of the data, of the sets, and the sets' sd."""
        name = self.name.replace("_", " ")
        return f"{name} ({self.observed:.3g} against {self.mean:.3g} ± {self.sd:.2g})"


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Every quantity, of how many data and against how many sets."""

    checks: list[Check]
    num_data: int
    num_sets: int


def predictive_checks(
    pair: Any,
    batch: Batch,
    quantities: Mapping[str, Quantity] = QUANTITIES,
    *,
    given: Literal["prior", "posterior"] = "posterior",
    num_sets: int = _SETS,
    seed: int = 0,
    progress: bool = False,
) -> list[Check]:
    """Every quantity of the data against those of ``num_sets`` sets that the model makes.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``.
        batch: what the data set yields; for the prior's checks, data that training did not see.
        quantities: each a function of S sets of data, (S, B, ...), giving (S,); the data themselves come with S = 1.
        given: what the latents are drawn from: the model's prior, or the guide.
        num_sets: S.
        seed: seeds the draws; the global random state is left as it was.
        progress: show progress bars.

    Raises:
        UsageError: S < 1; the pair makes no such data (an unnormalised one; posterior draws of an implicit one); a
            quantity gives something else than (S,), or a NaN.

    >>> import ppgen
    >>> x = torch.zeros(4, 3)
    >>> pair = ppgen.make_pair("linear_gaussian", ppgen.DataSpec("numbers", 3, "real"))
    >>> [largest] = predictive_checks(pair, (x,), {"largest": lambda x: x.amax((1, 2))}, num_sets=20)
    >>> largest.observed, largest.mean > 0
    (0.0, True)
    """
    with seeded(seed):
        groups = guide_groups(as_pair(pair), batch, num_sets, progress=progress)
    made: Variables = groups.prior_predictive if given == "prior" else groups.posterior_predictive
    if not made:
        raise UsageError(
            f"{type(pair).__name__} makes no data from its {given}: its model or its guide cannot be drawn from."
        )
    site = next(iter(made))
    x, sets = (_floating(group[site].values) for group in (groups.observed_data, made))  # (1, B, ...), (S, B, ...)
    return [_check(name, quantity, x, sets) for name, quantity in quantities.items()]


def _floating(x: Tensor) -> Tensor:
    """Of torch's default type where they are whole numbers; one number is one datum."""
    x = x.unsqueeze(1) if x.dim() == 1 else x
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


@asks("Does the model make the data again?")
def posterior_predictive(case: Case) -> Finding[Checks] | None:
    """Data made again from their own latents. None for a pair that infers none, or whose model is no sampler."""
    if not case.pair.has_density or not (case.local_latents or case.global_latents):
        return None
    return _finding(case, "posterior", _AGAIN if case.local_latents else _ANOTHER)


@asks("Does the model make new data like the data?")
def prior_predictive(case: Case) -> Finding[Checks] | None:
    """New data of the model. None for a pair whose model is no sampler, and for one with latents outside the data
    plate, whose prior is not what training made of them. None where chance has no part in a sample: of a translation
    the sources are given, and as many sets of them would be one set."""
    if not case.pair.has_prior or (case.pair.has_weights and case.global_latents) or not _has_chance(case):
        return None
    if not case.pair.has_weights:
        return _finding(case, "prior", _OTHER)
    advice = (
        "New data of the model differ from the data in these quantities: where data made again do not, the aggregated "
        "posterior has left the prior (a learned or richer prior); else the decoder or its likelihood is at fault."
    )
    return _finding(case, "prior", advice)


def _has_chance(case: Case) -> bool:
    """Whether a site of the model is drawn, rather than given: a latent, or x."""
    with looking(case.pair, case.seed):
        sites = unconditioned(case.pair.model, case.batch)
    return not all(is_point(site) or site_is_subsample(site) for site in sites.values())


def _finding(case: Case, given: Literal["prior", "posterior"], advice: str) -> Finding[Checks]:
    first = first_data(case.batch)
    width = 1 if first is None else first[0].numel()
    batch = case.first(max(2, _NUMBERS // (_SETS * width)))
    rows = num_rows(batch)
    checks = predictive_checks(case.pair, batch, given=given, num_sets=_SETS, seed=case.seed, progress=case.progress)
    origin = "the guide's latents of the data" if given == "posterior" else "the prior"
    least = min(checks, key=lambda check: check.p_value)
    number = min(1.0, len(checks) * least.p_value)
    seen = [check.in_words for check in checks if len(checks) * check.p_value < _LEAST]
    return Finding(
        status="good" if number >= _LEAST else "warn",
        number=number,
        threshold=_LEAST,
        direction="at least",
        quantity="p-value",
        source="Gelman, Meng and Stern 1996; two-sided, times the number of quantities (Bonferroni); the level is ours",
        meaning=f"the smallest p-value of {len(checks)} quantities, times {len(checks)}: {_SETS} sets of {rows:,} data "
        f"made from {origin}" + (f"; the data differ in {', '.join(seen)}" if seen else ""),
        advice=advice if seen else "",
        details=Checks(checks=checks, num_data=rows, num_sets=_SETS),
    )


def _check(name: str, quantity: Quantity, x: Tensor, sets: Tensor) -> Check:
    observed, drawn = _values(name, quantity, x)[0], _values(name, quantity, sets)  # (), (S,)
    share = min(int((drawn >= observed).sum()), int((drawn <= observed).sum()))
    p = min(1.0, 2 * (1 + share) / (1 + len(drawn)))
    return Check(name, float(observed), float(drawn.mean()), float(drawn.std(correction=0)), p)


def _values(name: str, quantity: Quantity, sets: Tensor) -> Tensor:
    values: Any = quantity(sets)
    found = tuple(values.shape) if torch.is_tensor(values) else type(values).__name__
    if found != (len(sets),):
        raise UsageError(
            f"quantity {shown(name)} must give one number for each of {len(sets)} sets, ({len(sets)},), got {found}."
        )
    if values.isnan().any():
        raise UsageError(
            f"quantity {shown(name)} is NaN: let it give a number for every set of data {tuple(sets.shape)}."
        )
    numbers: Tensor = values.double()
    return numbers
