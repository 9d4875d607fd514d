"""The Laplacian pyramid of generators: its operators are exact, and each stage learns a level of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.draws.samples import prior_samples
from ppgen.errors import UsageError
from ppgen.inference import Hinge, LevelByLevel, Minimax, NonSaturating
from ppgen.layers.pyramids import assembled, coarse_shapes, doubled, halved, pyramid, residual
from ppgen.models import DBN, GAN, LAPGAN
from ppgen.pairs.tracing import Program
from ppgen.training.options import TrainingOptions
from ppgen.training.progress import Progress
from ppgen.training.trainer import Trainer

SPEC = DataSpec("pictures", 64, "quantised", image_shape=(8, 8), levels=17, num_data=20)
SHAPE = (2, 8, 12)


def pictures() -> Dataset:
    x = torch.rand(20, 64, generator=torch.Generator().manual_seed(1)).mul(16).round() / 16
    return Dataset(SPEC, (x,), (x[:6],), (x[:6],))


def pair_of(levels: int = 2) -> LAPGAN:
    torch.manual_seed(0)
    return LAPGAN(SPEC, 3, levels=levels, hidden=(4,), channels=(3, 2))


GAME = NonSaturating(hidden=(5,))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_picture_is_what_its_pyramid_makes_again(levels: int) -> None:
    x = torch.randn(5, 2, 192, dtype=torch.float64)
    shapes = coarse_shapes(SHAPE, levels)
    parts = pyramid(x, shapes)
    assert [part.shape[-1] for part in parts] == [192 // 4**n for n in reversed(range(levels))]
    torch.testing.assert_close(assembled(parts, shapes), x, rtol=0, atol=1e-15)


def test_halving_is_the_mean_of_squares_and_undoes_doubling() -> None:
    x = torch.randn(3, 192, dtype=torch.float64)
    by_torch = nn.functional.avg_pool2d(x.reshape(3, *SHAPE), 2).flatten(1)
    c = halved(x, SHAPE)
    torch.testing.assert_close(c, by_torch, rtol=1e-14, atol=1e-15)
    nearest = nn.functional.interpolate(c.reshape(3, 2, 4, 6), scale_factor=2, mode="nearest").flatten(1)
    assert doubled(c, SHAPE).equal(nearest)
    assert halved(doubled(c, SHAPE), SHAPE).equal(c)  # sums of four equal numbers are exact


def test_residuals_are_a_projection_without_what_stands_below() -> None:
    r = residual(torch.randn(3, 192, dtype=torch.float64), SHAPE)
    torch.testing.assert_close(halved(r, SHAPE), torch.zeros(3, 48, dtype=torch.float64), rtol=0, atol=1e-15)
    torch.testing.assert_close(residual(r, SHAPE), r, rtol=0, atol=1e-15)


def test_a_draw_has_the_coarse_pictures_that_it_was_made_of() -> None:
    """Ancestral: from the coarsest on, each level given the one below."""
    pair: Any = pair_of(levels=3).double().eval()
    pair.in_unit = False
    latents = [torch.rand(6, 3, dtype=torch.float64) * 2 - 1 for _ in range(3)]
    with torch.no_grad():
        x = pair.assembled(latents)
        made = pair.machines[0].made(latents[0], torch.zeros(6, 0, dtype=torch.float64))
        for number in (1, 2):
            below = doubled(made, pair.shapes[number])
            made = below + pair.machines[number].made(latents[number], below)
        parts = pair.pyramid(x)
        torch.testing.assert_close(made, x, rtol=0, atol=1e-15)
        torch.testing.assert_close(parts[0], pair.machines[0].generator(latents[0]), rtol=1e-12, atol=1e-14)


def test_draws_stay_in_the_range_of_the_data() -> None:
    pair = pair_of()
    with torch.no_grad():
        for weight in pair.parameters():
            weight.mul_(50)
    x = prior_samples(pair, (torch.zeros(1, 64),), 50).x
    assert x.min() == 0
    assert x.max() == 1


class Seeing(nn.Module):
    """A critic that keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.weight * x.sum(1)


def test_a_critic_sees_residuals_beside_the_picture_of_data_below() -> None:
    pair, x = pair_of(), pictures().train[0]
    stage = LevelByLevel(games=(NonSaturating(critic=Seeing()),)).stages(pair)[1]
    own: Any = stage.objective.parameters(pair, (x,))
    stage.objective.play("critic", Program(pair.model, pair.guide, own), (x,), {})
    real, fake = own.seen
    coarse, rest = pair.pyramid(x)
    below = doubled(coarse, (1, 8, 8))
    assert real.equal(torch.cat([rest, below], 1))
    assert fake[:, 64:].equal(below)
    assert not fake[:, :64].equal(rest)
    torch.testing.assert_close(halved(fake[:, :64], (1, 8, 8)), torch.zeros(20, 16), rtol=0, atol=1e-6)


