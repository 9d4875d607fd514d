"""Processes that are killed with -9: what is left is whole, and what goes on from it ends as one that never was killed.

    python -m tests.kills [NAME ...] [--kills N] [--compiled]

A name is one of :data:`TRAININGS` or :data:`COMMANDS`; without any, all are tried. All that is imported is imported
once: each process that is killed is a fork of this one.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import h5py
import torch

import ppgen.files.writing
import ppgen.runs.fit
import ppgen.training.steps
from ppgen.cli import main
from ppgen.files.checkpoint import read_checkpoint
from ppgen.runs.snapshots import Snapshots
from ppgen.training.metrics import MetricsLog, read_metrics
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer
from tests.cli_cases import COMPARE, QUICK, SMALL, SWEEP

__all__ = ["COMMANDS", "TRAININGS"]

STEPS = 60
EVERY = 2
"""Steps of a training, and from one checkpoint to the next."""

_HIDDEN = ["-M", "hidden=[4]"]
_LAYERS = ["-M", "layers=(3,)"]
_GAN = ["gan", "--data", "ring", "-D", "num_data=400", "-M", "latent_dim=2", *_HIDDEN, "-O", "hidden=[4]"]
_RBM = ["rbm", "--data", "digits", "-M", "hidden=5"]
_SBN = ["sbn", "--data", "digits", *_LAYERS]

TRAININGS = {
    "nade": ["nade", "--data", "digits", "-M", "hidden=4", "--objective", "elbo"],
    "maf": ["maf", "--data", "moons", "-D", "num_data=400", "-M", "num=1", *_HIDDEN, "--objective", "elbo"],
    "vae": ["vae", "--data", "digits", "--objective", "iwelbo", *SMALL],
    "vae, patience": ["vae", "--data", "digits", "--objective", "renyi", "--patience", "3", "--lr", "0.1", *SMALL],
    "vae, mcem": ["vae", "--data", "digits", "--objective", "mcem", "-O", "num_leapfrogs=2", *SMALL],
    "iwae": [
        *("iwae", "--data", "digits", "--objective", "dreg"),
        *("-M", "latent_dims=(3, 2)", "-M", "hidden=((4,), (4,))"),
    ],
    "cvae": ["cvae", "--data", "digits", "--objective", "stl", *SMALL],
    "ss_vae": [
        *("ss_vae", "--data", "digits", "-D", "num_labelled=100", "--objective", "enumerate"),
        *("-M", "classifier=(4,)", *SMALL),
    ],
    "discrete_vae": [
        *("discrete_vae", "--data", "digits", "-M", "units=3", *_HIDDEN),
        *("--objective", "gumbel_softmax", "-O", "temperature=exponential(1.0, 0.5, 60)"),
    ],
    "sbn": [*_SBN, "--objective", "nvil", "-O", "hidden=(4,)"],
    "sbn, relax": [*_SBN, "--objective", "relax", "-O", "hidden=(4,)"],
    "sbn, muprop": [*_SBN, "--objective", "muprop"],
    "sbn, wake_sleep": [*_SBN, "--objective", "wake_sleep"],
    "structured_prediction": ["structured_prediction", "--data", "digits", *_LAYERS, "--objective", "rws"],
    "lda": ["lda", "--data", "bars", "-D", "num_data=200", "-M", "num_topics=4", "--objective", "elbo"],
    "lda, topics": [
        *("lda", "--data", "bars", "-D", "num_data=200", "-M", "num_topics=4"),
        *("-M", "topics=dirichlet", "--objective", "analytic_kl"),
    ],
    "prodlda": [
        *("prodlda", "--data", "bars", "-D", "num_data=200", "-M", "num_topics=4"),
        *("-M", "hidden=(4, 4)", "--objective", "analytic_kl"),
    ],
    "gmm": ["gmm", "--data", "ring", "-D", "num_data=400", "-M", "num_components=3", "--objective", "elbo"],
    "gmm, bayesian": [
        *("gmm", "--data", "ring", "-D", "num_data=400", "-M", "num_components=3", "-M", "bayesian=True"),
        *("--objective", "elbo"),
    ],
    "linear_gaussian": ["linear_gaussian", "--data", "linear_gaussian", "--objective", "tvo"],
    "rbm": [*_RBM, "--objective", "pcd", "-O", "num_chains=10"],
    "rbm, tempering": [
        *(*_RBM, "--objective", "parallel_tempering"),
        *("-O", "num_chains=5", "-O", "num_temperatures=3"),
    ],
    "gan": [*_GAN, "--objective", "wasserstein_gp", "-O", "critic_steps=2"],
    "gan, unrolled": [*_GAN, "--objective", "nonsaturating", "-O", "unroll=1"],
    "classifier": ["classifier", "--data", "digits", "-D", "labels=True", *_HIDDEN, "--objective", "elbo"],
    "gan, mmd": [*_GAN[:-2], "--objective", "mmd"],
}
"""What ``ppgen train`` is given for a pair of every family, and for every kind of state that an objective carries."""

COMMANDS = {
    "evaluate": ["evaluate", "r", "--particles", "2", "--num-data", "3"],
    "diagnose": ["diagnose", "r", "--particles", "30", "--num-data", "3", "--ask", "importance"],
    "report": ["report", "r"],
    "compare": [*COMPARE, "--out", "c"],
    "sweep": [*SWEEP, "--out", "s", "--resume"],
}
"""Commands that write; ``r`` is a run of the training "vae"."""


def die() -> NoReturn:
    """End this process as ``kill -9`` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a process outlived kill -9")


