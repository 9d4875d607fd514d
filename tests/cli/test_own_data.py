"""Data and code of one's own on the command line."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from PIL import Image

from ppgen.registry import DATA, OBJECTIVES
from ppgen.user_code import _EXECUTED
from tests.cli_cases import SMALL, files, run
from tests.own_code import own_code_forgotten

Capture: TypeAlias = pytest.CaptureFixture[str]
QUICK = ["--objective", "elbo", "--steps", "2", "--eager"]
OWN = """
import pyro
import pyro.distributions as dist
import torch

import ppgen
from ppgen.inference import ELBO
from ppgen.registry import register_data, register_objective


class Own(ppgen.Pair):
    def __init__(self, spec, widths=(2, 3)):
        super().__init__(spec.num_data)
        self.loc = torch.nn.Parameter(torch.zeros(spec.num_features))
        assert widths + (1,)  # a tuple, also when it is loaded again

    def model(self, x):
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(self.loc, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))


@register_objective("mine", summary="", reference="", year=2026)
class Mine(ELBO):
    pass


@register_data("noise", summary="", reference="", year=2026)
def noise(*, num: int = 50):
    return ppgen.dataset_from(torch.randn(num, 3, generator=torch.Generator().manual_seed(0)))


def draw(num: int = 50):
    return torch.randn(num, 3, generator=torch.Generator().manual_seed(0))
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    rows = np.column_stack([np.linspace(0, 1, 20), np.linspace(5, 9, 20)])
    lines = [f"{a},{b},{'yes' if a < 0.5 else 'no'}" for a, b in rows]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y", *lines]))
    (tmp_path / "own.py").write_text(OWN)
    with own_code_forgotten():
        yield


