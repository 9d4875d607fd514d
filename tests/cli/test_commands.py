"""The command line: what each command prints, writes and answers."""

from __future__ import annotations

import functools
import json
import os
import re
import runpy
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

import ppgen
from ppgen.cli import app, main
from ppgen.cli.options import settings
from ppgen.cli.output import print_json
from ppgen.errors import UsageError
from ppgen.files.checkpoint import read_checkpoint
from ppgen.registry import DATA, MODELS, OBJECTIVES
from ppgen.training.options import TrainingOptions
from tests.cli_cases import QUICK, SMALL, USER_FILE, files, run
from tests.processes import command_line, started

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    *("list", "train", "evaluate", "sample", "embed", "compare", "sweep", "diagnose", "check", "report"),
    *("recipes", "reproduce", "push", "pull"),
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(USER_FILE)


def test_values_are_python_literals_and_anything_else_is_a_string() -> None:
    given = [
        "hidden=[200, 200]",
        "sizes=3,4",
        "beta=4.0",
        "binarize=none",
        "flag=True",
        "when=linear(0, 1, 10)",
        "a=b=c",
    ]
    assert settings("-M", given) == {
        "hidden": [200, 200],
        "sizes": (3, 4),
        "beta": 4.0,
        "binarize": "none",
        "flag": True,
        "when": "linear(0, 1, 10)",
        "a": "b=c",
    }


@pytest.mark.parametrize("text", ["latent_dim", "=3", "two words=3"])
def test_a_setting_without_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"-M expects key=value, got '.*': write for example -M latent_dim=20\."):
        settings("-M", [text])


def test_a_setting_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="-O beta is given twice, as 1 and as '2'"):
        settings("-O", ["beta=1", "beta=2"])


def test_list_as_json_holds_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    given = run(capsys, "list", "--json")
    listed = json.loads(given.out)
    assert {kind: [entry["name"] for entry in entries] for kind, entries in listed.items()} == {
        "models": list(MODELS),
        "objectives": list(OBJECTIVES),
        "data": list(DATA),
    }
    vae = next(entry for entry in listed["models"] if entry["name"] == "vae")
    assert vae["options"]["latent_dim"] == "10"
    assert vae["summary"] == MODELS["vae"].summary
    assert given.err == ""


def test_list_of_one_kind_is_a_table_of_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    given = run(capsys, "list", "objectives")
    assert given.code == 0
    assert all(name in given.out for name in OBJECTIVES)
    assert "binarized_mnist" not in given.out


