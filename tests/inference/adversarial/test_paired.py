"""Translation by pairs: value and gradient by hand, its optimum of a few states, and what its critic sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import BEGAN, NonSaturating, Paired
from ppgen.models import GAN, CycleGAN, Pix2Pix
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Outcome
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.tracing import Program
from ppgen.training.learner import Learner

RANDOM = np.random.RandomState(0)
X, S = RANDOM.standard_normal((6, 2)), RANDOM.standard_normal((6, 3))
BATCH = (torch.from_numpy(X), torch.from_numpy(S))


class Line(Pair):
    """x = A s, without latents."""

    implicit = True

    def __init__(self, A: Any, data_size: int | None = None) -> None:
        super().__init__(data_size)
        self.A = nn.Parameter(torch.as_tensor(A))

    def model(self, x: Tensor, s: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("x", dist.Delta(s @ self.A.T, event_dim=1), obs=x)

    def guide(self, x: Tensor, s: Tensor) -> None:
        pass


class Sum(nn.Module):
    """f(x, s) = w x + v s."""

    def __init__(self, w: Any, v: Any) -> None:
        super().__init__()
        self.w, self.v = (nn.Parameter(torch.as_tensor(value, dtype=torch.float64)) for value in (w, v))

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        return x @ self.w + s @ self.v


W, V = np.array([0.4, -1.1]), np.array([0.2, 0.3, -0.6])


def played(objective: Objective, player: str, pair: Pair, batch: Any = BATCH) -> tuple[Outcome, Learner]:
    torch.manual_seed(0)
    learner = Learner(pair, objective.parameters(pair, batch).double())
    with isolated():
        return objective.play(player, learner.program, batch, objective.initial_state(learner.program, batch)), learner


def test_losses_and_the_generators_gradient_are_those_computed_by_hand() -> None:
    """Non-saturating: log(1 + exp(-f)) of draws, whose slope is -sigmoid(-f); and 5 |x' - x|."""
    A = np.random.RandomState(1).standard_normal((2, 3))
    pair, objective = Line(A, 60), Paired(game=NonSaturating(critic=Sum(W, V)), weight=5.0)
    made = S @ A.T
    fake, real = made @ W + S @ V, X @ W + S @ V
    outcome, _ = played(objective, "critic", pair)
    value = np.logaddexp(0, -real).mean() + np.logaddexp(0, fake).mean()
    assert outcome.loss.item() == pytest.approx(60 * value, rel=1e-12)
    outcome, _ = played(objective, "generator", pair)
    distance = np.abs(made - X).mean()
    assert outcome.metrics["distance"].item() == pytest.approx(distance, rel=1e-12)
    assert outcome.loss.item() == pytest.approx(60 * (np.logaddexp(0, -fake).mean() + 5 * distance), rel=1e-12)
    (found,) = torch.autograd.grad(outcome.loss / 60, [pair.A])
    slopes = -W / (1 + np.exp(fake))[:, None] / 6 + 5 * np.sign(made - X) / made.size  # (6, 2)
    np.testing.assert_allclose(found.numpy(), slopes.T @ S, rtol=1e-10, atol=1e-12)


def test_the_distance_alone_is_least_at_the_median_of_each_source() -> None:
    """Two sources, one-hot; x of the first is 0, 0, 5 and of the second -1, 3, 4, with a critic that is constant."""
    x = torch.tensor([[0.0], [0.0], [5.0], [-1.0], [3.0], [4.0]], dtype=torch.float64)
    s = torch.eye(2, dtype=torch.float64).repeat_interleave(3, 0)
    pair = Line(np.array([[2.0, 0.0]]))
    objective = Paired(game=NonSaturating(critic=Sum([0.0], [0.0, 0.0])), weight=1.0)
    learner = Learner(pair, objective.parameters(pair, (x, s)))
    for step in range(200):
        with isolated():
            loss = objective.play("generator", learner.program, (x, s), {}).loss / 6
        (slope,) = torch.autograd.grad(loss, [pair.A])
        with torch.no_grad():
            pair.A.sub_(slope / (1 + step / 20))
    torch.testing.assert_close(pair.A.detach(), torch.tensor([[0.0, 3.0]], dtype=torch.float64), rtol=0, atol=0.05)


def test_the_critic_is_shown_each_draw_with_the_source_that_it_was_made_of() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    class Looking(Sum):
        def forward(self, x: Tensor, s: Tensor) -> Tensor:
            seen.append((x.detach(), s.detach()))
            return super().forward(x, s)

    A = np.random.RandomState(1).standard_normal((2, 3))
    played(Paired(game=NonSaturating(critic=Looking(W, V))), "critic", Line(A))
    x, s = (torch.cat(parts) for parts in zip(*seen[-2:], strict=True))  # before them it was tried on the batch
    torch.testing.assert_close(x, torch.cat([BATCH[0], BATCH[1] @ torch.from_numpy(A).T]))
    assert torch.equal(s, torch.cat([BATCH[1]] * 2))


def test_a_game_that_keeps_a_state_is_played_with_it() -> None:
    objective = Paired(game=BEGAN(hidden=(4,), code_dim=1, k=0.5, lambda_k=0.1))
    after, _ = played(objective, "critic", Line(np.ones((2, 3))))
    assert 0 < after.state["k"].item() != 0.5
    held, _ = played(objective, "generator", Line(np.ones((2, 3))))
    assert held.state["k"].item() == 0.5


def test_batches_without_sources_are_refused_in_a_sentence() -> None:
    def why(pair: Pair, *batch: Tensor) -> str:
        return Paired().refuses(Program(pair.model, pair.guide), batch) or ""

    pair, x = GAN(DataSpec("plane", 2, "real"), 2), torch.randn(5, 2)
    assert "Paired of GAN takes batches (x, s)" in why(pair, x)
    assert "got x alone" in why(pair, x)
    spec = DataSpec("plane", 2, "real", source=DataSpec("line", 1, "real"), paired="all")
    translation = Pix2Pix(spec, hidden=(4,))
    with pytest.raises(UsageError, match=r"Pix2Pix takes batches \(x, s\), .* got labels: give two sets"):
        translation.prepare(x, torch.arange(5))
    assert why(translation, x, torch.randn(5, 1)) == ""
    unpaired = CycleGAN(
        DataSpec("plane", 2, "real", source=DataSpec("other", 2, "real"), paired="held_out"), hidden=(4,)
    )
    assert "rows of data 'plane' to train on are no pairs (paired='held_out')" in why(unpaired, x, torch.randn(5, 2))
    with pytest.raises(UsageError, match="weight of Paired must be"):
        Paired(weight=-1.0)
