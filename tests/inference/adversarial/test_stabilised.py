"""What steadies a game: each stabiliser by hand, off by default, with every loss, and in one graph with the step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import BEGAN, DRAGAN, Hinge, NonSaturating, Wasserstein, WassersteinGP
from ppgen.layers.minibatch_features import MinibatchFeatures
from ppgen.models import GAN
from ppgen.objectives.adversarial import Adversarial
from ppgen.objectives.critics import gradient_penalty
from ppgen.pairs.sampling import generated
from ppgen.registry import OBJECTIVES
from ppgen.schedules import linear
from ppgen.training.learner import Learner
from ppgen.training.options import TrainingOptions
from ppgen.training.steps import compiled, player_step
from ppgen.training.trainer import Trainer
from tests.traced import as_graphs

X = torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5], [-2.0, 0.0]], dtype=torch.float64)
GAMES = {n: s for n, s in OBJECTIVES.items() if isinstance(s.cls, type) and issubclass(s.cls, Adversarial)}
ALL: dict[str, Any] = {
    "noise": 0.1,
    "r1": 0.5,
    "gradient_penalty": 0.5,
    "one_sided": True,
    "historical_averaging": 0.1,
    "ema": 0.9,
    "dropout": 0.2,
    "separate": True,
}


def learner_of(objective: Adversarial) -> Learner:
    torch.manual_seed(0)
    pair = GAN(DataSpec("plane", 2, "real"), 2, hidden=(3,)).double()
    return Learner(pair, objective.parameters(pair, (X,)).double())


def line(num: int = 200) -> Dataset:
    x = torch.randn(num, 1, generator=torch.Generator().manual_seed(3))
    return Dataset(DataSpec("line", 1, "real", num_data=num), (x,), (x[:20],), (x[:20],))


def trainer_of(objective: Adversarial, steps: int = 4, **options: Any) -> Trainer:
    torch.manual_seed(0)
    pair = GAN(DataSpec("line", 1, "real", num_data=200), 1, hidden=(3,))
    return Trainer(pair, line(), objective, TrainingOptions(steps=steps, schedule="constant", eager=True, **options))


@pytest.mark.parametrize("name", GAMES)
def test_what_is_off_takes_no_random_number_and_no_state(name: str) -> None:
    """A step of the generator draws what the model draws, and its loss is that of these draws."""
    spec: Any = GAMES[name]
    objective = spec.cls(hidden=(4,))
    learner = learner_of(objective)
    state = objective.initial_state(learner.program, (X,))
    torch.manual_seed(1)
    outcome = objective.play("generator", learner.program, (X,), state)
    after = torch.get_rng_state()
    torch.manual_seed(1)
    fake = generated(learner.program, (X,))
    assert torch.equal(torch.get_rng_state(), after)
    own: Any = learner.objective
    assert torch.equal(outcome.loss, 4 * objective.generator_loss(objective.read(own, own(fake), fake)))
    assert outcome.metrics == {}
    assert {*state} == {*outcome.state} == ({"k"} if name == "began" else set())


class Seeing(nn.Module):
    """A critic of one weight that keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach())
        return self.weight * x.sum(1)


def test_instance_noise_of_the_stated_size_is_on_data_and_draws() -> None:
    """4,000 numbers of each: standard deviations within five standard errors, 5 / sqrt(8000) of them."""
    x = torch.zeros(2000, 2, dtype=torch.float64)
    objective = NonSaturating(critic=Seeing(), noise=linear(3.0, 1.0, 100))
    learner = learner_of(objective)
    with torch.no_grad():
        for parameter in learner.pair.parameters():
            parameter.zero_()
    critic: Any = learner.objective
    for step, scale in ((0, 3.0), (50, 2.0)):
        for player, shown in (("critic", 2), ("generator", 1)):
            critic.seen.clear()
            objective.at(step).play(player, learner.program, (x,), {})
            for part in critic.seen[0].chunk(shown):
                assert part.shape == x.shape
                assert part.std().item() == pytest.approx(scale, rel=5 / math.sqrt(8000))


