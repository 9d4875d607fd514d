"""Training with products of another precision: what is rounded, what is not, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.cli import main
from ppgen.inference import ELBO
from ppgen.models import VAE
from ppgen.objectives.turns import Outcome
from tests.doubles import Line
from tests.doubles import data as lines

QUICK: dict[str, Any] = {"batch_size": 10, "lr": 1e-2, "validate_every": 5, "device": "cpu"}
X = (torch.rand(40, 6, generator=torch.Generator().manual_seed(7)) < 0.4).float()
DATA = ppgen.dataset_from(X[:30], valid=X[30:])


def _fitted(steps: int = 5, **options: Any) -> ppgen.Run:
    torch.manual_seed(0)
    pair = VAE(DATA.spec, 2, hidden=(4,))
    return ppgen.fit(pair, DATA, ELBO(), steps=steps, **{**QUICK, "eager": True, **options})


def _parameters(run: ppgen.Run) -> Tensor:
    return torch.nn.utils.parameters_to_vector(run.pair.parameters()).detach()


def test_bf16_rounds_the_gradient_and_leaves_parameters_and_validation_in_float32() -> None:
    """One step of SGD: the parameters' change is the gradient's, whose products are rounded to 8 bits."""
    options: dict[str, Any] = {"steps": 1, "optimizer": "SGD", "schedule": "constant", "lr": 1.0}
    start, exact, rounded = (
        _parameters(_fitted(**{**options, **more})) for more in ({"lr": 1e-30}, {}, {"precision": "bf16"})
    )
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).norm() / (exact - start).norm() < 0.05  # a few products in a row, each off by 2^-8


def test_the_bound_is_reported_of_log_weights_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    outcome = ELBO.outcome

    def noted(self: ELBO, particles: Any, estimate: Any) -> Outcome:
        seen.append(particles.log_w.dtype)
        return outcome(self, particles, estimate)

    monkeypatch.setattr(ELBO, "outcome", noted)
    _fitted(precision="bf16")
    assert set(seen) == {torch.float32}


def test_validation_is_in_full_precision() -> None:
    """At the same parameters: after no step that moves them."""
    one, other = (_fitted(lr=1e-30, precision=precision) for precision in ("float32", "bf16"))
    bounds = [[line["bound"] for line in run.metrics if line["split"] == "valid"] for run in (one, other)]
    assert bounds[0] == bounds[1]
    assert [line["bound"] for line in one.metrics] != [line["bound"] for line in other.metrics]


def test_float32_is_the_default_and_changes_no_bit() -> None:
    assert torch.equal(_parameters(_fitted()), _parameters(_fitted(precision="float32")))


@pytest.mark.thorough
def test_a_compiled_step_in_bf16_is_the_eager_one() -> None:
    one, other = (_parameters(_fitted(precision="bf16", eager=eager)) for eager in (True, False))
    assert not torch.equal(one, _parameters(_fitted()))
    assert torch.allclose(one, other, atol=2e-3)  # five steps of Adam at 1e-2, products in 8 bits


def test_the_precision_is_in_the_record_and_the_same_on_resume(tmp_path: Path) -> None:
    _fitted(out=tmp_path / "run", precision="bf16")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["precision"] == "bf16"
    with pytest.raises(ppgen.UsageError, match="training precision = 'bf16', this one has 'float32'"):
        _fitted(steps=10, out=tmp_path / "run", resume=True)
    _fitted(steps=10, out=tmp_path / "run", resume=True, precision="bf16")


def test_a_pair_in_float64_is_refused() -> None:
    with pytest.raises(ppgen.UsageError, match=r"precision 'bf16' rounds the products of float32.*'pair.*float64"):
        ppgen.fit(Line().double(), lines(20).to(torch.float64), ELBO(), steps=1, eager=True, precision="bf16")


def test_an_unknown_precision_is_one_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ["train", "vae", "--data", "digits", "--objective", "elbo", "--precision", "fp16", "--out", str(out)]
    assert main(command) == 2
    assert "precision must be 'float32' or 'tf32' or 'bf16', got 'fp16'." in capsys.readouterr().err
    assert not out.exists()
