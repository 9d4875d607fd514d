"""``ppgen train``: what a file says, what the line says over it, and what is recommended where neither does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch

import ppgen
from ppgen.files.checkpoint import read_checkpoint
from ppgen.models import LinearGaussian
from ppgen.registry import MODELS, Recommended, Spec
from tests.cli_cases import QUICK, USER_FILE, files, run

Capture: TypeAlias = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")

LINEAR = ["train", "linear_gaussian", "--data", "linear_gaussian", "--steps", "2", "--eager"]


def config(folder: str) -> Any:
    return json.loads(Path(folder, "config.json").read_text())


def test_the_config_of_a_run_given_back_trains_the_same_run(capsys: Capture, a_run: Path) -> None:
    assert run(capsys, "train", "--config", a_run / "config.json", "--out", "again").code == 0
    assert {**config("again"), "git": None} == {**config("r"), "git": None}  # begun in another folder
    first, again = (read_checkpoint(Path(name, "checkpoint.safetensors"))[0] for name in ("r", "again"))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_what_stands_on_the_line_goes_before_what_the_file_says(capsys: Capture, a_run: Path) -> None:
    line = ["--lr", "0.01", "-M", "latent_dim=3", "--steps", "1", "--out", "b"]
    assert run(capsys, "train", "--config", a_run / "config.json", *line).code == 0
    was, now = config("r"), config("b")
    assert (now["training"]["lr"], now["training"]["steps"]) == (0.01, 1)
    assert now["model"]["options"] == {**was["model"]["options"], "latent_dim": 3}
    assert now["objective"] == was["objective"]


def test_options_of_a_file_hold_for_the_name_they_stand_with(capsys: Capture, a_run: Path) -> None:
    line = ["--objective", "elbo", "--out", "b"]
    assert run(capsys, "train", "--config", a_run / "config.json", *line).code == 0
    assert config("b")["objective"] == {"name": "elbo", "options": {"num_particles": 1}}
    assert config("b")["model"] == config("r")["model"]


def test_other_data_than_those_of_the_run_are_refused_unless_the_line_names_them(capsys: Capture, a_run: Path) -> None:
    text = Path("r/config.json").read_text()
    Path("r/config.json").write_text(text.replace(config("r")["data"]["sha256"], "0" * 64))
    said = run(capsys, "train", "--config", a_run / "config.json", "--out", "b").sentence
    assert "data 'digits' are not those that the file speaks of" in said
    assert not Path("b").exists()
    assert run(capsys, "train", "--config", a_run / "config.json", "--data", "digits", "--out", "b").code == 0


def test_a_recipe_and_a_file_of_ones_own_are_taken(capsys: Capture) -> None:
    Path("mine.toml").write_text('model.name = "linear_gaussian"\ndata.name = "linear_gaussian"\n')
    line = ["--steps", "1", "--eager"]
    assert run(capsys, "train", "--config", "mine.toml", *line, "--out", "a").code == 0
    Path("mine.json").write_text('{"model": {"name": "linear_gaussian"}, "data": {"name": "linear_gaussian"}}')
    assert run(capsys, "train", "--config", "mine.json", *line, "--out", "b").code == 0
    assert config("a") == config("b")


def test_a_python_file_is_run_only_if_the_line_names_it(capsys: Capture) -> None:
    Path("my.py").write_text(USER_FILE)
    quick = [word for word in QUICK if word not in ("-M", "latent_dim=2", "hidden=[4]")]
    run(capsys, "train", "my.py:Mine", *quick[2:], "-M", "latent_dim=3", "--out", "r")
    assert "a Python file is run only if you name it" in run(capsys, "train", "--config", "r/config.json").sentence
    assert run(capsys, "train", "my.py:Mine", "--config", "r/config.json", "--out", "b").code == 0
    assert config("b") == config("r")


def test_what_a_file_cannot_hold_is_named_on_the_line(capsys: Capture) -> None:
    pair, x = LinearGaussian(ppgen.DataSpec("numbers", 3, "real")), torch.randn(20, 3)
    ppgen.fit(pair, x, "elbo", steps=1, eager=True, out="r")
    assert "the file's data was made in Python" in run(capsys, "train", "--config", "r/config.json").sentence


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ([], "no model is named (MODEL): write for example ppgen train vae --data digits, or --config FILE"),
        (["vae"], "no data is named (--data NAME)"),
        (["vae", "--config", "none.toml"], "got 'none.toml', which is none"),
        (["vae", "--config", "list.json"], "expected"),
    ],
)
def test_what_is_not_said_is_asked_for(capsys: Capture, line: list[str], said: str) -> None:
    Path("list.json").write_text("[1, 2]")
    before = files(Path())
    assert said in run(capsys, "train", *line).sentence
    assert files(Path()) == before


def test_without_an_objective_what_is_recommended_is_taken_and_said_and_recorded(capsys: Capture) -> None:
    given = run(capsys, *LINEAR, "--lr", "0.5")
    assert given.err == (
        "ppgen: linear_gaussian on real data takes what is recommended for it: elbo, batch_size=100.\n"
    )
    kept = config("runs/linear_gaussian-linear_gaussian")
    assert kept["objective"]["name"] == "elbo"
    assert (kept["training"]["batch_size"], kept["training"]["lr"], kept["training"]["steps"]) == (100, 0.5, 2)


def test_with_an_objective_nothing_is_recommended(capsys: Capture) -> None:
    given = run(capsys, *LINEAR, "--objective", "elbo", "--out", "r")
    assert given.err == ""
    assert config("r")["training"]["batch_size"] == 20


def test_fit_takes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ppgen.load_data("linear_gaussian", num_data=50)
    run = ppgen.fit(LinearGaussian(data.spec), data, steps=2, eager=True)
    expected = MODELS["linear_gaussian"].recommended_for("real")
    assert expected is not None
    assert run.config["objective"]["name"] == expected.objective
    assert run.config["training"]["lr"] == expected.training["lr"]
    assert run.config["training"]["steps"] == 2


def test_a_pair_of_ones_own_needs_an_objective(capsys: Capture) -> None:
    Path("my.py").write_text(USER_FILE)
    said = run(capsys, "train", "my.py:Mine", "--data", "digits").sentence
    assert said.startswith("no objective is recommended for Mine on data of the kind binary: name one")
    assert not Path("runs").exists()


def test_what_is_recommended_is_the_first_that_holds_for_the_kind_of_data() -> None:
    first, second = Recommended("elbo", kinds=("real",)), Recommended("stl", kinds=("binary", "real"))
    spec = Spec("a", LinearGaussian, "", "", 2026, recommended=(first, second))
    assert [spec.recommended_for(kind) for kind in ("real", "binary", "counts")] == [first, second, None]
