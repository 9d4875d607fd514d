"""Where Pyro has the estimator and has it right, ours is the same in expectation, with all data at hand.

False-alarm rate as in ``truth.CRITICAL``.
"""

from typing import Any

import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor

from ppgen.inference import ELBO, IWELBO, AnalyticKL, Renyi
from ppgen.objectives.bounds import Bound
from tests.doubles import Chain, Line
from tests.inference.truth import CRITICAL, X, compare, gradient_draws

COPIES = 100_000
AS_OURS = {"vectorize_particles": True, "max_plate_nesting": 1}


def pyro_draws(objective: Any, pair: Line | Chain) -> dict[str, Tensor]:
    x = torch.full((COPIES, 1), X, dtype=torch.float64)
    objective.loss_and_grads(pair.model, pair.guide, x)
    return {name: -p.grad for name, p in pair.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", [Line, Chain])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ELBO(num_particles=2), Trace_ELBO(num_particles=2, **AS_OURS)),
        (IWELBO(num_particles=2), RenyiELBO(alpha=0.0, num_particles=2, **AS_OURS)),
        (Renyi(num_particles=2, alpha=0.5), RenyiELBO(alpha=0.5, num_particles=2, **AS_OURS)),
    ],
    ids=lambda objective: type(objective).__name__,
)
def test_the_gradient_has_the_expectation_of_pyros(kind: type[Line | Chain], ours: Bound, theirs: Any) -> None:
    scores = compare(gradient_draws(ours, kind(COPIES)), pyro_draws(theirs, kind(COPIES)))
    assert max(map(abs, scores.values())) < CRITICAL


def test_the_closed_form_divergence_has_the_expectation_of_pyros() -> None:
    theirs = TraceMeanField_ELBO(num_particles=2, **AS_OURS)
    scores = compare(gradient_draws(AnalyticKL(num_particles=2), Line(COPIES)), pyro_draws(theirs, Line(COPIES)))
    assert max(map(abs, scores.values())) < CRITICAL


def test_the_same_particles_have_the_same_value_as_in_pyro() -> None:
    pair, x = Line(), torch.full((7, 1), X, dtype=torch.float64)
    values = []
    for objective in (IWELBO(num_particles=3), RenyiELBO(alpha=0.0, num_particles=3, **AS_OURS)):
        torch.manual_seed(0)
        values.append(objective.loss(pair.model, pair.guide, x))
    assert values[0] == pytest.approx(values[1], rel=1e-12)
