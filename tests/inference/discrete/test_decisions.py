"""One-hot units as binary decisions: their trees, their law, and the exact expectation of the gradient by them."""

from __future__ import annotations

import itertools
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from ppgen.inference import REINFORCE, DisARM, DisARMTree
from ppgen.objectives.discrete.decisions import Balanced, Decided, Sticks, Tree
from ppgen.pairs.discrete_families import family_of
from tests.discrete_doubles import Choice, exact_gradient, gradient_draws
from tests.inference.discrete.discrete_truth import total_variance
from tests.inference.truth import elbo

TREES = [Sticks(), Balanced()]


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: type(tree).__name__)
@pytest.mark.parametrize("num_classes", [1, 2, 3, 5, 8])
def test_the_probabilities_of_the_walks_are_those_of_the_classes(tree: Tree, num_classes: int) -> None:
    fn = dist.OneHotCategorical(logits=torch.randn(4, num_classes, dtype=torch.float64))
    odds = Decided("this test", tree=tree).odds(family_of(fn, "this test"), fn)  # (4, C - 1)
    steps = tree.paths(num_classes).to(odds)
    walks = torch.where(steps != 0, (steps * odds[..., None]).sigmoid(), 1.0).prod(-2)  # (4, C)
    torch.testing.assert_close(walks, fn.probs)


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: type(tree).__name__)
def test_every_way_to_decide_is_one_class(tree: Tree) -> None:
    fn = dist.OneHotCategorical(logits=torch.zeros(5))
    noise = torch.tensor(list(itertools.product([0.1, 0.9], repeat=4)))
    states = Decided("this test", tree=tree).state(family_of(fn, "this test"), fn, noise)
    torch.testing.assert_close(states.sum(-1), torch.ones(16))
    assert (states.sum(0) > 0).all()


def test_a_balanced_walk_has_as_many_steps_as_the_classes_need() -> None:
    assert [int(Balanced().paths(num).abs().sum(0).max()) for num in (2, 3, 4, 5, 8, 9)] == [1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: type(tree).__name__)
def test_a_class_of_probability_zero_is_never_drawn_and_leaves_the_others_as_they_were(tree: Tree) -> None:
    logits = torch.tensor([0.0, -torch.inf, 1.0, -torch.inf, -torch.inf], requires_grad=True)
    fn = dist.OneHotCategorical(logits=logits)
    decided, family = Decided("this test", tree=tree), family_of(fn, "this test")
    states = decided.state(family, fn, torch.rand(500, 4))
    assert states.sum(0)[[1, 3, 4]].sum() == 0
    assert states.sum() == 500
    (gradient,) = torch.autograd.grad(decided.odds(family, fn).clamp(-9, 9).sum(), logits)
    assert torch.isfinite(gradient[[0, 2]]).all()


def cells(tree: Tree) -> tuple[Tensor, Tensor]:
    """All that noise can do to a pair of :class:`Choice`: u within each of three intervals at each of four nodes.

    A bit and its mirrored one change where u passes sigmoid(-a) and sigmoid(a). Noise (81, 2, 2) and masses (81,).
    """
    p = Choice.parameters_once()
    logits = torch.einsum("d,duc->uc", Choice.datum.double(), p["slope"]) + p["offset"]
    fn = dist.OneHotCategorical(logits=logits.detach())
    odds = Decided("this test", tree=tree).odds(family_of(fn, "this test"), fn).flatten()  # (4,)
    inner = torch.stack([(-odds).sigmoid(), odds.sigmoid()]).sort(0).values
    cuts = torch.cat([torch.zeros(1, 4), inner, torch.ones(1, 4)]).double()
    chosen = torch.cartesian_prod(*[torch.arange(3)] * 4)  # (81, 4)
    middles, widths = (cuts[1:] + cuts[:-1]) / 2, cuts.diff(dim=0)
    node = torch.arange(4)
    return middles[chosen, node].reshape(-1, 2, 2), widths[chosen, node].prod(1)


@pytest.mark.parametrize(
    ("objective", "tree"), [(DisARM(), Sticks()), (DisARMTree(), Balanced())], ids=["sticks", "balanced"]
)
def test_the_expectation_over_all_noise_is_the_gradient(
    objective: Any, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given the pair the slope is constant within a cell, and so is all else: a sum, and no draw."""
    noise, mass = cells(tree)
    monkeypatch.setattr(Decided, "uniforms", lambda *_: noise[None])
    found = gradient_draws(objective, Choice(len(noise)))
    for name, exact in exact_gradient(Choice(), elbo, 1).items():
        torch.testing.assert_close(torch.tensordot(mass, found[name], 1), exact)


def test_the_tree_is_below_leaving_one_out_at_equal_evaluations() -> None:
    """Of 20,000 draws each, with a tenth to spare."""
    variances = [
        total_variance(gradient_draws(objective, Choice(20_000)), ("slope", "offset"))
        for objective in (DisARMTree(), REINFORCE(num_particles=2))
    ]
    assert 1.1 * variances[0] < variances[1]
