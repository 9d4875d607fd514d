"""What a pair makes: draws from its prior, reconstructions of data; as tensors.

How a pair is drawn from is its own to say (:meth:`ppgen.Pair.draw_data`): by runs of its model with nothing observed,
or by Markov chains. Here it is at hand, seeded, and left as it was, with its training mode and the random state.

Latents outside the data plate belong to the whole data set; wherever they are needed, the guide draws them, once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ppgen.arguments import at_least
from ppgen.data import Dataset
from ppgen.machine.entry import entry_point
from ppgen.pairs.looking import looked_at, looking
from ppgen.pairs.places import brought_to, ready
from ppgen.pairs.sampling import Draws
from ppgen.pairs.tracing import Batch

__all__ = ["Draws", "conditions", "has_walk", "prior_latents", "prior_samples", "reconstructions"]


@entry_point
def prior_samples(pair: Any, batch: Batch, num: int, *, start: Tensor | None = None, seed: int = 0) -> Draws:
    """``num`` data from the model: z ~ p(z), x ~ p(x | z); of an energy-based pair by 1,000 sweeps of as many chains.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``, trained or not.
        batch: what the data set yields. Of x only the shape is used; the rest (labels) is gone through in turn.
        num: how many.
        start: where the chains of an energy-based pair begin, (M, D); None: at its base distribution.
        seed: seeds the draws.

    Raises:
        UsageError: num < 1, the model cannot be drawn from, or no observed site has the shape of x.
    """
    at_least("the number of samples", num, 1)
    made, batch = ready(pair, batch)
    with looking(made, seed):
        return made.draw_data(batch, num, brought_to(pair, start))


@entry_point
def prior_latents(pair: Any, batch: Batch, num: int, *, seed: int = 0) -> dict[str, Tensor]:
    """``num`` draws of the latents of a datum from the prior, by site name, each (num, F).

    The arguments are those of :func:`prior_samples`.

    Raises:
        UsageError: the model cannot be drawn from.
    """
    made, batch = ready(pair, batch)
    with looking(made, seed):
        return made.draw_latents(batch, num)


@entry_point
def reconstructions(pair: Any, batch: Batch, *, seed: int = 0) -> Draws:
    """Every datum of ``batch`` made again: one z ~ q(z | x), then x' ~ p(x' | z); of an energy-based pair by a sweep.

    Raises:
        UsageError: the model cannot be drawn from, or no observed site has the shape of x.
    """
    made, batch = ready(pair, batch)
    with looking(made, seed):
        return made.remake_data(batch)


def has_walk(pair: Any, batch: Batch) -> bool:
    """Whether the guide draws a latent for each datum, that :func:`latent_traversal` can move."""
    return bool(looked_at(*ready(pair, batch)).latents)


def conditions(data: Dataset, num: int) -> Batch:
    """A batch of ``num`` to sample at: test data (or what there is) in turn, their labels every class in turn."""
    shown = data.shown
    rows = torch.arange(num, device=shown[0].device)
    batch = tuple(part[rows % len(part)] for part in shown)
    classes = data.spec.num_classes
    return batch if classes is None else (batch[0], rows % classes, *batch[2:])