def test_each_stage_moves_the_parameters_of_its_own_level_alone() -> None:
    pair = pair_of(levels=3)
    trainer = Trainer(pair, pictures(), LevelByLevel(games=(GAME,)), TrainingOptions(steps=3, batch_size=5, eager=True))
    for number in range(3):
        before = {name: value.clone() for name, value in pair.state_dict().items()}
        trainer.take_turn()
        moved = {name for name, value in pair.state_dict().items() if not value.equal(before[name])}
        assert moved
        assert all(name.startswith(f"machines.{number}.") for name in moved), number
        assert moved >= {f"machines.{number}.{name}" for name, _ in pair.machines[number].named_parameters()} - {
            name for name in before if before[name].dim() == 1 and not before[name].any()
        }


@pytest.mark.parametrize("cut", [1, 3, 4, 5])
def test_a_resumed_run_ends_with_the_same_bits(cut: int) -> None:
    """Cut within the first stage, at its end, and within the second."""
    games = (Minimax(hidden=(3,), ema=0.5), Hinge(critic="conv", hidden=(2, 3), normalisation="batch"))

    def trained(turns: int) -> Trainer:
        options = TrainingOptions(steps=6, batch_size=5, seed=0, eager=True)
        trainer = Trainer(pair_of(), pictures(), LevelByLevel(games=games), options)
        for _ in range(turns):
            trainer.take_turn()
        return trainer

    expected, first = trained(6).tensors(), trained(cut)
    tensors, facts = {name: value.clone() for name, value in first.tensors().items()}, first.facts()
    again = trained(0)
    again.restore(tensors, Progress(**facts))
    assert again.stage_number == (0 if cut <= 3 else 1)
    for _ in range(6 - cut):
        again.take_turn()
    found = again.tensors()
    assert found.keys() == expected.keys()
    assert all(found[name].equal(expected[name]) for name in expected)


def test_a_game_for_all_levels_or_one_for_each_and_from_text() -> None:
    text: Any = ppgen.make_objective("level_by_level", games="minimax(unroll=1), hinge", shares=(1, 3))
    listed: Any = ppgen.make_objective("level_by_level(games=[minimax(unroll=1), hinge], shares=[1, 3])")
    for objective in (text, listed):
        stages: Any = objective.stages(pair_of())
        assert [type(stage.objective.objective).__name__ for stage in stages] == ["Minimax", "Hinge"]
        assert stages[0].objective.objective.unroll == 1
        assert [stage.share for stage in stages] == [1, 3]
    shared: Any = LevelByLevel(games=(GAME,)).stages(pair_of(3))
    assert all(stage.objective.objective is GAME for stage in shared)


def test_a_run_is_loaded_with_its_games(tmp_path: Path) -> None:
    made = ppgen.make_pair("lapgan", SPEC, hidden=(4,), channels=(2,))
    objective = LevelByLevel(games=(Minimax(hidden=(3,)), "hinge"), shares=(1, 2))
    ppgen.fit(made, pictures(), objective, steps=3, batch_size=5, eager=True, out=tmp_path)
    run = ppgen.load(tmp_path, data=pictures())
    found: Any = run.objective
    assert type(found.games[0]) is Minimax
    assert (list(found.games[0].hidden), found.games[1], found.shares) == ([3], "hinge", (1, 2))
    assert [line["stage"] for line in run.metrics if line["split"] == "train"][-1] == "Level 2"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LAPGAN(SPEC, levels=5, channels=(2, 2, 2, 2)), "5 levels needs height and width in multiples of 16"),
        (lambda: LAPGAN(SPEC, levels=3, channels=(2,)), "needs channels for 2 generators of residuals or more, got 1"),
        (lambda: LAPGAN(SPEC, channels=(2, 2, 2, 2)), "multiples of 16, got pictures of 8 x 8"),
        (lambda: LAPGAN(DataSpec("plane", 2, "real")), "LAPGAN makes pictures, and data 'plane' have no image_shape"),
        (lambda: LAPGAN(DataSpec("words", 4, "counts", image_shape=(2, 2))), "LAPGAN makes real numbers, and data"),
        (lambda: LAPGAN(SPEC, levels=1), "levels must be a whole number of at least 2"),
        (lambda: LevelByLevel(games=()), "games of LevelByLevel"),
        (lambda: LevelByLevel(games=("elbo",)), "games of LevelByLevel"),
        (lambda: LevelByLevel(games=(GAME,) * 3).stages(pair_of()), "games of LevelByLevel has one for each of 2"),
        (lambda: LevelByLevel(rates=(1.0,)).stages(pair_of()), "rates of LevelByLevel has one for each of 2 levels"),
        (lambda: LevelByLevel().stages(GAN(SPEC)), "LevelByLevel trains a pair of several levels .* got GAN"),
        (lambda: LevelByLevel().stages(DBN(DataSpec("bits", 4, "binary"), hidden=(3, 2))), "got DBN: .* 'lapgan'"),
        (lambda: pair_of().prepare(torch.full((2, 64), 2.0)), "x holds numbers from 2 to 2, and LAPGAN makes"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()
