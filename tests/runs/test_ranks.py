"""Runs that several ranks train: what is written, how they stop, what each is refused for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppgen
from ppgen.cli import main
from ppgen.cli.errors import explain
from ppgen.cli.output import say
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import ELBO
from ppgen.objectives.objective import Objective
from ppgen.training.metrics import read_metrics
from tests.cli_cases import QUICK, RESUME, USER_FILE
from tests.doubles import Contrast, Energy
from tests.forked import Ended, by_ranks, commanded, start

TRAIN = [*QUICK, "--out", "r"]
PCD = ["train", "rbm", "--data", "digits", "--objective", "pcd", "--steps", "6", "--eager", "-M", "hidden=5"]
CHAINS = [*PCD, "--schedule", "constant", "-O", "num_chains=7", "--out", "r"]

WATCH = """
import ppgen


class Raises(ppgen.Callback):
    def after_step(self, training):
        if training.step == 2:
            raise ValueError("enough")


class Stops(ppgen.Callback):
    def after_step(self, training):
        if training.step == 2:
            training.stop()
"""

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def said(ended: list[Ended]) -> str:
    """What one of them alone wrote to standard error: one sentence."""
    (text,) = [one.err for one in ended if one.err]
    assert len(text.splitlines()) == 1, text
    return text


def codes(ended: list[Ended]) -> list[int]:
    return [one.code for one in ended]


def test_rank_0_alone_writes_and_prints_and_anyone_loads_the_run(tmp_path: Path) -> None:
    ended = by_ranks(commanded(*TRAIN), tmp_path / "said")
    assert codes(ended) == [0, 0]
    assert "next: ppgen evaluate r" in ended[0].out
    assert (ended[0].err, ended[1].out, ended[1].err) == ("", "", "")
    assert [line["step"] for line in read_metrics(Path("r/metrics.jsonl"))] == [3, 3]
    assert len(ppgen.load("r").metrics) == 2


@pytest.mark.thorough
def test_a_run_that_was_stopped_ends_with_the_same_bits_on_as_many_ranks(tmp_path: Path) -> None:
    whole = [*CHAINS[:-1], "whole"]
    by_ranks(commanded(*whole), tmp_path / "said")
    for length in ("3", "6"):
        by_ranks(commanded(*[length if a == "6" else a for a in CHAINS], "--resume"), tmp_path / "said")
    ours, theirs = (read_checkpoint(Path(run, "checkpoint.safetensors"))[0] for run in ("r", "whole"))
    assert ours["state.chains"].shape == (7, 64)
    assert {"random.cpu", "random.cpu.1"} <= ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("size", [1, 3])
def test_a_run_goes_on_with_another_number_of_ranks(size: int, tmp_path: Path) -> None:
    by_ranks(commanded(*CHAINS), tmp_path / "said")
    longer = commanded(*["9" if argument == "6" else argument for argument in CHAINS], "--resume")
    assert codes(by_ranks(longer, tmp_path / "said", size)) == [0] * size
    tensors, facts = read_checkpoint(Path("r/checkpoint.safetensors"))
    assert (facts["turn"], tuple(tensors["state.chains"].shape)) == (9, (7, 64))
    assert sum(name.startswith("random.cpu") for name in tensors) == size


def test_ctrl_c_on_one_rank_stops_all_at_one_turn_and_the_run_goes_on(tmp_path: Path) -> None:
    endless = ["100000" if argument == "3" else argument for argument in TRAIN]
    ranks = start(commanded(*endless), tmp_path / "said")
    ranks.until_there_is(Path("r/snapshots.safetensors"))
    ranks.kill(1, signal.SIGINT)
    ended = ranks.ended()
    assert codes(ended) == [130, 130]
    assert "go on with the same command and --resume" in said(ended)
    turn = read_checkpoint(Path("r/checkpoint.safetensors"))[1]["turn"]
    onwards = [str(turn + 1) if argument == "3" else argument for argument in TRAIN]
    assert codes(by_ranks(commanded(*onwards, "--resume"), tmp_path / "said")) == [0, 0]


def test_a_callback_that_raises_on_rank_0_stops_all_and_the_run_goes_on(tmp_path: Path) -> None:
    Path("watch.py").write_text(WATCH)
    endless = ["100000" if argument == "3" else argument for argument in TRAIN]
    ended = by_ranks(commanded(*endless, "--callback", "watch.py:Raises"), tmp_path / "said")
    assert codes(ended) == [2, 2]
    assert "callback Raises raised ValueError: enough in its after_step" in said(ended)
    turn = read_checkpoint(Path("r/checkpoint.safetensors"))[1]["turn"]
    onwards = [str(turn + 1) if argument == "3" else argument for argument in TRAIN]
    assert codes(by_ranks(commanded(*onwards, "--resume"), tmp_path / "said")) == [0, 0]


def test_a_callback_of_rank_0_ends_the_training_of_all(tmp_path: Path) -> None:
    Path("watch.py").write_text(WATCH)
    endless = ["100000" if argument == "3" else argument for argument in TRAIN]
    assert codes(by_ranks(commanded(*endless, "--callback", "watch.py:Stops"), tmp_path / "said")) == [0, 0]


def test_a_rank_that_is_killed_is_named_and_the_checkpoint_is_whole(tmp_path: Path) -> None:
    endless = ["100000" if argument == "3" else argument for argument in TRAIN]
    ranks = start(commanded(*endless), tmp_path / "said")
    ranks.until_there_is(Path("r/snapshots.safetensors"))
    ranks.kill(1)
    ended = ranks.ended()
    assert codes(ended) == [2, -signal.SIGKILL]
    assert said(ended).startswith("ppgen: rank 1 ended without a word")
    assert sorted(os.listdir("r")) == ["checkpoint.safetensors", "config.json", "snapshots.safetensors"]
    assert codes(by_ranks(commanded(*RESUME, "--out", "r"), tmp_path / "said")) == [0, 0]


@pytest.mark.parametrize(
    ("differs", "names"),
    [
        (["--lr", "0.01"], "rank 1 was started with training lr = 0.01, rank 0 with 0.001"),
        (["-D", "binarize=none"], "rank 1 was started with data options = "),
        (["-M", "activation=relu"], "rank 1 was started with model options = "),
    ],
)
def test_ranks_that_were_started_with_different_things_are_named(
    differs: list[str], names: str, tmp_path: Path
) -> None:
    ended = by_ranks(lambda rank: main([*TRAIN, *(differs if rank else [])]), tmp_path / "said")
    assert (codes(ended), names in said(ended)) == ([2, 2], True)
    assert not Path("r").exists()


def test_a_rank_without_data_is_refused_by_one_sentence(tmp_path: Path) -> None:
    ended = by_ranks(commanded(*TRAIN, "--batch-size", "1"), tmp_path / "said")
    assert codes(ended) == [2, 2]
    assert said(ended).startswith("ppgen: a batch of 1 data leaves 1 of 2 ranks without any")
    assert not Path("r").exists()


def test_chains_are_enough_for_all_ranks(tmp_path: Path) -> None:
    ended = by_ranks(commanded(*["num_chains=1" if "num_chains" in a else a for a in CHAINS]), tmp_path / "said")
    assert (codes(ended), "1 chains leave 1 of 2 ranks without any" in said(ended)) == ([2, 2], True)


def test_what_only_rank_0_can_see_is_said_once_and_ends_all(tmp_path: Path) -> None:
    assert main(TRAIN) == 0
    ended = by_ranks(commanded(*TRAIN), tmp_path / "said")
    assert codes(ended) == [2, 2]
    assert said(ended).startswith("ppgen: r holds a run already")


class Fragile(ppgen.Pair):
    """z ~ N(0, 1), x | z ~ N(z + loc, 1); q(z) = N(0, 1). At x of 7 or more log p(x | z) is not finite.

    Args:
        calls: of its model, after which that raises.
    """

    def __init__(self, calls: int = 10_000) -> None:
        super().__init__()
        self.loc, self.calls = torch.nn.Parameter(torch.zeros(())), calls

    def model(self, x: torch.Tensor) -> None:
        self.calls -= 1
        if self.calls < 0:
            raise RuntimeError("no more of this")
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            off = torch.where(x >= 7, torch.inf, 0.0)
            pyro.sample("x", dist.Normal(z + self.loc + off, 1.0, validate_args=False), obs=x)

    def guide(self, x: torch.Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))


def fitted(rank: int, pair: Any, objective: Objective, x: torch.Tensor, **options: Any) -> int:
    """The exit code of a training from Python."""
    try:
        ppgen.fit(pair, x, objective, eager=True, device="cpu", out="r", **{"steps": 20, "batch_size": 2, **options})
    except Exception as error:
        code, sentence = explain(error)
        say(sentence)
        return code
    return 0


def test_a_number_that_is_not_finite_on_one_rank_stops_all_and_is_named_with_the_rank(tmp_path: Path) -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 8.0])
    whole = by_ranks(lambda rank: fitted(rank, Fragile(), ELBO(), x, batch_size=4, steps=1), tmp_path / "said")
    assert codes(whole) == [2, 2]
    assert "at step 0: on rank 1 the log-probability of site 'x' of the model is not finite" in said(whole)
    tensors, facts = read_checkpoint(Path("r/checkpoint.safetensors"))
    assert (facts["turn"], bool(torch.isfinite(tensors["learner.pair.loc"]))) == (0, True)


def test_what_stops_one_rank_stops_all_and_is_said_once_with_its_rank(tmp_path: Path) -> None:
    def unlike(rank: int) -> int:
        pair = Fragile()
        pair.calls = 30 if rank else 10_000
        return fitted(rank, pair, ELBO(), torch.ones(8), steps=100)

    ended = by_ranks(unlike, tmp_path / "said")
    assert codes(ended) == [2, 2]
    assert "ppgen: rank 1: " in said(ended)
    assert "raised RuntimeError: no more of this." in said(ended)


def test_files_that_differ_are_named(tmp_path: Path) -> None:
    def edited(rank: int) -> int:
        place = tmp_path / str(rank)
        place.mkdir()
        os.chdir(place)
        Path("my.py").write_text(USER_FILE + f"# {rank}\n")
        return main(["train", "my.py:Mine", "--data", "digits", "--objective", "elbo", "--eager", "--out", "r"])

    ended = by_ranks(edited, tmp_path / "said")
    assert (codes(ended), "rank 1 was started with the code of my.py = " in said(ended)) == ([2, 2], True)


def test_an_objective_that_does_not_say_what_becomes_of_its_state_is_refused(tmp_path: Path) -> None:
    x = torch.randn(8, 1, dtype=torch.float64)
    ended = by_ranks(lambda rank: fitted(rank, Energy(), Contrast(), x), tmp_path / "said")
    assert (codes(ended), "Contrast carries 'chain' from step to step" in said(ended)) == ([2, 2], True)


def test_data_that_are_one_datum_together_are_refused(tmp_path: Path) -> None:
    x = torch.randn(8, 3)
    ended = by_ranks(lambda rank: fitted(rank, Joint(), ELBO(), x), tmp_path / "said")
    assert (codes(ended), "to Joint a batch is one datum" in said(ended)) == ([2, 2], True)


class Joint(ppgen.Pair):
    """z ~ N(0, 1), x_i | z ~ N(z, 1), without a plate."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = torch.nn.Parameter(torch.zeros(()))

    def model(self, x: torch.Tensor) -> None:
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        pyro.sample("x", dist.Normal(z[..., None, None].expand(x.shape), 1.0).to_event(2), obs=x)

    def guide(self, x: torch.Tensor) -> None:
        pyro.sample("z", dist.Normal(self.loc, 1.0))


def test_a_wrong_option_is_said_once(tmp_path: Path) -> None:
    ended = by_ranks(commanded(*TRAIN, "--lr", "-1"), tmp_path / "said")
    assert (codes(ended), "lr" in said(ended)) == ([2, 2], True)


@pytest.mark.thorough
def test_torchrun_starts_the_ranks(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "ppgen"]
    place = {**os.environ, "PYTHONPATH": str(Path(ppgen.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    first = subprocess.run([*torchrun, *TRAIN], capture_output=True, text=True, env=place, timeout=300, check=False)
    assert (first.returncode, first.stdout.count("next: ppgen evaluate r")) == (0, 1), first.stderr
    again = subprocess.run([*torchrun, *TRAIN], capture_output=True, text=True, env=place, timeout=300, check=False)
    assert (again.returncode, again.stderr.count("ppgen: r holds a run already")) == (1, 1), again.stderr
