"""began: k and the convergence measure by hand, kept from step to step, and critics that are no autoencoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import BEGAN
from ppgen.models import GAN
from ppgen.pairs.sampling import generated
from ppgen.training.learner import Learner
from ppgen.training.options import TrainingOptions
from ppgen.training.steps import compiled, player_step
from ppgen.training.trainer import Trainer
from tests.traced import as_graphs

X = torch.linspace(-2, 2, 6, dtype=torch.float64).reshape(3, 2)


def learner_of(objective: BEGAN) -> Learner:
    torch.manual_seed(0)
    pair = GAN(DataSpec("plane", 2, "real"), 2, hidden=(3,)).double()
    return Learner(pair, objective.parameters(pair, (X,)).double())


@pytest.mark.parametrize(("gamma", "lambda_k", "start"), [(0.9, 0.05, 0.3), (1.0, 3.0, 0.5), (0.0, 0.4, 0.9)])
def test_k_and_the_convergence_measure_are_those_taken_by_hand_for_ten_steps(
    gamma: float, lambda_k: float, start: float
) -> None:
    """The second case ends at 1 or leaves it, the third ends at 0: k is held in [0, 1]."""
    objective = BEGAN(gamma=gamma, lambda_k=lambda_k, k=start, hidden=(3,), code_dim=1)
    learner = learner_of(objective)
    critic: Any = learner.objective
    state, k = objective.initial_state(learner.program, (X,)), start
    for step in range(10):
        torch.manual_seed(step)
        fake = generated(learner.program, (X,)).detach()
        real_error, fake_error = ((x - critic(x)).abs().mean().item() for x in (X, fake))
        torch.manual_seed(step)
        outcome = objective.play("critic", learner.program, (X,), state)
        assert outcome.loss.item() / 3 == pytest.approx(real_error - k * fake_error, rel=1e-12)
        assert outcome.metrics["k"].item() == pytest.approx(k, rel=1e-12)
        measure = real_error + abs(gamma * real_error - fake_error)
        assert outcome.metrics["convergence"].item() == pytest.approx(measure, rel=1e-12)
        k = min(max(k + lambda_k * (gamma * real_error - fake_error), 0.0), 1.0)
        assert outcome.state["k"].item() == pytest.approx(k, rel=1e-12, abs=1e-15)
        torch.manual_seed(step)
        moved = objective.play("generator", learner.program, (X,), outcome.state)
        assert moved.loss.item() / 3 == pytest.approx(fake_error, rel=1e-12)
        assert moved.state["k"].equal(outcome.state["k"])
        state = moved.state
    if gamma == 0:
        assert k == 0


def test_the_gradient_of_the_critic_does_not_go_through_k() -> None:
    objective = BEGAN(k=0.5, hidden=(3,), code_dim=1)
    learner = learner_of(objective)
    outcome = objective.play("critic", learner.program, (X,), objective.initial_state(learner.program, (X,)))
    assert not outcome.state["k"].requires_grad


def test_k_goes_on_where_a_run_was_cut(tmp_path: Path) -> None:
    def train(steps: int, out: str, **more: Any) -> None:
        torch.manual_seed(0)
        pair = GAN(DataSpec("line", 1, "real"), 1, hidden=(3,))
        x = torch.randn(100, 1, generator=torch.Generator().manual_seed(3))
        objective = BEGAN(hidden=(3,), code_dim=1, lambda_k=0.1, k=0.5)
        ppgen.fit(pair, x, objective, steps=steps, schedule="constant", eager=True, out=tmp_path / out, **more)

    train(6, "whole")
    train(2, "cut")
    train(6, "cut", resume=True)
    one, two = (read_checkpoint(tmp_path / name / "checkpoint.safetensors")[0] for name in ("whole", "cut"))
    assert one.keys() == two.keys()
    assert all(one[name].equal(two[name]) for name in one)
    assert 0 < one["state.k"].item() < 1
    assert one["state.k"].item() != 0.5


def test_a_step_that_carries_k_is_one_graph() -> None:
    objective = BEGAN(hidden=(3,), code_dim=1, k=0.5, lambda_k=0.5)
    learner = learner_of(objective)
    player = objective.players()[0]
    owned, others = learner.arguments(player)
    state = objective.initial_state(learner.program, (X,))
    step = player_step(learner, objective, player)
    torch.manual_seed(1)
    eager = step(owned, others, state, {}, (X,))
    with as_graphs():
        graph = compiled(step, owned, others, state, {}, (X,))
        torch.manual_seed(1)
        torch.testing.assert_close(graph(owned, others, state, {}, (X,))[:3], eager[:3])
    assert eager[2]["k"] != state["k"]


def test_the_loop_reports_k_and_the_convergence_measure() -> None:
    pair, x = GAN(DataSpec("line", 1, "real"), 1, hidden=(3,)), torch.randn(100, 1)
    run = ppgen.fit(pair, x, BEGAN(hidden=(3,), code_dim=1), steps=2, eager=True)
    train = [line for line in run.metrics if line["split"] == "train"]
    assert {"critic/k", "critic/convergence", "critic/real", "critic/fake"} <= train[-1].keys()


class Reconstructing(nn.Module):
    """An autoencoder of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)  # type: ignore[no-any-return]  # torch's modules return Any


def test_an_autoencoder_of_ones_own_is_the_critic() -> None:
    objective = BEGAN(critic=Reconstructing())
    trainer = Trainer(
        GAN(DataSpec("plane", 2, "real"), 2, hidden=(3,)),
        ppgen.load_data("ring", num_data=50),
        objective,
        TrainingOptions(steps=1, eager=True),
    )
    assert isinstance(trainer.learner.objective, Reconstructing)
    trainer.take_turn()


def test_a_critic_that_gives_one_number_is_no_autoencoder() -> None:
    pair = GAN(DataSpec("plane", 2, "real"), 2, hidden=(3,))
    with pytest.raises(UsageError, match=r"autoencoder, and Linear makes shape \(5, 1\) of x \(5, 2\)"):
        ppgen.fit(pair, torch.randn(5, 2), BEGAN(critic=nn.Linear(2, 1)), steps=1, batch_size=5, eager=True)
