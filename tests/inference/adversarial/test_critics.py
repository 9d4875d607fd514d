"""Critics of one's own, and what critics see of a batch that holds more than x."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import NonSaturating, Wasserstein, WassersteinGP
from ppgen.layers.networks import MLP
from ppgen.models import GAN
from ppgen.objectives.adversarial import Adversarial, Critic
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Program
from ppgen.schedules import linear
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer


class OnOff(Pair):
    """x = places[y] + 0.5 z, z ~ N(0, 1): a generator that is told a label."""

    implicit = True

    def __init__(self, places: tuple[float, float]) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.tensor(places))

    def model(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))  # (B, 1)
            pyro.sample("x", dist.Delta(self.places[y][:, None] + 0.5 * z, event_dim=1), obs=x)

    def guide(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))


class Seeing(nn.Module):
    """A critic with parameters that keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen: list[tuple[Any, ...]] = []

    def forward(self, *batch: Any) -> Tensor:
        self.seen.append(batch)
        scores: Tensor = self.layer(batch[0])
        return scores


class Normalised(nn.Module):
    """A critic of x with running averages of its own, made for as many numbers as x has."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(x.shape[1], 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]  # torch's modules return Any


class Across(nn.Linear):
    """A critic whose outputs, one for each datum, lie along the wrong axis, (1, B)."""

    def __init__(self) -> None:
        super().__init__(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).T


def labelled(num: int = 400) -> Dataset:
    """x about -1 and 1 where the label is 0 and 1."""
    y = torch.arange(num) % 2
    x = (2.0 * y - 1)[:, None] + 0.5 * torch.randn(num, 1)
    spec = DataSpec("on and off", 1, "real", num_classes=2, num_data=num)
    return Dataset(spec, (x, y), (x[:50], y[:50]), (x[:50], y[:50]))


def line(num: int = 100) -> Dataset:
    x = torch.randn(num, 1, generator=torch.Generator().manual_seed(3))
    return Dataset(DataSpec("line", 1, "real", num_data=num), (x,), (x[:20],), (x[:20],))


def played(objective: Adversarial, player: str, critic: nn.Module) -> None:
    pair = OnOff((-1.0, 1.0))
    objective.play(player, Program(pair.model, pair.guide, critic), labelled(6).train, {})


def test_the_critic_of_a_batch_of_x_alone_is_a_network_of_x() -> None:
    x = torch.randn(5, 2, 3)
    torch.manual_seed(1)
    critic = NonSaturating(hidden=(4,)).parameters(nn.Module(), (x,))
    torch.manual_seed(1)
    network = MLP(6, 1, (4,), "leaky_relu")
    assert list(critic.state_dict()) == [f"network.{name}" for name in network.state_dict()]
    assert torch.equal(critic(x), network(x.reshape(5, 6)).squeeze(-1))


def test_the_critic_sees_all_numbers_of_a_datum() -> None:
    x, y, weights = torch.randn(5, 2), torch.arange(5), torch.rand(5, 3)
    critic = Critic(x, y, "name", None, weights, hidden=())
    before = critic(x, y, "name", None, weights)
    assert critic.network.layers[0].in_features == 6
    for changed in ((x, y + 1, weights), (x, y, 2 * weights)):
        assert (critic(*changed) != before).all()


@pytest.mark.parametrize("player", ["critic", "generator"])
@pytest.mark.parametrize("objective", [NonSaturating(), WassersteinGP()], ids=lambda one: type(one).__name__)
def test_draws_keep_the_labels_that_they_were_made_for(objective: Adversarial, player: str) -> None:
    critic = Seeing()
    played(objective, player, critic)
    assert critic.seen
    for x, y in critic.seen:
        assert torch.equal(y, torch.tensor([0, 1, 0, 1, 0, 1]).repeat(len(x) // 6))


def test_an_unrolled_critic_keeps_the_labels() -> None:
    critic = Seeing()
    played(NonSaturating(unroll=2), "generator", critic)
    assert [len(x) == len(y) for x, y in critic.seen] == [
        True
    ] * 3  # of data and draws in each of two steps, and of draws after them


@pytest.mark.parametrize(("places", "told_apart"), [((-1.0, 1.0), False), ((1.0, -1.0), True)])
def test_draws_of_the_wrong_label_are_told_from_data(places: tuple[float, float], told_apart: bool) -> None:
    """x alone has the same distribution in both cases: a critic that sees no labels stays at log 4 = 1.386 nats."""
    options = TrainingOptions(steps=60, batch_size=200, lr=1e-9, eager=True)
    torch.manual_seed(0)
    trainer = Trainer(OnOff(places), labelled(), NonSaturating(hidden=(16,), critic_rate=5e7), options)
    for _ in range(options.steps or 0):
        trainer.take_turn()
    loss = trainer.report()["critic/loss"]
    assert (loss < 1.0) is told_apart


def test_a_module_that_was_given_stays_as_it_was() -> None:
    given = Seeing()
    before = given.layer.weight.clone()
    pair = GAN(DataSpec("line", 1, "real"), 1, hidden=(3,))
    trainer = Trainer(pair, line(), NonSaturating(critic=given), TrainingOptions(steps=2, lr=0.1, eager=True))
    own: Any = trainer.learner.objective
    assert torch.equal(own.layer.weight, before)
    for _ in range(2):
        trainer.take_turn()
    assert torch.equal(given.layer.weight, before)
    assert not torch.equal(own.layer.weight, before)


def test_a_run_with_a_critic_of_ones_own_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    def train(steps: int, out: str, **more: Any) -> None:
        torch.manual_seed(0)
        pair = GAN(DataSpec("line", 1, "real", num_data=100), 1, network=partial(MLP, hidden=(3,)))
        options = {"steps": steps, "schedule": "constant", "eager": True, "out": tmp_path / out, **more}
        ppgen.fit(pair, line(), NonSaturating(critic=Normalised), **options)

    train(6, "whole")
    train(2, "cut")
    train(6, "cut", resume=True)
    one, two = (read_checkpoint(tmp_path / name / "checkpoint.safetensors")[0] for name in ("whole", "cut"))
    assert one.keys() == two.keys()
    assert any(name.endswith("running_mean") for name in one)
    assert all(one[name].equal(two[name]) for name in one)


def test_a_run_that_config_json_cannot_hold_is_loaded_with_what_made_it(tmp_path: Path) -> None:
    pair = GAN(DataSpec("line", 1, "real", num_data=100), 1, hidden=(3,), activation=nn.SiLU)
    objective = NonSaturating(critic=Normalised)
    ppgen.fit(pair, line(), objective, steps=1, eager=True, out=tmp_path)
    with pytest.raises(UsageError, match="model is 'GAN', which is not a registered name, or was given more than"):
        ppgen.load(tmp_path, data=line())
    with pytest.raises(UsageError, match=r"objective cannot be made of config.json: critic of .* objective=\.\.\."):
        ppgen.load(tmp_path, data=line(), pair=pair)
    run = ppgen.load(tmp_path, data=line(), pair=pair, objective=objective)
    assert run.objective is objective


def test_a_run_is_not_resumed_with_another_network(tmp_path: Path) -> None:
    def train(activation: Any, **more: Any) -> None:
        pair = GAN(DataSpec("line", 1, "real", num_data=100), 1, hidden=(3,), activation=activation)
        ppgen.fit(pair, line(), NonSaturating(hidden=(3,)), steps=1, eager=True, out=tmp_path, **more)

    train(nn.SiLU)
    with pytest.raises(UsageError, match="begun with model options"):
        train(nn.ReLU, resume=True)


def test_every_weight_of_a_critic_of_ones_own_stays_within_the_bound() -> None:
    given = nn.Sequential(nn.Unflatten(1, (1, 2)), nn.Conv1d(1, 3, 2), nn.Flatten(), nn.Linear(3, 1))
    critic: Any = Wasserstein(critic=given, clip=0.02).parameters(nn.Module(), (torch.zeros(2, 2),))
    with torch.no_grad():
        for free in critic.parameters():
            free.mul_(1e6)
    values = [getattr(layer, name) for layer in (critic[1], critic[3]) for name in ("weight", "bias")]
    assert all(value.abs().max().item() == pytest.approx(0.02) for value in values)


@pytest.mark.parametrize(
    ("critic", "sentence"),
    [
        (3, "critic of NonSaturating must be a module, or what makes one of a batch's tensors, or 'conv', got 3"),
        (linear(0, 1, 5), "critic of NonSaturating must be a module, .* a schedule may be given for noise alone"),
        (
            nn.Linear(1, 2),
            r"one number for each datum, .*\(B, 1\), and Linear makes shape \(\d+, 2\) of \d+ data",
        ),
        (Across(), r"one number for each datum, .*\(B, 1\), and Across makes shape \(1, \d+\) of \d+ data"),
        (nn.Linear(3, 1), r"critic Linear is called with tensors \(4, 1\), .* raises RuntimeError: mat1"),
        (nn.Bilinear(1, 1, 1), r"critic Bilinear is called .* raises TypeError: .*; let it take these\.$"),
        (lambda x: 5, "must make a torch.nn.Module, and makes a int"),
        (lambda: nn.Linear(1, 1), r"cannot be called with .*takes 0 positional arguments but 1 was given"),
    ],
)
def test_what_is_no_critic_is_refused(critic: Any, sentence: str) -> None:
    pair = GAN(DataSpec("line", 1, "real"), 1, hidden=(3,))
    with pytest.raises(UsageError, match=sentence):
        ppgen.fit(pair, line(), NonSaturating(critic=critic), steps=1, batch_size=4, eager=True)