def config(folder: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(Path(folder, "config.json").read_text())
    return found


def forget() -> None:
    """As in a new process."""
    _EXECUTED.clear()
    sys.modules.pop("own", None)
    for registry in (OBJECTIVES, DATA):
        registry._specs.pop("mine", None)
        registry._specs.pop("noise", None)


def test_a_table_the_whole_way(capsys: Capture) -> None:
    settings = ["-D", "target=y", "-D", "standardise=true", "-D", "test=0.2"]
    given = run(capsys, "train", "cvae", "--data", "t.csv", *settings, *QUICK, *SMALL)
    assert given.code == 0, given.err
    said = given.out.splitlines()[0]
    assert said == (
        "data 't.csv': 14 to train, 2 held out for valid, 4 held out for test; a, b: real; y: categorical (no, yes); "
        "standardised."
    )
    data = config("runs/cvae-t-elbo")["data"]
    assert data["name"] == "table"
    assert data["kinds"] == {"a": "real", "b": "real", "y": "categorical (no, yes)"}
    assert data["standardised"]["shift"][1] == pytest.approx(7, abs=0.5)
    assert run(capsys, "evaluate", "runs/cvae-t-elbo", "--particles", "2").code == 0
    assert run(capsys, "sample", "runs/cvae-t-elbo", "-n", "4", "--out", "s.csv").code == 0
    head, *rows = csv.reader(Path("s.csv").read_text().splitlines())
    assert head == ["a", "b", "y"]
    assert all(0 < float(row[1]) < 14 for row in rows)  # in the units of the table


def test_a_model_without_labels_takes_the_other_columns(capsys: Capture) -> None:
    assert run(capsys, "train", "vae", "--data", "t.csv", "-D", "target=y", *QUICK, *SMALL, "--out", "r").code == 0
    assert config("r")["spec"]["num_features"] == 2
    Path("t.csv").rename("moved.csv")
    assert "path of a .csv or .npz file that exists, got 't.csv'" in run(capsys, "evaluate", "r").sentence
    assert run(capsys, "evaluate", "r", "--data", "moved.csv", "--particles", "2").code == 0


def test_pictures_and_arrays_are_named_by_their_path(capsys: Capture) -> None:
    for i in range(12):
        Path("pets", f"{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), 10 * i, np.uint8)).save(Path("pets", f"{i % 2}", f"{i}.png"))
    np.savez("a.npz", x=np.eye(12, 3), y=np.arange(12) % 2)
    for data in ("pets/", "a.npz"):
        target = ["-D", "target=y"] if data == "a.npz" else []
        given = run(capsys, "train", "cvae", "--data", data, *target, *QUICK, *SMALL)
        assert given.code == 0, given.err
    assert config("runs/cvae-pets-elbo")["data"]["name"] == "images"
    assert config("runs/cvae-a-elbo")["data"]["name"] == "table"
    given = run(capsys, "compare", "vae", "--data", "pets", "--objectives", "elbo", "--eager", "--draws", "32", *SMALL)
    assert given.code == 0, given.err


def test_what_a_file_registers_is_known_to_the_line_that_names_it(capsys: Capture) -> None:
    line = ["train", "own.py:Own", "--data", "noise", "--objective", "mine", "--steps", "2", "--eager", "--out", "r"]
    assert run(capsys, *line).code == 0
    written = config("r")
    assert (written["data"]["name"], written["objective"]["name"]) == ("noise", "mine")
    assert written["model"]["options"] == {"widths": [2, 3]}
    forget()
    assert run(capsys, "evaluate", "r", "--model", "own.py:Own", "--particles", "2").code == 0
    forget()
    assert run(capsys, *line, "--resume").code == 0


def test_a_function_s_file_is_executed_only_if_it_is_named(capsys: Capture) -> None:
    given = run(capsys, "train", "linear_gaussian", "--data", "own.py:draw", "-D", "num=40", *QUICK, "--out", "r")
    assert given.code == 0, given.err
    assert given.out.endswith("next: ppgen evaluate r --data own.py:draw\n")
    assert config("r")["data"]["options"] == {"num": 40}
    forget()
    said = run(capsys, "evaluate", "r").sentence
    assert "this run's data are own.py:draw, and a Python file is executed only if you name it yourself" in said
    assert said.endswith("--data own.py:draw.")
    assert run(capsys, "evaluate", "r", "--data", "own.py:draw", "--particles", "2").code == 0


def test_one_of_pyro_s_objectives_is_named(capsys: Capture) -> None:
    line = ["train", "own.py:Own", "--data", "t.csv", "-D", "columns=[a,b]", "--objective", "pyro.TraceMeanField_ELBO"]
    assert run(capsys, *line, "--steps", "2", "--eager", "--out", "r").code == 0
    assert config("r")["objective"]["name"] == "pyro.TraceMeanField_ELBO"


def test_all_settings_are_recorded(capsys: Capture) -> None:
    assert run(capsys, "train", "vae", "--data", "digits", *QUICK, "--out", "r").code == 0
    written = config("r")
    assert {"latent_dim", "hidden", "activation"} <= set(written["model"]["options"])
    assert not written["git"]  # no repository
    assert "sha256" in written["data"]
    changed = ["train", "vae", "--data", "digits", *QUICK, "--out", "r", "--resume", "-M", "latent_dim=3"]
    assert "begun with model options" in run(capsys, *changed).sentence


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["--data", "t.csv", "-D", "observation=real"],
            "column 'y' of train in t.csv must hold numbers, and holds 'yes'",
        ),
        (
            ["--data", "t.csv", "-D", "target=yy"],
            "train in t.csv has no column 'yy': did you mean 'y'?",
        ),
        (["--data", "one.csv"], "cannot split valid and test of 1 rows off the 1 rows of train"),
        (["--data", "gap.csv"], "column 'b' of train in gap.csv has a missing value in row 1, the first of 1"),
        (["--data", "none.csv"], "there is no file 'none.csv'"),
        (["--data", "own.py:nothing"], "own.py has no function 'nothing'"),
        (["--data", "broken"], "must be a picture, but it cannot be read"),
        (["--data", "t.csv", "-D", "terget=y"], "data set 'table' has no option 'terget': did you mean 'target'"),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_bad_data_are_one_sentence_and_write_nothing(capsys: Capture, settings: list[str], sentence: str) -> None:
    Path("one.csv").write_text("a,b\n1,2\n")
    Path("gap.csv").write_text("a,b\n1,2\n3,\n5,6\n")
    Path("broken").mkdir()
    Path("broken", "a.png").write_bytes(b"\x89PNG broken")
    before = files(Path())
    assert sentence in run(capsys, "train", "vae", *settings, *QUICK, *SMALL).sentence
    assert files(Path()) == before


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["gmm", "-M", "num_components=17"], "num_components = 17 of GMM, and there are 16 data: lower it"),
        (["kmeans", "-M", "num_components=17"], "num_components = 17 of KMeans, and there are 16 data: lower it"),
        (["naive_bayes", "-M", "num_components=17", "-D", "labels=false"], "num_components = 17 of NaiveBayes"),
        (["nmf", "-M", "latent_dim=17"], "latent_dim = 17 of NMF, and there are 16 data: lower it"),
        (["sparse_coding", "-M", "latent_dim=17"], "latent_dim = 17 of SparseCoding, and there are 16 data: lower it"),
        (
            ["plsa", "-M", "num_topics=17", "-D", "observation=counts"],
            "num_topics = 17 of PLSA, and there are 16 documents: lower it",
        ),
        (["lda"], "LDA needs counts of words, but data 'n.csv' are real: load a table of counts with -D observation="),
        (["mixture_of_experts", "-D", "target=b"], "load them with -D labels=True, or a table with -D target=NAME and"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_classical_model_that_does_not_fit_the_table_says_what_to_write(
    capsys: Capture, settings: list[str], sentence: str
) -> None:
    Path("n.csv").write_text("a,b\n" + "".join(f"{number},{number * number + 1}\n" for number in range(20)))
    assert sentence in run(capsys, "train", settings[0], "--data", "n.csv", *settings[1:], "--out", "runs").sentence
    assert not Path("runs").exists()
