"""The generator of a GAN: a latent vector, and a network that makes x of it; x has no density.

    p(z) = N(0, I)  or  U(-1, 1)^latent                 z: (latent,)
    x    = G(z),    G = output(network)                 x | z is a point, not a distribution

    q(z) = p(z)                                         nothing infers z

The distribution of x is the image of p(z), on a surface of at most as many dimensions as z: there is no p(x | z) that
log-weights could be made of. What trains it reads draws: an adversarial objective, whose critic is the other half of a
GAN, or a kernel discrepancy. What judges it reads draws too.

Reference: Generative Adversarial Nets, Goodfellow et al., 2014.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Len
from torch import Tensor

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.layers.generators import Generator, Output, Prior, PushForward, made_prior
from ppgen.layers.networks import Activation, Network, Networks
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["GAN"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    return GAN(DataSpec("tiny", 6, "real", num_data=20), 3, hidden=(4,)), (torch.randn(5, 6),)


@register_model(
    "gan",
    summary="the generator of a GAN: a network of a latent vector, without a density",
    reference="Goodfellow et al., Generative adversarial nets",
    year=2014,
    link="https://arxiv.org/abs/1406.2661",
    tags=("continuous", "implicit"),
    tiny=_tiny,
    recommended=(
        Recommended(
            "wasserstein_gp",
            {"hidden": (256, 256, 256), "critic_steps": 1},
            {"steps": 5_000, "batch_size": 500},
            kinds=("binary", "quantised"),
        ),
        Recommended(
            "wasserstein_gp",
            {"hidden": (64, 64), "weight": 0.1, "critic_steps": 2},
            {"steps": 12_000, "batch_size": 128, "lr": 2e-3},
        ),
    ),
)
class GAN(PushForward):
    """Generator of a GAN. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, a point mass at G(z), in the plate ``data``

    Args:
        spec: what one datum is: its size, its kind, and the mean of the training data, at which the output starts.
        latent_dim: size of z.
        hidden: sizes of the hidden layers, from z to x.
        prior: of z, ``"normal"`` or ``"uniform"`` (on -1 to 1); or what makes a Pyro distribution of each of (latent,)
            zeros: ``lambda zeros: dist.Laplace(zeros, 1.0)``.
        output: ``"identity"``, ``"sigmoid"`` or ``"tanh"``, whose range is checked to hold the data; or what makes a
            module of the same shape: ``torch.nn.Softplus``. None: sigmoid for data in [0, 1] by their kind (binary,
            quantised), identity for real data.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        network: ``"mlp"``, or ``"conv"`` for data with an image shape: dense layers, then transposed convolutions; or
            what makes a network of the sizes of its input and its output.
        channels: channels of the convolutions of ``"conv"``, from z to x.
        batch_norm: normalise the hidden layers over the batch, which speeds up training on pictures.

    Raises:
        UsageError: a size is not positive, a name is unknown, the data are counts, or the prior makes no distribution
            of (latent,) numbers.

    >>> import ppgen
    >>> pair = GAN(DataSpec("ring", 2, "real"), latent_dim=3, hidden=(16,))
    >>> run = ppgen.fit(pair, torch.randn(20, 2), "nonsaturating", steps=2, eager=True)
    >>> ppgen.draws.prior_samples(pair, (torch.zeros(1, 2),), 100).x.shape
    torch.Size([100, 2])
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 32,
        *,
        hidden: Sizes = (256, 256),
        prior: Prior = "normal",
        output: Output | None = None,
        activation: Activation = "relu",
        network: Network = "mlp",
        channels: Annotated[Sizes, Len(1)] = (64, 32),
        batch_norm: bool = False,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.latent_dim = latent_dim
        self.prior = made_prior(prior, latent_dim)
        networks = Networks(spec, network, hidden[::-1], channels[::-1], activation, batch_norm)
        self.generator = Generator(networks, latent_dim, output, "GAN")

    @property
    def output(self) -> Output:
        """The generator's last function."""
        return self.generator.output
