"""Training on data that stay in their files: the same batches, in steady memory, and no file changes unseen."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.data import Dataset, DiskRows, as_dataset, dataset_from
from ppgen.data.disk_rows import Reading
from ppgen.errors import UsageError
from ppgen.evaluation import evaluate
from ppgen.inference import ELBO, PCD, NonSaturating
from ppgen.models import VAE
from ppgen.objectives.objective import Objective
from ppgen.registry import MODELS
from ppgen.training.books import Plan, Play
from ppgen.training.device_books import DeviceBooks
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

PIXELS = (np.random.default_rng(0).random((50, 6)) < 0.5).astype(np.float32)


def pixels(folder: Path) -> Dataset:
    """Two shards, a tenth of which validates."""
    for index, part in enumerate(np.array_split(PIXELS, 2)):
        np.save(folder / f"x-{index}.npy", part)
    return dataset_from(folder)


def vae(data: Dataset) -> VAE:
    torch.manual_seed(0)
    return VAE(data.spec, latent_dim=2, hidden=(4,))


def fitted(data: Dataset, **options: Any) -> ppgen.Run:
    chosen = {"steps": 12, "batch_size": 16, "eager": True, "validate_every": 4, **options}
    return ppgen.fit(vae(dataset_from(PIXELS)), data, ELBO(), **chosen)


def parameters(run: ppgen.Run) -> Tensor:
    return torch.nn.utils.parameters_to_vector(run.pair.parameters())


def take_turns(trainer: Trainer, num: int) -> None:
    for _ in range(num):
        trainer.take_turn()


def test_a_run_on_files_has_the_bits_of_one_in_memory(tmp_path: Path) -> None:
    there, here = fitted(pixels(tmp_path)), fitted(dataset_from(PIXELS))
    assert isinstance(there.data.train[0], DiskRows)
    assert torch.equal(parameters(there), parameters(here))
    assert [line["bound"] for line in there.metrics] == [line["bound"] for line in here.metrics]
    assert there.config["data"] == here.config["data"]
    assert there.evaluate(particles=5, write=False) == here.evaluate(particles=5, write=False)
    questions = ["importance"]
    ours, theirs = (run.diagnose(num_particles=20, questions=questions, write=False) for run in (there, here))
    assert ours.to_json() == theirs.to_json()


@pytest.mark.parametrize(
    ("model", "objective"), [("gan", NonSaturating()), ("rbm", PCD(num_chains=4))], ids=["players", "chains"]
)
@pytest.mark.parametrize("on_the_device", [False, True], ids=["host's books", "device's books"])
def test_every_player_has_its_batches_in_turn(
    model: str, objective: Objective, on_the_device: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def books(plan: Plan, play: Play, like: Tensor, captures: object, changed: Any) -> DeviceBooks:
        return DeviceBooks(plan, play, like, lambda move: False, changed)

    if on_the_device:
        monkeypatch.setattr("ppgen.training.trainer.books_of", books)
    made = MODELS[model].tiny
    assert made is not None
    (x,) = made()[1]
    x = x.repeat(4, 1)[:10]
    np.save(tmp_path / "x.npy", x.numpy())
    ended = []
    for data in (as_dataset(tmp_path / "x.npy"), as_dataset(x)):
        torch.manual_seed(0)
        trainer = Trainer(made()[0], data, objective, TrainingOptions(batch_size=3, eager=True, steps=9))
        take_turns(trainer, 9)
        ended.append(trainer.tensors())
    for name, value in ended[0].items():
        assert torch.equal(value, ended[1][name]), name


def test_parts_of_either_kind_take_turns(tmp_path: Path) -> None:
    data = as_dataset([pixels(tmp_path), as_dataset(PIXELS[:9])])
    resident = as_dataset([dataset_from(PIXELS), as_dataset(PIXELS[:9])])
    assert torch.equal(parameters(fitted(data)), parameters(fitted(resident)))


@pytest.mark.parametrize("cold", [False, True], ids=["in the system's memory", "on the disk"])
def test_rows_are_read_before_they_are_asked_for_and_what_has_to_come_from_the_disk_by_a_thread(
    cold: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    waiters: list[threading.Thread] = []
    main, preadv, begun, ended = threading.current_thread(), os.preadv, DiskRows.begun, Reading.ended

    def without_memory(file: int, into: Any, offset: int, flags: int = 0) -> int:
        if cold and flags:
            raise BlockingIOError(errno.EAGAIN, "it is not in memory")
        return preadv(file, into, offset, flags)

    def noted(rows: DiskRows, wanted: Tensor) -> Reading:
        if threading.current_thread() is main:
            asked.append(trainer.turn)
        return begun(rows, wanted)

    def waited(reading: Reading) -> Tensor:
        assert reading.waits is cold
        waiters.append(threading.current_thread())
        return ended(reading)

    monkeypatch.setattr(os, "preadv", without_memory)
    data = pixels(tmp_path)
    trainer = Trainer(vae(data), data, ELBO(), TrainingOptions(batch_size=16, eager=True, epochs=5))
    monkeypatch.setattr(DiskRows, "begun", noted)
    monkeypatch.setattr(Reading, "ended", waited)
    take_turns(trainer, 8)
    # the first four turns as they come, and four ahead, twice; of those on the disk the first one alone is tried here
    assert asked == ([0, 0, 1, 2, 3] if cold else [0] * 5 + [1, 2, 3] + [4] * 4)
    assert waiters.count(main) == (4 if cold else 8)
    by_thread = len(waiters) - waiters.count(main)
    assert 4 <= by_thread <= 8 if cold else by_thread == 0  # the next ones may still be read


def test_a_file_that_changes_stops_training_and_what_was_written_stays(tmp_path: Path) -> None:
    data, out = pixels(tmp_path), tmp_path / "run"
    whole = fitted(dataset_from(PIXELS))
    fitted(data, steps=4, out=out, schedule="constant")
    file, kept = tmp_path / "x-1.npy", (tmp_path / "x-1.npy").read_bytes()
    file.write_bytes(kept[:-4])
    with pytest.raises(UsageError, match=r"x-1.npy has changed while it was read \(it has \d+ bytes and had \d+\)"):
        fitted(data, steps=8, out=out, resume=True, schedule="constant")
    with pytest.raises(UsageError, match=r"x-1.npy is truncated"):
        dataset_from(tmp_path)
    file.write_bytes(kept)
    run = fitted(dataset_from(tmp_path), steps=8, out=out, resume=True, schedule="constant")
    assert torch.equal(parameters(run), parameters(fitted(dataset_from(PIXELS), steps=8, schedule="constant")))
    file.write_bytes(kept[:-4] + bytes(4))
    if (changed := dataset_from(tmp_path)).sha256 != whole.data.sha256:
        with pytest.raises(UsageError, match="begun with data sha256"):
            fitted(changed, steps=9, out=out, resume=True, schedule="constant")


def test_a_file_that_changes_in_a_turn_is_found_in_one_of_the_next(tmp_path: Path) -> None:
    data = pixels(tmp_path)
    trainer = Trainer(vae(data), data, ELBO(), TrainingOptions(batch_size=16, eager=True, epochs=50))
    trainer.take_turn()
    os.utime(tmp_path / "x-0.npy", ns=(0, 1))
    with pytest.raises(UsageError, match=r"x-0.npy has changed while it was read \(it was written anew\)"):
        take_turns(trainer, 9)
    with pytest.raises(UsageError, match=r"x-0.npy has changed"):
        trainer.validate()


@pytest.mark.parametrize("model", ["rbm", "gan"])
def test_a_split_on_disk_is_evaluated_some_data_at_a_time(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = MODELS[model].tiny
    assert made is not None
    pair, (x,) = made()
    x = x.repeat(9, 1)[:20]
    np.save(tmp_path / "x.npy", x.numpy())
    there, here = (
        dataset_from(part, x, x, observation="binary" if model == "rbm" else "real") for part in (tmp_path / "x.npy", x)
    )
    options: dict[str, Any] = {"num_samples": 30} if model == "gan" else {"log_z": ppgen.log_z(pair, exact=True)}
    read = [evaluate(pair, here, split="train", **options)]
    monkeypatch.setattr("ppgen.evaluation.core.AT_ONCE", 7)
    read.append(evaluate(pair, there, split="train", **options))
    assert read[0].num_data == read[1].num_data == 20
    assert read[0].log_likelihood == pytest.approx(read[1].log_likelihood, rel=1e-5)


_TRAINING = """
import resource, sys
from pathlib import Path
import numpy as np, torch
import ppgen
from ppgen.data import DataSpec, Dataset, on_disk

def peak(rows):
    path = Path(sys.argv[1], f"{rows}.npy")
    np.lib.format.open_memmap(path, "w+", np.float32, (rows, 784))  # a hole: zeros that take no room
    spec = DataSpec("zeros", 784, "binary", num_data=rows)
    data = Dataset(spec, (on_disk(path),), (on_disk(path).take(torch.arange(rows - 2000, rows)),))
    run = ppgen.fit(ppgen.make_pair("vae", spec, latent_dim=2, hidden=(8,)), data, "elbo", steps=20, batch_size=100,
                    eager=True, validate_every=10)
    run.evaluate(particles=1, num_samples=0)
    run.diagnose(questions=["importance"], num_particles=10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB

print(peak(8_000), peak(64_000))
"""


@pytest.mark.thorough
def test_memory_is_the_same_whatever_the_size_of_the_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _TRAINING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    small, large = map(int, done.stdout.split()[-2:])
    assert large - small < 20_000  # KiB; the files have 25 and 200 MB