def test_train_evaluate_sample_report_is_one_path(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trained = run(capsys, *QUICK, "--out", "r")
    assert trained.code == 0
    assert trained.err == ""
    held_out, trained_to = trained.out.splitlines()
    assert held_out == "data 'digits': 1,297 to train, 200 held out for valid, 300 held out for test."
    assert trained_to.startswith("r: validation bound -")
    assert trained.out.endswith("nats after 3 steps; next: ppgen evaluate r\n")
    expected = {"config.json", "metrics.jsonl", "checkpoint.safetensors", "snapshots.safetensors", "README.md"}
    assert expected == set(files(tmp_path / "r"))

    given = run(capsys, "evaluate", "r", "--particles", "5", "--json")
    found = json.loads(given.out)
    assert (found["num_particles"], found["split"], found["num_data"]) == (5, "test", 300)
    assert [point["num_particles"] for point in found["curve"]] == [1, 2, 5]
    assert -64 < found["log_likelihood"] < 0 < found["standard_error"]
    assert json.loads((tmp_path / "r" / "evaluation.json").read_text()) == found

    assert run(capsys, "sample", "r", "-n", "4").out == f"{Path('r/samples.png')}: 4 samples from the prior\n"
    assert (tmp_path / "r" / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert run(capsys, "report", "r").out == f"{Path('r/report.html')}\n"
    assert "<html" in (tmp_path / "r" / "report.html").read_text()


def test_evaluate_prints_the_curve_over_particles(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *QUICK, "--out", "r")
    given = run(capsys, "evaluate", "r", "--particles", "20", "--split", "valid", "--num-data", "9")
    assert given.out.startswith("valid: log p(x) ≥ -")
    assert "(K = 20, 9 data)" in given.out
    assert all(f"│ {size:>2} │" in given.out for size in (1, 2, 5, 10, 20))


def test_the_run_has_a_default_place_and_records_the_options_that_were_given(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ["--batch-size", "7", "--lr", "0.01", "--schedule", "constant", "--clip-norm", "2", "--patience", "3"]
    options += ["--optimizer", "SGD(momentum=0.9)"]
    assert run(capsys, *QUICK, *options, "--seed", "5", "-O", "num_particles=2", "-D", "binarize=threshold").code == 0
    config = json.loads((tmp_path / "runs" / "vae-digits-iwelbo" / "config.json").read_text())
    expected = TrainingOptions(
        steps=3,
        batch_size=7,
        lr=0.01,
        optimizer=functools.partial(torch.optim.SGD, momentum=0.9),
        schedule="constant",
        clip_norm=2.0,
        patience=3,
        seed=5,
        eager=True,
    )
    assert config["training"]["optimizer"] == "SGD(momentum=0.9)"
    assert config["training"] == expected.to_json()
    defaults = json.loads(json.dumps(MODELS["vae"].options))
    assert config["model"] == {"name": "vae", "options": {**defaults, "latent_dim": 2, "hidden": [4]}}
    assert config["objective"] == {"name": "iwelbo", "options": {"num_particles": 2}}
    assert config["data"]["options"]["binarize"] == "threshold"


def test_options_left_out_are_the_defaults_of_training(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(capsys, *QUICK, "--out", "r")
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert config["training"] == TrainingOptions(steps=3, eager=True).to_json()


def test_the_seed_decides_every_bit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tensors = []
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        run(capsys, *QUICK, "--seed", seed, "--out", out)
        tensors.append(read_checkpoint(tmp_path / out / "checkpoint.safetensors")[0])
    first, again, other = tensors
    assert all(torch.equal(first[name], again[name]) for name in first)
    weights = "learner.pair.decoder.layers.0.weight"
    assert not torch.equal(first[weights], other[weights])


def test_labels_are_loaded_for_a_model_that_takes_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["cvae" if argument == "vae" else argument for argument in QUICK]
    assert run(capsys, *arguments, "--out", "r").code == 0
    assert json.loads((tmp_path / "r" / "config.json").read_text())["data"]["options"]["labels"] is True


def test_a_finished_run_goes_on_when_it_is_made_longer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(capsys, *QUICK, "--out", "r")
    longer = ["5" if argument == "3" else argument for argument in QUICK]
    assert "after 5 steps" in run(capsys, *longer, "--out", "r", "--resume").out
    assert read_checkpoint(tmp_path / "r" / "checkpoint.safetensors")[1]["turn"] == 5


def test_a_model_of_the_users_file_goes_the_same_path(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", "digits", "--objective", "elbo", "--steps", "3", "--eager"]
    trained = run(capsys, "train", "my.py:Mine", *options)
    assert trained.out.endswith("next: ppgen evaluate runs/Mine-digits-elbo --model my.py:Mine\n")
    assert "name its file again (--model" in run(capsys, "evaluate", "runs/Mine-digits-elbo").sentence
    for command in (["evaluate", "--particles", "2"], ["sample", "-n", "2"], ["report"]):
        assert run(capsys, *command, "runs/Mine-digits-elbo", "--model", "my.py:Mine", "--device", "cpu").code == 0


def test_json_stands_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """A model that prints and warns: the one goes to standard error, the other is one line there, once."""
    run(
        capsys,
        "train",
        "my.py:Talks",
        "--data",
        "digits",
        "--objective",
        "elbo",
        "--steps",
        "3",
        "--eager",
        "--out",
        "r",
    )
    given = run(capsys, "evaluate", "r", "--model", "my.py:Talks", "--particles", "2", "--json")
    assert json.loads(given.out)["num_particles"] == 2
    assert "hello from the model" in given.err
    assert given.err.count("ppgen: warning: mind the gap\n") == 1


def test_json_has_null_for_what_is_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [1.5, float("-inf")], "b": (float("nan"), None, "nan")})
    assert json.loads(capsys.readouterr().out) == {"a": [1.5, None], "b": [None, None, "nan"]}


def test_a_pair_that_cannot_be_traced_trains_eagerly_and_says_so_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    branching = USER_FILE + (
        "\n\nclass Branches(Mine):\n"
        "    def observe(self, z, x):\n"
        "        sign = 1.0 if self.decoder.bias.sum().item() > 0 else -1.0\n"
        "        pyro.sample('x', dist.Bernoulli(logits=sign * self.decoder(z)).to_event(1), obs=x)\n"
    )
    (tmp_path / "branching.py").write_text(branching)
    given = run(capsys, "train", "branching.py:Branches", "--data", "digits", "--objective", "elbo", "--steps", "3")
    assert given.code == 0
    assert given.err.startswith("ppgen: warning: this pair trains eagerly, because")
    line = branching[: branching.index(".item()")].count("\n") + 1
    assert f"branching.py:{line}" in given.err
    assert given.err.count("\n") == 1


def test_check_names_the_broken_rule_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    given = run(capsys, "check", "my.py:NoSite", "--data", "digits", "--json")
    assert given.code == 1
    report = json.loads(given.out)
    broken = [result for result in report["results"] if result["verdict"] == "broken"]
    assert (report["ok"], report["model"], report["data"]) == (False, "my.py:NoSite", "digits")
    assert [(result["check"], result["where"]) for result in broken] == [("check_sites_match", "site 'z'")]
    table = run(capsys, "check", "my.py:NoSite", "--data", "digits")
    assert table.code == 1
    assert "broken" in table.out
    assert "site 'z'" in table.out


@pytest.mark.slow
def test_check_of_a_sound_pair_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    given = run(capsys, "check", "vae", "--data", "digits", *SMALL)
    assert given.code == 0
    assert re.fullmatch(r"vae: \d+ rules hold(, \d+ says? nothing of it)?\.\n", given.out)


def test_no_command_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    given = run(capsys)
    assert given.code == 0
    assert all(f"│ {name} " in given.out for name in COMMANDS)


def test_every_option_of_every_command_has_a_help_text_and_every_command_an_example() -> None:
    group: Any = typer.main.get_command(app)
    assert set(group.commands) == set(COMMANDS)
    for name, command in group.commands.items():
        assert f"ppgen {name}" in command.epilog
        assert [p.name for p in command.params if not p.help] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert f"Usage: ppgen {command}" in run(capsys, command, "--help").out


def test_the_page_describes_every_command_and_option() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        flags = [max(parameter.opts, key=len) for parameter in command.params if parameter.param_type_name == "option"]
        assert [flag for flag in flags if f"`{flag}" not in section] == [], f"docs/cli.md lacks options of {name}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ppgen tr", ["train"]),
        ("ppgen train v", ["vade", "vae", "vq_vae"]),
        ("ppgen train vae --data dig", ["digits"]),
        ("ppgen train vae --objective iw", ["iwelbo"]),
        ("ppgen train vae --schedule co", ["constant", "cosine"]),
        ("ppgen train vae --data digits -D bin", ["binarize="]),
        ("ppgen train vae --objective beta -O free", ["free_bits="]),
        ("ppgen train vae -M latent_dim", ["latent_dim=", "latent_dims="]),
        ("ppgen list mo", ["models"]),
        ("ppgen evaluate r --split t", ["train", "test"]),
    ],
)
def test_the_shell_completes_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, expected: list[str]
) -> None:
    monkeypatch.setenv("_PPGEN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == expected


def test_python_runs_the_package(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["ppgen", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("ppgen", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr() == (f"{ppgen.__version__}\n", "")


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[BaseProcess]:
    """A training in a process of its own that would take hours."""
    forever = ["1000000" if argument == "3" else argument for argument in QUICK]
    with started(command_line, [*forever, "--out", "r"], tmp_path / "said") as process:
        yield process


def test_ctrl_c_writes_the_checkpoint_and_resume_goes_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, endless: BaseProcess
) -> None:
    deadline = time.monotonic() + 60
    while not (tmp_path / "r" / "metrics.jsonl").exists():
        assert time.monotonic() < deadline, "the training did not start"
        time.sleep(0.05)
    assert endless.pid is not None
    os.kill(endless.pid, signal.SIGINT)
    endless.join(timeout=30)
    assert endless.exitcode == 130
    assert (
        tmp_path / "said"
    ).read_text() == "ppgen: stopped; r holds the run: go on with the same command and --resume.\n"
    turn = read_checkpoint(tmp_path / "r" / "checkpoint.safetensors")[1]["turn"]
    assert turn >= 100
    longer = [str(turn + 2) if argument == "3" else argument for argument in QUICK]
    assert f"after {turn + 2} steps" in run(capsys, *longer, "--out", "r", "--resume").out


def test_debug_adds_the_traceback_wherever_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--debug", *QUICK, "--lr", "0"], [*QUICK, "--lr", "0", "--debug"]):
        given = run(capsys, *arguments)
        assert given.code == 2
        assert given.err.startswith("Traceback (most recent call last)")
        assert given.err.endswith("ppgen: lr must be a number above 0, got 0.0.\n")


def test_a_defect_of_ours_asks_for_a_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr("ppgen.cli.listing.print_table", json.loads)
    given = run(capsys, "list")
    assert given.code == 70
    assert "this is a defect of ppgen; please report it with what --debug shows." in given.err
    assert given.err.count("\n") == 1
