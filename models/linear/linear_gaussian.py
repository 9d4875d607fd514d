"""The linear-Gaussian model, whose evidence and posterior are known: the yardstick of all objectives.

    p(z)     = N(m, I)                              z: (latent,); m is zero unless it is learned
    p(x | z) = N(W z + c, s^2 I)                    x: (D,)

    q(z | x) = N(A x + b, S S')                     S lower triangular ("full") or diagonal ("mean_field")

Everything is Gaussian, so

    p(x)     = N(W m + c, W W' + s^2 I)
    p(z | x) = N(V (W' (x - c) / s^2 + m), V),      V = (I + W' W / s^2)^-1,

and the full guide can hold the posterior exactly. It is probabilistic PCA: log p(x) of data with mean x_ and covariance
S = U L U', eigenvalues in falling order, is greatest (equations 7 and 8) at

    c = x_,     s^2 = sum_{d > latent} L_d / (D - latent),      W = U_latent (L_latent - s^2 I)^1/2 R,

R any rotation: W spans the first principal axes. ``elbo``, ``em`` and :meth:`LinearGaussian.set_closed_form` end there.

Reference: Probabilistic Principal Component Analysis, Tipping and Bishop, 1999.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppgen.arguments import Count, NonNegative, Positive
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.layers.linear_factors import LinearFactors
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["LinearGaussian"]


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
class LinearGaussian(LinearFactors):
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
        guide: ``"full"``, ``"mean_field"``, or what bends the former, a flow, ``"iaf(num=2)"``, or ``"semi_implicit"``.
        noise: initial s.
        learn_prior_loc: make the prior mean m a parameter; redundant with c, it serves where c is held fixed, and
            ``em`` does without.
        min_noise: the least s that ``em`` and the closed form take.

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
        guide: str = "full",
        noise: Positive = 1.0,
        learn_prior_loc: bool = False,
        min_noise: NonNegative = 0.0,
    ) -> None:
        super().__init__(spec, latent_dim, torch.tensor(float(noise)), guide, learn_prior_loc, min_noise)

    def noise_of(self, unexplained: Tensor) -> Tensor:
        return unexplained.mean()

    @torch.no_grad()
    def set_closed_form(self, x: Tensor) -> None:
        """Put the maximum of sum_n log p(x_n) over data x, (N, D), into the parameters; the guide at its nearest.

        Raises:
            UsageError: latents are not fewer than numbers of x, or fit all data without noise.
        """
        num_data, features = x.shape
        if self.latent_dim >= features:
            raise UsageError(
                f"the closed form takes fewer latents than numbers of x, and got latent_dim={self.latent_dim} of "
                f"{features}: give latent_dim at most {features - 1}."
            )
        self.check_count(num_data)
        values, axes = torch.linalg.eigh(x.double().T.cov(correction=0))  # rising: (D,), (D, D)
        values, axes = values.flip(0), axes.flip(1)[:, : self.latent_dim]
        noise = values[self.latent_dim :].mean().clamp_min(self.min_noise**2)
        weight = axes * (values[: self.latent_dim] - noise).clamp_min(0).sqrt()
        loc = x.double().mean(0) - weight @ self._prior_loc(weight)
        self.put(self.values_at(weight, loc, noise, values[0]))
