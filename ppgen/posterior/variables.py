"""Random variables as arrays: many draws of one trace site, with the names of its plates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from ppgen.pairs.sites import PARTICLES, Site, own_dims

__all__ = ["Variable"]


@dataclass(frozen=True, eq=False)
class Variable:
    """S draws of a site.

    Args:
        values: (S, *batch, *event).
        event_dim: how many of the last dims are the event's.
        plates: names of the site's plates by their dims, -1 the last of ``batch``. A dim of size 1 of no plate stands
            there for broadcasting alone.
    """

    values: Tensor
    event_dim: int = 0
    plates: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, site: Site, values: Tensor, event_dim: int | None = None) -> Self:
        """Draws ``values`` (S, *batch, *event) of a site, or of something else of its batch shape."""
        plates = {f.dim: f.name for f in site["cond_indep_stack"] if f.vectorized and f.name != PARTICLES}
        return cls(values, own_dims(site) if event_dim is None else event_dim, plates)

    @staticmethod
    def joined(parts: Sequence[Variable]) -> Variable:
        """The draws of several, one after another."""
        return replace(parts[0], values=torch.cat([part.values for part in parts]))

    def axis(self, plate: str | None) -> int | None:
        """Which axis of ``values`` is that plate's; None: the site stands outside it."""
        dim = next((dim for dim, name in self.plates.items() if name == plate), None)
        return None if dim is None else self.values.dim() - self.event_dim + dim

    def take(self, rows: Tensor, plate: str | None) -> Variable:
        """Draws by their number: ``rows`` (S',) for all data alike, or (S', B), for each datum of ``plate`` its own."""
        axis = self.axis(plate)
        if rows.dim() == 1 or axis is None:
            return replace(self, values=self.values[rows if rows.dim() == 1 else rows[:, 0]])
        data = torch.arange(rows.shape[1], device=rows.device)
        return replace(self, values=self.values.movedim(axis, 1)[rows, data].movedim(1, axis))

    def squeezed(self) -> tuple[Tensor, list[str | None]]:
        """``values`` less the dims for broadcasting, and the plate of each dim after the first (None: of no plate)."""
        rank = self.values.dim() - 1 - self.event_dim
        sizes = {dim: self.values.shape[1 + rank + dim] for dim in range(-rank, 0)}
        kept = {dim: size for dim, size in sizes.items() if dim in self.plates or size != 1}
        values = self.values.reshape(len(self.values), *kept.values(), *self.values.shape[1 + rank :])
        return values, [*map(self.plates.get, kept), *(None,) * self.event_dim]
