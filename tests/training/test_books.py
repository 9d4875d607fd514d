"""The device's own books, kept on a CPU, are those of the host."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.data import as_dataset
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import ELBO, IWELBO, PCD, Beta, NonSaturating
from ppgen.objectives.objective import Objective
from ppgen.registry import MODELS
from ppgen.schedules import linear
from ppgen.training.books import NotFiniteError, Plan, Play
from ppgen.training.device_books import DeviceBooks, _account
from ppgen.training.options import TrainingOptions
from ppgen.training.progress import Progress
from ppgen.training.trainer import Trainer


@pytest.fixture
def by_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training keeps its books as on a GPU; nothing is captured here."""

    def books(plan: Plan, play: Play, like: Tensor, captures: object, changed: Any) -> DeviceBooks:
        return DeviceBooks(plan, play, like, lambda move: False, changed)

    monkeypatch.setattr("ppgen.training.trainer.books_of", books)


def trained(model: str, objective: Objective, turns: int = 9, **options: Any) -> Trainer:
    torch.manual_seed(0)
    spec = MODELS[model].tiny
    assert spec is not None
    pair, batch = spec()
    data = as_dataset(batch if len(batch) > 1 else torch.cat([batch[0], batch[0][:2]]))
    trainer = Trainer(pair, data, objective, TrainingOptions(**{"batch_size": 3, "eager": True, "steps": 9, **options}))
    take_turns(trainer, turns)
    return trainer


def take_turns(trainer: Trainer, num: int) -> None:
    for _ in range(num):
        trainer.take_turn()
    trainer.settle()


