"""Steps that take a batch in chunks: as much of it as memory holds, with the gradient of all."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import ELBO, IWELBO, MMD, Beta, MuProp
from ppgen.objectives.objective import Objective
from ppgen.training.books import Plan, Play
from ppgen.training.chunks import Chunk, Chunks, by_data
from ppgen.training.device_books import DeviceBooks
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer
from tests.marks import thorough

QUICK: dict[str, Any] = {"eager": True, "batch_size": 12, "lr": 1e-2, "validate_every": 5, "device": "cpu"}
X = torch.randn(60, 3, generator=torch.Generator().manual_seed(7))
DATA = ppgen.dataset_from(X[:48], valid=X[48:])
CUDA_SAYS = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB."
CPU_SAYS = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12"


class Narrow(ppgen.Pair):
    """z ~ N(0, 1); x ~ N(W z, 1); its memory has room for so many log-weights at a time, once it is short of it."""

    def __init__(self, room: int = 10_000, *, short: bool = True, error: Exception | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(3, 1), nn.Linear(1, 3)
        self.room, self.short, self.largest = room, short, 0
        self.error = error or torch.OutOfMemoryError(CUDA_SAYS)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            self.largest = max(self.largest, z.numel())
            if self.short and z.numel() > self.room:
                raise self.error
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.7).to_event(1))


def _trainer(pair: ppgen.Pair, objective: Objective, **options: Any) -> Trainer:
    return Trainer(pair, DATA, objective, TrainingOptions(**{"eager": True, "batch_size": 12, "steps": 20, **options}))


def _short_of_memory(pair: Narrow, objective: Objective, *, later: bool, eager: bool) -> Trainer:
    """After two turns, of which memory was short from the first, or in the second."""
    trainer = _trainer(pair, objective, eager=eager)
    trainer.take_turn()
    if later:
        pair.short = True
        trainer.steps._made.clear()  # a graph runs no Python that could be short of memory
    trainer.take_turn()
    return trainer


@pytest.mark.parametrize(
    ("most", "expected"),
    [(60, Chunk(12, 5)), (59, Chunk(11, 5)), (10, Chunk(2, 5)), (4, Chunk(1, 4)), (1, Chunk(1, 1))],
)
def test_fewer_data_are_taken_at_a_time_and_of_the_last_one_fewer_particles(most: int, expected: Chunk) -> None:
    assert Chunks(Narrow(), IWELBO(), most).of((X[:12],), 5) == expected


def test_the_parts_of_a_batch_hold_every_datum_once_and_differ_by_one_at_most() -> None:
    parts = [x for (x,) in Chunk(5, 1).parts((X[:12],))]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert torch.equal(torch.cat(parts), X[:12])


@pytest.mark.parametrize("objective", [MMD(bandwidths=(1.0,)), Beta(free_bits=0.1)], ids=["mmd", "free bits"])
def test_a_loss_that_is_no_sum_over_data_is_not_divided(objective: Objective) -> None:
    chunks = Chunks(Narrow(), objective, 4)
    assert chunks.of((X[:12],), 1) == Chunk(12, 1)
    with pytest.raises(ppgen.UsageError, match=f"the loss of {type(objective).__name__} is no sum over data: leave"):
        chunks.check((X[:12],), 1)


def test_what_does_not_fit_is_halved_until_it_does() -> None:
    tried = []

    def run(chunk: Chunk) -> Chunk:
        tried.append(chunk.data)
        if chunk.data > 4:
            raise torch.OutOfMemoryError(CUDA_SAYS)
        return chunk

    chunks = Chunks(Narrow(), ELBO())
    with pytest.warns(UserWarning, match="B = 3 data with K = 1 particles each at a time"):
        assert chunks.fitting((X[:12],), 1, run) == Chunk(3, 1)
    assert tried == [12, 6, 3]
    assert chunks.of((X[:12],), 1) == Chunk(3, 1)


def test_particles_that_are_read_site_by_site_stay_together() -> None:
    assert Chunks(Narrow(), MuProp(num_particles=5), 4).of((X[:12],), 5) == Chunk(1, 5)


def test_a_step_by_data_gives_the_mean_of_the_parts_by_their_sizes() -> None:
    def step(owned: Any, others: Any, state: Any, values: Any, batch: Any) -> Any:
        mean = batch[0].mean()
        return [owned["w"] * mean], {"loss": mean}, {"centre": mean + state["centre"]}, others

    x, w = torch.randn(7, 2, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    arguments: Any = ({"w": w}, {}, {"centre": torch.ones(())}, {}, (x,))
    whole, parts = (one(*arguments) for one in (step, by_data(step, Chunk(3, 1))))
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_pair_with_batch_statistics_is_not_taken_in_parts() -> None:
    pair = Narrow()
    pair.encoder = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))  # type: ignore[assignment]
    with pytest.raises(ppgen.UsageError, match=r"buffer 'pair.encoder.0.*changes with each batch"):
        ppgen.fit(pair, DATA, ELBO(), steps=1, chunk=4, **QUICK)


@pytest.mark.parametrize("eager", [True, *thorough([False])], ids=["eager", "compiled"])
@pytest.mark.parametrize("later", [*thorough([False]), True], ids=["first step", "later step"])
@pytest.mark.parametrize(("particles", "room"), [(2, 12), (5, 4)], ids=["fewer data", "fewer particles"])
def test_what_memory_does_not_hold_at_once_is_taken_in_chunks_and_a_warning_says_so(
    particles: int, room: int, later: bool, eager: bool
) -> None:
    pair, objective = Narrow(room, short=not later), IWELBO(num_particles=particles)
    with pytest.warns(UserWarning, match=rf"B = 12 data with K = {particles} particles each at once take more memory"):
        trainer = _short_of_memory(pair, objective, later=later, eager=eager)
    pair.largest = 0
    trainer.take_turn()
    assert trainer.report()["loss"] > 0
    assert not eager or 0 < pair.largest <= room


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(CUDA_SAYS), RuntimeError(CPU_SAYS)], ids=["gpu", "cpu"])
def test_where_the_smallest_chunk_does_not_fit_one_sentence_has_the_sizes_and_the_checkpoint_stays(
    error: Exception, tmp_path: Path
) -> None:
    pair = Narrow()
    ppgen.fit(pair, DATA, IWELBO(), steps=5, out=tmp_path, **QUICK)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    pair.room, pair.error = 0, error
    with pytest.raises(
        ppgen.UsageError,
        match=r"a step on B = 12 data with K = 5 particles each, B = 12 data with K = 1 particles each at a time, of a "
        r"pair with 10 parameters takes more memory than there is \((20.00 GiB|9 bytes) were asked for\): lower",
    ):
        ppgen.fit(pair, DATA, IWELBO(), steps=9, out=tmp_path, resume=True, **QUICK)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def _device_books(plan: Plan, play: Play, like: Tensor, captures: object, changed: Any) -> DeviceBooks:
    return DeviceBooks(plan, play, like, lambda move: False, changed)


@pytest.mark.parametrize("of_device", [False, True], ids=["books of the host", "books of the device"])
def test_a_step_that_is_taken_again_draws_what_it_would_have_drawn(
    of_device: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that finds out at its third step that memory is short is from there on one with such chunks."""
    if of_device:
        monkeypatch.setattr("ppgen.training.trainer.books_of", _device_books)
    late, pair = Narrow(12, short=False), Narrow(12, short=False)
    one, other = _trainer(late, ELBO()), _trainer(pair, ELBO())
    random = torch.get_rng_state()
    for trainer, most in ((one, None), (other, 6)):
        torch.set_rng_state(random)
        trainer.take_turn()
        trainer.take_turn()
        trainer.chunks.most, late.room = most, 6
        late.short = True
        said = nullcontext() if most else pytest.warns(UserWarning, match="from here on")
        with said:
            trainer.take_turn()
    assert all(torch.equal(a, b) for a, b in zip(late.parameters(), pair.parameters(), strict=True))


