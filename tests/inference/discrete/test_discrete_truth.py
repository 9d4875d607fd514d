"""Every registered estimator for discrete latents is held to what it claims, on pairs whose truth is enumerated.

Estimators are found in the registry, and the pairs they must take by what they say that they need: a new one is tested
as it is registered. All comparisons together raise a false alarm with probability below 1e-3
(``discrete_truth.CRITICAL``). Draws go on until a model's or a guide's gradient that is 2 % too large or too small
would be missed but once in 4,000 times, which the tests of the tests show for each case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import pytest
import torch
from pyro import poutine
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.inference import Enumerate, UnorderedSet
from ppgen.objectives.discrete.enumeration import Enumeration
from ppgen.objectives.discrete.score_function import ScoreFunction
from ppgen.pairs.tracing import Program
from ppgen.registry import OBJECTIVES
from tests.discrete_doubles import (
    DOUBLES,
    Blend,
    DiscreteDouble,
    Reduce,
    TinyDeepSBN,
    TinySBN,
    exact_gradient,
    exact_value,
)
from tests.inference.discrete.discrete_harness import Moments, blocks_of, moments, serves, takes, unbiased, with_bound
from tests.inference.discrete.discrete_mutants import MUTANTS
from tests.inference.discrete.discrete_truth import CRITICAL
from tests.inference.discrete.mutant import Mutant
from tests.inference.truth import elbo, iwelbo
from tests.marks import sampled

BOUNDS: dict[str, tuple[Reduce, int]] = {"elbo": (elbo, 1), "iwelbo": (iwelbo, 2)}
"""Each bound by hand, and the particles that its expectation needs."""

SEEN = (TinySBN, TinyDeepSBN, Blend)
"""One layer, two layers, and a mixed pair, where draws go on until 2 % are seen; elsewhere only in thorough tests."""

MOST = 280
"""Rounds, at most: 5.6 million draws; DoubleCV and RODEO need most of them on Choice, the others half at most."""


BLIND = {"DoubleCV-iwelbo-Choice"}
"""2 % of these would take 30 million draws; on two binary units it is exact by all noise (``test_double_cv``)."""


@dataclass(frozen=True)
class Case:
    """An estimator of a bound on a pair."""

    objective: Any
    double: type[DiscreteDouble]

    @property
    def exact(self) -> dict[str, Tensor]:
        return exact_gradient(self.double(), *BOUNDS[self.objective.bound])

    def __str__(self) -> str:
        return f"{type(self.objective).__name__}-{self.objective.bound}-{self.double.__name__}"


@cache
def seen(case: Case) -> Moments:
    """Moments of draws enough to see 2 %."""
    return moments(case.objective, case.double, case.exact, MOST)


def cases(bounds: tuple[str, ...] = tuple(BOUNDS)) -> Iterator[Case]:
    for objective in unbiased():
        for bound in filter(partial(serves, objective), bounds):
            yield from (Case(with_bound(objective, bound), double) for double in DOUBLES if takes(objective, double))


def is_quick(case: Case) -> bool:
    return case.objective.bound == "elbo" and case.double in SEEN


QUICK = [case for case in cases() if is_quick(case)]
GLIMPSED = [case for case in cases() if not is_quick(case)]
SLOW = [
    pytest.param(case, marks=pytest.mark.thorough, id=str(case))
    for case in GLIMPSED
    if ("Coin" not in case.double.__name__ or case.objective.needs_states) and str(case) not in BLIND
]


@pytest.mark.parametrize("case", [*sampled(QUICK, 3), *SLOW], ids=str)
def test_the_gradient_is_the_exact_one_and_two_percent_would_be_seen(case: Case) -> None:
    found = seen(case)
    assert found.largest_z < CRITICAL
    for block in blocks_of(case.double).values():
        assert abs(found.z_of(block)) < CRITICAL
        assert found.sees(block)


@pytest.mark.parametrize("case", sampled(GLIMPSED, 3), ids=str)
def test_the_gradient_is_the_exact_one_in_a_round_of_draws(case: Case) -> None:
    assert moments(case.objective, case.double, case.exact).largest_z < CRITICAL


@pytest.mark.parametrize("factor", [-1.0, 0.98, 1.02, 2.0])
@pytest.mark.parametrize("case", [*sampled(QUICK, 3), *SLOW], ids=str)
def test_an_estimator_with_a_wrong_factor_in_one_block_is_caught(case: Case, factor: float) -> None:
    for block in blocks_of(case.double).values():
        assert abs(seen(case).times(factor, block).z_of(block)) > CRITICAL


@pytest.mark.parametrize("mutant", sampled(MUTANTS, 4), ids=str)
def test_an_estimator_with_a_mistake_is_caught_and_without_it_is_not(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = exact_gradient(mutant.double(), *BOUNDS[mutant.bound])
    assert moments(mutant.sound, mutant.double, exact, mutant.rounds).largest_z < CRITICAL
    mutant.mutate(monkeypatch)
    wrong = moments(mutant.wrong, mutant.double, exact, mutant.rounds)
    assert max(wrong.largest_z, *(abs(wrong.z_of(block)) for block in blocks_of(mutant.double).values())) > CRITICAL


def bounds_for_discrete_latents() -> list[Any]:
    tiny = [spec.tiny() for spec in OBJECTIVES.values() if spec.tiny is not None]
    return [objective for objective in tiny if objective.needs_discrete and objective.is_bound]


@pytest.mark.parametrize(
    "objective", sampled(bounds_for_discrete_latents()), ids=lambda objective: type(objective).__name__
)
def test_the_value_has_the_expectation_of_the_bound_whatever_its_gradient(objective: Any) -> None:
    """The mean of 20 losses of 1,000 data each; |t| < 6.5 at 19 degrees of freedom: a false alarm in 300,000."""
    for double in (pair for pair in SEEN if takes(objective, pair)):
        pair, particles = double(1_000), objective.target.total_particles
        own = objective.parameters(pair, pair.batch)
        program, (player, *_) = Program(pair.model, pair.guide, own), objective.players()
        state, values = objective.initial_state(program, pair.batch), []
        for _ in range(20):
            outcome = objective.play(player.name, program, pair.batch, state)
            values.append(-outcome.loss.detach() / 1_000)
            assert float(outcome.metrics["bound"]) == pytest.approx(float(values[-1]))
        found, by_hand = torch.stack(values), elbo if objective.target.is_mean else iwelbo
        exact = exact_value(double(), by_hand, 1 if objective.target.is_mean else particles)
        assert abs(found.mean() - exact) < 6.5 * found.std() / 20**0.5 + 1e-9


@pytest.mark.parametrize("objective", unbiased(), ids=lambda objective: type(objective).__name__)
@pytest.mark.parametrize("double", DOUBLES, ids=lambda double: double.__name__)
def test_a_pair_that_an_estimator_does_not_take_is_refused_by_the_name_of_the_site(
    objective: Any, double: type[DiscreteDouble]
) -> None:
    pair = double()
    if takes(objective, double):
        assert torch.isfinite(objective.differentiable_loss(pair.model, pair.guide, *pair.batch))
    else:
        with pytest.raises(UsageError, match=r"site '\w+'"):
            objective.differentiable_loss(pair.model, pair.guide, *pair.batch)


class Scaled(TinySBN):
    """Its guide's log-probability is not that of its draws: half of it is in the log-weights."""

    def guide(self, x: Tensor) -> None:
        with poutine.scale(scale=0.5):
            super().guide(x)

    def atoms(self, p: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        mass, log_w = super().atoms(p)
        return mass, log_w + mass.log() / 2


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("objective", unbiased(), ids=lambda objective: type(objective).__name__)
def test_a_bound_that_an_estimator_does_not_serve_is_refused(objective: Any, bound: str) -> None:
    if serves(objective, bound):
        assert with_bound(objective, bound).reduction == OBJECTIVES[bound].cls(
            num_particles=max(2, objective.min_particles)
        )
    else:
        with pytest.raises(UsageError, match="is for a bound that is a mean of log-weights"):
            with_bound(objective, bound)


@pytest.mark.parametrize(
    ("objective", "bound"),
    [(objective, bound) for bound in BOUNDS for objective in unbiased() if serves(objective, bound)],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
def test_a_discrete_site_with_a_scale_of_its_own_is_drawn_by_its_probability_or_refused(
    objective: Any, bound: str
) -> None:
    case = Case(with_bound(objective, bound), Scaled)
    if isinstance(objective, ScoreFunction | Enumerate | UnorderedSet):
        assert moments(case.objective, Scaled, case.exact).largest_z < CRITICAL
    else:
        pair = Scaled()
        with pytest.raises(UsageError, match="site 'z' of the guide is scaled by other than its plates"):
            objective.differentiable_loss(pair.model, pair.guide, *pair.batch)


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_enumerated_gradient_has_a_scaled_site_too(bound: str) -> None:
    pair, reduction = Scaled(), with_bound(Enumerate(), bound).reduction
    every = Enumeration.of(Program(pair.model, pair.guide), pair.batch, "this test")
    _, found = every.gradient(reduction, list(pair.parameters()))
    exact = exact_gradient(pair, *BOUNDS[bound])
    for (name, _), gradient in zip(pair.named_parameters(), found, strict=True):
        torch.testing.assert_close(gradient, exact[name])
