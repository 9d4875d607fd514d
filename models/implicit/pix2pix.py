"""pix2pix: a generator of data given what they are to be made of, which learns from pairs.

    p(z)     = N(0, I)                                  z: (noise,), or nothing
    x        = G(s, z),   s given                       x | s, z is a point, not a distribution

    q(z)     = p(z)                                     nothing infers z

s is given, never drawn: the pair models p(x | s). ``paired`` trains it, a game whose critic sees x and s, and the
distance to the x that belongs to s. Without noise G is one x for each s.

Reference: Image-to-Image Translation with Conditional Adversarial Networks, Isola, Zhu, Zhou and Efros, 2017, whose
generator has dropout for noise and connections that pass its code by.
"""

from __future__ import annotations

from typing import Annotated, Any

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Ge, Len
from torch import Tensor

from ppgen.arguments import Sizes
from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.generators import Output
from ppgen.layers.networks import Activation, Network
from ppgen.layers.translators import TranslationPair, Translator, source_spec
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["Pix2Pix"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "real", num_data=20, source=DataSpec("given", 3, "real"), paired="all")
    return Pix2Pix(spec, noise=2, hidden=(4,)), (torch.randn(5, 6), torch.randn(5, 3))


@register_model(
    "pix2pix",
    summary="translation by pairs: a generator of data given a vector that they are made of",
    reference="Isola, Zhu, Zhou and Efros, Image-to-image translation with conditional adversarial networks",
    year=2017,
    link="https://arxiv.org/abs/1611.07004",
    tags=("continuous", "implicit", "conditional"),
    tiny=_tiny,
    recommended=Recommended("paired", training={"steps": 10_000, "batch_size": 128}),
)
class Pix2Pix(TranslationPair):
    """Generator given a source. One batch is ``(x, s)``, x of shape (B, D), sources s of shape (B, D_s).

    Sites:
        z: (noise,), real, in the plate ``data``, where there is noise
        x: (D,), observed, a point mass at G(s, z), in the plate ``data``

    Args:
        spec: what one datum is, and its source, of data whose rows are pairs (:func:`ppgen.data.translation_data`).
        noise: size of z; 0: G is a function of s alone.
        hidden: sizes of the dense hidden layers; of ``"conv"`` the last one is the code, in the middle.
        output: the generator's last function, as of ``gan``.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        network: ``"mlp"``, or ``"conv"`` where both sets have an image shape; or what makes a network of the sizes of
            its input and its output.
        channels: channels of the convolutions of ``"conv"``, from the source to the code; they are undone in reverse.
        batch_norm: normalise the hidden layers over the batch.

    Raises:
        UsageError: the data have no sources, or their rows are no pairs; a size is not positive, a name is unknown.

    >>> spec = DataSpec("plane", 2, "real", source=DataSpec("line", 1, "real"), paired="all")
    >>> Pix2Pix(spec, hidden=(8,)).translate(torch.zeros(5, 1)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        noise: Annotated[int, Ge(0)] = 0,
        hidden: Sizes = (128, 128),
        output: Output | None = None,
        activation: Activation = "relu",
        network: Network = "mlp",
        channels: Annotated[Sizes, Len(1)] = (32, 64),
        batch_norm: bool = False,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.source, self.noise = source_spec(spec, "Pix2Pix"), noise
        if spec.paired != "all":
            raise UsageError(
                f"Pix2Pix learns from pairs, and the training rows of data {shown(spec.name)} are none (paired="
                f"{shown(spec.paired)}): give pairs, paired='all', or use 'cyclegan', which needs none."
            )
        self.generator = Translator(
            self.source,
            spec,
            network=network,
            hidden=hidden,
            channels=channels,
            activation=activation,
            output=output,
            batch_norm=batch_norm,
            made_for="Pix2Pix",
            noise=noise,
        )

    def model(self, x: Tensor, s: Tensor) -> None:
        with self.data_plate(x):
            told = s
            if self.noise:
                z = pyro.sample("z", self._prior(x))  # (K, B, noise)
                told = torch.cat([s.expand(*z.shape[:-1], -1), z], -1)  # (K, B, D_s + noise)
            pyro.sample("x", dist.Delta(self.generator(told), event_dim=1), obs=x)  # (B, D)

    def guide(self, x: Tensor, s: Tensor) -> None:
        with self.data_plate(x):
            if self.noise:
                pyro.sample("z", self._prior(x))  # (K, B, noise)

    def translate(self, s: Tensor) -> Tensor:
        """x of sources, at the mean of z, (B, D_s) to (B, D)."""
        made: Tensor = self.generator(torch.cat([s, s.new_zeros(*s.shape[:-1], self.noise)], -1))
        return made

    def _prior(self, x: Tensor) -> Any:
        return dist.Normal(x.new_zeros(self.noise), x.new_ones(self.noise)).to_event(1)
