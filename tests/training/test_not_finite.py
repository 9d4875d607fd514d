"""Numbers that are not finite stop training, with site and step."""

from __future__ import annotations

from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import ELBO
from tests.training.test_training import QUICK, _data


class _Explodes(ppgen.Pair):
    """log scale = rate * a parameter that grows without bound."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_features))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))  # (K, B)
            pyro.sample("x", dist.Bernoulli(logits=self.logits + z[..., None]).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.logits.sum().exp().exp().log() * x.new_ones(len(x)), 1.0))


def test_a_number_that_is_not_finite_stops_training_with_site_and_step(tmp_path: Path) -> None:
    data = _data()
    with pytest.raises(ppgen.UsageError, match=r"stopped at step \d+: the .*'z' of the guide is not finite"):
        ppgen.fit(_Explodes(6), data, ELBO(), steps=200, out=tmp_path, **{**QUICK, "lr": 10.0, "validate_every": 1})
    tensors, facts = read_checkpoint(tmp_path / "checkpoint.safetensors")
    assert all(value.isfinite().all() for name, value in tensors.items() if name.startswith("learner."))
    assert facts["turn"] >= 0


class _Overflows(_Explodes):
    """sqrt(0) has a finite value and an infinite derivative."""

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            shift = (self.logits.sum() * 0.0).sqrt()
            pyro.sample("z", dist.Normal(shift * x.new_ones(len(x)), 1.0))


def test_a_gradient_that_is_not_finite_is_named_by_its_parameter() -> None:
    data = _data()
    with pytest.raises(ppgen.UsageError, match=r"gradient of parameter 'pair.logits' is not finite"):
        ppgen.fit(_Overflows(6), data, ELBO(), steps=3, **QUICK)
