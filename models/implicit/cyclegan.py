"""CycleGAN: a translation between two sets of which no pairs are known, and its inverse.

    p(s) = the distribution of the sources              s: (D,), drawn by taking the batch's own
    x    = G(s)                                         a point, without a density

    q(s | x) = a point, F(x)                            what x was made of

The model is the translation and the guide its inverse: posterior inference is translating back. ``cycle`` trains both,
with a critic of each set: x' = G(s) is to be distributed as the targets, F(x) as the sources, and each map is to undo
the other. The two sets are of one kind, and of any numbers of data.

Reference: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, Zhu, Park, Isola and Efros,
2017.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Len
from torch import Tensor

from ppgen.arguments import Sizes
from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.generators import Output
from ppgen.layers.networks import Activation, Network
from ppgen.layers.translators import TranslationPair, Translator, source_spec
from ppgen.pairs.pair import Pair
from ppgen.pairs.running import Batch
from ppgen.pairs.sampling import Draws
from ppgen.registry import Recommended, register_model

__all__ = ["CycleGAN"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "real", num_data=20, source=DataSpec("other", 6, "real"), paired="none")
    return CycleGAN(spec, hidden=(4,)), (torch.randn(5, 6), torch.randn(5, 6))


@register_model(
    "cyclegan",
    summary="translation between two sets without pairs: a map, and its inverse as the guide",
    reference="Zhu, Park, Isola and Efros, Unpaired image-to-image translation",
    year=2017,
    link="https://arxiv.org/abs/1703.10593",
    tags=("continuous", "implicit", "amortised"),
    tiny=_tiny,
    recommended=Recommended("cycle", training={"steps": 10_000, "batch_size": 128}),
)
class CycleGAN(TranslationPair):
    """A map between two sets and its inverse. One batch is ``(x, s)``, both of shape (B, D), rows no pairs.

    Sites:
        s: (D,), in the plate ``data``; in the model the batch's own source, in the guide a point mass at F(x)
        x: (D,), observed, a point mass at G(s), in the plate ``data``

    Args:
        spec: what one target is, and its source, which is of the same kind (:func:`ppgen.data.translation_data`).
        hidden: sizes of the dense hidden layers of either map; of ``"conv"`` the last one is the code, in the middle.
        output: the last function of either map, as of ``gan``.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        network: ``"mlp"``, or ``"conv"`` for data with an image shape; or what makes a network of the sizes of its
            input and its output.
        channels: channels of the convolutions of ``"conv"``, to the code; they are undone in reverse.
        batch_norm: normalise the hidden layers over the batch.
        residual: each map is its argument and what a network of ``"mlp"`` adds to it, and begins as the shift from one
            mean to the other: of the maps that carry one set into the other, training finds one near where it starts.

    Raises:
        UsageError: the data are one set, or two of other sizes or kinds; a size is not positive, a name is unknown.

    >>> spec = DataSpec("plane", 2, "real", source=DataSpec("other plane", 2, "real"), paired="none")
    >>> pair, s = CycleGAN(spec, hidden=(8,)), torch.zeros(5, 2)
    >>> pair.translate(s).shape, pair.translate_back(pair.translate(s)).shape
    (torch.Size([5, 2]), torch.Size([5, 2]))
    """

    implicit_guide: ClassVar[bool] = True

    def __init__(
        self,
        spec: DataSpec,
        *,
        hidden: Sizes = (128, 128),
        output: Output | None = None,
        activation: Activation = "relu",
        network: Network = "mlp",
        channels: Annotated[Sizes, Len(1)] = (32, 64),
        batch_norm: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.source = source_spec(spec, "CycleGAN")
        _check_alike(spec, self.source)

        def made(source: DataSpec, target: DataSpec) -> Translator:
            return Translator(
                source,
                target,
                network=network,
                hidden=hidden,
                channels=channels,
                activation=activation,
                output=output,
                batch_norm=batch_norm,
                made_for="CycleGAN",
                residual=residual,
            )

        self.generator, self.inverse = made(self.source, spec), made(spec, self.source)

    def prepare(self, *batch: Tensor) -> None:
        """Check that the batch has targets and sources, and that either map can make such data."""
        super().prepare(*batch)
        self.inverse.check(batch[1])

    def model(self, x: Tensor, s: Tensor) -> None:
        with self.data_plate(x):
            source = pyro.sample("s", dist.Delta(s, event_dim=1))  # (B, D)
            pyro.sample("x", dist.Delta(self.translate(source), event_dim=1), obs=x)  # (B, D)

    def guide(self, x: Tensor, s: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("s", dist.Delta(self.translate_back(x), event_dim=1))  # (B, D)

    def translate(self, s: Tensor) -> Tensor:
        """G(s): targets of sources, (..., B, D) to (..., B, D)."""
        made: Tensor = self.generator(s)
        return made

    def translate_back(self, x: Tensor) -> Tensor:
        """F(x): sources of targets, (..., B, D) to (..., B, D)."""
        made: Tensor = self.inverse(x)
        return made

    def reconstruct(self, x: Tensor, s: Tensor | None = None) -> Tensor:
        """x made again, G(F(x)), (B, D)."""
        return self.translate(self.translate_back(x))

    def remake_data(self, batch: Batch) -> Draws:
        """Every target of ``batch`` made again from its source."""
        again, how = self.reconstruct(batch[0]), "G(F(x)), translated back and there again"
        return Draws(again, again, how, how)


def _check_alike(target: DataSpec, source: DataSpec) -> None:
    for what, one, other in (
        ("size", source.num_features, target.num_features),
        ("shape", source.image_shape, target.image_shape),
        ("kind", source.observation, target.observation),
    ):
        if one != other:
            raise UsageError(
                f"CycleGAN translates between two sets of one size and kind, and the {what} of {shown(source.name)} is "
                f"{one} where that of {shown(target.name)} is {other}: bring both to one, or use 'pix2pix' if rows are "
                "pairs."
            )
