"""A semi-implicit guide: against posteriors whose log p(x) quadrature gives, and as every pair has it."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.errors import UsageError
from ppgen.inference import ELBO, SIVI
from ppgen.layers.dense import MLP
from ppgen.layers.guides import amortised
from ppgen.models import IWAE, VAE
from ppgen.pairs.mixing import mixture_log_w, settled_log_w
from ppgen.pairs.pair import Pair
from ppgen.pairs.reductions import log_mean_exp
from ppgen.pairs.tracing import Program, run_particles

X, NOISE = -1.0, 0.3
BITS = ppgen.DataSpec("tiny", 6, "binary", num_data=20)


class Banana(Pair):
    """z ~ N(0, I), x | z ~ N(z_2 - z_1^2, 0.3^2): the posterior is a parabola's neighbourhood.

    Sites:
        z: (2,), in the plate ``data``
        x: (1,), observed, in the plate ``data``
    """

    def __init__(self, guide: str) -> None:
        super().__init__()
        self.encoder = amortised(guide, 2, lambda outputs: MLP(1, outputs, hidden=()))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))  # (K, B, 2)
            pyro.sample("x", dist.Normal(mean_of(z).unsqueeze(-1), NOISE).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.encoder(x))  # (K, B, 2)


def mean_of(z: Tensor) -> Tensor:
    return z[..., 1] - z[..., 0].square()


def log_evidence() -> float:
    """log p(X) by a sum over a grid of width 0.02, in nats."""
    line = torch.linspace(-6, 6, 601, dtype=torch.float64)
    z = torch.cartesian_prod(line, line)
    log_p = dist.Normal(0.0, 1.0).log_prob(z).sum(-1) + dist.Normal(mean_of(z), NOISE).log_prob(torch.tensor(X))
    return float(log_p.logsumexp(0)) + 2 * math.log(0.02)


def fitted(guide: str, objective: Any, steps: int) -> Banana:
    torch.manual_seed(0)
    pair, x = Banana(guide), torch.full((50, 1), X)
    optimizer = torch.optim.Adam(pair.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        objective.differentiable_loss(pair.model, pair.guide, x).backward()
        optimizer.step()
        schedule.step()
    return pair


@torch.no_grad()
def value(pair: Banana, num_extra: int) -> float:
    """The bound of 4,000 draws, whose standard error is below 0.02."""
    x = torch.full((4000, 1), X)
    return -SIVI(num_extra=num_extra).loss(pair.model, pair.guide, x) / len(x)


@pytest.mark.thorough
def test_its_bound_closes_on_the_evidence_as_draws_grow_and_beats_the_gaussians() -> None:
    exact = log_evidence()
    gaussian = value(fitted("gaussian", ELBO(), 300), 0)
    mixture = fitted("semi_implicit(noise=3, hidden=[32])", SIVI(num_extra=20), 500)
    bounds = [value(mixture, num_extra) for num_extra in (0, 1, 10, 100, 1000)]
    assert bounds == sorted(bounds)
    assert gaussian + 0.4 < bounds[-2] < exact
    assert exact - bounds[-1] < 0.2
    weights = ppgen.log_weights(mixture, (torch.full((20, 1), X),), 500)
    assert float(log_mean_exp(weights.reshape(-1))) == pytest.approx(exact, abs=0.1)


@torch.no_grad()
def test_evaluation_averages_its_density_over_draws_of_the_noise() -> None:
    """As ``sivi`` at J = 50 has it, far above what it is at the noise that was drawn."""
    torch.manual_seed(0)
    pair, x = Banana("semi_implicit"), torch.full((200, 1), X)
    particles = run_particles(Program(pair.model, pair.guide), (x,), 10)
    found, plain = settled_log_w(particles).mean(), particles.log_w.mean()
    assert float(found) == pytest.approx(float(mixture_log_w(particles, 50).mean()), abs=0.05)
    assert found > plain + 0.5
    weights = ppgen.log_weights(pair, (x,), 10)  # at draws of their own, a few of which are far out
    assert weights.median() > particles.log_w.median() + 0.5


def test_the_model_has_no_mixing_site_and_every_layer_has_its_own() -> None:
    pair = IWAE(BITS, (3, 2), hidden=((4,), (4,)), guide="semi_implicit(noise=4)")
    particles = run_particles(Program(pair.model, pair.guide), (torch.ones(5, 6),), 2)
    assert particles.mixing == ["e1", "e2"]
    assert particles.latents == ["z1", "z2"]
    assert particles.guide_sites["e1"]["value"].shape == (2, 5, 4)
    assert not {"e1", "e2"} & particles.model_sites.keys()


@pytest.mark.parametrize(
    ("guide", "sentence"),
    [
        ("semi_implicit(nois=4)", "guide semi_implicit has no option 'nois': did you mean 'noise'"),
        ("semi_implicit(noise=0)", "noise must be a whole number of at least 1, got 0"),
        ("semi_implicit(), iaf", "expected a guide such as 'semi_implicit.noise=10.'.*name one"),
        ("semi_implict", "did you mean 'semi_implicit'"),
    ],
)
def test_a_wrong_text_is_refused(guide: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        VAE(BITS, 3, hidden=(4,), guide=guide)


def test_no_mixture_of_it_is_a_prior() -> None:
    with pytest.raises(UsageError, match="this guide is not scored in one pass"):
        VAE(BITS, 3, hidden=(4,), guide="semi_implicit", prior="vamp")
