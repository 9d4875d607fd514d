"""A run whose files were cut, edited or lost: refused with one sentence, and left as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ppgen.files.checkpoint import read_checkpoint
from tests.cli_cases import QUICK, RESUME, files, run

Capture: TypeAlias = pytest.CaptureFixture[str]
Tensors: TypeAlias = dict[str, Tensor]
Facts: TypeAlias = dict[str, Any]

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def _bytes(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return edit


def _checkpoint(change: Callable[[Tensors, Facts], tuple[Tensors, Any]]) -> Callable[[Path], None]:
    """Tensors and facts of the checkpoint, changed by hand."""

    def edit(folder: Path) -> None:
        file = folder / "checkpoint.safetensors"
        with safe_open(file, "pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # no iterator
            facts = json.loads(opened.metadata()["facts"])
        tensors, facts = change(tensors, facts)
        save_file(tensors, file, {"facts": json.dumps(facts)})

    return edit


def _config(*path: str, value: Any) -> Callable[[Path], None]:
    """One entry of config.json, changed by hand."""

    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        *parents, last = path
        place = config
        for parent in parents:
            place = place[parent]
        place[last] = value
        (folder / "config.json").write_text(json.dumps(config))

    return edit


def _without(prefix: str) -> Callable[[Path], None]:
    return _checkpoint(lambda t, f: ({name: v for name, v in t.items() if not name.startswith(prefix)}, f))


def _with_fact(name: str, value: Any) -> Callable[[Path], None]:
    return _checkpoint(lambda t, f: (t, {**f, name: value}))


def _each(prefix: str, change: Callable[[Tensor], Tensor]) -> Callable[[Path], None]:
    return _checkpoint(lambda t, f: ({n: change(v) if n.startswith(prefix) else v for n, v in t.items()}, f))


DAMAGE_TO_ALL: dict[str, Callable[[Path], None]] = {
    "checkpoint cut": _bytes("checkpoint.safetensors", lambda b: b[: len(b) // 2]),
    "checkpoint cut in its header": _bytes("checkpoint.safetensors", lambda b: b[:100]),
    "checkpoint empty": _bytes("checkpoint.safetensors", lambda b: b""),
    "checkpoint of noise": _bytes("checkpoint.safetensors", lambda b: b"noise" * 1000),
    "checkpoint a pickle": _bytes("checkpoint.safetensors", lambda b: b"\x80\x04N."),
    "checkpoint header edited": _bytes("checkpoint.safetensors", lambda b: b.replace(b"facts", b"fatcs", 1)),
    "checkpoint without parameters": _without("learner."),
    "checkpoint of other shapes": _each("learner.", lambda v: v[..., :1].clone()),
    "checkpoint with NaN": _each("learner.", lambda v: v * float("nan")),
    "config cut": _bytes("config.json", lambda b: b[:50]),
    "config empty": _bytes("config.json", lambda b: b""),
    "config of noise": _bytes("config.json", lambda b: b"\xff\xfe\x00"),
    "config a list": _bytes("config.json", lambda b: b"[1]"),
    "config's model a list": _config("model", value=[1]),
    "config's model without options": _config("model", value={"name": "vae"}),
    "config's model unknown": _config("model", "name", value="vea"),
    "config's model a file": _config("model", "name", value="elsewhere.py:Pair"),
    "config's model with another option": _config("model", "options", "latentdim", value=3),
    "config's model of another size": _config("model", "options", "latent_dim", value=3),
    "config's model options a list": _config("model", "options", value=[1]),
    "config's data unknown": _config("data", "name", value="digit"),
    "config's data with another option": _config("data", "options", "size", value=3),
    "config's data options a word": _config("data", "options", value="all"),
    "config's objective empty": _config("objective", value={}),
    "config's objective unknown": _config("objective", "name", value="iwlbo"),
    "config's objective K = 0": _config("objective", "options", "num_particles", value=0),
    "config's spec empty": _config("spec", value={}),
    "config's spec a list": _config("spec", value=[1]),
    "config's spec of another size": _config("spec", "num_features", value=10),
    "metrics of noise": _bytes("metrics.jsonl", lambda b: b"\xff" * len(b)),
    "metrics of braces": _bytes("metrics.jsonl", lambda b: b"}" * len(b)),
}
DAMAGE_TO_RESUME: dict[str, Callable[[Path], None]] = {
    "checkpoint without random numbers": _without("random."),
    "checkpoint with other random numbers": _each("random.", torch.zeros_like),
    "checkpoint without optimizer": _without("optimizer."),
    "checkpoint with an optimizer of other shapes": _each("optimizer.", lambda v: v.reshape(-1)[:1].clone()),
    "checkpoint without turn": _checkpoint(lambda t, f: (t, {n: v for n, v in f.items() if n != "turn"})),
    "checkpoint with a turn in words": _with_fact("turn", "three"),
    "checkpoint with a negative turn": _with_fact("turn", -3),
    "checkpoint with other sums": _with_fact("sums", 3),
    "checkpoint with other metrics": _with_fact("metrics", "all"),
    "checkpoint with a list of facts": _checkpoint(lambda t, f: (t, [1, 2])),
    "config's training a list": _config("training", value=[1]),
    "metrics cut": _bytes("metrics.jsonl", lambda b: b[:20]),
    "metrics shifted": _bytes("metrics.jsonl", lambda b: b'{"step": 1}\n' + b),
    "metrics gone": lambda folder: (folder / "metrics.jsonl").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE_TO_ALL)
def test_a_damaged_run_is_refused_and_left_alone(capsys: Capture, a_run: Path, damage: str) -> None:
    DAMAGE_TO_ALL[damage](a_run)
    before = files(a_run)
    assert run(capsys, "evaluate", "r", "--particles", "2", "--num-data", "3").sentence
    assert files(a_run) == before


@pytest.mark.parametrize("damage", DAMAGE_TO_ALL | DAMAGE_TO_RESUME)
def test_a_damaged_run_is_not_gone_on_with_and_left_alone(capsys: Capture, a_run: Path, damage: str) -> None:
    (DAMAGE_TO_ALL | DAMAGE_TO_RESUME)[damage](a_run)
    before = files(a_run)
    assert run(capsys, *RESUME, "--out", "r").sentence
    assert files(a_run) == before


def test_a_run_without_its_checkpoint_cannot_be_evaluated_and_resumes_from_the_beginning(
    capsys: Capture, a_run: Path
) -> None:
    whole = read_checkpoint(a_run / "checkpoint.safetensors")[0]
    (a_run / "checkpoint.safetensors").unlink()
    assert "found none: train first, or name another run." in run(capsys, "evaluate", "r").sentence
    assert run(capsys, *QUICK, "--out", "r", "--resume").code == 0
    again = read_checkpoint(a_run / "checkpoint.safetensors")[0]
    assert all(torch.equal(whole[name], again[name]) for name in whole)
