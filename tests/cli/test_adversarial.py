"""The command line with a pair without a density: trained, resumed, checked, sampled, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ppgen.files.checkpoint import read_checkpoint
from ppgen.objectives.adversarial import Adversarial
from ppgen.registry import OBJECTIVES
from tests.cli_cases import run

TRAIN = ["train", "gan", "--data", "ring", "-D", "num_data=400", "-M", "latent_dim=2", "-M", "hidden=[4]", "--eager"]
GAMES = [name for name, spec in OBJECTIVES.items() if isinstance(spec.cls, type) and issubclass(spec.cls, Adversarial)]

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.mark.parametrize("objective", GAMES)
def test_both_players_losses_are_on_record(capsys: pytest.CaptureFixture[str], objective: str) -> None:
    given = run(capsys, *TRAIN, "--objective", objective, "-O", "hidden=[4]", "--steps", "3", "--out", "r")
    assert given.code == 0, given.err
    assert "validation loss of the critic " in given.out
    lines = [json.loads(line) for line in Path("r/metrics.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["split"] == "train"]
    assert {"critic/loss", "critic/real", "critic/fake", "generator/loss"} <= train[-1].keys()


def test_a_run_cut_in_two_ends_with_the_bits_of_a_whole_one(capsys: pytest.CaptureFixture[str]) -> None:
    options = [*TRAIN, "--objective", "wasserstein_gp", "-O", "hidden=[4]", "--schedule", "constant"]
    assert run(capsys, *options, "--steps", "6", "--out", "whole").code == 0
    assert run(capsys, *options, "--steps", "2", "--out", "cut").code == 0
    assert run(capsys, *options, "--steps", "6", "--out", "cut", "--resume").code == 0
    one, two = (read_checkpoint(Path(name) / "checkpoint.safetensors")[0] for name in ("whole", "cut"))
    assert one.keys() == two.keys()
    assert {name.partition(".")[0] for name in one} >= {"learner", "optimizer", "random"}
    assert any(name.startswith("learner.objective.") for name in one)
    assert all(one[name].equal(two[name]) for name in one)


def test_a_trained_generator_is_sampled(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *TRAIN, "--objective", "mmd", "--steps", "2", "--out", "r").code == 0
    assert run(capsys, "sample", "r", "-n", "7", "--out", "s.npz").code == 0
    with np.load("s.npz") as arrays:
        assert arrays["x"].shape == (7, 2)


@pytest.mark.thorough
def test_the_pair_keeps_the_rules_that_apply(capsys: pytest.CaptureFixture[str]) -> None:
    given = run(capsys, "check", "gan", "--data", "ring", "-D", "num_data=400", "-M", "hidden=[4]", "--json")
    assert given.code == 0, given.out
    verdicts = {rule["check"]: (rule["verdict"], rule["message"]) for rule in json.loads(given.out)["results"]}
    reason = "the pair is implicit: it states how x is drawn, and no density of x"
    assert verdicts.pop("check_log_weights") == ("not applicable", reason)
    assert verdicts.pop("check_loss_falls") == ("not applicable", reason)
    assert verdicts.pop("check_stock_svi") == ("not applicable", reason)
    for rule in ("check_reads_earlier_features", "check_draws_in_turn", "check_entropy_of_draws"):
        assert verdicts.pop(rule)[0] == "not applicable"
    assert {verdict for verdict, _ in verdicts.values()} == {"held"}


def test_grey_levels_train_and_their_range_is_the_generators(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["train", "gan", "--data", "digits", "-D", "binarize=none", "-M", "hidden=[4]", "--objective", "dragan"]
    assert run(capsys, *options, "-O", "hidden=[4]", "--steps", "1", "--eager", "--out", "r").code == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--objective", "elbo"], "ELBO needs a density of x, and GAN is implicit"),
        (["--objective", "minimax", "--patience", "3"], "Minimax validates the loss of one of its players"),
        (["--objective", "pcd"], "PCD needs an energy-based pair"),
        (["--objective", "minimax", "-O", "smoothing=[0.1,0.1]"], "smoothing of Minimax must be one number"),
        (["--objective", "wasserstein_gp", "-O", "smoothing=0.1"], "has no option 'smoothing'"),
        (["--objective", "minimax", "-O", "critic_steps=0"], "critic_steps of Minimax must be"),
        (["--objective", "minimax", "-M", "output=sigmoid"], "rescale the data, or choose output='identity'"),
    ],
)
def test_what_cannot_work_is_refused(capsys: pytest.CaptureFixture[str], options: list[str], sentence: str) -> None:
    assert sentence in run(capsys, *TRAIN, *options, "--steps", "1", "--out", "r").sentence
    assert not Path("r").exists()


def test_a_pair_without_differentiable_draws_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["train", "vae", "--data", "digits", "-M", "hidden=[4]", "--objective", "nonsaturating", "--steps", "1"]
    assert "site 'x' of the model is not reparameterized" in run(capsys, *options, "--eager", "--out", "r").sentence


def test_a_checkpoint_of_another_critic_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    options = [*TRAIN, "--objective", "minimax", "--steps", "2", "--out", "r"]
    assert run(capsys, *options, "-O", "hidden=[4]").code == 0
    assert "begun with objective options" in run(capsys, *options, "-O", "hidden=[5]", "--resume").sentence


def test_a_refusal_within_the_first_turn_leaves_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    line = [*TRAIN, "--objective", "nonsaturating", "-O", "minibatch_features=3", "--steps", "2", "--out", "r"]
    given = run(capsys, *line, "--batch-size", "1")
    assert given.code == 2
    assert "at least 2 in training, got 1: raise batch_size." in given.err
    assert not Path("r").exists()
    assert run(capsys, *line, "--batch-size", "1", "--out", "other").code == 2
    assert run(capsys, *line, "--batch-size", "2").code == 0


def test_a_refusal_leaves_a_run_that_was_there(capsys: pytest.CaptureFixture[str]) -> None:
    line = [*TRAIN, "--objective", "nonsaturating", "--steps", "2", "--out", "r"]
    assert run(capsys, *line).code == 0
    before = {path.name: path.read_bytes() for path in Path("r").iterdir()}
    assert run(capsys, *line, "-M", "output=sigmoid", "--resume").code == 2
    assert {path.name: path.read_bytes() for path in Path("r").iterdir()} == before


def test_a_divergence_speaks_of_no_scales_where_there_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    given = run(capsys, *TRAIN, "--objective", "nonsaturating", "--lr", "1e30", "--steps", "9", "--out", "r")
    assert given.code == 2
    assert "is not finite" in given.err
    assert given.err.endswith("or set clip_norm.\n")
    assert Path("r/checkpoint.safetensors").exists()  # that of before


def test_sources_are_told_from_labels(capsys: pytest.CaptureFixture[str]) -> None:
    given = run(capsys, "train", "gan", "--data", "affine_moons", "--objective", "mmd", "--steps", "1", "--out", "r")
    assert given.code == 2
    assert "the second are sources; choose a model that translates them" in given.err
    assert "labels" not in given.err


def test_what_is_recommended_is_spelled_as_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["-M", "hidden=[4]", "-M", "channels=[2,2]", "-M", "latent_dim=2", "--steps", "2", "--eager"]
    given = run(capsys, "train", "lapgan", "--data", "digits", "-D", "binarize=none", *small, "--out", "r")
    assert given.code == 0, given.err
    assert "games=wasserstein_gp(hidden=(256, 256), critic_steps=1), nonsaturating(critic='conv'" in given.err
    assert "{" not in given.err


def test_samples_of_a_translation_are_from_sources(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["-D", "num_data=60", "-M", "hidden=[4]", "--steps", "1", "--eager", "--out", "r"]
    assert run(capsys, "train", "cyclegan", "--data", "affine_moons", *line).code == 0
    assert run(capsys, "sample", "r", "-n", "4").out.endswith("4 samples from the sources\n")
