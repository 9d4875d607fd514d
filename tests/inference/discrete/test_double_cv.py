"""Double control variates beyond their unbiasedness, which ``test_discrete_truth`` holds them to."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from ppgen.errors import UsageError
from ppgen.inference import REINFORCE, DoubleCV
from ppgen.objectives.discrete.coupled_draws import States
from tests.discrete_doubles import Choice, DiscreteDouble, TinyDeepSBN, TinySBN, exact_gradient, gradient_draws
from tests.inference.discrete.discrete_harness import blocks_of
from tests.inference.discrete.discrete_truth import total_variance
from tests.inference.discrete.noise_cells import cells
from tests.inference.truth import elbo, iwelbo

COPIES = 10_000


def noise(objective: Any, double: type[DiscreteDouble]) -> float:
    return total_variance(gradient_draws(objective, double(COPIES)), blocks_of(double)["guide"])


@pytest.mark.parametrize(("bound", "reduce"), [("elbo", elbo), ("iwelbo", iwelbo)])
def test_the_expectation_over_all_noise_is_the_gradient(
    bound: str, reduce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    uniforms, mass = cells(2)
    monkeypatch.setattr(States, "uniforms", lambda *_: uniforms)
    found = gradient_draws(DoubleCV(bound=bound), TinySBN(len(mass)))
    for name, exact in exact_gradient(TinySBN(), reduce, 2).items():
        torch.testing.assert_close(torch.tensordot(mass, found[name], 1), exact)


@pytest.mark.parametrize("double", [TinySBN, TinyDeepSBN], ids=lambda double: double.__name__)
@pytest.mark.parametrize("num_particles", [2, 4])
def test_it_is_below_leaving_one_out_at_as_many_particles(double: type[DiscreteDouble], num_particles: int) -> None:
    ours, theirs = (noise(kind(num_particles=num_particles), double) for kind in (DoubleCV, REINFORCE))
    assert 1.1 * ours < theirs


def test_it_is_above_leaving_one_out_where_the_log_weight_bends_more_than_it_slopes() -> None:
    """A normal density of one-hot units: the paper's are binary."""
    assert noise(DoubleCV(), Choice) > 2 * noise(REINFORCE(), Choice)


class Linear(TinySBN):
    """Its hidden units say nothing of x: log w is linear in z."""

    start: ClassVar = {**TinySBN.start, "weight": torch.zeros(2, 3)}


def test_where_the_log_weight_is_linear_in_the_states_the_guide_has_no_noise() -> None:
    """And its gradient is the exact one in every draw."""
    draws, exact = gradient_draws(DoubleCV(num_particles=3), Linear(50)), exact_gradient(Linear(), elbo, 1)
    for name in blocks_of(Linear)["guide"]:
        torch.testing.assert_close(draws[name], exact[name].expand_as(draws[name]))


def test_one_particle_has_no_other() -> None:
    with pytest.raises(UsageError, match=r"num_particles of DoubleCV must be a whole number of at least 2"):
        DoubleCV(num_particles=1)
