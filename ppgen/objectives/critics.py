"""The critics that an adversarial objective makes: dense, or convolutional for pictures; normalised or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppgen.data.spec import DataSpec
from ppgen.errors import UsageError
from ppgen.layers.dense import MLP
from ppgen.layers.normalisation import Normalisation, Referenced
from ppgen.layers.pictures import image_critic
from ppgen.pairs.rows import is_data
from ppgen.pairs.tracing import Batch

__all__ = ["Critic", "dense_critic", "picture_critic"]


class Critic(nn.Module):
    """A dense network of leaky ReLUs (slope 0.2), a batch to (B,): one unbounded number for each sample.

    It sees all numbers of a datum side by side, x first; a label is the number that it is.

    Args:
        batch: an example: x, (B, ...), and what else it holds.
        hidden: sizes of the hidden layers.
        normalisation: of the hidden layers (:mod:`ppgen.layers.normalisation`).
        num_reference: how many rows are the reference batch, where they are normalised by one.
    """

    def __init__(
        self, *batch: Any, hidden: Sequence[int], normalisation: Normalisation = "none", num_reference: int = 0
    ) -> None:
        super().__init__()
        inputs = _side_by_side(batch).shape[1]
        self.network = MLP(inputs, 1, hidden, "leaky_relu", normalisation=normalisation, num_reference=num_reference)

    def forward(self, *batch: Any) -> Tensor:
        outputs: Tensor = self.network(_side_by_side(batch))
        return outputs.squeeze(-1)


def dense_critic(*batch: Any, hidden: Sequence[int], normalisation: Normalisation) -> nn.Module:
    """:class:`Critic`, whose reference batch, where it has need of one, is this."""
    if normalisation not in ("reference", "virtual"):
        return Critic(*batch, hidden=hidden, normalisation=normalisation)
    return Referenced(Critic(*batch, hidden=hidden, normalisation=normalisation, num_reference=len(batch[0])), *batch)


def picture_critic(pair: nn.Module, batch: Batch, channels: Sequence[int], normalisation: Normalisation) -> nn.Module:
    """:class:`ppgen.layers.pictures.ImageCritic` of the pair's pictures; its reference batch, where it needs one, is
    ``batch``.

    Raises:
        UsageError: the pair's data are no pictures, or their sides are not halved exactly.
    """
    specs = [given for given in getattr(pair, "arguments", {}).values() if isinstance(given, DataSpec)]
    if not specs or specs[0].image_shape is None:
        raise UsageError(
            f"critic='conv' is a critic of pictures, and the data of {type(pair).__name__} have no image_shape: give "
            "data that have one, or leave critic out."
        )
    return image_critic(specs[0].image_shape, channels, normalisation, batch)


def _side_by_side(batch: Batch) -> Tensor:
    """The numbers of each datum, x first, (B, D), in the type of x."""
    x = batch[0]
    parts = [part.to(x.dtype).reshape(len(x), -1) for part in batch if torch.is_tensor(part) and is_data(part, len(x))]
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0]
