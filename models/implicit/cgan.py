"""The conditional GAN: a generator that is told the label of what it is to make.

    p(z) = N(0, I)  or  U(-1, 1)^latent                 z: (latent,)
    x    = G(z, one_hot(y)),  y given                   x | z, y is a point, not a distribution

    q(z) = p(z)                                         nothing infers z

y is given, never drawn: the pair models p(x | y). The critic sees x and y, so that a draw that is good but of another
class is told from data: as a one-hot beside x, or by projection, an option of every adversarial objective.

Reference: Conditional Generative Adversarial Nets, Mirza and Osindero, 2014. Projection: cGANs with Projection
Discriminator, Miyato and Koyama, 2018.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Len
from torch import Tensor

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.layers.generators import Generator, Output, Prior, made_prior
from ppgen.layers.labels import beside_label, check_told, classes_of_all
from ppgen.layers.networks import Activation, Network, Networks
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["CGAN"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "real", num_classes=3, num_data=20)
    return CGAN(spec, 3, hidden=(4,)), (torch.randn(5, 6), torch.tensor([0, 1, 2, 1, 0]))


@register_model(
    "cgan",
    summary="conditional GAN: a generator of data given their labels",
    reference="Mirza and Osindero, Conditional generative adversarial nets",
    year=2014,
    link="https://arxiv.org/abs/1411.1784",
    tags=("continuous", "implicit", "conditional"),
    tiny=_tiny,
    recommended=Recommended(
        "nonsaturating", {"hidden": (256, 256), "projection": True}, {"steps": 10_000, "batch_size": 128}
    ),
)
class CGAN(Pair):
    """Conditional GAN. One batch is ``(x, y)``, x of shape (B, D), labels y of shape (B,).

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, a point mass at G(z, y), in the plate ``data``

    Args:
        spec: what one datum is; it has ``num_classes`` when the data were loaded with ``labels=True``.
        latent_dim: size of z.
        hidden: sizes of the hidden layers, from z and y to x.
        prior: of z, as of ``gan``.
        output: the generator's last function, as of ``gan``.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        network: ``"mlp"``, or ``"conv"`` for data with an image shape; or what makes a network of the sizes of its
            input and its output.
        channels: channels of the convolutions of ``"conv"``, from z to x.
        batch_norm: normalise the hidden layers over the batch.

    Raises:
        UsageError: the data have no labels, or not all, are counts, a size is not positive, or a name is unknown.

    >>> from ppgen.draws import prior_samples
    >>> pair = CGAN(DataSpec("pictures", 64, "quantised", num_classes=10, levels=17), latent_dim=2, hidden=(16,))
    >>> prior_samples(pair, (torch.zeros(10, 64), torch.arange(10)), 20).x.shape  # two of each class
    torch.Size([20, 64])
    """

    implicit: ClassVar[bool] = True

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
        self.latent_dim, self.num_classes = latent_dim, classes_of_all(spec, "CGAN", "SSVAE")
        self.prior = made_prior(prior, latent_dim)
        networks = Networks(spec, network, hidden[::-1], channels[::-1], activation, batch_norm)
        self.generator = Generator(networks, latent_dim + self.num_classes, output, "CGAN")

    def prepare(self, *batch: Tensor) -> None:
        """Check that the generator can make such data, and their labels."""
        self.generator.check(batch[0])
        check_told(batch, self.num_classes, "CGAN")

    def model(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", self.prior(x.new_zeros(self.latent_dim)).to_event(1))  # (K, B, latent)
            made = self.generator(beside_label(z, y, self.num_classes))  # (K, B, D)
            pyro.sample("x", dist.Delta(made, event_dim=1), obs=x)  # (B, D)

    def guide(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.prior(x.new_zeros(self.latent_dim)).to_event(1))  # (K, B, latent)
