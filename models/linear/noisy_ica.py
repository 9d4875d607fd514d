"""Independent component analysis with noise: data are mixtures of fewer sources, as many or more, and noise.

    s_i ~ p_s                                       i = 1..K, independent: Laplace, logistic or 1/cosh, about 0, scale 1
    p(x | s) = N(A s + c, v^2 I)                    x: (D,); K below, at or above D

    q(s | x) = N(B x + b, S S')                     S lower triangular ("full") or diagonal ("mean_field")

It is probabilistic PCA with sources that are not Gaussian, so that A is found up to the order and signs of its columns,
where the former's is free to rotate. Neither log p(x) nor p(s | x) has a closed form: ``elbo`` and ``iwelbo`` bound the
former from below. The guide is nearest to p(s | x) where the noise is small and K at most D. From a random start
``elbo`` may stay with columns that are still mixed; ``iwelbo`` of ten particles leaves them. Without noise and with
K = D it becomes ``ica``.

Where data lie in K dimensions or fewer, fewer than D, log p(x) grows without end as v vanishes, and training refuses.

References: Independent Factor Analysis, Attias, 1999; with Laplace sources, Lewicki and Sejnowski, Learning
Overcomplete Representations, 2000.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ppgen.arguments import Count, Positive
from ppgen.data import DataSpec
from ppgen.errors import UsageError, setting
from ppgen.layers.independent_sources import Sources, dimensions, sources
from ppgen.layers.linear_latents import LinearLatents
from ppgen.pairs.pair import Pair
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
        guide: ``"full"``, ``"mean_field"``, or a flow that bends the former, ``"iaf(num=2)"``.
        noise: initial v.

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
        noise: Positive = 1.0,
    ) -> None:
        super().__init__(spec, latent_dim or spec.num_features, torch.tensor(float(noise)), guide)
        self.kind = sources

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
