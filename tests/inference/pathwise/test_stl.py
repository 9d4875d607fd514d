"""Sticking the landing: no variance at the posterior, also with a hierarchical guide."""

import pytest
import torch
from torch import Tensor

from ppgen.inference import ELBO, STL, DReG, Renyi
from ppgen.objectives.bounds import Bound
from tests.doubles import Chain, Line
from tests.inference.mutants import DetachedDistributions
from tests.inference.truth import gradient_draws

PAIRS = {
    "line": (Line, ("slope", "shift", "log_scale")),
    "chain": (Chain, ("slope1", "log_scale1", "slope2", "shift2")),
}
ROUNDING = 1e-10


def largest(objective: Bound, name: str) -> float:
    """The largest draw of the guide's gradient at the posterior, in absolute value."""
    kind, guide = PAIRS[name]
    draws = gradient_draws(objective, kind(1000).land())
    return max(float(draws[parameter].abs().max()) for parameter in guide)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(
    "objective", [STL(num_particles=3), DReG(num_particles=3), DReG(bound=Renyi(alpha=0.5))], ids=str
)
def test_every_draw_of_the_guides_gradient_is_zero_at_the_posterior(objective: Bound, name: str) -> None:
    assert largest(objective, name) < ROUNDING
    assert largest(ELBO(num_particles=3), name) > 0.1


def test_detaching_distributions_leaves_variance_in_a_hierarchy() -> None:
    wrong = DetachedDistributions(square=False)
    assert largest(wrong, "line") < ROUNDING
    assert largest(wrong, "chain") > 0.1


def test_the_value_is_that_of_the_bound() -> None:
    def value(objective: Bound) -> Tensor:
        torch.manual_seed(0)
        return objective.differentiable_loss(pair.model, pair.guide, x)

    pair, x = Chain(), torch.ones(5, 1, dtype=torch.float64)
    torch.testing.assert_close(value(STL(num_particles=3)), value(ELBO(num_particles=3)))


def test_the_gradient_is_called_unbiased_where_the_score_has_expectation_zero() -> None:
    assert STL(num_particles=4).unbiased_gradient
    assert STL(num_particles=4, bound=ELBO()).unbiased_gradient
    assert STL(num_particles=1, bound="iwelbo").unbiased_gradient
    assert not STL(num_particles=2, bound="iwelbo").unbiased_gradient
