"""Vectors whose parts have laws of their own, independent of one another: rows of tables of mixed columns.

    p(x) = prod_i p_i(x_i),        x = (x_1, x_2, ...) side by side

Where some parts are discrete, p is a density in the others alone: a probability times a density.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple, Self

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ppgen.distributions.components import Components
from ppgen.errors import UsageError

__all__ = ["MixedComponents", "Part", "SideBySide"]


class _SideBySideSupport(constraints.Constraint):  # type: ignore[misc]  # pyro's stub of torch's
    """Each part in its own support."""

    event_dim = 1

    def __init__(self, supports: Sequence[Any], sizes: Sequence[int]) -> None:
        self.supports, self.sizes = tuple(supports), list(sizes)
        self.is_discrete = all(support.is_discrete for support in self.supports)
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        parts = value.split(self.sizes, -1)
        each = [support.check(part) for support, part in zip(self.supports, parts, strict=True)]
        return torch.stack(torch.broadcast_tensors(*each)).all(0)


class SideBySide(TorchDistribution):
    """Independent vectors as one.

    Args:
        parts: distributions of one batch shape, each of vectors (event dim 1).

    >>> import pyro.distributions as dist
    >>> both = SideBySide([dist.Normal(torch.zeros(2), 1.0).to_event(1), dist.OneHotCategorical(torch.ones(4))])
    >>> both.event_shape, both.log_prob(torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 0.0]))  # -log(2 pi) - log 4
    (torch.Size([6]), tensor(-3.2242))
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(self, parts: Sequence[Any], *, validate_args: bool | None = None) -> None:
        self.parts = tuple(parts)
        self.sizes = [part.event_shape[0] for part in self.parts]
        batch_shape = torch.broadcast_shapes(*(part.batch_shape for part in self.parts))
        super().__init__(batch_shape, torch.Size([sum(self.sizes)]), validate_args=validate_args)

    @constraints.dependent_property(event_dim=1)
    def support(self) -> Any:
        """Each part in its own."""
        return _SideBySideSupport([part.support for part in self.parts], self.sizes)

    @property
    def mean(self) -> Tensor:
        """E[x], (..., D); of a one-hot its probabilities."""
        return self._joined([part.mean for part in self.parts])

    @property
    def variance(self) -> Tensor:
        """Var[x], (..., D)."""
        return self._joined([part.variance for part in self.parts])

    def log_prob(self, value: Tensor) -> Tensor:
        """The sum over parts, in nats; ``value`` (..., D)."""
        if self._validate_args:
            self._validate_sample(value)
        each = zip(self.parts, value.split(self.sizes, -1), strict=True)
        total: Tensor = sum(part.log_prob(own) for part, own in each)  # type: ignore[assignment]  # of one or more
        return total

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws, shape ``sample_shape + batch_shape + (D,)``."""
        shape = torch.Size(sample_shape)
        return self._joined([part.sample(shape) for part in self.parts], shape)

    def expand(self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None) -> SideBySide:
        """The same distribution with its parts expanded to ``batch_shape``."""
        return SideBySide([part.expand(batch_shape) for part in self.parts], validate_args=False)

    def _joined(self, values: Sequence[Tensor], sample_shape: torch.Size = torch.Size()) -> Tensor:
        shape = sample_shape + self.batch_shape
        return torch.cat([value.expand(*shape, -1) for value in values], -1)


class Part(NamedTuple):
    """A part of components: a family, of how many features, and what smooths it."""

    family: type[Components]
    size: int
    smoothing: float


class MixedComponents(Components):
    """Components whose features are in parts, each of a family of its own; ``locs`` (C, D) are theirs side by side,
    and ``scales`` those of the parts that have some."""

    parts: ClassVar[tuple[Part, ...]] = ()

    @classmethod
    def of(cls, parts: Sequence[Part]) -> type[MixedComponents]:
        """The family of these parts, each of which has a loc for each feature."""
        support = _SideBySideSupport([part.family.support for part in parts], [part.size for part in parts])
        return type("MixedComponents", (cls,), {"parts": tuple(parts), "support": support})

    def table(self, x: Tensor) -> Tensor:
        each = zip(self._each(), self._split(x), strict=True)
        return torch.stack([own.table(part) for own, part in each]).sum(0)

    def at(self, c: Tensor) -> Any:
        return SideBySide([own.at(c) for own in self._each()])

    @property
    def means(self) -> Tensor:
        return torch.cat([own.means for own in self._each()], -1)

    @classmethod
    def start_scales(cls, locs: Tensor, scale: float) -> Tensor | None:
        each = zip(cls.parts, cls._split(locs), strict=True)
        found = [part.family.start_scales(own, scale) for part, own in each]
        scales = [own for own in found if own is not None]
        return torch.cat(scales, -1) if scales else None

    @staticmethod
    def scales_of(covariances: Tensor) -> Tensor:
        raise UsageError("components of mixed columns have no covariances but what each column tells: give none.")

    @classmethod
    def statistics(cls, x: Tensor, r: Tensor) -> dict[str, Tensor]:
        """Those of every part, with its number behind their names."""
        each = zip(cls.parts, cls._split(x), strict=True)
        found = [part.family.statistics(own, r) for part, own in each]
        return {f"{name}_{number}": value for number, own in enumerate(found) for name, value in own.items()}

    @classmethod
    def maximised(cls, weights: Tensor, statistics: Mapping[str, Tensor], regularisation: float) -> Self:
        """Each part by itself; ``regularisation`` is added to what smooths it."""
        found = []
        for number, part in enumerate(cls.parts):
            end = f"_{number}"
            own = {name.removesuffix(end): value for name, value in statistics.items() if name.endswith(end)}
            found.append(part.family.maximised(weights, own, part.smoothing + regularisation))
        scales = [own.scales for own in found if own.scales is not None]
        return cls(torch.cat([own.locs for own in found], -1), torch.cat(scales, -1) if scales else None)

    @classmethod
    def _split(cls, values: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = values.split([part.size for part in cls.parts], -1)
        return found

    def _each(self) -> Iterator[Components]:
        """The components of every part."""
        ends = list(accumulate(0 if self._unscaled(part) else part.size for part in self.parts))
        for part, locs, end in zip(self.parts, self._split(self.locs), ends, strict=True):
            scales = None if self._unscaled(part) or self.scales is None else self.scales[..., end - part.size : end]
            yield part.family(locs, scales)

    @staticmethod
    def _unscaled(part: Part) -> bool:
        return part.family.start_scales(torch.zeros(1, part.size), 1.0) is None
