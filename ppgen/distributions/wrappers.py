"""Distributions within distributions: events, masks and plates around the one that says what is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyro.distributions as dist
from pyro.distributions.torch_distribution import ExpandedDistribution, MaskedDistribution
from torch import Tensor

__all__ = ["WRAPPERS", "core_of", "family_name", "is_made_masked", "mean_of", "nested"]

WRAPPERS: tuple[type, ...] = (dist.Independent, MaskedDistribution, ExpandedDistribution)


def nested(fn: Any, wrappers: type | tuple[type, ...] = WRAPPERS) -> Iterator[Any]:
    """The distribution and those within it, the outermost first.

    >>> [type(each).__name__ for each in nested(dist.Normal(0.0, 1.0).mask(True).to_event(0))]
    ['MaskedDistribution', 'Normal']
    """
    yield fn
    while isinstance(fn, wrappers):
        fn = fn.base_dist  # type: ignore[attr-defined]  # which every wrapper has
        yield fn


def core_of(fn: Any) -> Any:
    """The distribution within all events, masks and plates."""
    *_, core = nested(fn)
    return core


def mean_of(fn: Any) -> Tensor | None:
    """E[z], of the distribution's shape or one that broadcasts to it; None where it is not known.

    >>> import torch
    >>> mean_of(dist.Normal(2.0, 1.0)), mean_of(dist.LogisticNormal(torch.zeros(2), torch.ones(2)))
    (tensor(2.), None)
    """
    try:
        mean: Tensor = fn.mean
    except NotImplementedError:  # by which torch's distributions say so
        return None
    return mean


def is_made_masked(fn: Any) -> bool:
    """Whether ``.mask`` leaves some of the distribution's log-probabilities out."""
    return any(isinstance(each, MaskedDistribution) for each in nested(fn))


def family_name(fn: Any) -> str:
    """Of the innermost distribution; of several set side by side, that of the first."""
    core = core_of(fn)
    return type(core_of(core.fns[0]) if hasattr(core, "fns") else core).__name__
