"""Samples over training: the same random numbers at a few moments, whole after any stop, and without effect on it."""

from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen import Pair
from ppgen.data import Dataset, DataSpec
from ppgen.draws.samples import conditions, prior_samples
from ppgen.errors import UsageError
from ppgen.files.checkpoint import read_checkpoint, write_checkpoint
from ppgen.inference import ELBO, PCD
from ppgen.models import RBM, VAE
from ppgen.runs.run import Run
from ppgen.runs.snapshots import SNAPSHOTS, Snapshots, moments
from tests.implicit import plane


def pictures() -> Dataset:
    """Random bits in pictures of 2 x 3 pixels."""
    spec = DataSpec("bits", 6, "binary", image_shape=(2, 3))
    train, valid, test = ((torch.rand(40, 6).round(),) for _ in range(3))
    return Dataset(spec, train, valid, test)


def train(data: Dataset, steps: int, out: Path | None, *, resume: bool = False) -> Run:
    torch.manual_seed(0)
    pair = VAE(data.spec, 2, hidden=(4,))
    options: dict[str, Any] = {"lr": 0.1, "schedule": "constant", "batch_size": 8, "eager": True}
    return ppgen.fit(pair, data, ELBO(), steps=steps, out=out, resume=resume, **options)


def test_moments_halve_from_the_end_and_those_of_half_a_run_are_among_them() -> None:
    assert sorted(moments(640)) == [0, 10, 20, 40, 80, 160, 320, 640]
    assert sorted(moments(3)) == [0, 1, 3]
    assert {turn for turn in moments(640) if turn <= 320} < moments(320)


def test_a_run_keeps_samples_from_its_first_turn_to_its_last(tmp_path: Path) -> None:
    data = pictures()
    run = train(data, 20, tmp_path)
    found = run.snapshots
    assert found is not None
    assert found.steps == (0, 1, 2, 5, 10, 20)
    assert found.x.shape == (6, 10, 6)
    last = prior_samples(run.pair, conditions(data, 10), 10).mean
    torch.testing.assert_close(found.x[-1], last)
    assert not torch.equal(found.x[0], found.x[-1])


def test_a_moment_of_the_same_parameters_gives_the_same_samples(tmp_path: Path) -> None:
    """With a learning rate of nothing the i-th sample never changes: the random numbers are the same each time."""
    data = pictures()
    run = ppgen.fit(VAE(data.spec, 2, hidden=(4,)), data, ELBO(), steps=4, lr=1e-30, eager=True, out=tmp_path)
    found = run.snapshots
    assert found is not None
    assert torch.equal(found.x, found.x[:1].expand_as(found.x))


def test_taking_them_changes_nothing_of_training(tmp_path: Path) -> None:
    data = pictures()
    written, unwritten = train(data, 9, tmp_path), train(data, 9, None)
    mine, other = written.pair.state_dict(), unwritten.pair.state_dict()
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    assert unwritten.snapshots is None


def test_a_run_gone_on_with_has_those_of_one_that_never_stopped(tmp_path: Path) -> None:
    data = pictures()
    train(data, 16, tmp_path / "straight")
    train(data, 8, tmp_path / "halted")
    file = tmp_path / "halted" / SNAPSHOTS
    tensors, facts = read_checkpoint(file)
    beyond = {"x": torch.cat([tensors["x"], tensors["x"][:1]])}  # of a turn that the checkpoint does not know of
    write_checkpoint(file, beyond, {"steps": [*facts["steps"], 16]})
    train(data, 16, tmp_path / "halted", resume=True)
    straight, halted = (Snapshots.read(tmp_path / name) for name in ("straight", "halted"))
    assert straight is not None
    assert halted is not None
    assert straight.steps == halted.steps == (0, 1, 2, 4, 8, 16)
    assert torch.equal(straight.x, halted.x)


def test_points_are_kept_by_hundreds_and_lines_by_twenties(tmp_path: Path) -> None:
    for num_features, num in ((1, 500), (2, 500), (3, 20)):
        data = plane(30, num_features)
        found = train(data, 2, tmp_path / str(num_features)).snapshots
        assert found is not None
        assert found.x.shape == (3, num, num_features)


def test_a_machine_is_drawn_from_by_its_chains(tmp_path: Path) -> None:
    data = pictures()
    run = ppgen.fit(RBM(data.spec, 3), data, PCD(num_chains=5), steps=2, eager=True, out=tmp_path)
    assert run.snapshots is not None
    assert run.snapshots.x.shape == (3, 10, 6)
    assert set(run.snapshots.x.unique().tolist()) <= {0.0, 1.0}


class Regression(Pair):
    """x is given and nothing of its shape is observed."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = torch.nn.Parameter(torch.zeros(()))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("total", dist.Normal(z, 1.0), obs=x.sum(-1))

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.loc, 1.0))


def test_a_pair_that_makes_no_x_trains_without_them(tmp_path: Path) -> None:
    run = ppgen.fit(Regression(), pictures(), ELBO(), steps=2, eager=True, out=tmp_path)
    assert run.snapshots is None


def test_a_damaged_file_is_named_and_may_be_deleted(tmp_path: Path) -> None:
    data = pictures()
    run = train(data, 4, tmp_path)
    (tmp_path / SNAPSHOTS).write_bytes(b"cut")
    with pytest.raises(UsageError, match="it holds pictures alone: delete it"):
        _ = run.snapshots
    with pytest.raises(UsageError, match="it holds pictures alone: delete it"):
        train(data, 8, tmp_path, resume=True)
    (tmp_path / SNAPSHOTS).unlink()
    gone_on = train(data, 8, tmp_path, resume=True).snapshots
    assert gone_on is not None
    assert gone_on.steps == (4, 8)


def test_out_of_memory_is_not_taken_for_a_pair_that_makes_no_x(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*given: Any, **more: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("ppgen.runs.snapshots.prior_samples", exhausted)
    with pytest.raises(UsageError, match="takes more memory than there is"):
        train(pictures(), 2, tmp_path)
