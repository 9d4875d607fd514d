"""The network of a translation, from the vectors of one data set to those of another; and what its pairs share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ppgen.arguments import Sizes
from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.dense import MLP, Activation, make_activation
from ppgen.layers.generators import Generator, Output
from ppgen.layers.networks import Network, Networks
from ppgen.pairs.pair import Pair
from ppgen.pairs.rows import source_of
from ppgen.pairs.running import Batch
from ppgen.pairs.sampling import Draws

__all__ = ["TranslationPair", "Translator", "source_spec"]


class Translator(nn.Sequential):
    """A network from one data set's vectors to another's, (..., D_s + noise) to (..., D), by their kinds.

    Dense layers of ``hidden`` sizes; of ``"conv"`` convolutions of ``channels`` down to the dense layers ``hidden``,
    and transposed convolutions up again (:mod:`ppgen.layers.convolutions`).

    Args:
        source: what a vector of the one set is.
        target: what one of the other set is, with its mean, at which the output starts.
        network: ``"mlp"``, ``"conv"``, or what makes a network of the sizes of its input and its output.
        hidden: sizes of the dense layers; of ``"conv"`` the last one is the code, in the middle.
        channels: of the convolutions, from the picture.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one.
        output: the last function, as of ``gan``.
        batch_norm: normalise the hidden layers over the batch.
        made_for: the model's name, for messages.
        noise: numbers that are given beside the source.
        residual: the source is added to what the network makes, whose last layer starts at zero: the translation begins
            as a shift of the source to the target's mean.

    Raises:
        UsageError: ``"conv"`` without a hidden size or without pictures, an unknown name, data that are counts; the sum
            of ``residual`` is not of two vectors of one size, or leaves the output's range.

    >>> plane = DataSpec("plane", 2, "real")
    >>> Translator(plane, DataSpec("bits", 3, "binary"), hidden=(4,))(torch.zeros(7, 2)).shape
    torch.Size([7, 3])
    """

    def __init__(
        self,
        source: DataSpec,
        target: DataSpec,
        *,
        network: Network = "mlp",
        hidden: Sizes = (64, 64),
        channels: Sizes = (32, 64),
        activation: Activation = "relu",
        output: Output | None = None,
        batch_norm: bool = False,
        made_for: str = "Translator",
        noise: int = 0,
        residual: bool = False,
    ) -> None:
        if network != "conv":
            networks = Networks(target, network, hidden[::-1], channels, activation, batch_norm)
            super().__init__(Generator(networks, source.num_features + noise, output, made_for))
        else:
            if not hidden:
                raise UsageError(f"the convolutions of {made_for} meet in a code of the last hidden size: give one.")
            *inner, code = hidden
            down, up = (Networks(spec, network, inner, channels, activation, batch_norm) for spec in (source, target))
            read = _Beside(down.encoder(code), make_activation(activation), noise)
            super().__init__(read, Generator(up, code + noise, output, made_for))
        self.residual = residual
        if residual:
            self._begin_as_a_shift(source, target)

    def forward(self, inputs: Tensor) -> Tensor:
        made: Tensor = super().forward(inputs)  # type: ignore[no-untyped-call]  # torch's
        return inputs + made if self.residual else made

    def check(self, x: Tensor) -> None:
        """Check that it can make such data.

        Raises:
            UsageError: a number of x is outside its range.
        """
        self._generator.check(x)

    @property
    def _generator(self) -> Generator:
        last = self[-1]
        assert isinstance(last, Generator)  # it is put there above
        return last

    def _begin_as_a_shift(self, source: DataSpec, target: DataSpec) -> None:
        name, output, network = self._generator.made_for, self._generator.output, self._generator[0]
        if output != "identity" or source.num_features != target.num_features or not isinstance(network, MLP):
            raise UsageError(
                f"residual of {name} adds a source to what a network makes of it, and got sources of "
                f"{source.num_features} numbers, targets of {target.num_features}, output={shown(output)} and network "
                f"{type(network).__name__}: it takes vectors of one size, output='identity' and network='mlp'; leave "
                "residual out."
            )
        last: Any = network.layers[-1]
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(target.centre - source.centre)


class _Beside(nn.Module):
    """The code of a source, and the noise that stands behind it as it is: (..., D_s + noise) to (..., code + noise)."""

    def __init__(self, encoder: nn.Module, activation: nn.Module, noise: int) -> None:
        super().__init__()
        self.code, self.noise = nn.Sequential(encoder, activation), noise

    def forward(self, inputs: Tensor) -> Tensor:
        source, noise = inputs.tensor_split([inputs.shape[-1] - self.noise], -1)
        return torch.cat([self.code(source), noise], -1)


class TranslationPair(Pair):
    """A pair that makes x of a source s, x = G(s), a point. One batch is ``(x, s)``, (B, D) and (B, D_s).

    A subclass makes ``generator`` and writes :meth:`translate`.
    """

    implicit: ClassVar[bool] = True
    takes_source: ClassVar[bool] = True

    source: DataSpec
    generator: Translator

    def prepare(self, *batch: Tensor) -> None:
        """Check that the batch has sources of the size that the pair was made for, and that it can make such data.

        Raises:
            UsageError: it has none, or labels in their place, or vectors of another size.
        """
        s = source_of(batch, type(self).__name__)
        if s.shape[1:] != (self.source.num_features,):
            raise UsageError(
                f"{type(self).__name__} was made for sources of {self.source.num_features} numbers, and these are "
                f"{tuple(s.shape)}: give it data of that size, or make a pair of theirs."
            )
        self.generator.check(batch[0])

    @abstractmethod
    def translate(self, s: Tensor) -> Tensor:
        """x of sources, (..., B, D_s) to (..., B, D), without chance."""

    def draw_data(self, batch: Batch, num: int, start: Tensor | None = None) -> Draws:
        """The translations of ``num`` sources, those of the batch in turn."""
        said = "x = G(s) of sources s that were held out or, where there are none, of those to train"
        return replace(super().draw_data(batch, num, start), of_x=said, of_mean=said, drawn_from="sources")


def source_spec(spec: DataSpec, made_for: str) -> DataSpec:
    """What a source of the data is.

    Raises:
        UsageError: the data are one set, or have labels.
    """
    if spec.source is None:
        has = f"one set with labels of {spec.num_classes} classes" if spec.num_classes else "one set"
        raise UsageError(
            f"{made_for} translates one set into another, and data {shown(spec.name)} are {has}: load two, as "
            "'affine_moons' or 'two_sets' are, or make them of your own, ppgen.data.translation_data(source, target)."
        )
    return spec.source
