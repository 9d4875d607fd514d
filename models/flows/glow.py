"""Glow: pictures as noise that goes through invertible convolutions and couplings, at several scales.

    z ~ N(0, I)                                              z: (D,)
    x = f^-1(z),  f: at each scale squeeze; ``depth`` times actnorm, 1 x 1 convolution and affine coupling; half leaves

    log p(x) = log N(f(x); 0, I) + log |det df/dx|           (nats), exact: nothing is latent

Grey levels are dequantised: a latent y ~ p(y) has the density above, in logit space, and its level is seen. The guide
fills the level's cell (:mod:`ppgen.layers.dequantisation`), anywhere or by a convolutional network of x,

    q(y | x):   y = (k + u) / L,  logit u ~ N(m(x), diag(s(x))^2),

and log p(x), a log-probability, is bounded. Of a Gaussian flow that is worth the more, the more pixels are 0: noise
that is uniform has to be bent into a Gaussian, a quarter of a bit a pixel otherwise.

Actnorm begins where the first batch has mean 0 and scale 1: 512 training data, drawn at random before the first step.

Reference: Glow: Generative Flow with Invertible 1x1 Convolutions, Kingma and Dhariwal, 2018; variational dequantisation
is that of Flow++, Ho, Chen, Srinivas, Duan and Abbeel, 2019, with one affine transform.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Len
from torch import Tensor

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.distributions.bent_gaussian import BentGaussian
from ppgen.errors import UsageError, shown
from ppgen.layers.dequantisation import Alpha, Dequantisation, Observed
from ppgen.layers.invertible_pictures import PictureNoise
from ppgen.layers.multi_scale import MultiScale
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["Glow"]

_FIRST = 512
"""Data that actnorm begins at."""


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: grey levels, dequantised by a network."""
    spec = DataSpec("tiny", 16, "quantised", image_shape=(4, 4), levels=4, num_data=20)
    return Glow(spec, (3, 4), depth=1, dequantisation="variational"), (torch.randint(4, (5, 16)) / 3,)


@register_model(
    "glow",
    summary="a multi-scale flow of pictures: actnorm, invertible 1 x 1 convolutions, couplings by convolutions",
    reference="Kingma and Dhariwal, Glow: Generative flow with invertible 1x1 convolutions",
    year=2018,
    link="https://arxiv.org/abs/1807.03039",
    tags=("continuous", "flow", "exact"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 14_000, "batch_size": 32, "clip_norm": 500.0}),
)
class Glow(Pair):
    """A multi-scale flow of pictures. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        y: (D,), real, in the plate ``data``; of grey levels alone
        x: (D,), observed, in the plate ``data``

    Args:
        spec: what one datum is: a picture, of real numbers or grey levels.
        channels: hidden channels of the couplings' networks, one number a scale; each scale halves height and width.
        depth: steps a scale: actnorm, 1 x 1 convolution, coupling.
        dequantisation: how a grey level's cell is filled: ``"uniform"``, or by a network of x, ``"variational"``.
        alpha: the flow is of logit(alpha + (1 - 2 alpha) y); 0: of y. None: 1e-6 of data in [0, 1], else 0.

    Raises:
        UsageError: the data are no pictures, neither real nor grey levels, or cannot be halved so often, or an option
            does not suit them.

    >>> import ppgen
    >>> pair = Glow(DataSpec("pictures", 16, "real", image_shape=(4, 4)), (8,), depth=2)
    >>> ppgen.log_weights(pair, (torch.zeros(1, 16),), 1)  # untrained a rotation of N(0, I): -8 log 2 pi
    tensor([[-14.7030]])
    """

    def __init__(
        self,
        spec: DataSpec,
        channels: Annotated[Sizes, Len(1)] = (64, 64),
        *,
        depth: Count = 8,
        dequantisation: Dequantisation = "variational",
        alpha: Alpha | None = None,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        if spec.image_shape is None:
            raise UsageError(f"Glow is for pictures, and data {shown(spec.name)} have no image_shape: use 'realnvp'.")
        if alpha is None and spec.in_unit_interval:
            alpha = 1e-6
        chosen = "uniform" if spec.observation == "real" else dequantisation
        self.observed = Observed(spec, chosen, alpha, noise=PictureNoise(spec.image_shape))
        self.flow = MultiScale(spec.image_shape, channels, depth)
        self.register_buffer("started", torch.zeros((), dtype=torch.int64))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            self.observed.observe(BentGaussian(self.flow, x[0]), x)  # (K, B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            self.observed.infer(x)  # (K, B, D)

    @property
    def waits_for_data(self) -> bool:
        """Whether actnorm is to begin at data and has not."""
        return not bool(self.started)

    def start_from(self, x: Tensor, *, seed: int) -> None:
        """Put every actnorm where what data, (N, D), give before it has mean 0 and scale 1."""
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:_FIRST].to(x.device)
        with torch.no_grad():
            self.flow.start_at(self.observed.draw(x[rows]))
        self.started.fill_(1)
