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
from ppgen.pairs.nonfinite import ALL_FINITE, first_nonfinite
from ppgen.pairs.tracing import Program
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


class _RarelyInfinite(_Explodes):
    """log p(x | z) is not finite where |z| is above 2.5: of 1 in 80 draws."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))  # (K, B)
            rare = torch.where(z.abs() > 2.5, torch.inf, 0.0)
            pyro.sample("x", dist.Bernoulli(logits=self.logits + (z + rare)[..., None]).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))


@pytest.mark.parametrize("seed", range(3))
def test_the_failing_draw_is_made_again_so_that_its_site_is_named(seed: int) -> None:
    """One draw more of a finite step would name no site in most runs."""
    with pytest.raises(ppgen.UsageError, match=r"log-probability of site 'x' of the model is not finite"):
        ppgen.fit(_RarelyInfinite(6), _data(), ELBO(), steps=200, **{**QUICK, "seed": seed})


def test_the_parameter_of_a_site_that_is_not_finite_is_named() -> None:
    pair, x = _Explodes(6), torch.zeros(3, 6)
    with torch.no_grad():
        pair.logits.fill_(torch.inf)
    said = first_nonfinite(Program(pair.model, pair.guide), (x,))
    assert said == "the value of site 'z' of the guide is not finite (its loc is not)"


def test_what_is_masked_out_may_be_infinite() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            with pyro.poutine.mask(mask=torch.BoolTensor(x > 0)):
                pyro.sample("x", dist.Normal(torch.where(x > 0, z, torch.nan), 1.0, validate_args=False), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))

    assert first_nonfinite(Program(model, guide), (torch.tensor([-1.0, 1.0]),)) == ALL_FINITE


class _Steep(_Explodes):
    """log p(x) = -1e30 * the sum of the logits: a gradient whose square is no float32."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.factor("x", -1e30 * self.logits.sum().expand(len(x)))

    def guide(self, x: Tensor) -> None:
        """No latents."""


def test_a_gradient_whose_square_overflows_is_said_and_with_clip_norm_is_taken() -> None:
    with pytest.raises(
        ppgen.UsageError, match=r"gradient's norm is 2e\+30 .* optimizers keep its square.* set clip_norm"
    ):
        ppgen.fit(_Steep(6), _data(), ELBO(), steps=3, **QUICK)
    pair = _Steep(6)
    ppgen.fit(
        pair,
        _data(),
        ELBO(),
        steps=3,
        clip_norm=1.0,
        **{**QUICK, "optimizer": "SGD", "lr": 0.1, "schedule": "constant"},
    )
    assert pair.logits.detach().tolist() == pytest.approx([-0.1 * 3 / 6**0.5] * 6, rel=1e-5)
