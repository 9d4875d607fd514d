"""Independent component analysis without noise: data are mixtures of as many sources, and the mixing is undone.

    s_i ~ p_s                                       i = 1..D, independent: Laplace, logistic or 1/cosh, about 0, scale 1
    x = W^-1 s + c                                  x: (D,); W unmixes

    log p(x) = log |det W| + sum_i log p_s(w_i (x - c))        (nats), exact: nothing is latent

Sources are found up to their order, signs and, for what p_s says of it, scales; none of them, or one at most, may be
Gaussian. Logistic sources are Infomax with sigmoid units; both are for heavy tails, and W is right for any sources that
are heavier than Gaussian, though log p(x) is not. Where some combination of the numbers of x is constant over the data
log p(x) has no maximum, W growing without end along it, and training refuses.

Reference: An Information-Maximization Approach to Blind Separation and Blind Deconvolution, Bell and Sejnowski, 1995.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from torch.nn.functional import linear

from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.independent_sources import Sources, dimensions, sources
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["ICA"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    return ICA(DataSpec("tiny", 4, "real", num_data=20)), (torch.randn(5, 4),)


@register_model(
    "ica",
    summary="independent component analysis without noise: as many sources as numbers of x, unmixed by a matrix",
    reference="Bell and Sejnowski, An information-maximization approach to blind separation and blind deconvolution",
    year=1995,
    link="https://doi.org/10.1162/neco.1995.7.6.1129",
    tags=("continuous", "exact"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 2_000, "batch_size": 100, "lr": 2e-2}),
)
class ICA(Pair):
    """Independent component analysis. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        x: (D,), observed, in the plate ``data``

    Parameters, in the symbols above: ``unmixing`` W, the identity at first, and ``loc`` c, the training mean.

    Args:
        spec: what one datum is: real.
        sources: what every source is, ``"laplace"``, ``"logistic"`` or ``"cosh"``, p(s) = 1 / (pi cosh s).

    Raises:
        UsageError: the data are not real, or the sources are unknown.

    >>> pair = ICA(DataSpec("numbers", 2, "real"))
    >>> x = torch.tensor([[0.0, 1.0]])
    >>> pair.sources(x).detach(), pair.log_evidence(x).detach()  # -1 - 2 log 2
    (tensor([[0., 1.]]), tensor([-2.3863]))
    """

    def __init__(self, spec: DataSpec, *, sources: Sources = "laplace") -> None:
        super().__init__(data_size=spec.num_data)
        if spec.observation != "real":
            raise UsageError(f"ICA needs real data, but data {shown(spec.name)} are {spec.in_words}.")
        self.kind, features = sources, spec.num_features
        self.unmixing = nn.Parameter(torch.eye(features))
        self.loc = nn.Parameter(torch.zeros(features) if spec.mean is None else spec.mean.clone())

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("x", self._mixed(), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        """No latents: nothing to infer."""

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x), (B, D) to (B,), in nats."""
        evidence: Tensor = self._mixed().log_prob(x)
        return evidence

    def sources(self, x: Tensor) -> Tensor:
        """s, (B, D) to (B, D)."""
        return linear(x - self.loc, self.unmixing)

    def filters(self) -> Tensor | None:
        return self.unmixing.T

    @property
    def mixing(self) -> Tensor:
        """W^-1, (D, D): its columns are what a source of one adds to x.

        Raises:
            UsageError: W is singular.
        """
        inverse: Tensor
        inverse, info = torch.linalg.inv_ex(self.unmixing)
        if bool(info):
            raise UsageError("the unmixing matrix of ICA is singular, and sources cannot be mixed again: train anew.")
        return inverse

    def advice_on(self, x: Tensor) -> str:
        """Nothing: data it can be trained on are what it is for.

        Raises:
            UsageError: some combination of the numbers of x is constant over data x, (B, D).
        """
        if dimensions(x) < x.shape[1] < len(x):
            raise UsageError(
                f"ICA has no maximum of likelihood on these data: their covariance is singular, a combination of "
                f"their {x.shape[1]} numbers being constant: leave out a number that is constant or that others "
                "tell, or keep fewer of them, such as principal components."
            )
        return ""

    def _mixed(self) -> Any:
        unmixed = sources(self.kind, len(self.loc), self.loc)
        return dist.TransformedDistribution(unmixed, [_Mixing(self.unmixing, self.loc)])


class _Mixing(Transform):
    """s to W^-1 s + c."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, unmixing: Tensor, loc: Tensor) -> None:
        super().__init__()
        self.unmixing, self.loc = unmixing, loc

    def _call(self, x: Tensor) -> Tensor:
        y: Tensor = torch.linalg.solve(self.unmixing, x.unsqueeze(-1)).squeeze(-1) + self.loc
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        return linear(y - self.loc, self.unmixing)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        log_volume: Tensor = -torch.linalg.slogdet(self.unmixing).logabsdet
        return log_volume.expand(x.shape[:-1])
