"""Where things run: where the pair is. Data on another device are brought to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ppgen.errors import UsageError, blame
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.looking import looking
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import kept_buffers, owner
from ppgen.pairs.tracing import Batch, Program, run_particles

__all__ = ["as_batch", "brought_to", "place_of", "put_on", "ready"]

T = TypeVar("T")


def place_of(pair: Any) -> torch.device | None:
    """The device of the pair's first parameter or buffer; None: it has none (yet)."""
    functions = getattr(pair, "_functions", None) or (getattr(pair, "model", None), getattr(pair, "guide", None))
    modules = (pair, *(owner(function) for function in functions if function is not None))
    tensors = (t for m in modules if isinstance(m, nn.Module) for t in (*m.parameters(), *m.buffers()))
    return next((tensor.device for tensor in tensors), None)


def brought_to(pair: Any, given: T) -> T:
    """A batch, a data set or a tensor on the pair's device; numbers, lists of None and the like are as they were."""
    place = place_of(pair)
    if place is None:
        return given
    if not isinstance(given, tuple | list | dict):
        return given.to(place) if hasattr(given, "to") else given
    moved: T = pytree.tree_map_only(Tensor, lambda tensor: tensor.to(place), given)
    return moved


def as_batch(given: Any) -> Batch:
    """The arguments of model and guide, as a tuple.

    Raises:
        UsageError: it is neither tuple nor list: a tensor alone would be taken for as many arguments as it has rows.
    """
    if not isinstance(given, tuple | list):
        shape = f" of shape {tuple(given.shape)}" if isinstance(given, Tensor) else f" {given!s:.40}"
        kind = f"{type(given).__name__}{shape}"
        raise UsageError(f"expected a batch, a tuple of the model's arguments such as (x,), got {kind}: write (x,).")
    return tuple(given)


def ready(pair: Any, batch: Batch) -> tuple[Pair, Batch]:
    """A pair, or what is as good as one, with its parameters made, and the batch on its device."""
    made = as_pair(pair)
    batch = brought_to(made, as_batch(batch))
    made.prepare(*batch)
    return made, batch


def put_on(pair: Pair, first: Callable[[], Batch], place: torch.device, *, asked: bool) -> torch.device:
    """Put the pair where it was asked to be; where ``asked`` is False and it cannot go there, on the CPU.

    Functions may hold tensors that nobody can move for them. One run tells.

    Args:
        pair: moved in place.
        first: gives a batch of the size that the pair is trained on; not called for a CPU.
        place: the device.
        asked: whether the user named it.

    Raises:
        UsageError: the pair cannot run there, and the user asked for it.
    """
    pair.to(place)
    if place.type == "cpu":
        return place
    try:
        still = kept_buffers(pair.model, pair.guide)
        with looking(pair, seed=0), still:
            there = tuple(part.to(place) for part in first())
            pair.prepare(*there)
            if pair.has_density:
                run_particles(Program(pair.model, pair.guide), there, 1)
    except RuntimeError as error:
        if "same device" not in str(error):
            raise
        why = f"the pair holds tensors that stay on the CPU ({blame(error, 'in a module of its own')})"
        if asked:
            raise UsageError(
                f"{why}, and the data are on {place}: make them on the device of the arguments, or parts of the pair "
                "(parameters, buffers, modules), or give device='cpu'."
            ) from error
        warnings.warn(f"{why}: it is trained on the CPU.", stacklevel=2)
        pair.to("cpu")
        return torch.device("cpu")
    return place
