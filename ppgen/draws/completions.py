"""Completions: what is not known of a datum, drawn given what is, by a pair that draws one feature after another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ppgen.data.spec import DataSpec
from ppgen.distributions.autoregressive import Autoregressive
from ppgen.distributions.orders import OverOrders
from ppgen.errors import UsageError, shown
from ppgen.machine.entry import entry_point
from ppgen.pairs.looking import looking
from ppgen.pairs.places import ready
from ppgen.pairs.tracing import Batch

__all__ = ["completes", "completions", "upper_half"]


@entry_point
def completions(pair: Any, batch: Batch, known: Tensor, *, seed: int = 0) -> Tensor:
    """Every datum with its known features as they are and the others drawn given these, (B, D).

    Args:
        pair: one whose ``distribution()`` is autoregressive, trained or not; it is left as it was.
        batch: ``(x,)``, x of shape (B, D); what is not known of it is not read.
        known: (D,), bool; what is known stands first in the pair's order, and in each of several.
        seed: seeds the draws.

    Raises:
        UsageError: the pair draws not one feature after another, a known feature stands behind an unknown one in its
            order, or in one of several, or x or ``known`` is of another size than the pair's data.

    >>> import ppgen
    >>> pair = ppgen.models.PixelCNN(DataSpec("tiny", 6, "binary", image_shape=(2, 3)), 2, num_layers=1)
    >>> x = torch.ones(2, 6)
    >>> completions(pair, (x,), upper_half(DataSpec("tiny", 6, "binary", image_shape=(2, 3))))[:, :3]
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """
    pair, batch = ready(pair, batch)
    distribution, x = _autoregressive(pair), batch[0]
    if distribution is None:
        raise UsageError(
            f"{type(pair).__name__} does not draw the features of a datum one after another, and cannot complete "
            "one: choose a pair that does, such as 'pixelcnn'."
        )
    size = distribution.event_shape[0]
    if x.ndim != 2 or x.shape[1] != size or known.shape != (size,):
        raise UsageError(
            f"{type(pair).__name__} completes data of {size} numbers each, got x of shape {tuple(x.shape)} and what is "
            f"known of shape {tuple(known.shape)}: give (B, {size}) and ({size},)."
        )
    with looking(pair, seed):
        drawn: Tensor = distribution.complete(x, known.to(x.device))
    return drawn


def completes(pair: Any, known: Tensor) -> bool:
    """Whether a pair draws what is not known, of (D,), given what is."""
    distribution = _autoregressive(pair)
    if distribution is None or distribution.event_shape != known.shape:
        return False
    return distribution.completes(known)


def upper_half(spec: DataSpec) -> Tensor:
    """Which features of a picture are of its rows above the middle, (D,), bool.

    Raises:
        UsageError: the data are no pictures.

    >>> upper_half(DataSpec("tiny", 6, "binary", image_shape=(3, 2)))
    tensor([ True,  True, False, False, False, False])
    """
    if spec.image_shape is None:
        raise UsageError(f"data {shown(spec.name)} have no image shape, and so no lower half to complete.")
    height, width = spec.image_shape[-2:]
    return torch.arange(spec.num_features) // width % height < height // 2


def _autoregressive(pair: Any) -> Autoregressive | OverOrders | None:
    """The distribution of a datum, where it is drawn feature by feature."""
    made = pair.distribution() if pair.states_x else None
    return made if isinstance(made, Autoregressive | OverOrders) else None
