"""What the tests of the command line share: a quick training, a pair of the user's own, and what a command gave."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ppgen.cli import main
from ppgen.runs.config import read_config
from ppgen.training.metrics import read_metrics

__all__ = [
    "BRIEF",
    "COMPARE",
    "QUICK",
    "RECIPE",
    "RESUME",
    "SMALL",
    "SWEEP",
    "USER_FILE",
    "Given",
    "check_line",
    "copied",
    "files",
    "run",
]

SMALL = ["-M", "latent_dim=2", "-M", "hidden=[4]"]
QUICK = ["train", "vae", "--data", "digits", "--objective", "iwelbo", "--steps", "3", "--eager", *SMALL]
"""A training of under a second; add ``--out``."""

RESUME = ["6" if argument == "3" else argument for argument in QUICK] + ["--resume"]
"""The same run, resumed for three steps more."""

COMPARE = [
    *("compare", "sbn", "--data", "digits", "-M", "layers=(2,)", "--eager", "--draws", "32", "--batch-size", "4"),
    *("--objectives", "vimco(num_particles=2)", "--train", "--steps", "2", "--seeds", "1"),
]
"""A comparison of seconds, with one short training; add ``--out``."""

SWEEP = [
    *("sweep", "vae", "--data", "digits", "--objective", "elbo", "--steps", "2", "--eager", *SMALL),
    *("--grid", "lr=0.001,0.01", "--seeds", "1", "--particles", "2", "--num-data", "3"),
]
"""A sweep of two runs of under a second; add ``--out``."""

BRIEF = {
    "list": ["list"],
    "train": [
        "train",
        "vae",
        "--data",
        "digits",
        "--objective",
        "elbo",
        "--steps",
        "1",
        "--batch-size",
        "8",
        "--eager",
    ],
    "evaluate": ["evaluate", "r", "--particles", "2", "--num-data", "3"],
    "diagnose": ["diagnose", "r", "--particles", "30", "--num-data", "3", "--ask", "importance"],
    "report": ["report", "r"],
    "sample": ["sample", "r", "-n", "2"],
    "embed": ["embed", "r"],
    "compare": [word for word in COMPARE if word != "--train"],
    "sweep": SWEEP,
    "check": ["check", "linear_gaussian", "--data", "linear_gaussian", "--batch-size", "3"],
    "recipes": ["recipes"],
    "reproduce": ["reproduce", "mine.toml", "--short"],
    "push": ["push", "r", "me/it"],
    "pull": ["pull", "me/it"],
}
"""Every command with little to do, some on a run ``r``."""

RECIPE = """
[model]
name = "linear_gaussian"
options = { latent_dim = 1 }

[data]
name = "linear_gaussian"
options = { num_features = 2, num_data = 50 }

[objective]
name = "elbo"

[training]
steps = 30
eager = true

[evaluation]
particles = 20

[diagnosis]
num_data = 5
num_particles = 100
questions = ["importance"]

[[published]]
numbers = { log_likelihood = [-2, 0.5] }
source = "somebody"

[[reached]]
numbers = { log_likelihood = -3.5, valid_bound = -3.6 }
date = 2026-01-02
machine = "an abacus"
"""
"""A recipe of under a second, to be written to ``mine.toml``."""

USER_FILE = """
import warnings

import pyro
import pyro.distributions as dist
import torch

import ppgen


class Mine(ppgen.Pair):
    def __init__(self, spec, latent_dim=2):
        super().__init__(spec.num_data)
        self.latent_dim = latent_dim
        self.encoder = torch.nn.Linear(spec.num_features, latent_dim)
        self.decoder = torch.nn.Linear(latent_dim, spec.num_features)

    def model(self, x):
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent_dim), 1.0).to_event(1))
            self.observe(z, x)

    def guide(self, x):
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.encoder(x), 1.0).to_event(1))

    def observe(self, z, x):
        pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)


class Talks(Mine):
    def observe(self, z, x):
        print("hello from the model")
        warnings.warn("mind\\nthe gap")
        super().observe(z, x)


class NoSite(Mine):
    def guide(self, x):
        pass


class Broadcasts(Mine):
    def observe(self, z, x):
        pyro.sample("x", dist.Normal(self.decoder(z)[..., 0], 1.0), obs=x[:, :1])  # (N,) against (N, 1)


class Diverges(Mine):
    def __init__(self, spec):
        super().__init__(spec)
        self.weight = torch.nn.Parameter(torch.tensor(0.0))

    def observe(self, z, x):
        super().observe(z, x)
        pyro.factor("runaway", self.weight + 1e-3 * (1 - self.weight).log())


class Raises(Mine):
    def observe(self, z, x):
        raise KeyError("no such thing")


class Whole(Mine):
    def observe(self, z, x):
        pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x.long())


class Misspelt(Mine):
    def __init__(self, spec):
        super().__init__(spec, spec.features)


class NotAPair:
    def __init__(self, spec):
        pass
"""


@dataclass(frozen=True)
class Given:
    """What a command gave."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one line on standard error of a command that was given bad input."""
        assert self.code == 2, f"exit code {self.code}, expected 2: {self.err}"
        assert self.out == ""
        assert self.err.startswith("ppgen: ")
        assert self.err.endswith(".\n") or self.err.endswith("--help`.\n")
        assert self.err.count("\n") == 1
        assert "Traceback" not in self.err
        return self.err.removeprefix("ppgen: ").rstrip("\n")


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Given:
    """Run the command line in this process."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return Given(code, captured.out, captured.err)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, by its path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@contextlib.contextmanager
def copied(folder: Path) -> Iterator[None]:
    """Within it, the present folder is a new one, which holds a copy of a run as ``r`` and a file."""
    with TemporaryDirectory() as above, contextlib.chdir(above):
        shutil.copytree(folder, "r")
        Path("file.txt").write_text("mine")
        yield


def check_line(capsys: pytest.CaptureFixture[str], *line: str) -> None:
    """In the present folder it does its work, or leaves all as it was and says why in a sentence."""
    before = files(Path())
    given = run(capsys, *line)
    assert given.code in (0, 1, 2), given.err
    assert "Traceback" not in given.err
    if given.code == 2:
        last = given.err.splitlines()[-1]
        assert last.startswith("ppgen: "), given.err
        assert len(last) < 1200, last
        assert files(Path()) == before, last
        return
    assert not [file for file in files(Path()) if file.endswith((".tmp", ".lock"))]
    for record in Path().rglob("metrics.jsonl"):
        read_config(record.parent)
        read_metrics(record)
