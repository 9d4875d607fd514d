"""Latents whose linear map is the mean of real data, and a Gaussian guide of linear mean: what linear pairs share.

z ~ p(z)                                        z: (latent,), the pair's own prior
p(x | z) = N(W z + c, Psi)                      x: (D,); Psi diagonal

q(z | x) = N(A x + b, S S')                     S lower triangular ("full") or diagonal ("mean_field")

A flow, given x, may bend the guide of S lower triangular.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.guides import bending
from ppgen.pairs.pair import Pair

__all__ = ["GuideKind", "LinearLatents", "gaussian", "posterior_map"]

GuideKind = Literal["full", "mean_field"]


def gaussian(loc: Tensor, scale: Tensor) -> Any:
    """N(loc, S S'), loc (..., latent), of event shape (latent,).

    Args:
        loc: the mean.
        scale: S with the logarithms of its diagonal, (latent, latent), or these alone, (latent,).

    >>> gaussian(torch.zeros(2), torch.tensor([[0.0, 9.0], [1.0, 0.0]])).covariance_matrix
    tensor([[1., 1.],
            [1., 2.]])
    """
    if scale.dim() == 1:
        return dist.Normal(loc, scale.exp()).to_event(1)
    return dist.MultivariateNormal(loc, scale_tril=scale.tril(-1) + scale.diagonal().exp().diag())


def posterior_map(
    weight: Tensor, loc: Tensor, noise: Tensor, prior_loc: Tensor, prior_variance: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """A, b and V of p(z | x) = N(A x + b, V), where z ~ N(m, t I) and x | z ~ N(W z + c, Psi).

    Args:
        weight: W, (D, latent).
        loc: c, (D,).
        noise: the diagonal of Psi, (D,), or () of one for all.
        prior_loc: m, (latent,).
        prior_variance: t.
    """
    precision = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device) / prior_variance
    scaled = weight / noise.expand_as(loc).unsqueeze(-1)  # Psi^-1 W, (D, latent)
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(precision + weight.T @ scaled))
    linear_map = covariance @ scaled.T  # (latent, D)
    return linear_map, covariance @ prior_loc / prior_variance - linear_map @ loc, covariance


class LinearLatents(Pair):
    """Pair of linear mean. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, in the plate ``data``

    To add one: 1. give ``noise`` the shape that Psi has; 2. write :meth:`prior`; 3. register it.

    Args:
        spec: what one datum is: real.
        latent_dim: size of z.
        noise: initial standard deviations, (D,), or () of one for all.
        guide: ``"full"``, ``"mean_field"``, or a flow that bends the former, ``"iaf(num=2)"``.

    Raises:
        UsageError: the data are not real, or the guide is unknown.
    """

    def __init__(self, spec: DataSpec, latent_dim: int, noise: Tensor, guide: str) -> None:
        super().__init__(data_size=spec.num_data)
        if spec.observation != "real":
            name = type(self).__name__
            raise UsageError(f"{name} needs real data, but data {shown(spec.name)} are {spec.in_words}.")
        self.latent_dim, features = latent_dim, spec.num_features
        self.weight = nn.Parameter(torch.randn(features, latent_dim) / latent_dim**0.5)
        self.loc = nn.Parameter(torch.zeros(features) if spec.mean is None else spec.mean.clone())
        self.log_noise = nn.Parameter(noise.log())
        self.guide_weight = nn.Parameter(torch.zeros(latent_dim, features))
        self.guide_loc = nn.Parameter(torch.zeros(latent_dim))
        self.guide_scale = nn.Parameter(torch.zeros((latent_dim,) * (1 if guide == "mean_field" else 2)))
        self.flow = bending(guide, latent_dim, features, "full", "mean_field")

    @abstractmethod
    def prior(self) -> Any:
        """p(z), of event shape (latent,)."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", self.prior())  # (K, B, latent)
            mean = linear(z, self.weight, self.loc)  # (K, B, D)
            pyro.sample("x", dist.Normal(mean, self.log_noise.exp()).to_event(1), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            found = self._gaussian(x)
            pyro.sample("z", found if self.flow is None else self.flow(found, x))  # (K, B, latent)

    def codes(self, x: Tensor) -> Tensor:
        """The guide's mean of z, or where a flow puts that of its Gaussian, (B, D) to (B, latent)."""
        found = self._gaussian(x)
        mean: Tensor = found.mean if self.flow is None else self.flow.centre(found, x)
        return mean

    def _gaussian(self, x: Tensor) -> Any:
        return gaussian(linear(x, self.guide_weight, self.guide_loc), self.guide_scale)

    def loadings(self) -> Tensor | None:
        return self.weight

    @torch.no_grad()
    def put(self, values: Mapping[str, Tensor]) -> None:
        """Put values into parameters, by name."""
        for name, value in values.items():
            self.get_parameter(name).copy_(value)

    def nearest_guide(self, weight: Tensor, loc: Tensor, covariance: Tensor) -> dict[str, Tensor]:
        """Parameters of the guide of least KL(q || p), p = N(A x + b, V): p itself, or its mean and its conditional
        variances.

        Args:
            weight: A, (latent, D).
            loc: b, (latent,).
            covariance: V, (latent, latent).
        """
        factor = torch.linalg.cholesky(covariance)
        if self.guide_scale.dim() == 1:
            scale = -torch.cholesky_inverse(factor).diagonal().log() / 2
        else:
            scale = factor.tril(-1) + factor.diagonal().log().diag()
        return {"guide_weight": weight, "guide_loc": loc, "guide_scale": scale}
