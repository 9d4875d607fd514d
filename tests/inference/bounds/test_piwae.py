"""PIWAE joins the model's gradient of one bound and the guide's of another, draw by draw."""

import torch
from torch import Tensor

from ppgen.inference import IWELBO, MIWAE, PIWAE
from ppgen.objectives.bounds import Bound
from tests.doubles import Chain, data

MODEL = ("top", "log_spread", "bottom")


def gradient(objective: Bound) -> dict[str, Tensor]:
    torch.manual_seed(0)
    pair = Chain()
    objective.differentiable_loss(pair.model, pair.guide, data(4)).backward()
    return {name: p.grad for name, p in pair.named_parameters() if p.grad is not None}


def test_model_and_guide_follow_their_own_bounds_on_the_same_draws() -> None:
    found = gradient(PIWAE(num_groups=2, num_particles=3))
    for_model, for_guide = gradient(IWELBO(num_particles=6)), gradient(MIWAE(num_groups=2, num_particles=3))
    for name, value in found.items():
        expected = for_model if name in MODEL else for_guide
        torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(for_model["slope1"], for_guide["slope1"])


def test_its_value_is_the_models_bound() -> None:
    def value(objective: Bound) -> float:
        torch.manual_seed(0)
        return objective.loss((pair := Chain()).model, pair.guide, data(4))

    assert value(PIWAE(num_groups=2, num_particles=3)) == value(IWELBO(num_particles=6))


def test_its_gradient_is_declared_to_be_that_of_no_single_bound() -> None:
    assert not PIWAE().unbiased_gradient
