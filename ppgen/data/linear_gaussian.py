"""Synthetic data whose truth is known: x = loc + W z + noise e with standard normal z and e."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal

from ppgen.arguments import Count, Positive, Seed, checked
from ppgen.data.assemble import Part, assemble
from ppgen.data.dataset import Dataset
from ppgen.registry import register_data

__all__ = ["LinearGaussianTruth", "linear_gaussian", "linear_gaussian_truth"]


@dataclass(frozen=True, eq=False)
class LinearGaussianTruth:
    """The parameters that the data came from: weight (D, latent), loc (D,), noise (a standard deviation).

    >>> truth = LinearGaussianTruth(torch.tensor([[3.0]]), torch.zeros(1), noise=4.0)
    >>> truth.log_prob(torch.tensor([[5.0]]))  # N(5; 0, 5^2): -1/2 - log 5 - log(2 pi) / 2
    tensor([-3.0284])
    """

    weight: Tensor
    loc: Tensor
    noise: float

    def log_prob(self, x: Tensor) -> Tensor:
        """The exact evidence log N(x; loc, W W' + noise^2 I) in nats: (B, D) -> (B,)."""
        diagonal = torch.full_like(self.loc, self.noise**2)
        log_prob: Tensor = LowRankMultivariateNormal(self.loc, self.weight, diagonal).log_prob(x)
        return log_prob


@checked
def linear_gaussian_truth(
    *, num_features: Count = 8, latent_dim: Count = 2, noise: Positive = 0.5, seed: Seed = 0
) -> LinearGaussianTruth:
    """The truth behind ``load_data("linear_gaussian")`` with the same options; W, loc are standard normal.

    Raises:
        UsageError: a size is not a positive integer, or noise is not a positive number.

    >>> linear_gaussian_truth(num_features=3).weight.shape
    torch.Size([3, 2])
    """
    random = np.random.RandomState(seed)
    kind = torch.get_default_dtype()
    weight = torch.from_numpy(random.standard_normal((num_features, latent_dim))).to(kind)
    loc = torch.from_numpy(random.standard_normal(num_features)).to(kind)
    return LinearGaussianTruth(weight, loc, float(noise))


@register_data(
    "linear_gaussian",
    summary="synthetic: a linear map of a normal latent plus noise, exact evidence known",
    reference="Tipping and Bishop, Probabilistic principal component analysis",
    year=1999,
    link="https://doi.org/10.1111/1467-9868.00196",
    tags=("synthetic", "real", "embedded"),
)
def linear_gaussian(
    *, num_features: Count = 8, latent_dim: Count = 2, num_data: Count = 1000, noise: Positive = 0.5, seed: Seed = 0
) -> Dataset:
    """``num_data`` rows to train, a fifth as many to validate and test, of :func:`linear_gaussian_truth`.

    Args:
        num_features: D, the size of x.
        latent_dim: the size of z.
        num_data: the number of training rows.
        noise: the standard deviation of x given z.
        seed: seeds the truth, and (plus one) of the rows.
    """
    truth = linear_gaussian_truth(num_features=num_features, latent_dim=latent_dim, noise=noise, seed=seed)
    random = np.random.RandomState(seed + 1)
    held_out = max(1, num_data // 5)
    z = random.standard_normal((num_data + 2 * held_out, latent_dim))
    mean = truth.loc.numpy() + z @ truth.weight.numpy().T  # (N, D)
    x = Part(mean + noise * random.standard_normal(mean.shape))
    valid, test = x[num_data : num_data + held_out], x[num_data + held_out :]
    return assemble("linear_gaussian", x[:num_data], valid, test, observation="real")
