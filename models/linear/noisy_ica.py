"""Independent component analysis with noise: data are mixtures of fewer sources, as many or more, and noise.

    s_i ~ p_s                                       i = 1..K, independent: Laplace, logistic or 1/cosh, about 0, scale 1
    p(x | s) = N(A s + c, v^2 I)                    x: (D,); K below, at or above D

    q(s | x) = N(B x + b, S S')                     S lower triangular ("full") or diagonal ("mean_field")

It is probabilistic PCA with sources that are not Gaussian, so that A is found up to the order and signs of its columns,
where the former's is free to rotate. Neither log p(x) nor p(s | x) has a closed form: ``elbo`` and ``iwelbo`` bound the
former from below. The guide is nearest to p(s | x) where the noise is small and K at most D. Without noise and with
K = D it becomes ``ica``.

From a random start training may stay where columns are still mixed and the noise takes the rest: ``elbo`` does, and
``iwelbo`` of ten particles with sources nearer to the normal. ``start="pca"`` leaves it the rotation alone. With
Gaussian sources of the variance t that p_s has, the data's covariance U L U' would be explained by

    A = U_K (L_K / t)^1/2 R,   R R' = I,   c the mean,   v^2 the mean of the other L, where there are some,

(probabilistic PCA but for the noise in L_K), whatever R, random here; and q starts at their posterior.

Where data lie in K dimensions or fewer, fewer than D, log p(x) grows without end as v vanishes, and training refuses.

References: Independent Factor Analysis, Attias, 1999; with Laplace sources, Lewicki and Sejnowski, Learning
Overcomplete Representations, 2000.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ppgen.arguments import Count, Positive
from ppgen.data import DataSpec
from ppgen.errors import UsageError, setting
from ppgen.layers.independent_sources import Sources, dimensions, sources
from ppgen.layers.linear_latents import LinearLatents, posterior_map
from ppgen.pairs.pair import Pair
from ppgen.pairs.starting import DataStart
from ppgen.registry import Recommended, register_model

__all__ = ["NoisyICA"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    return NoisyICA(DataSpec("tiny", 4, "real", num_data=20), 3), (torch.randn(5, 4),)


@register_model(
    "noisy_ica",
    summary="independent component analysis with noise: any number of sources, an amortised Gaussian guide",
    reference="Attias, Independent factor analysis",
    year=1999,
    link="https://doi.org/10.1162/089976699300016458",
    tags=("continuous", "amortised"),
    tiny=_tiny,
    recommended=Recommended("iwelbo", {"num_particles": 10}, {"steps": 3_000, "batch_size": 200, "lr": 2e-2}),
)
class NoisyICA(LinearLatents):
    """Independent component analysis with noise. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (K,), real, in the plate ``data``: the sources s
        x: (D,), observed, in the plate ``data``

    Parameters, in the symbols above: ``weight`` A, ``loc`` c, ``log_noise`` log v; ``guide_weight`` B, ``guide_loc`` b,
    ``guide_scale`` S with the logarithms of its diagonal ("full"), or these alone ("mean_field").

    Args:
        spec: what one datum is: real.
        latent_dim: K; as many sources as numbers of x unless given.
        sources: what every source is, ``"laplace"``, ``"logistic"`` or ``"cosh"``, p(s) = 1 / (pi cosh s).
        guide: ``"full"``, ``"mean_field"``, or what bends the former, a flow, ``"iaf(num=2)"``, or ``"semi_implicit"``.
        start: ``"random"``, or ``"pca"``, along principal axes of the training data, in the first step of a training.
        noise: initial v; of the start ``"pca"`` with K at least D.

    Raises:
        UsageError: the data are not real, a size or the noise is not positive, or the sources or guide are unknown.

    >>> pair = NoisyICA(DataSpec("numbers", 2, "real"), 3)
    >>> pair.sources(torch.ones(5, 2)).shape, pair.unmixing.shape
    (torch.Size([5, 3]), torch.Size([3, 2]))
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count | None = None,
        *,
        sources: Sources = "laplace",
        guide: str = "full",
        start: Literal["random", "pca"] = "random",
        noise: Positive = 1.0,
    ) -> None:
        super().__init__(spec, latent_dim or spec.num_features, torch.tensor(float(noise)), guide)
        self.kind, self.start = sources, DataStart(start, known="random")

    def prior(self) -> Any:
        return sources(self.kind, self.latent_dim, self.weight)

    def sources(self, x: Tensor) -> Tensor:
        """The guide's mean of s, or where a flow puts that of its Gaussian, (B, D) to (B, K)."""
        return self.codes(x)

    @property
    def unmixing(self) -> Tensor:
        """The pseudo-inverse of A, (K, D): the sources of least squares where K is at most D."""
        inverse: Tensor = torch.linalg.pinv(self.weight)
        return inverse

    @property
    def waits_for_data(self) -> bool:
        """Whether ``start`` asks for data, and there were none yet."""
        return self.start.waits

    def start_from(self, x: Tensor, *, seed: int) -> None:
        """Put A along the principal axes of x, (N, D), turned at random, and the guide where sources were normal."""
        k, loc = min(self.latent_dim, x.shape[1]), x.double().mean(0)
        lengths, axes = (value.flip(-1) for value in torch.linalg.eigh(x.double().T.cov(correction=0)))
        random = torch.randn((self.latent_dim,) * 2, generator=torch.Generator().manual_seed(seed)).to(loc)
        variance = float(self.prior().variance[0])
        turn = torch.linalg.qr(random).Q[:k]  # (k, K)
        weight = axes[:, :k] * (lengths[:k] / variance).sqrt() @ turn
        noise = lengths[k:].mean() if len(lengths) > k else (2 * self.log_noise).exp().double()
        log_noise = noise.clamp_min(torch.finfo(x.dtype).tiny).log() / 2
        found = posterior_map(weight, loc, (2 * log_noise).exp(), torch.zeros_like(weight[0]), variance)
        self.put({"weight": weight, "loc": loc, "log_noise": log_noise, **self.nearest_guide(*found)})
        self.start.end()

    def filters(self) -> Tensor | None:
        return self.weight

    def advice_on(self, x: Tensor) -> str:
        """Nothing: data it can be trained on are what it is for.

        Raises:
            UsageError: data x, (B, D), lie in K dimensions or fewer, fewer than D.
        """
        if (spanned := dimensions(x)) <= self.latent_dim and spanned < x.shape[1]:
            fewer = f"take fewer sources ({setting('M', 'latent_dim', spanned - 1)}), or " if spanned > 1 else ""
            raise UsageError(
                f"NoisyICA has no maximum of likelihood on these data: they lie in {spanned} of {x.shape[1]} "
                f"dimensions, which {self.latent_dim} sources explain without noise: {fewer}leave out numbers that are "
                "constant or that others tell."
            )
        return ""
