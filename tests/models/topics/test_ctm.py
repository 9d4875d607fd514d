"""The correlated topic model against quadrature, the algebra of its covariance, and a covariance that made data."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import AnalyticKL
from ppgen.models import CTM
from ppgen.models.topics.ctm import _Laplace
from ppgen.pairs.tracing import Program, run_particles

SPEC = DataSpec("words", 4, "counts")
X = torch.tensor([[2.0, 1.0, 0.0, 1.0], [0.0, 1.0, 2.0, 0.0], [3.0, 0.0, 0.0, 2.0]], dtype=torch.float64)


def small_pair(num_topics: int = 2, **options: Any) -> CTM:
    """A pair in float64 with a full covariance, in evaluation."""
    pair = CTM(SPEC, num_topics, **options).double().eval()
    with torch.no_grad():
        for parameter in (pair.topic_logits, pair.prior_loc, pair.prior_factor):
            parameter.normal_()
    return pair


def centring(num_topics: int) -> Tensor:
    return torch.eye(num_topics, dtype=torch.float64) - 1 / num_topics


@torch.no_grad()
@pytest.mark.parametrize("guide", ["document", "amortised"])
def test_weights_average_to_the_likelihood(guide: str) -> None:
    """With two topics theta is a function of z_1 - z_2, which is normal: Gauss-Hermite quadrature in one dimension.

    Within 4.5 standard errors of 100,000 particles (false alarms: 1 in 150,000 a document).
    """
    pair = small_pair(guide=guide, hidden=(5, 6))
    direction = torch.tensor([1.0, -1.0], dtype=torch.float64)
    scale = (direction @ pair.scale_tril).norm()
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    difference = direction @ pair.prior_loc + torch.as_tensor(points) * scale
    theta = torch.stack([difference, torch.zeros_like(difference)], -1).softmax(-1)  # (P, 2)
    orders = (X.sum(-1) + 1).lgamma() - (X + 1).lgamma().sum(-1)
    evidence = (X @ (theta @ pair.topics).log().T + torch.as_tensor(weights / weights.sum()).log()).logsumexp(-1)
    log_w = run_particles(Program(pair.model, pair.guide), (X,), 100_000).log_w
    ratio = (log_w - evidence - orders).exp()
    assert ((ratio.mean(0) - 1).abs() < 4.5 * ratio.std(0) / len(ratio) ** 0.5).all()


def test_the_covariance_is_that_of_centred_log_shares() -> None:
    pair = small_pair(4)
    centre, factor = centring(4), pair.scale_tril
    torch.testing.assert_close(pair.covariance, centre @ factor @ factor.T @ centre)
    scale = pair.covariance.diagonal().sqrt()
    torch.testing.assert_close(pair.correlation * scale.outer(scale), pair.covariance)


def test_what_the_softmax_does_not_see_is_no_part_of_the_covariance() -> None:
    """z + c for all topics at once leaves theta, and so the covariance, as they are."""
    pair = small_pair(3)
    with torch.no_grad():
        before = pair.covariance.clone()
        moved = pair.scale_tril + torch.randn(3, dtype=torch.float64)  # the same number in each row of a column
        factor = torch.linalg.cholesky(moved @ moved.T)
        pair.prior_factor.copy_(factor.tril(-1) + factor.diagonal().log().diag())
    torch.testing.assert_close(pair.covariance, before)


def test_training_finds_the_covariance_that_made_the_documents() -> None:
    """Of the shares themselves, whose sampling error is no part of it; topics of their own words, told apart by 300.

    What is left is the guide's: within 15 percent of the largest entry, and of the smallest the sign.
    """
    torch.manual_seed(0)
    true = 1.5 * torch.tensor([[1.0, 0.8, -0.6], [0.8, 1.0, -0.6], [-0.6, -0.6, 1.0]], dtype=torch.float64)
    z = torch.randn(300, 3, dtype=torch.float64) @ torch.linalg.cholesky(true).T
    topics = torch.eye(3, dtype=torch.float64).repeat_interleave(2, 1) / 2  # (3, 6): two words each
    x = torch.stack([torch.bincount(p.multinomial(300, True), minlength=6) for p in z.softmax(-1) @ topics]).double()
    pair = CTM(DataSpec("made", 6, "counts"), 3, scale=1.0).double()
    with torch.no_grad():
        pair.topic_logits.copy_((topics + 1e-6).log())
    pair.topic_logits.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in pair.parameters() if p.requires_grad], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        AnalyticKL().differentiable_loss(pair.model, pair.guide, x).backward()
        optimizer.step()
    made = (z - z.mean(1, keepdim=True)).T.cov()
    found = pair.covariance.detach()
    assert float((found - made).abs().max()) < 0.15 * float(made.abs().max())
    assert torch.equal(found.sign(), made.sign())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_topics": 1}, "num_topics must be a whole number of at least 2, got 1."),
        ({"hidden": ()}, "hidden must be a list of whole numbers of at least 1 (at least 1 of them), got ()."),
        ({"iterations": 0}, "iterations must be a whole number of at least 1, got 0."),
        ({"scale": 0}, "scale must be a number above 0, got 0."),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        CTM(SPEC, **options)
    assert str(error.value).startswith(sentence)


def test_data_that_are_no_counts_are_refused() -> None:
    with pytest.raises(UsageError, match="CTM needs counts of words, but data 'pixels' are binary"):
        CTM(DataSpec("pixels", 5, "binary"))


@torch.no_grad()
def test_steps_towards_the_mode_never_lower_the_density_and_end_at_it() -> None:
    """Nor does a point nearby have more, 1e-3 away in any of 50 directions."""
    pair = small_pair(3)
    precision = torch.cholesky_inverse(pair.scale_tril)
    guide = pair.posterior
    assert isinstance(guide, _Laplace)

    def log_density(z: Tensor) -> Tensor:
        prior: Tensor = dist.MultivariateNormal(pair.prior_loc, scale_tril=pair.scale_tril).log_prob(z)
        return prior + (X * (z.softmax(-1) @ pair.topics).log()).sum(-1)

    found = []
    for guide.iterations in (0, 1, 2, 4, 8, 16, 400):
        z = guide.mode(X, pair.topics, pair.prior_loc, precision)
        found.append(log_density(z))
    assert all(bool((after >= before - 1e-10).all()) for before, after in pairwise(found))
    nearby = z + 1e-3 * torch.randn(50, 1, 3, dtype=torch.float64)
    assert bool((log_density(nearby) < found[-1]).all())
