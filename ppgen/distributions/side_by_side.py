"""Vectors whose parts have laws of their own, independent of one another: rows of tables of mixed columns.

    p(x) = prod_i p_i(x_i),        x = (x_1, x_2, ...) side by side

Where some parts are discrete, p is a density in the others alone: a probability times a density.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ppgen.distributions.components import Components
from ppgen.distributions.place import Place, put_together
from ppgen.errors import UsageError

__all__ = ["MixedComponents", "Part", "SideBySide"]


class _SideBySideSupport(constraints.Constraint):
    """Each part in its own support."""

    event_dim = 1

    def __init__(self, supports: Sequence[Any], places: Sequence[Place]) -> None:
        self.supports, self.places = tuple(supports), tuple(places)
        self.is_discrete = all(support.is_discrete for support in self.supports)
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        each = zip(self.supports, self.places, strict=True)
        return torch.stack([support.check(place.of(value)) for support, place in each]).all(0)


class SideBySide(TorchDistribution):
    """Independent vectors as one.

    Args:
        parts: distributions of one batch shape, each of vectors (event dim 1).
        places: where each stands.

    >>> import pyro.distributions as dist
    >>> parts = [dist.Normal(torch.zeros(2), 1.0).to_event(1), dist.OneHotCategorical(torch.ones(4))]
    >>> both = SideBySide(parts, [Place(((0, 1), (5, 6))), Place(((1, 5),))])
    >>> both.event_shape, both.log_prob(torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 0.0]))  # -log(2 pi) - log 4
    (torch.Size([6]), tensor(-3.2242))
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(self, parts: Sequence[Any], places: Sequence[Place], *, validate_args: bool | None = None) -> None:
        self.parts, self.places = tuple(parts), tuple(places)
        batch_shape = torch.broadcast_shapes(*(part.batch_shape for part in self.parts))
        super().__init__(
            batch_shape, torch.Size([sum(place.size for place in self.places)]), validate_args=validate_args
        )

    @constraints.dependent_property(event_dim=1)
    def support(self) -> Any:
        """Each part in its own."""
        return _SideBySideSupport([part.support for part in self.parts], self.places)

    @property
    def mean(self) -> Tensor:
        """E[x], (..., D); of a one-hot its probabilities."""
        return self._together([part.mean for part in self.parts])

    @property
    def variance(self) -> Tensor:
        """Var[x], (..., D)."""
        return self._together([part.variance for part in self.parts])

    def log_prob(self, value: Tensor) -> Tensor:
        """The sum over parts, in nats; ``value`` (..., D)."""
        if self._validate_args:
            self._validate_sample(value)
        each = zip(self.parts, self.places, strict=True)
        total: Tensor = sum(part.log_prob(place.of(value)) for part, place in each)
        return total

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws, shape ``sample_shape + batch_shape + (D,)``."""
        shape = torch.Size(sample_shape)
        return self._together([part.sample(shape) for part in self.parts], shape)

    def expand(self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None) -> SideBySide:
        """The same distribution with its parts expanded to ``batch_shape``."""
        parts = [part.expand(batch_shape) for part in self.parts]
        return SideBySide(parts, self.places, validate_args=self._validate_args)

    def _together(self, values: Sequence[Tensor], sample_shape: Sequence[int] = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape
        return put_together([value.expand(*shape, -1) for value in values], self.places)


class Part(NamedTuple):
    """A part of components: a family, the place of its features, and what smooths it."""

    family: type[Components]
    place: Place
    smoothing: float

    @property
    def num_scales(self) -> int:
        """How many scales a component of it has."""
        scales = self.family.start_scales(torch.zeros(1, self.place.size), 1.0)
        return 0 if scales is None else scales.shape[-1]


class MixedComponents(Components):
    """Components whose features are in parts, each of a family of its own that has a loc for each feature.

    ``locs`` (C, D) are at the places of features, ``scales`` those of the parts that have some, one after another.
    """

    parts: ClassVar[tuple[Part, ...]] = ()

    @classmethod
    def of(cls, parts: Sequence[Part]) -> type[MixedComponents]:
        """The family of these parts."""
        support = _SideBySideSupport([part.family.support for part in parts], [part.place for part in parts])
        return type("MixedComponents", (cls,), {"parts": tuple(parts), "support": support})

    def table(self, x: Tensor) -> Tensor:
        each = zip(self._each(), self.parts, strict=True)
        return torch.stack([own.table(part.place.of(x)) for own, part in each]).sum(0)

    def at(self, c: Tensor) -> Any:
        return SideBySide([own.at(c) for own in self._each()], [part.place for part in self.parts])

    @property
    def means(self) -> Tensor:
        return self._together([own.means for own in self._each()])

    @classmethod
    def start_scales(cls, locs: Tensor, scale: float) -> Tensor | None:
        return _joined([part.family.start_scales(part.place.of(locs), scale) for part in cls.parts])

    @staticmethod
    def scales_of(covariances: Tensor) -> Tensor:
        raise UsageError("components of mixed columns have no covariances but what each column tells: give none.")

    @classmethod
    def statistics(cls, x: Tensor, r: Tensor) -> dict[str, Tensor]:
        """Those of every part, with its number behind their names."""
        found = [part.family.statistics(part.place.of(x), r) for part in cls.parts]
        return {f"{name}_{number}": value for number, own in enumerate(found) for name, value in own.items()}

    @classmethod
    def maximised(cls, weights: Tensor, statistics: Mapping[str, Tensor], regularisation: float) -> Self:
        """Each part by itself; ``regularisation`` is added to what smooths it."""
        found = []
        for number, part in enumerate(cls.parts):
            end = f"_{number}"
            own = {name.removesuffix(end): value for name, value in statistics.items() if name.endswith(end)}
            found.append(part.family.maximised(weights, own, part.smoothing + regularisation))
        return cls(cls._together([own.locs for own in found]), _joined([own.scales for own in found]))

    @classmethod
    def _together(cls, values: Sequence[Tensor]) -> Tensor:
        return put_together(values, [part.place for part in cls.parts])

    def _each(self) -> Iterator[Components]:
        """The components of every part."""
        first = 0
        for part in self.parts:
            end = first + part.num_scales
            scales = None if self.scales is None or end == first else self.scales[..., first:end]
            first = end
            yield part.family(part.place.of(self.locs), scales)


def _joined(scales: Sequence[Tensor | None]) -> Tensor | None:
    some = [own for own in scales if own is not None]
    return torch.cat(some, -1) if some else None