class Torn:
    """A file whose first write reaches the disk by half; then the process dies."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> Torn:
        return self

    def __exit__(self, *given: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: bytes) -> None:
        """Write half of it."""
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        die()


ANY = "any instant"

MOMENTS: dict[str, tuple[Any, str]] = {
    "temporary file made": (os, "fdopen"),
    "temporary file torn": (os, "fdopen"),
    "written, not synced": (os, "fsync"),
    "synced, not renamed": (Path, "replace"),
    "renamed": (ppgen.files.writing, "_sync_folder"),
    "record: before a line": (MetricsLog, "add"),
    "record: a line torn": (Path, "open"),
    "between turns": (Trainer, "take_turn"),
    "within a turn": (torch.optim.Adam, "step"),
    "tracing": (ppgen.training.steps, "graph_of"),
    "compiling": (ppgen.training.steps, "_inductor"),
    "removing what kills left": (ppgen.files.writing, "_remove_leftovers"),
}
"""Before a call of which function, or, of one that opens a file to write, in the midst of what is written."""


def arm(moment: str, after: int) -> None:
    """Let this process die at that moment, once it has passed so many of them."""
    owner, name = MOMENTS[moment]
    function, count = getattr(owner, name), 0

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal count
        if name == "open" and not {"r+b", "wb"} & {*given}:
            return function(*given, **more)
        count += 1
        if count <= after:
            return function(*given, **more)
        return Torn(function(*given, **more)) if "torn" in moment else die()

    setattr(owner, name, counted)


def forked(job: Callable[[], int], moment: str = ANY, after: int = 0, seconds: float | None = None) -> int:
    """The exit code of a job in a process of its own, killed at a moment, or after so many seconds; -9: it was."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            if moment != ANY:
                arm(moment, after)
            code = job()
        finally:
            os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(
    command: Sequence[str], given: Path, kills: int, moments: Sequence[str], chance: random.Random
) -> Counter[str]:
    """Kill a command again and again, each time giving it again to what the last one left; how often, by moment.

    Args:
        command: as the command line has it.
        given: the folder with what it is given first; a copy of it is where the command stands.
        kills: how many.
        moments: of :data:`MOMENTS`, or :data:`ANY`.
        chance: which of them.

    Raises:
        AssertionError: what is left is not whole, or it ends otherwise than a command that was not killed.
    """
    began = time.perf_counter()
    straight, killed = (Path(shutil.copytree(given, name)) for name in ("straight", "killed"))
    done(command, straight)
    length, turn, deaths = min(time.perf_counter() - began, 0.5), 0, Counter[str]()
    while deaths.total() < kills:
        moment = chance.choice(moments)
        seconds = chance.uniform(0.0, length) if moment == ANY else None
        with chdir(killed):
            code = forked(lambda: main([*command]), moment, chance.randrange(8), seconds)
        assert code in (0, -signal.SIGKILL), f"exit code {code} of a process to be killed at: {moment}"
        deaths[moment] += code != 0
        turn = check_whole(killed / "r", turn)
        if code == 0:
            check_same(straight, killed)
            shutil.rmtree(killed)
            shutil.copytree(given, killed)
            turn = 0
    done(command, killed)
    check_same(straight, killed)
    return deaths


