"""A deep convolutional generator of pictures: a latent vector, and transposed convolutions that make x of it.

    p(z) = U(-1, 1)^latent  or  N(0, I)                 z: (latent,)
    x    = G(z)                                         x: C x H x W, a point, not a distribution

    q(z) = p(z)                                         nothing infers z

The generator keeps the rules of the paper: strided transposed convolutions and no pooling, batch normalisation of every
hidden layer, ReLU within and tanh at the end, weights that start N(0, 0.02^2). Its last function holds the range of the
data: for x in [0, 1] it is tanh, moved and halved to that, (1 + tanh(h / 2)) / 2 = sigmoid(h), and for real x tanh
itself, whose data must lie in [-1, 1].

Its critic is the objective's, ``critic="conv"`` with ``normalisation="batch"``
(:class:`ppgen.layers.pictures.ImageCritic`).

Reference: Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks, Radford, Metz
and Chintala, 2016.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Len
from torch import Tensor

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.generators import Generator, Output, Prior, PushForward, made_prior
from ppgen.layers.networks import Networks
from ppgen.layers.normalisation import Normalisation
from ppgen.layers.pictures import image_generator
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["DCGAN"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 16, "quantised", image_shape=(4, 4), levels=4, num_data=20)
    return DCGAN(spec, 3, channels=(2,)), (torch.randint(4, (5, 16)) / 3,)


@register_model(
    "dcgan",
    summary="a convolutional generator of pictures, without a density",
    reference="Radford, Metz and Chintala, Unsupervised representation learning with DCGANs",
    year=2016,
    link="https://arxiv.org/abs/1511.06434",
    tags=("continuous", "implicit", "images"),
    tiny=_tiny,
    recommended=(
        Recommended(
            "nonsaturating",
            {"critic": "conv", "hidden": (32, 64), "normalisation": "batch", "betas": (0.5, 0.999)},
            {"steps": 3_000, "batch_size": 64, "lr": 2e-4, "schedule": "constant"},
        ),
    ),
)
class DCGAN(PushForward):
    """Convolutional generator of pictures. One batch is ``(x,)``, x of shape (B, C * H * W).

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (C * H * W,), observed, a point mass at G(z), in the plate ``data``

    Args:
        spec: what one datum is: a picture whose sides are multiples of 2^L.
        latent_dim: size of z.
        channels: of the L hidden layers, from z to x: 28 x 28 is halved twice exactly, 32 x 32 up to five times.
        prior: of z, ``"uniform"`` (on -1 to 1) or ``"normal"``; or what makes a Pyro distribution of each of (latent,)
            zeros.
        output: ``"sigmoid"`` for x in [0, 1], ``"tanh"`` for x in [-1, 1], ``"identity"``; or what makes a module of
            the same shape. None: sigmoid for binary and quantised data, tanh for real data.
        normalisation: of the hidden layers: ``"batch"``, ``"reference"``, ``"virtual"`` or ``"none"``
            (:mod:`ppgen.layers.normalisation`).
        num_reference: draws of z that are the reference batch, where it is normalised by one.

    Raises:
        UsageError: the data are no pictures, their sides are not halved exactly, or they are counts.

    >>> spec = DataSpec("pictures", 3 * 8 * 8, "quantised", image_shape=(3, 8, 8), levels=256)
    >>> DCGAN(spec, 5, channels=(4, 2)).generator(torch.zeros(7, 5)).shape
    torch.Size([7, 192])
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 100,
        *,
        channels: Annotated[Sizes, Len(1)] = (64, 32),
        prior: Prior = "uniform",
        output: Output | None = None,
        normalisation: Normalisation = "batch",
        num_reference: Count = 64,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.latent_dim = latent_dim
        self.prior = made_prior(prior, latent_dim)
        networks = Networks(
            spec, lambda *_: image_generator(_shape(spec), channels, normalisation, self._z(num_reference))
        )
        self.generator = Generator(networks, latent_dim, output or _OUTPUTS.get(spec.observation), "DCGAN")

    def _z(self, num: int) -> Tensor:
        """Draws of the prior, (num, latent)."""
        draws: Tensor = self.prior(torch.zeros(num, self.latent_dim)).sample()
        return draws


_OUTPUTS: dict[str, Output] = {"real": "tanh"}
"""Where it is not that of a generator of such data."""


def _shape(spec: DataSpec) -> tuple[int, ...]:
    if spec.image_shape is None:
        raise UsageError(f"DCGAN makes pictures, and data {shown(spec.name)} have no image_shape: use 'gan'.")
    return spec.image_shape