def test_r1_is_half_gamma_times_the_squared_slope_at_data_alone() -> None:
    """f(x) = |x|^2 / 2 has the slope x; draws, which are elsewhere, have no part."""
    objective = Hinge(r1=3.0)
    found = objective.penalties(lambda x: x.square().sum(1) / 2, X, X + 100)
    assert found.item() == pytest.approx(3.0 / 2 * X.square().sum(1).mean().item(), rel=1e-12)


def test_r1_moves_the_critic_and_leaves_the_data() -> None:
    weight = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    Hinge(r1=1.0).penalties(lambda x: weight * x.sum(1), X, X).backward()
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(2 * 2.0)  # d/dw (w^2 |(1, 1)|^2 / 2)
    assert not X.requires_grad


@pytest.mark.parametrize(("slope", "two", "one"), [(0.5, 0.25, 0.0), (1.0, 0.0, 0.0), (3.0, 4.0, 4.0)])
def test_a_one_sided_penalty_charges_slopes_above_one_alone(slope: float, two: float, one: float) -> None:
    def critic(x: Tensor) -> Tensor:
        return slope * x[:, 0]

    assert gradient_penalty(critic, X.clone()).item() == pytest.approx(two)
    assert gradient_penalty(critic, X.clone(), one_sided=True).item() == pytest.approx(one)
    for objective in (Hinge(gradient_penalty=5.0), WassersteinGP(weight=5.0), DRAGAN(weight=5.0)):
        assert objective.penalties(critic, X.clone(), X + 1).item() == pytest.approx(5 * two)
        sided: Any = objective.holding({"one_sided": True})
        assert sided.penalties(critic, X.clone(), X + 1).item() == pytest.approx(5 * one)


def test_the_penalty_of_the_loss_and_that_of_the_stabilisers_add_up() -> None:
    objective = WassersteinGP(weight=2.0, gradient_penalty=3.0, r1=4.0)
    found = objective.penalties(lambda x: 3 * x[:, 0], X.clone(), X + 1)
    assert found.item() == pytest.approx(2 * 4 + 3 * 4 + 4 / 2 * 9)


def test_a_normalised_critic_has_weights_of_norm_one_through_training() -> None:
    """torch's power iteration follows the weights, one step a run of the critic: within two percent."""
    trainer = trainer_of(Hinge(hidden=(5, 4), spectral_norm=True), steps=30, lr=0.01)
    own: Any = trainer.learner.objective
    before = [layer.weight.clone() for layer in own.modules() if isinstance(layer, nn.Linear)]
    for _ in range(30):
        trainer.take_turn()
    own.eval()
    after = [layer.weight for layer in own.modules() if isinstance(layer, nn.Linear)]
    assert len(after) == 3
    assert not any(
        torch.allclose(old, new, atol=1e-3) for old, new in zip(before, after, strict=True) if old.numel() > 5
    )
    for weight in after:
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, rel=0.02)


def test_minibatch_features_are_sums_of_similarities_by_hand() -> None:
    layer = MinibatchFeatures(2, 3, dims=2).double()
    with torch.no_grad():
        found = layer(X)
        m = layer.to_space(X).reshape(4, 3, 2)
    assert torch.equal(found[:, :2], X)
    for i in range(4):
        for b in range(3):
            by_hand = sum(math.exp(-float((m[i, b] - m[j, b]).abs().sum())) for j in range(4))
            assert found[i, 2 + b].item() == pytest.approx(by_hand, rel=1e-12)


def test_a_critic_with_minibatch_features_tells_draws_that_are_all_alike() -> None:
    """Draws at one point among the data: where the batch is seen, every draw is known by the others."""
    objective = NonSaturating(hidden=(4,), minibatch_features=2)
    torch.manual_seed(0)
    critic = objective.parameters(nn.Module(), (torch.zeros(8, 1),))
    spread, alike = torch.linspace(-2, 2, 8)[:, None], torch.zeros(8, 1)
    width = critic.network.layers[-1][1].in_features  # type: ignore[union-attr,index]
    assert width == 6
    with torch.no_grad():
        at_zero = critic(torch.cat([spread[:7], alike[:1]]))[-1], critic(alike)[-1]
    assert at_zero[0] != at_zero[1]


