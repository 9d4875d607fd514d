"""Bad input on the command line: exit code 2, one sentence, nothing half-written, nothing lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from torch import Tensor

from ppgen.cli.errors import BAD_INPUT, explain
from ppgen.data import Dataset, DataSpec
from ppgen.errors import shell
from ppgen.files.checkpoint import read_checkpoint
from ppgen.registry import DATA
from tests.cli_cases import QUICK, RESUME, USER_FILE, files, run

Capture: TypeAlias = pytest.CaptureFixture[str]
TRAIN = ["train", "vae", "--data", "digits", "--objective", "elbo", "--steps", "3", "--eager"]

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")

NAMES: dict[str, tuple[list[str], str]] = {
    "model": (["train", "vea", *TRAIN[2:]], "got 'vea': did you mean 'vae'? Known names: "),
    "objective": (
        [*QUICK, "--objective", "iwlbo"],
        "got 'iwlbo': did you mean 'iwelbo'? Known names: ali, analytic_kl, ",
    ),
    "data": ([*QUICK, "--data", "digit"], "got 'digit': did you mean 'digits'? Known names: "),
    "data to check": (["check", "vae", "--data", "digit"], "got 'digit': did you mean 'digits'? Known names: "),
    "kind": (["list", "moddels"], "got 'moddels': did you mean 'models'? Known names: data, models, objectives."),
    "command": (["trian"], "No such command 'trian'. Did you mean 'train'?; see `ppgen --help`."),
    "option": ([*QUICK, "--epoch", "3"], "No such option: --epoch (Possible options: --epochs"),
    "file": (["train", "none.py:A", *TRAIN[2:]], "expected a Python file, got 'none.py', which does not exist"),
}
OPTIONS: dict[str, tuple[list[str], str]] = {
    "model": (
        [*TRAIN, "-M", "latentdim=3"],
        "no option 'latentdim': did you mean 'latent_dim'? Known names: activation",
    ),
    "objective": ([*TRAIN, "-O", "particles=3"], "'elbo' has no option 'particles'"),
    "data": (
        [*TRAIN, "-D", "binarise=none"],
        "has no option 'binarise': did you mean 'binarize'? Known names: binarize",
    ),
    "no value": ([*TRAIN, "-M", "latent_dim"], "-M expects key=value, got 'latent_dim': write for example -M latent_"),
    "twice": ([*TRAIN, "-M", "latent_dim=2", "-M", "latent_dim=3"], "-M latent_dim is given twice, as 2 and as '3'"),
    "wrong type": ([*TRAIN, "-M", "latent_dim=two"], "latent_dim must be a whole number of at least 1, got 'two'."),
    "labels that the model does not take": ([*TRAIN, "-D", "labels=True"], "y"),
    "labels that the data lack": (
        ["train", "cvae", "--data", "linear_gaussian", *TRAIN[4:]],
        "data set 'linear_gaussian' has no labels",
    ),
}
NUMBERS: dict[str, tuple[list[str], str]] = {
    "K = 0 in training": (
        [*QUICK, "-O", "num_particles=0"],
        "num_particles of IWELBO must be a whole number of at least 1, or a schedule of such, got 0.",
    ),
    "K that is no number": (
        [*QUICK, "-O", "num_particles=many"],
        "or a schedule of such, got 'many'.",
    ),
    "order that is no number": ([*QUICK, "--objective", "renyi", "-O", "alpha=half"], "got 'half'"),
    "negative epochs": (
        ["train", "vae", "--data", "digits", "--objective", "elbo", "--epochs", "-1"],
        "epochs must be a whole number of at least 1, got -1.",
    ),
    "epochs that are no number": ([*TRAIN[:6], "--epochs", "few"], "Invalid value for '--epochs'"),
    "epochs and steps": (
        [*TRAIN, "--epochs", "2"],
        "--epochs 2 and --steps 3 both set the length of training: give one",
    ),
    "no steps": ([*QUICK, "--steps", "0"], "steps must be a whole number of at least 1, got 0."),
    "empty batch": ([*QUICK, "--batch-size", "0"], "batch_size must be a whole number of at least 1, got 0."),
    "seed": ([*QUICK, "--seed", "-1"], "seed must be a whole number of at least 0, got -1."),
    "learning rate": ([*QUICK, "--lr", "nan"], "lr must be a number above 0, got nan."),
    "schedule": ([*QUICK, "--schedule", "cosin"], "got 'cosin': did you mean 'cosine'? Known names: ConstantLR, "),
    "schedule's option": ([*QUICK, "--schedule", "StepLR(size=3)"], "StepLR has no option 'size': did you mean 'step_"),
    "optimizer of a comparison": (
        ["compare", "vae", "--data", "digits", "--objectives", "elbo", "--optimizer", "SDG()"],
        "got 'SDG()': did you mean 'SGD'? Known names: Adagrad, Adam, ",
    ),
    "schedule without its option": ([*QUICK, "--schedule", "StepLR"], "schedule StepLR has no learning rate at step 0"),
    "optimizer": ([*QUICK, "--optimizer", "Adm"], "got 'Adm': did you mean 'Adam'? Known names: Adagrad, Adam, "),
    "optimizer's option": ([*QUICK, "--optimizer", "SGD(momentm=1)"], "SGD has no option 'momentm': did you mean 'mo"),
    "optimizer's value": ([*QUICK, "--optimizer", "SGD(momentum='x')"], "momentum of SGD must be a number, got 'x'"),
    "optimizer's range": ([*QUICK, "--optimizer", "SGD(momentum=-1)"], "cannot be made: Invalid momentum value: -1."),
    "optimizer that is code": ([*QUICK, "--optimizer", "print(1)"], "expected an optimizer, such as SGD(momentum=0.9)"),
    "device": ([*QUICK, "--device", "tpu"], "expected a device (auto, cpu, cuda), got 'tpu'."),
    "device without memory": ([*QUICK, "--device", "meta"], "expected a device (auto, cpu, cuda), got 'meta'."),
    "missing data": (TRAIN[:2], "no data is named (--data NAME): write for example ppgen train vae --data digits"),
    "missing model": (["train"], "no model is named (MODEL): write for example ppgen train vae --data digits"),
    "batch to check": (
        ["check", "vae", "--data", "digits", "--batch-size", "0"],
        "--batch-size must be at least 1, got 0.",
    ),
}


@pytest.mark.parametrize(
    "case", [*NAMES.values(), *OPTIONS.values(), *NUMBERS.values()], ids=[*NAMES, *OPTIONS, *NUMBERS]
)
def test_a_command_with_a_wrong_word_says_what_is_right_and_writes_nothing(
    capsys: Capture, tmp_path: Path, case: tuple[list[str], str]
) -> None:
    arguments, expected = case
    assert expected in run(capsys, *arguments).sentence
    assert files(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said_to_be_missing(capsys: Capture, tmp_path: Path) -> None:
    assert "torch sees no GPU here: use --device cpu." in run(capsys, *QUICK, "--device", "cuda").sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--particles", "0"], "particles must be at least 1, got 0."),
        (["--split", "tets"], "unknown split 'tets': did you mean 'test'? Known names: test, train, valid."),
        (["--num-data", "0"], "num_data must lie between 2 and 300"),
        (["--num-data", "301"], "num_data must lie between 2 and 300"),
    ],
)
def test_an_evaluation_that_makes_no_sense_is_refused(
    capsys: Capture, a_run: Path, arguments: list[str], expected: str
) -> None:
    before = files(a_run)
    assert expected in run(capsys, "evaluate", a_run, *arguments).sentence
    assert files(a_run) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-n", "0"], "samples must be at least 1, got 0."),
        (["--out", "samples.gif"], "samples are written as .png, .csv, .npz, got 'samples.gif'"),
        (["--out", "r/config.json/samples.png"], "cannot make the folder r/config.json"),
    ],
)
def test_samples_that_cannot_be_written_are_refused(
    capsys: Capture, a_run: Path, arguments: list[str], expected: str
) -> None:
    before = files(a_run)
    assert expected in run(capsys, "sample", a_run, *arguments).sentence
    assert files(a_run) == before


@pytest.mark.parametrize("command", ["evaluate", "sample", "report"])
@pytest.mark.parametrize("place", ["nowhere", "empty", "a_file"])
def test_a_place_that_holds_no_run_is_refused(capsys: Capture, tmp_path: Path, command: str, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a_file").write_text("{}")
    expected = f"expected a run at {place}, found no config.json in it: name the --out of a `ppgen train`."
    assert run(capsys, command, place).sentence == expected
    assert files(tmp_path) == {"a_file": b"{}"}


def test_an_out_that_holds_a_run_is_refused(capsys: Capture, a_run: Path) -> None:
    before = files(a_run)
    assert "r holds a run already: add --resume" in run(capsys, *QUICK, "--out", "r").sentence
    assert files(a_run) == before


@pytest.mark.parametrize("name", ["evaluation.json", "metrics.jsonl"])
def test_a_folder_in_the_place_of_a_file_is_refused(capsys: Capture, a_run: Path, name: str) -> None:
    (a_run / name).unlink(missing_ok=True)
    (a_run / name).mkdir()
    before = files(a_run)
    assert f"r/{name} must be a file, and is none" in run(capsys, *RESUME, "--out", "r").sentence
    assert files(a_run) == before


def test_a_resume_with_other_options_is_refused(capsys: Capture, a_run: Path) -> None:
    before = files(a_run)
    said = run(capsys, *RESUME, "--out", "r", "--lr", "0.5").sentence
    assert "the run to resume was begun with training lr = 0.001, this one has 0.5" in said
    assert files(a_run) == before


@pytest.mark.parametrize("out", ["a_file", "a_file/r", "/proc/r", "/proc/self/cmdline/r", "long" * 100])
def test_an_out_that_cannot_be_written_is_refused(capsys: Capture, tmp_path: Path, out: str) -> None:
    (tmp_path / "a_file").write_text("mine")
    assert out.split("/")[-1] in run(capsys, *QUICK, "--out", out).sentence
    assert files(tmp_path) == {"a_file": b"mine"}


PAIRS = {
    "NoSite": "site 'z' is latent in the model and missing in the guide",
    "Broadcasts": "site 'x': its observed value has shape (20, 1), which does not fit its plates",
    "Whole": "site 'x': Bernoulli takes no values of torch.int64 (RuntimeError: ",
    "Misspelt": "'DataSpec' object has no attribute 'features': did you mean 'num_features'? Known names: ",
    "NotAPair": "expected a pair, an object with methods model(*batch) and guide(*batch), got NotAPair",
    "Raises": "raised KeyError: 'no such thing'.",
    "Mien": "my.py has no class 'Mien': did you mean 'Mine'? Known names: ",
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_that_cannot_be_trained_is_refused(capsys: Capture, tmp_path: Path, name: str) -> None:
    (tmp_path / "my.py").write_text(USER_FILE)
    before = files(tmp_path)
    assert PAIRS[name] in run(capsys, "train", f"my.py:{name}", *TRAIN[2:]).sentence
    assert {path: data for path, data in files(tmp_path).items() if "__pycache__" not in path} == before


def test_an_error_in_the_users_file_is_told_with_its_line(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(USER_FILE)
    line = USER_FILE[: USER_FILE.index("raise KeyError")].count("\n") + 1
    said = run(capsys, "train", "my.py:Raises", *TRAIN[2:]).sentence
    assert said == f"{tmp_path / 'my.py'}:{line} raised KeyError: 'no such thing'."


def test_a_file_that_is_no_python_is_told_with_its_line(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text("\ndef f(:\n")
    assert "my.py cannot be imported (SyntaxError: " in run(capsys, "train", "my.py:A", *TRAIN[2:]).sentence


def test_numbers_that_are_not_finite_stop_training_and_leave_the_checkpoint(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(USER_FILE)
    quick = [*TRAIN[2:6], "--steps", "5000", "--eager", "--lr", "0.3", "--schedule", "constant", "--out", "r"]
    said = run(capsys, "train", "my.py:Diverges", *quick).sentence
    assert "training stopped at step " in said
    assert "the log-probability of site 'runaway' of the model is not finite" in said
    tensors, facts = read_checkpoint(tmp_path / "r" / "checkpoint.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert facts["turn"] < int(said.split("stopped at step ")[1].split(":")[0])
    assert set(files(tmp_path / "r")) <= {
        "config.json",
        "metrics.jsonl",
        "checkpoint.safetensors",
        "snapshots.safetensors",
    }


def _vectors(rows: int, bad: float = 0.0) -> Tensor:
    x = torch.zeros(rows, 4)
    x[2:3, 1] = bad
    return x


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (_vectors(5, float("nan")), "train of data 'broken' must hold finite numbers, got nan in row 2, column 1"),
        (_vectors(5, float("inf")), "train of data 'broken' must hold finite numbers, got inf in row 2, column 1"),
        (_vectors(5, 0.5), "train of data 'broken' must hold 0 or 1, got 0.5 in row 2, column 1"),
        (_vectors(0), "train of data 'broken' is empty: give it at least one row."),
        (torch.zeros(5, 3), "x in train of data 'broken' must be a floating-point tensor of shape (B, 4), got (5, 3)"),
    ],
    ids=["NaN", "infinity", "not binary", "empty", "shape"],
)
def test_data_that_is_not_what_it_says_is_refused(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: Tensor, expected: str
) -> None:
    def broken() -> Dataset:
        return Dataset(DataSpec("broken", 4, "binary"), (train,), (_vectors(2),), (_vectors(2),))

    monkeypatch.setitem(DATA._specs, "broken", replace(DATA["digits"], name="broken", cls=broken))
    assert expected in run(capsys, *QUICK, "--data", "broken").sentence
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_data_that_is_cut_is_named(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("PPGEN_DATA", str(tmp_path / "data"))
    for name in ("binarized_mnist.npz", "binarized_mnist_train.amat"):
        (tmp_path / "data" / name).write_bytes(b"PK\x03\x04 cut")
    assert "binarized_mnist" in run(capsys, *QUICK, "--data", "binarized_mnist", "--out", "r").sentence
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 TB")])
def test_too_little_memory_says_what_to_lower(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, a_run: Path, error: Exception
) -> None:
    def too_much(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("ppgen.evaluation.bounds.log_weight_chunks", too_much)
    said = run(capsys, "evaluate", "r").sentence
    what = "an evaluation of 300 data with K = 1000 particles takes more memory than there is"
    assert said == f"{what}: lower particles, num_samples or num_data."
    lower = "lower --batch-size, --particles or the objective's num_particles."
    with shell():
        assert explain(error) == (BAD_INPUT, f"out of memory: {lower}")  # wherever else it is met