def done(command: Sequence[str], place: Path) -> None:
    """The command, given in this process."""
    with chdir(place), redirect_stdout(StringIO()):
        assert main([*command]) == 0, f"{' '.join(command)} fails where it was not killed, or after that"


def check_whole(run: Path, turn: int) -> int:
    """The turn of a run's checkpoint, no earlier than it was; its record and its snapshots can be read."""
    read_metrics(run / "metrics.jsonl")
    Snapshots.read(run)
    file = run / "checkpoint.safetensors"
    found = int(read_checkpoint(file)[1]["turn"]) if file.exists() else 0
    assert found >= turn, f"turn {found} where it was {turn}"
    return found


def check_same(straight: Path, killed: Path) -> None:
    """Two folders hold the same files, and these the same but for the time it took; no temporary file is left."""
    names = [sorted(str(file.relative_to(folder)) for file in folder.rglob("*")) for folder in (straight, killed)]
    assert names[0] == names[1], f"files {names[1]} where {names[0]} are right"
    different = [name for name in names[0] if content(straight / name) != content(killed / name)]
    assert not different, f"after kills {', '.join(different)} differ"


def content(file: Path) -> Any:
    """What a file says, but for the time it took; of a page, which has pictures of that, how it ends."""
    if file.suffix == ".safetensors":
        tensors, facts = read_checkpoint(file)
        return {name: value.numpy().tobytes() for name, value in tensors.items()}, timeless(facts)
    if file.suffix == ".json":
        return timeless(json.loads(file.read_text()))
    if file.suffix == ".jsonl":
        return [timeless(json.loads(line)) for line in file.read_text().splitlines()]
    if file.suffix == ".csv":
        with file.open() as lines:
            return [timeless(row) for row in csv.DictReader(lines)]
    if file.suffix == ".nc":
        with h5py.File(file) as tree:
            found: dict[str, Any] = {}
            tree.visititems(
                lambda name, item: found.update({name: item[()].tobytes()} if hasattr(item, "shape") else {})
            )
            return found
    return file.read_bytes()[-8:] if file.is_file() else None


TIMES = re.compile(r"(seconds|work)(_low|_high)?|metrics|record")
"""What tells the time: seconds, work that was measured in them, and the length of a record of them."""


def timeless(facts: Any) -> Any:
    """Facts without the time."""
    if isinstance(facts, dict):
        return {name: timeless(value) for name, value in facts.items() if not TIMES.fullmatch(name)}
    return [timeless(value) for value in facts] if isinstance(facts, list) else facts


def tried(name: str, kills: int, seed: int, *, compiled: bool) -> Counter[str]:
    """:func:`kill` of a training or a command by its name, in a temporary folder."""
    chance = random.Random(f"{name} {seed}")
    moments = [*MOMENTS, ANY]
    with TemporaryDirectory() as folder, chdir(folder):
        given = Path("given")
        given.mkdir()
        if name in TRAININGS:
            how = [] if compiled else ["--eager"]
            command = ["train", *TRAININGS[name], *how, "--steps", str(STEPS), "--out", "r", "--resume"]
            moments = [
                moment for moment in moments if compiled or MOMENTS.get(moment, (None,))[0] is not ppgen.training.steps
            ]
        else:
            command = COMMANDS[name]
            done([*QUICK, "--out", "r"], given)
            moments = [
                moment for moment in moments if MOMENTS.get(moment, (None,))[0] in (os, Path, ppgen.files.writing, None)
            ]
        return kill(command, given, kills, moments, chance)


def run() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*TRAININGS, *COMMANDS, []])
    parser.add_argument("--kills", type=int, default=20, help="of each name")
    parser.add_argument("--compiled", action="store_true", help="trainings with compiled steps")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    defaults = TrainingOptions.__init__.__kwdefaults__
    assert defaults is not None
    defaults.update(checkpoint_seconds=0.0, validate_every=EVERY)
    total = 0
    for name in asked.names or [*TRAININGS, *COMMANDS]:
        began = time.perf_counter()
        deaths = tried(name, asked.kills, asked.seed, compiled=asked.compiled)
        total += deaths.total()
        spent = time.perf_counter() - began
        where = ", ".join(f"{moment} {count}" for moment, count in sorted(deaths.items()) if count)
        print(f"{name}: {deaths.total()} kills in {spent:.0f} s, nothing lost, nothing different ({where})", flush=True)
    print(f"{total} kills")


if __name__ == "__main__":
    run()
