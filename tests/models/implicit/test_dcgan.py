"""The convolutional generator: its range, its critic, its batch statistics in training, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.draws.samples import prior_samples
from ppgen.errors import UsageError
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import NonSaturating, WassersteinGP
from ppgen.layers.normalisation import PictureNorm, Referenced
from ppgen.models import DCGAN, GAN
from ppgen.pairs.tracing import Program
from ppgen.testing import check_pair
from ppgen.training.learner import Learner
from ppgen.training.steps import compiled, player_step
from tests.traced import as_graphs

SPEC = DataSpec("pictures", 64, "quantised", image_shape=(8, 8), levels=256, num_data=40)
NORMALISED = NonSaturating(critic="conv", hidden=(2, 3), normalisation="batch")


def pictures(num: int = 40) -> Dataset:
    x = torch.rand(num, 64, generator=torch.Generator().manual_seed(3)).mul(255).round() / 255
    return Dataset(SPEC, (x,), (x[:10],), (x[:10],))


@pytest.mark.parametrize(
    ("observation", "low", "high"), [("quantised", 0.0, 1.0), ("binary", 0.0, 1.0), ("real", -1.0, 1.0)]
)
def test_draws_fill_the_range_of_their_kind_of_data(observation: Any, low: float, high: float) -> None:
    spec = DataSpec("pictures", 64, observation, image_shape=(8, 8), levels=256 if observation == "quantised" else None)
    pair = DCGAN(spec, 5, channels=(4, 2))
    with torch.no_grad():
        for weight in pair.generator.parameters():
            weight.mul_(50)
    x = prior_samples(pair, (torch.zeros(20, 64),), 20).x
    assert low <= x.min() < low + 0.05
    assert high - 0.05 < x.max() <= high


def test_the_sigmoid_is_tanh_moved_to_the_range_of_the_data() -> None:
    h = torch.linspace(-20, 20, 101, dtype=torch.float64)
    torch.testing.assert_close(h.sigmoid(), (1 + (h / 2).tanh()) / 2, rtol=1e-12, atol=1e-15)


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize("normalisation", ["batch", "virtual", "reference"])
def test_it_keeps_the_rules_however_it_is_normalised(normalisation: Any) -> None:
    pair = DCGAN(SPEC, 3, channels=(3, 2), normalisation=normalisation, num_reference=4)
    assert check_pair(pair, (pictures().train[0][:6],)).ok
    assert any(isinstance(m, PictureNorm if normalisation == "batch" else Referenced) for m in pair.modules())


def check_step(player: int, objective: Any = NORMALISED) -> None:
    """A compiled step of the player gives the loss, gradients and batch statistics of an eager one."""
    torch.manual_seed(0)
    pair, batch = DCGAN(SPEC, 3, channels=(3, 2)), (pictures().train[0][:6],)
    learner = Learner(pair, objective.parameters(pair, batch))
    who = objective.players()[player]
    owned: dict[str, Tensor] = dict(learner.owned_by(who))
    others = {n: v for n, v in learner.state_dict(keep_vars=True).items() if n not in owned}
    step = player_step(learner, objective, who)
    arguments: tuple[Any, ...] = (owned, others, {}, {}, batch)
    outcomes = []
    for run in (step, compiled(step, *arguments)):
        torch.manual_seed(1)
        outcomes.append(run(*arguments))
    torch.testing.assert_close(outcomes[1], outcomes[0], rtol=1e-4, atol=1e-5)  # of float32
    moved = {name for name, value in outcomes[0][3].items() if not torch.equal(value, others[name])}
    statistics = {f"{name}.running_{what}" for name in _normals(learner) for what in ("mean", "var")}
    assert statistics <= moved


def _normals(learner: Learner) -> list[str]:
    """Those of the critic and of the generator, one of each."""
    found = [name for name, module in learner.named_modules() if isinstance(module, PictureNorm)]
    assert len({name.split(".")[0] for name in found}) == 2
    return found


@pytest.mark.parametrize("player", [0, 1])
def test_the_graph_of_a_step_carries_the_statistics_of_both_as_an_eager_step_does(player: int) -> None:
    with as_graphs():
        check_step(player)


@pytest.mark.thorough
def test_a_compiled_step_carries_the_statistics_of_both_as_an_eager_step_does() -> None:
    check_step(0)


def test_a_resumed_run_ends_with_the_same_bits_statistics_of_both_included(tmp_path: Path) -> None:
    def train(steps: int, out: str, **more: Any) -> None:
        torch.manual_seed(0)
        options = {
            "steps": steps,
            "schedule": "constant",
            "batch_size": 8,
            "eager": True,
            "out": tmp_path / out,
            **more,
        }
        ppgen.fit(DCGAN(SPEC, 3, channels=(3, 2)), pictures(), NORMALISED, **options)

    train(5, "whole")
    train(2, "cut")
    train(5, "cut", resume=True)
    one, two = (read_checkpoint(tmp_path / name / "checkpoint.safetensors")[0] for name in ("whole", "cut"))
    assert {name.split(".")[1] for name in one if name.endswith("running_var")} == {"pair", "objective"}
    assert one.keys() == two.keys()
    assert all(one[name].equal(two[name]) for name in one)


@pytest.mark.parametrize("normalisation", ["virtual", "reference"])
@pytest.mark.parametrize("critic", ["conv", None])
def test_a_critic_normalised_by_a_reference_has_the_first_batch_for_it(critic: Any, normalisation: Any) -> None:
    pair, batch = DCGAN(SPEC, 3, channels=(3, 2)), (pictures().train[0][:6],)
    objective = WassersteinGP(critic=critic, hidden=(2, 3), normalisation=normalisation)
    own = objective.parameters(pair, batch)
    assert [buffer.shape for buffer in own.buffers()] == [(6, 64)]
    assert torch.equal(next(own.buffers()), batch[0])
    ppgen.fit(pair, pictures(), objective, steps=1, batch_size=8, eager=True)


@pytest.mark.parametrize("critic", ["conv", None])
def test_a_critic_that_normalises_by_its_batch_sees_data_and_draws_apart(critic: Any) -> None:
    """What it gives at data is what it gives them by themselves, whatever the draws are."""
    pair, batch = DCGAN(SPEC, 3, channels=(3, 2)), (pictures().train[0][:6],)
    objective = NonSaturating(critic=critic, hidden=(2, 3), normalisation="batch")
    own = objective.parameters(pair, batch)
    metrics = objective.play("critic", Program(pair.model, pair.guide, own), batch, {}).metrics
    torch.testing.assert_close(metrics["real"], own(batch[0]).mean())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: DCGAN(DataSpec("row", 64, "quantised", levels=4)),
            "DCGAN makes pictures, and data 'row' have no image_",
        ),
        (lambda: DCGAN(SPEC, channels=(4, 4, 4, 4)), "multiples of 16, got pictures of 8 x 8"),
        (lambda: DCGAN(SPEC, normalisation="btach"), "normalisation must be 'none' or 'batch'"),  # type: ignore[arg-type]
        (lambda: NonSaturating(critic="cnv"), "critic of NonSaturating must be .* or 'conv', got 'cnv'"),  # type: ignore[arg-type]
    ],
)
def test_impossible_options_are_refused(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


def test_data_outside_the_range_are_refused() -> None:
    spec = DataSpec("pictures", 64, "real", image_shape=(8, 8))
    with pytest.raises(UsageError, match=r"DCGAN with output='tanh' makes numbers from -1 to 1: rescale the data"):
        ppgen.fit(DCGAN(spec, 2, channels=(2,)), torch.full((10, 64), 255.0), NORMALISED, steps=1, eager=True)


def test_a_batch_of_one_is_refused() -> None:
    pair = DCGAN(SPEC, 2, channels=(2,))
    with pytest.raises(UsageError, match="batches of at least 2 data in training, got 1: raise batch_size"):
        ppgen.fit(pair, pictures(), NORMALISED, steps=1, batch_size=1, eager=True)


def test_a_critic_of_pictures_needs_pictures() -> None:
    pair = GAN(DataSpec("plane", 2, "real"), 2, hidden=(3,))
    with pytest.raises(
        UsageError, match="critic='conv' is a critic of pictures, and the data of GAN have no image_shape"
    ):
        ppgen.fit(pair, torch.randn(20, 2), NonSaturating(critic="conv"), steps=1, eager=True)