def test_an_error_of_another_kind_is_no_reason_for_chunks() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        _trainer(Narrow(2, error=RuntimeError("mat1 and mat2 shapes cannot be multiplied")), ELBO()).take_turn()


def test_chunk_is_an_option_of_training_that_resume_must_keep(tmp_path: Path) -> None:
    pair = Narrow()
    ppgen.fit(pair, DATA, IWELBO(), steps=1, chunk=20, out=tmp_path, **QUICK)
    with pytest.raises(ppgen.UsageError, match="training chunk = 20, this one has None"):
        ppgen.fit(pair, DATA, IWELBO(), steps=9, out=tmp_path, resume=True, **QUICK)
    with pytest.raises(ppgen.UsageError, match="chunk must be a whole number of at least 1, got 0"):
        ppgen.fit(pair, DATA, IWELBO(), chunk=0, **QUICK)


@pytest.mark.parametrize("chunk", [10, 4])
def test_a_run_in_chunks_that_was_stopped_ends_with_the_same_bits(chunk: int, tmp_path: Path) -> None:
    options = {**QUICK, "chunk": chunk, "schedule": "constant", "batch_size": 3}
    ppgen.fit(Narrow(), DATA, IWELBO(), steps=4, out=tmp_path / "whole", **options)
    for steps in (2, 4):
        ppgen.fit(Narrow(), DATA, IWELBO(), steps=steps, out=tmp_path / "cut", resume=steps > 2, **options)
    one, two = (read_checkpoint(tmp_path / name / "checkpoint.safetensors")[0] for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)