@pytest.mark.parametrize(("options", "shown"), [({}, [8]), ({"separate": True}, [4, 4])])
def test_data_and_draws_are_shown_together_or_each_by_itself(options: Any, shown: list[int]) -> None:
    objective = NonSaturating(critic=Seeing(), **options)
    learner = learner_of(objective)
    objective.play("critic", learner.program, (X,), {})
    own: Any = learner.objective
    assert [len(x) for x in own.seen] == shown


@pytest.mark.parametrize("make", [NonSaturating, BEGAN])
def test_dropout_is_the_default_critics_in_training_alone(make: Any) -> None:
    critic = make(hidden=(50,), dropout=0.5).parameters(nn.Module(), (torch.randn(4, 2),))
    x = torch.randn(4, 2)
    assert not torch.equal(critic(x), critic(x))
    critic.eval()
    assert torch.equal(critic(x), critic(x))


def test_historical_averaging_charges_the_distance_from_the_mean_of_earlier_values() -> None:
    objective = NonSaturating(hidden=(3,), historical_averaging=0.7)
    learner = learner_of(objective)
    state = objective.initial_state(learner.program, (X,))
    own = list(learner.objective.parameters())
    earlier: list[Tensor] = []
    for step in range(3):
        torch.manual_seed(step)
        outcome = objective.play("critic", learner.program, (X,), state)
        torch.manual_seed(step)
        plain = NonSaturating(hidden=(3,)).play("critic", learner.program, (X,), {})
        now = torch.cat([value.detach().flatten() for value in own])
        mean = torch.stack(earlier).mean(0) if earlier else now
        apart = (now - mean).square().sum().item()
        assert outcome.metrics["history"].item() == pytest.approx(apart, rel=1e-9, abs=1e-12)
        assert (outcome.loss - plain.loss).item() == pytest.approx(4 * 0.7 * apart, rel=1e-9, abs=1e-12)
        slopes = torch.autograd.grad(outcome.loss - plain.loss, own)
        found = torch.cat([slope.flatten() for slope in slopes])
        torch.testing.assert_close(found, 4 * 0.7 * 2 * (now - mean), rtol=1e-9, atol=1e-9)
        earlier.append(now)
        state = outcome.state
        with torch.no_grad():
            for value in own:
                value.add_(0.1 * (step + 1))
    assert state["turns.critic"].item() == 3
    assert state["turns.generator"].item() == 0


def test_each_player_keeps_a_history_of_its_own(tmp_path: Path) -> None:
    def train(steps: int, out: str, **more: Any) -> None:
        torch.manual_seed(0)
        pair = GAN(DataSpec("line", 1, "real", num_data=200), 1, hidden=(3,))
        objective = NonSaturating(hidden=(3,), historical_averaging=0.1)
        ppgen.fit(pair, line(), objective, steps=steps, schedule="constant", eager=True, out=tmp_path / out, **more)

    train(5, "whole")
    train(2, "cut")
    train(5, "cut", resume=True)
    one, two = (read_checkpoint(tmp_path / name / "checkpoint.safetensors")[0] for name in ("whole", "cut"))
    assert one.keys() == two.keys()
    assert all(one[name].equal(two[name]) for name in one)
    assert one["state.turns.critic"].item() == one["state.turns.generator"].item() == 5


def test_the_moving_average_takes_the_generators_place_at_the_end() -> None:
    trainer = trainer_of(NonSaturating(hidden=(3,), ema=0.8), steps=4, lr=0.05)
    pair = trainer.pair
    average = {name: value.detach().clone() for name, value in pair.named_parameters()}
    raw: list[dict[str, Tensor]] = []
    move = trainer._move

    def moved(player: Any, *arguments: Any) -> None:
        move(player, *arguments)
        if player.name == "generator":
            raw.append({name: value.detach().clone() for name, value in pair.named_parameters()})

    trainer._move = moved  # type: ignore[method-assign,assignment]
    for _ in range(4):
        trainer.take_turn()
    for values in raw:
        average = {name: 0.8 * average[name] + 0.2 * values[name] for name in average}
    assert len(raw) == 4
    torch.testing.assert_close({n: p.detach() for n, p in pair.named_parameters()}, average)
    assert not torch.allclose(average["generator.0.layers.0.weight"], raw[-1]["generator.0.layers.0.weight"])


