"""The generator of BEGAN: uniform noise, and the decoder of the autoencoder that is its critic.

    p(z) = U(-1, 1)^latent  or  N(0, I)                 z: (latent,)
    x    = G(z)                                         a point, not a distribution

    q(z) = p(z)                                         nothing infers z

G is built as the critic's decoder is and shares no weights with it: of pictures nearest-neighbour doublings, each with
a convolution of kernel 3, and ELUs, with as many channels at every resolution and without normalisation; of other data
dense layers of ELUs. ``began`` trains it, whose critic is such an autoencoder: ``critic="conv"`` of pictures.

Reference: BEGAN: Boundary Equilibrium Generative Adversarial Networks, Berthelot, Schumm and Metz, 2017, section 3.1
and figure 1, with two convolutions at each resolution.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Len
from torch import Tensor

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.layers.generators import Generator, Output, Prior, PushForward, made_prior
from ppgen.layers.networks import Networks
from ppgen.layers.pictures import image_generator
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["BEGAN"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 16, "quantised", image_shape=(4, 4), levels=4, num_data=20)
    return BEGAN(spec, 3, channels=(2,)), (torch.randint(4, (5, 16)) / 3,)


_TRAINING = {"steps": 5_000, "batch_size": 32, "lr": 2e-4, "schedule": "constant"}


@register_model(
    "began",
    summary="the generator of BEGAN: the decoder of its critic, an autoencoder",
    reference="Berthelot, Schumm and Metz, BEGAN: boundary equilibrium generative adversarial networks",
    year=2017,
    link="https://arxiv.org/abs/1703.10717",
    tags=("continuous", "implicit", "images"),
    tiny=_tiny,
    recommended=(
        Recommended(
            "began",
            {"critic": "conv", "hidden": (16, 32), "code_dim": 32, "betas": (0.5, 0.999)},
            _TRAINING,
            kinds=("binary", "quantised"),
        ),
        Recommended("began", {"betas": (0.5, 0.999)}, _TRAINING),
    ),
)
class BEGAN(PushForward):
    """Generator like the decoder of an autoencoder. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, a point mass at G(z), in the plate ``data``

    Args:
        spec: what one datum is; of a picture that has channels, sides that are multiples of 2^L.
        latent_dim: size of z: the paper has as many as the critic's code.
        channels: of the L hidden layers of pictures, from z to x.
        hidden: sizes of the hidden layers of other data, from z to x.
        prior: of z, as of ``dcgan``.
        output: the generator's last function, as of ``gan``: sigmoid for data in [0, 1] by their kind.

    Raises:
        UsageError: the sides of pictures are not halved exactly, or the data are counts.

    >>> spec = DataSpec("pictures", 3 * 8 * 8, "quantised", image_shape=(3, 8, 8), levels=256)
    >>> BEGAN(spec, 5, channels=(4, 4)).generator(torch.zeros(7, 5)).shape
    torch.Size([7, 192])
    >>> BEGAN(DataSpec("plane", 2, "real"), 5, hidden=(8,)).generator(torch.zeros(7, 5)).shape
    torch.Size([7, 2])
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 32,
        *,
        channels: Annotated[Sizes, Len(1)] = (16, 16),
        hidden: Sizes = (128, 128),
        prior: Prior = "uniform",
        output: Output | None = None,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.latent_dim, self.prior = latent_dim, made_prior(prior, latent_dim)
        networks = Networks(spec, hidden=hidden[::-1], activation="elu")
        if spec.image_shape is not None:
            shape, z = spec.image_shape, torch.zeros(1, latent_dim)
            networks = Networks(spec, lambda *_: image_generator(shape, channels, "none", z, "began"))
        self.generator = Generator(networks, latent_dim, output, "BEGAN")
