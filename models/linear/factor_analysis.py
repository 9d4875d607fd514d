"""Factor analysis: a few latents explain what numbers of x share, and each number has a noise of its own.

    p(z)     = N(0, I)                              z: (latent,)
    p(x | z) = N(W z + c, diag(s)^2)                x, s: (D,)

    q(z | x) = N(A x + b, S S')                     S lower triangular ("full") or diagonal ("mean_field")

    p(x)     = N(c, W W' + diag(s)^2)

Scaling a number of x scales its row of W and its s, and changes nothing else, where the axes of probabilistic PCA turn
to whatever varies most. There is no closed form of the maximum; ``em`` climbs to one, both of its steps exact.

Reference: EM Algorithms for ML Factor Analysis, Rubin and Thayer, Psychometrika 1982.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppgen.arguments import Count, NonNegative, Positive
from ppgen.data import DataSpec
from ppgen.layers.linear_factors import LinearFactors
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["FactorAnalysis"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    return FactorAnalysis(DataSpec("tiny", 4, "real", num_data=20)), (torch.randn(5, 4),)


@register_model(
    "factor_analysis",
    summary="linear map of a normal latent, each number of x with its own noise; evidence and posterior are exact",
    reference="Rubin and Thayer, EM algorithms for ML factor analysis",
    year=1982,
    link="https://doi.org/10.1007/BF02293851",
    tags=("continuous", "amortised", "exact"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 2_000, "batch_size": 100, "lr": 1e-2}),
)
class FactorAnalysis(LinearFactors):
    """Factor analysis. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, in the plate ``data``

    Parameters, in the symbols above: ``weight`` W, ``loc`` c, ``log_noise`` log s, (D,); ``guide_weight`` A,
    ``guide_loc`` b, ``guide_scale`` S with the logarithms of its diagonal ("full"), or these alone ("mean_field").

    Args:
        spec: what one datum is: real.
        latent_dim: size of z.
        guide: ``"full"``, ``"mean_field"``, or what bends the former, a flow, ``"iaf(num=2)"``, or ``"semi_implicit"``.
        noise: initial s, of every number of x.
        min_noise: the least s that ``em`` takes; a maximum may lie at a noise of zero (a Heywood case).

    Raises:
        UsageError: the data are not real, a size or the noise is not positive, or the guide is unknown.

    >>> pair = FactorAnalysis(DataSpec("numbers", 3, "real"), 1)
    >>> pair.log_evidence(torch.randn(5, 3)).shape
    torch.Size([5])
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 2,
        *,
        guide: str = "full",
        noise: Positive = 1.0,
        min_noise: NonNegative = 0.0,
    ) -> None:
        each = torch.full((spec.num_features,), float(noise))
        super().__init__(spec, latent_dim, each, guide, learn_prior_loc=False, min_noise=min_noise)

    def noise_of(self, unexplained: Tensor) -> Tensor:
        return unexplained