def test_a_run_is_loaded_and_sampled_with_the_moving_average(tmp_path: Path) -> None:
    def train(**options: Any) -> dict[str, Tensor]:
        torch.manual_seed(0)
        pair = GAN(DataSpec("line", 1, "real", num_data=200), 1, hidden=(3,))
        ppgen.fit(pair, line(), NonSaturating(hidden=(3,), **options), steps=3, lr=0.05, eager=True, out=tmp_path / "r")
        kept = ppgen.load(tmp_path / "r", data=line()).pair.state_dict()
        assert all(torch.equal(value, kept[name]) for name, value in pair.state_dict().items())
        return kept

    last = train()
    for file in (tmp_path / "r").iterdir():
        file.unlink()
    averaged = train(ema=0.9)
    assert not any(torch.equal(value, averaged[name]) for name, value in last.items() if "weight" in name)


def check_compiled(objective: Adversarial) -> None:
    """The graphs of both players' steps equal the eager steps, with what they hand on and write."""
    learner = learner_of(objective)
    state = objective.initial_state(learner.program, (X,))
    for player in objective.players():
        owned, others = learner.arguments(player)
        arguments: Any = (owned, others, state, {}, (X,))
        step = player_step(learner, objective, player)
        torch.manual_seed(1)
        eager = step(*arguments)
        with as_graphs():
            graph = compiled(step, *arguments)
            torch.manual_seed(1)
            torch.testing.assert_close(graph(*arguments), eager)


QUICK = ("hinge", "began")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.thorough) for n in GAMES])
def test_every_loss_takes_every_stabiliser_in_one_graph(name: str) -> None:
    spec: Any = GAMES[name]
    options = {**ALL, "spectral_norm": name != "wasserstein", "minibatch_features": 0 if name == "began" else 2}
    check_compiled(spec.cls(hidden=(4,), **options))


@pytest.mark.thorough
def test_unrolled_steps_see_the_stabilisers() -> None:
    check_compiled(NonSaturating(hidden=(4,), unroll=1, **ALL, minibatch_features=2))


def test_what_is_scheduled_is_an_input_of_the_step() -> None:
    trainer = trainer_of(NonSaturating(hidden=(3,), noise=linear(1.0, 0.0, 4)), steps=4)
    for _ in range(4):
        trainer.take_turn()
    assert math.isfinite(trainer.report()["critic/loss"])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Hinge(critic=nn.Linear(1, 1), dropout=0.1), "are the default critic's, and a critic is given"),
        (lambda: Hinge(critic=nn.Linear, minibatch_features=3), "are the default critic's, and a critic is given"),
        (lambda: Wasserstein(spectral_norm=True), "wasserstein bounds the critic's weights by clip"),
        (lambda: BEGAN(minibatch_features=3), "minibatch_features of BEGAN have no layer to stand in"),
        (lambda: Hinge(r1=-1.0), "r1 of Hinge must be a number of at least 0"),
        (lambda: Hinge(ema=1.0), "ema of Hinge must be a number of at least 0 and below 1"),
        (lambda: Hinge(noise=linear(1.0, -1.0, 5)), "its values must each be a number of at least 0"),
        (lambda: Hinge(critic_steps=0), "critic_steps of Hinge must be a whole number of at least 1, got 0"),
    ],
)
def test_impossible_options_are_refused(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


class Fixed(nn.Module):
    """A critic without parameters."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1)


def test_a_player_without_parameters_is_named() -> None:
    pair = GAN(DataSpec("line", 1, "real"), 1, hidden=(3,))
    with pytest.raises(UsageError, match=r"no parameter of player 'critic' \(objective\.\*\) that requires a gradient"):
        ppgen.fit(pair, line(), NonSaturating(critic=Fixed()), steps=1, eager=True)
    with pytest.raises(UsageError, match=r"no parameter of player 'generator' \(pair\.\*\) that requires a gradient"):
        ppgen.fit(pair.requires_grad_(False), line(), NonSaturating(hidden=(3,)), steps=1, eager=True)