CASES = {
    "a bound": ("vae", ELBO(), {}),
    "schedules": ("vae", Beta(beta=linear(0.0, 1.0, 5)), {"clip_norm": 0.1}),
    "whole numbers": ("vae", IWELBO(num_particles=lambda step: 1 if step < 4 else 3), {}),
    "chains": ("rbm", PCD(num_chains=4), {"schedule": "constant"}),
    "players": ("gan", NonSaturating(), {}),
    "running averages": ("prodlda", ELBO(), {}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_turns_give_the_same_numbers_and_the_same_reports(
    request: pytest.FixtureRequest, case: tuple[str, Objective, dict[str, Any]]
) -> None:
    model, objective, options = case
    host = trained(model, objective, **options)
    request.getfixturevalue("by_the_device")
    device = trained(model, objective, **options)
    ours, theirs = device.tensors(), host.tensors()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-6)  # the learning rate is of float32 there
    reported, wanted = device.report(), host.report()
    assert reported.keys() == wanted.keys()
    assert all(reported[name] == pytest.approx(wanted[name], rel=1e-4, abs=1e-6) for name in wanted)
    assert device.report() == {}


@pytest.mark.parametrize("model", ["rbm", "gan", "prodlda"])
@pytest.mark.usefixtures("by_the_device")
def test_a_rehearsal_changes_nothing(model: str) -> None:
    objective = {"rbm": PCD(num_chains=4), "gan": NonSaturating()}.get(model, ELBO())
    for turns in (0, 2):
        trainer = trained(model, objective, turns)
        before, sums = {n: v.clone() for n, v in trainer.tensors().items()}, trainer.sums
        books: Any = trainer._books
        books._rehearse(books._filled(), books.plan(0))
        after = trainer.tensors()
        assert all(torch.equal(after[name], before.get(name, torch.zeros_like(after[name]))) for name in after)
        assert trainer.sums == sums


@pytest.mark.parametrize(
    ("model", "objective"), [("rbm", PCD(num_chains=4)), ("gan", NonSaturating(critic_steps=2))], ids=["rbm", "gan"]
)
@pytest.mark.usefixtures("by_the_device")
def test_what_is_restored_goes_on_with_the_same_bits(model: str, objective: Objective) -> None:
    straight, first = trained(model, objective), trained(model, objective, turns=4)
    tensors, facts = first.tensors(), first.facts()
    second = trained(model, objective, turns=0)
    second.restore(tensors, Progress(**facts))
    take_turns(second, 5)
    assert all(torch.equal(value, straight.tensors()[name]) for name, value in second.tensors().items())
    assert second.facts() == straight.facts()


def test_the_moves_of_every_turn_take_the_batches_one_after_another() -> None:
    """Turns of a critic's move and a generator's, planned ahead from the second on."""
    trainer = trained("gan", NonSaturating(), turns=1)
    planned = [move for ahead in range(3) for move in trainer._planned(ahead)]
    assert [move.player.name for move in planned] == [player.name for player in trainer.players] * 3
    for number, move in enumerate(planned):
        assert torch.equal(move.rows, trainer.batches.at(2 + number)[1])


@pytest.mark.parametrize(("model", "objective", "turns"), [("vae", ELBO(), 6), ("gan", NonSaturating(), 3)])
def test_an_epoch_s_batches_are_shared_by_the_moves_of_its_turns(model: str, objective: Objective, turns: int) -> None:
    """Two batches an epoch, three epochs; a move of the bound takes one, a turn of the game two."""
    trainer = trained(model, objective, turns=0, steps=None, epochs=3)
    assert trainer.batches.per_epoch == 2
    assert trainer.total_turns == turns


@pytest.mark.parametrize("books", ["host", "device"])
def test_sums_that_are_given_are_gone_on_from(request: pytest.FixtureRequest, books: str) -> None:
    if books == "device":
        request.getfixturevalue("by_the_device")
    trainer = trained("vae", ELBO(), turns=1)
    trainer.sums = {"loss": 1e6, "loss/count": 3.0}
    take_turns(trainer, 2)
    assert trainer.sums["loss/count"] == 5
    assert trainer.sums["loss"] == pytest.approx(1e6, rel=1e-2)


def test_the_device_adds_by_share_what_was_finite_and_nothing_after_a_number_that_was_not() -> None:
    bad, sums = torch.zeros(()), torch.zeros(4, dtype=torch.float64)
    moves, done = (torch.zeros((), dtype=torch.long) for _ in range(2))
    for loss in (2.0, 6.0, torch.nan, 2.0):
        _account([torch.tensor(loss), torch.tensor(torch.inf)], [0], 0.5, bad, moves, done, sums)
    assert sums.tolist() == [4.0, torch.inf, 1.0, 1.0]
    assert (float(bad), int(moves), int(done)) == (1.0, 2, 2)


def test_what_a_run_goes_on_from_are_numbers() -> None:
    assert not any(value.requires_grad for value in trained("vae", ELBO(), turns=1).tensors().values())


class Drawn:
    """A device's random numbers, of which 7 have been drawn."""

    offset = 7

    def get_offset(self) -> int:
        return self.offset

    def set_offset(self, offset: int) -> None:
        self.offset = offset


@pytest.mark.usefixtures("by_the_device")
def test_the_device_s_random_numbers_go_back_to_before_a_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn of two moves of a critic and one of a generator, each of which draws four numbers."""
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    trainer = trained("gan", NonSaturating(critic_steps=2), turns=0)
    books: Any = trainer._books
    books._generator, play = Drawn(), books.play

    def draws(*given: Any) -> None:
        books._generator.offset += 4
        play(*given)

    books.play = draws
    for turn in (0, 1):
        trainer.take_turn()
        assert books._offset() == 7 + 12 * (turn + 1)
    books.take_back()
    assert books._offset() == 7 + 12 + 8
    books.bad.fill_(1)
    books.moves.fill_(4)
    with pytest.raises(NotFiniteError):
        books.settle()
    assert books._offset() == 7 + 12 + 4


@pytest.mark.usefixtures("by_the_device")
def test_the_device_s_flag_is_read_after_as_many_turns_as_are_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppgen.training.device_books._AHEAD", 6)
    trainer = Trainer(
        Breaks(), as_dataset(torch.arange(6.0)), ELBO(), TrainingOptions(batch_size=2, eager=True, steps=9)
    )
    for _ in range(6):
        trainer.take_turn()
    with pytest.raises(ppgen.UsageError, match="stopped at step 5"):
        trainer.take_turn()


class Breaks(ppgen.Pair):
    """The location of z is infinite from the sixth step on."""

    step: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(()))
        self.register_buffer("step", torch.zeros(()))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        self.step = self.step + 1
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.loc + torch.where(self.step > 5, torch.inf, 0.0), x.new_ones(len(x))))


@pytest.mark.parametrize("books", ["host", "device"])
def test_the_move_that_was_not_finite_is_named_and_nothing_moves_after_it(
    request: pytest.FixtureRequest, books: str
) -> None:
    if books == "device":
        request.getfixturevalue("by_the_device")
    options = TrainingOptions(batch_size=2, eager=True, steps=9)
    trainer = Trainer(Breaks(), as_dataset(torch.arange(6.0)), ELBO(), options)
    with pytest.raises(ppgen.UsageError, match=r"stopped at step 5: the value of site 'z' of the guide is not finite"):
        take_turns(trainer, 9)
    assert trainer.turn == 5
    (optimizer,) = trainer.optimizers.values()
    assert all(float(slots["step"]) == 5 for slots in optimizer.state.values())
    assert float(trainer.learner.pair.get_buffer("step")) == 5
    assert trainer.sums["loss/count"] == 5
    assert all(map(math.isfinite, trainer.sums.values()))


@pytest.mark.usefixtures("by_the_device")
def test_a_run_that_breaks_leaves_its_last_checkpoint(tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch_size": 2, "eager": True, "steps": 9, "validate_every": 4}
    with pytest.raises(ppgen.UsageError, match="stopped at step 5"):
        ppgen.fit(Breaks(), torch.arange(6.0), ELBO(), out=tmp_path, checkpoint_seconds=0.0, **options)
    assert read_checkpoint(tmp_path / "checkpoint.safetensors")[1]["turn"] == 4
