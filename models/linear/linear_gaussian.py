"""The linear-Gaussian model, whose evidence and posterior are known: the yardstick of all objectives.

    p(z)     = N(m, I)                              z: (latent,); m is zero unless it is learned
    p(x | z) = N(W z + c, s^2 I)                    x: (D,)

    q(z | x) = N(A x + b, S S')                     S lower triangular ("full") or diagonal ("mean_field")

Everything is Gaussian, so

    p(x)     = N(W m + c, W W' + s^2 I)
    p(z | x) = N(V (W' (x - c) / s^2 + m), V),      V = (I + W' W / s^2)^-1,

and the full guide can hold the posterior exactly.

Reference: Probabilistic Principal Component Analysis, Tipping and Bishop, 1999.
"""

from __future__ import annotations

from typing import Any, Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ppgen.arguments import Count, Positive
from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["LinearGaussian"]

Guide = Literal["full", "mean_field"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    return LinearGaussian(DataSpec("tiny", 4, "real", num_data=20)), (torch.randn(5, 4),)


@register_model(
    "linear_gaussian",
    summary="probabilistic PCA with an amortised guide; evidence and posterior are exact",
    reference="Tipping and Bishop, Probabilistic principal component analysis",
    year=1999,
    link="https://doi.org/10.1111/1467-9868.00196",
    tags=("continuous", "amortised", "exact"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 2_000, "batch_size": 100, "lr": 1e-2}),
)
class LinearGaussian(Pair):
    """Linear-Gaussian pair. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, in the plate ``data``

    Parameters, in the symbols above: ``weight`` W, ``loc`` c, ``log_noise`` log s, ``prior_loc`` m;
    ``guide_weight`` A, ``guide_loc`` b, ``guide_scale`` S with the logarithms of its diagonal ("full"), or
    these alone ("mean_field"). The guide starts at N(0, I).

    Args:
        spec: what one datum is: real.
        latent_dim: size of z.
        guide: ``"full"`` or ``"mean_field"``.
        noise: initial s.
        learn_prior_loc: make the prior mean m a parameter; redundant with c, it serves where c is held fixed.

    Raises:
        UsageError: the data are not real, a size or the noise is not positive, or the guide is unknown.

    >>> import ppgen
    >>> pair, x = LinearGaussian(DataSpec("numbers", 3, "real")), torch.randn(5, 3)
    >>> pair.set_exact_guide()
    >>> log_w = ppgen.log_weights(pair, (x,), num_particles=10)  # all of a datum are its evidence
    >>> torch.allclose(log_w, pair.log_evidence(x).expand(10, 5), atol=1e-4)
    True
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 2,
        *,
        guide: Guide = "full",
        noise: Positive = 1.0,
        learn_prior_loc: bool = False,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        if spec.observation != "real":
            raise UsageError(f"LinearGaussian needs real data, but data {shown(spec.name)} are {spec.observation}.")
        self.latent_dim, features = latent_dim, spec.num_features
        self.weight = nn.Parameter(torch.randn(features, latent_dim) / latent_dim**0.5)
        self.loc = nn.Parameter(torch.zeros(features) if spec.mean is None else spec.mean.clone())
        self.log_noise = nn.Parameter(torch.tensor(float(noise)).log())
        self.prior_loc = nn.Parameter(torch.zeros(latent_dim)) if learn_prior_loc else None
        self.guide_weight = nn.Parameter(torch.zeros(latent_dim, features))
        self.guide_loc = nn.Parameter(torch.zeros(latent_dim))
        self.guide_scale = nn.Parameter(torch.zeros((latent_dim,) * (2 if guide == "full" else 1)))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample(
                "z", self._gaussian(self._prior_loc(x), torch.zeros_like(self.guide_scale))
            )  # (K, B, latent)
            mean = linear(z, self.weight, self.loc)  # (K, B, D)
            pyro.sample("x", dist.Normal(mean, self.log_noise.exp()).to_event(1), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            loc = linear(x, self.guide_weight, self.guide_loc)  # (B, latent)
            pyro.sample("z", self._gaussian(loc, self.guide_scale))  # (K, B, latent)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x), (B, D) to (B,), in nats."""
        loc = linear(self._prior_loc(x), self.weight, self.loc)  # (D,)
        noise = (2 * self.log_noise).exp().expand_as(loc)
        evidence: Tensor = dist.LowRankMultivariateNormal(loc, self.weight, noise).log_prob(x)
        return evidence

    def posterior(self, x: Tensor) -> Any:
        """The exact p(z | x): a multivariate normal of batch shape (B,) and event shape (latent,)."""
        weight, loc, scale_tril = self._exact_guide(x)
        return dist.MultivariateNormal(linear(x, weight, loc), scale_tril=scale_tril)

    @torch.no_grad()
    def set_exact_guide(self) -> None:
        """Put the exact posterior into the guide's parameters.

        Raises:
            UsageError: the guide is mean-field, which cannot hold it.
        """
        if self.guide_scale.dim() == 1:
            raise UsageError("a mean-field guide cannot hold the exact posterior: make the pair with guide='full'.")
        weight, loc, scale_tril = self._exact_guide(self.weight)
        self.guide_weight.copy_(weight)
        self.guide_loc.copy_(loc)
        self.guide_scale.copy_(scale_tril.tril(-1) + scale_tril.diagonal().log().diag())

    def _exact_guide(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The A, b and S that make q(z | x) = p(z | x)."""
        eye, noise = torch.eye(self.latent_dim).to(like), (2 * self.log_noise).exp()
        precision = eye + self.weight.T @ self.weight / noise  # (latent, latent)
        covariance = torch.cholesky_inverse(torch.linalg.cholesky(precision))
        weight = covariance @ self.weight.T / noise  # (latent, D)
        loc = covariance @ self._prior_loc(like) - weight @ self.loc
        return weight, loc, torch.linalg.cholesky(covariance)

    def _prior_loc(self, like: Tensor) -> Tensor:
        return like.new_zeros(self.latent_dim) if self.prior_loc is None else self.prior_loc

    def _gaussian(self, loc: Tensor, scale: Tensor) -> Any:
        """N(loc, S S'); prior and guide are of one family, so that their KL has a closed form."""
        if scale.dim() == 1:
            return dist.Normal(loc, scale.exp()).to_event(1)
        return dist.MultivariateNormal(loc, scale_tril=scale.tril(-1) + scale.diagonal().exp().diag())
