"""Gaussian data that a few latents explain by a linear map: all of it known in closed form, both steps of EM too.

    p(z)     = N(m, I)                              z: (latent,); m is zero unless it is learned
    p(x | z) = N(W z + c, Psi)                      x: (D,); Psi diagonal

    p(x)     = N(W m + c, W W' + Psi)
    p(z | x) = N(V (W' Psi^-1 (x - c) + m), V),     V = (I + W' Psi^-1 W)^-1

    q(z | x) = N(A x + b, S S')                     S lower triangular ("full") or diagonal ("mean_field")

EM, with m zero. Sums over data n of x, x_d^2, E z, E z z' = V + E z E z' and x E z' are all that the M step takes. For
any Psi the expected log p(x, z) is greatest where W and c, together, regress x on z; with the covariances C over data,

    C_zz = sum_n E z z' / N - z_ z_',   C_xz = sum_n x_n E z_n' / N - x_ z_',      x_, z_ the means,
    W = C_xz C_zz^-1,   c = x_ - W z_,   Psi_d = C_xx,d - (W C_xz')_dd,            s^2 = sum_d Psi_d / D of one noise.

A least noise, where one is asked for, is put in place of a smaller one: of one dimension, and with W and c the same for
any Psi, that is the maximum under the bound, so that EM stays monotone.

Probabilistic Principal Component Analysis, Tipping and Bishop, 1999, appendix B; EM Algorithms for ML Factor Analysis,
Rubin and Thayer, 1982.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ppgen.data import DataSpec
from ppgen.errors import UsageError, setting
from ppgen.layers.linear_latents import LinearLatents, gaussian, posterior_map

__all__ = ["LinearFactors"]

_SINGULAR = 1e-12
"""A noise variance of this share of the second moment is rounding."""


class LinearFactors(LinearLatents):
    """Linear-Gaussian pair. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, in the plate ``data``

    Args:
        spec: what one datum is: real.
        latent_dim: size of z.
        noise: initial standard deviations, (D,), or () of one for all.
        guide: ``"full"``, ``"mean_field"``, or a flow that bends the former, ``"iaf(num=2)"``.
        learn_prior_loc: make m a parameter; there is no closed form of EM then.
        min_noise: the least standard deviation that :meth:`maximised` takes.

    Raises:
        UsageError: the data are not real, or the guide is unknown.
    """

    def __init__(
        self, spec: DataSpec, latent_dim: int, noise: Tensor, guide: str, learn_prior_loc: bool, min_noise: float
    ) -> None:
        super().__init__(spec, latent_dim, noise, guide)
        self.min_noise, self.has_closed_form = min_noise, not learn_prior_loc and self.flow is None
        self.prior_loc = nn.Parameter(torch.zeros(latent_dim)) if learn_prior_loc else None

    @abstractmethod
    def noise_of(self, unexplained: Tensor) -> Tensor:
        """The noise variances of the greatest likelihood, as ``log_noise``, where (D,) are left unexplained by z."""

    def prior(self) -> Any:
        """N(m, I), of the guide's family, so that their KL has a closed form."""
        return gaussian(self._prior_loc(self.weight), torch.zeros_like(self.guide_scale))

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x), (B, D) to (B,), in nats."""
        loc = linear(self._prior_loc(x), self.weight, self.loc)  # (D,)
        noise = (2 * self.log_noise).exp().expand_as(loc)
        evidence: Tensor = dist.LowRankMultivariateNormal(loc, self.weight, noise).log_prob(x)
        return evidence

    def posterior(self, x: Tensor) -> Any:
        """The exact p(z | x): a multivariate normal of batch shape (B,) and event shape (latent,)."""
        weight, loc, covariance = self._posterior_map(self.weight, self.loc, (2 * self.log_noise).exp())
        return dist.MultivariateNormal(linear(x, weight, loc), scale_tril=torch.linalg.cholesky(covariance))

    def filters(self) -> Tensor | None:
        """W turned to its principal axes, (D, latent): latents are free up to a rotation."""
        axes, lengths, _ = torch.linalg.svd(self.weight.detach(), full_matrices=False)
        turned: Tensor = axes * lengths
        return turned

    @torch.no_grad()
    def set_exact_guide(self) -> None:
        """Put the exact posterior into the guide's parameters.

        Raises:
            UsageError: the guide is mean-field, which cannot hold it, or a flow.
        """
        if self.guide_scale.dim() == 1:
            raise UsageError("a mean-field guide cannot hold the exact posterior: make the pair with guide='full'.")
        self.put(self._nearest_guide(self.weight, self.loc, (2 * self.log_noise).exp()))

    def expected_statistics(self, x: Tensor, *, hard: bool = False) -> dict[str, Tensor]:
        """Sums over data x, (B, D), in float64, of x and x^2 (D,), E z (latent,), E z z', and x E z' (D, latent)."""
        x = x.double()
        weight, loc, covariance = self._posterior_map(
            self.weight.double(), self.loc.double(), (2 * self.log_noise.double()).exp()
        )
        z = linear(x, weight, loc)  # (B, latent)
        spread = z.T @ z if hard else z.T @ z + len(x) * covariance
        sums = {"x": x.sum(0), "xx": x.square().sum(0), "z": z.sum(0), "zz": spread, "xz": x.T @ z}
        return {"count": x.new_full((), len(x)), **sums}

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """W, c and the noise of the greatest expected log p(x, z), and the guide that is nearest to p(z | x) at them.

        Raises:
            UsageError: data are too few, or nothing of them is left to the noise.
        """
        count = float(statistics["count"])
        self.check_count(count)
        x, xx, z, zz, xz = (statistics[name] / count for name in ("x", "xx", "z", "zz", "xz"))
        weight = (cross := xz - x.outer(z)) @ torch.linalg.pinv(zz - z.outer(z), hermitian=True)  # (D, latent)
        unexplained = xx - x.square() - (weight * cross).sum(-1)
        return self.values_at(weight, x - weight @ z, self.noise_of(unexplained), self.noise_of(xx))

    def values_at(self, weight: Tensor, loc: Tensor, noise: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Parameters by name: these of the model, ``noise`` in variances and at least ``min_noise``, and the guide's.

        Raises:
            UsageError: a noise is zero beside its ``second`` moment, of the same shape.
        """
        noise = noise.clamp_min(self.min_noise**2)
        if bool((singular := noise <= _SINGULAR * second).any()):
            which = "the noise" if noise.dim() == 0 else f"the noise of number {int(singular.nonzero()[0])} of x"
            raise UsageError(
                f"{which} in {type(self).__name__} has become zero, since {self.latent_dim} latents explain all of it: "
                f"take fewer of them ({setting('M', 'latent_dim', 1)}), leave out what is constant or repeated, "
                f"or bound the noise ({setting('M', 'min_noise', 0.01)})."
            )
        model = {"weight": weight, "loc": loc, "log_noise": noise.log() / 2}
        values = {**model, **self._nearest_guide(weight, loc, noise)}
        return {name: value.to(self.weight) for name, value in values.items()}

    def check_count(self, count: float) -> None:
        """So many data leave something to the noise.

        Raises:
            UsageError: the latents fit them all.
        """
        if count <= self.latent_dim + 1 and not self.min_noise:
            raise UsageError(
                f"{type(self).__name__} with {self.latent_dim} latents fits {count:g} data without noise, and has no "
                f"maximum of likelihood: give at least {self.latent_dim + 2} data, or take a smaller latent_dim."
            )

    def _nearest_guide(self, weight: Tensor, loc: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Parameters of the guide that is nearest to p(z | x).

        Raises:
            UsageError: a flow bends it.
        """
        if self.flow is not None:
            raise UsageError("a guide that a flow bends learns by a gradient: make the pair with guide='full'.")
        return self.nearest_guide(*self._posterior_map(weight, loc, noise))

    def _posterior_map(self, weight: Tensor, loc: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A, b and V of p(z | x) = N(A x + b, V) at these parameters, ``noise`` in variances."""
        return posterior_map(weight, loc, noise, self._prior_loc(weight))

    def _prior_loc(self, like: Tensor) -> Tensor:
        return like.new_zeros(self.latent_dim) if self.prior_loc is None else self.prior_loc.to(like)
