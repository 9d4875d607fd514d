"""The value of an objective is what theory says: its expectation, the evidence above it, its approach as K grows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ppgen.data import DataSpec
from ppgen.inference import IWELBO, Beta, HamiltonianELBO, Renyi
from ppgen.models import LinearGaussian
from ppgen.objectives.bounds import Bound
from ppgen.pairs.tracing import Program, run_particles
from ppgen.registry import OBJECTIVES
from tests.doubles import Line
from tests.inference.cases import ONLY_ON_LINE, UNBIASED, Case
from tests.inference.truth import X, elbo, error_of_mean, expectation, iwelbo, line_log_w, value_draws

DRAWS = 100_000
BOUNDS = {
    name: bound
    for name, spec in OBJECTIVES.items()
    if spec.tiny
    and isinstance(bound := spec.tiny(), Bound)
    and not bound.needs_discrete
    and bound.trains_guide
    and bound.trains_scales
}
"""The bounds of pairs without discrete latents, taken at draws of the guide."""


def log_evidence(pair: Line) -> float:
    return float(pair.log_evidence(torch.tensor([[X]], dtype=torch.float64)).detach())


@pytest.mark.parametrize("case", [*UNBIASED, *ONLY_ON_LINE], ids=str)
def test_the_value_is_its_expectation_within_3_standard_errors(case: Case) -> None:
    draws = value_draws(case.objective, pair := Line(), DRAWS)
    exact = float(case.value(pair.state_dict()))
    assert float(draws.mean()) == pytest.approx(exact, abs=3 * error_of_mean(draws))


@pytest.mark.parametrize("case", [case for case in [*UNBIASED, *ONLY_ON_LINE] if case.objective.is_bound], ids=str)
def test_the_expectation_of_a_bound_is_below_the_evidence(case: Case) -> None:
    assert float(case.value((pair := Line()).state_dict())) < log_evidence(pair)


@pytest.mark.parametrize("name", [name for name, bound in BOUNDS.items() if bound.is_bound])
def test_a_bound_is_below_the_evidence(name: str) -> None:
    draws = value_draws(BOUNDS[name], pair := Line(), DRAWS)
    assert float(draws.mean()) < log_evidence(pair) + 3 * error_of_mean(draws)


@pytest.mark.parametrize("name", [name for name, bound in BOUNDS.items() if bound.target is not None])
def test_the_target_is_what_the_value_estimates(name: str) -> None:
    """By the two means of 400,000 values each, 4.4 standard errors: one false alarm in 100,000 tests. A comparison
    holds an estimator's gradient against its target's, and ``auto`` takes those of one target for the same."""
    objective, pair = BOUNDS[name], Line()
    if hasattr(objective, "step_size"):
        objective = replace(objective, step_size=0.4)  # type: ignore[type-var]  # a step of some effect
    target = objective.target
    assert target is not None
    own, its = (value_draws(one, pair, 4 * DRAWS) for one in (objective, target))
    assert abs(float(own.mean() - its.mean())) < 4.4 * math.hypot(error_of_mean(own), error_of_mean(its)) + 1e-12


def test_a_renyi_bound_of_negative_order_exceeds_the_evidence() -> None:
    objective = Renyi(num_particles=300, alpha=-2.0)
    draws = value_draws(objective, pair := Line(), 1_000)
    assert not objective.is_bound
    assert float(draws.mean()) > log_evidence(pair) + 3 * error_of_mean(draws)


def test_a_renyi_bound_of_order_zero_is_the_importance_weighted_one() -> None:
    objective, log_w = Renyi(num_particles=3, alpha=0.0), torch.randn(3, 5)
    assert objective.is_bound
    torch.testing.assert_close(objective.reduce(log_w), IWELBO(num_particles=3).reduce(log_w))


def test_the_importance_weighted_bound_tightens_with_every_particle() -> None:
    parameters = (pair := Line()).state_dict()
    nodes = {1: 200, 2: 200, 3: 60}
    values = [float(expectation(line_log_w, iwelbo, parameters, particles=k, nodes=n)) for k, n in nodes.items()]
    assert values[0] < values[1] < values[2] < log_evidence(pair)
    assert values[0] == pytest.approx(float(expectation(line_log_w, elbo, parameters, particles=1)))


def test_the_gap_of_the_importance_weighted_bound_is_the_variance_of_the_weights_over_2_k() -> None:
    pair, particles = Line(), 200
    evidence = log_evidence(pair)
    second = float(expectation(lambda p, e: (2 * line_log_w(p, e)).exp(), elbo, pair.state_dict(), particles=1))
    variance = second / math.exp(2 * evidence) - 1  # of w / p(x)
    draws = value_draws(IWELBO(num_particles=particles), pair, 20_000)
    gap = evidence - float(draws.mean())
    # the next term of the expansion is of relative order variance / K = 1%
    assert gap == pytest.approx(variance / (2 * particles), rel=0.03, abs=3 * error_of_mean(draws))


@pytest.fixture
def plane() -> tuple[LinearGaussian, Tensor]:
    """Two latents, three features, a guide of full covariance."""
    spec = DataSpec("plane", 3, "real")
    pair = LinearGaussian(spec, 2, noise=0.7).double()
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return pair, torch.randn(1, 3, dtype=torch.float64)


@torch.no_grad()
def draws_of(objective: Bound, pair: LinearGaussian, x: Tensor, draws: int) -> Tensor:
    batch = (x.expand(draws, -1),)
    return objective.estimate(run_particles(Program(pair.model, pair.guide), batch, objective.total_particles))


def test_bounds_of_two_latents_tighten_below_the_evidence(plane: tuple[LinearGaussian, Tensor]) -> None:
    pair, x = plane
    means, errors = [], []
    for particles in (1, 5, 25, 125):
        draws = draws_of(IWELBO(num_particles=particles), pair, x, 20_000)
        means.append(float(draws.mean()))
        errors.append(error_of_mean(draws))
    assert means == sorted(means)
    assert means[-1] < float(pair.log_evidence(x).detach()) + 3 * errors[-1]


@pytest.mark.parametrize("name", BOUNDS)
def test_every_bound_is_the_evidence_when_the_guide_is_the_posterior(
    name: str, plane: tuple[LinearGaussian, Tensor]
) -> None:
    pair, x = plane
    pair.set_exact_guide()
    objective = BOUNDS[name]
    if isinstance(objective, Beta):
        objective = Beta(num_particles=objective.num_particles)
    if isinstance(objective, HamiltonianELBO):  # which is tight there as its steps vanish
        objective = HamiltonianELBO(step_size=1e-4)
    draws, evidence = draws_of(objective, pair, x, 20_000), float(pair.log_evidence(x).detach())
    # log-weights do not vary, so neither does what is a function of them alone
    assert float(draws.mean()) == pytest.approx(evidence, abs=3 * error_of_mean(draws) + 1e-9)
