"""One column of a table whose columns are of several kinds, and where it stands in x.

"real"         one number
"binary"       one number, 0 or 1
"categorical"  a one-hot of L numbers, number k for category k
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from ppgen.arguments import check_fields, one_of
from ppgen.errors import UsageError, shown

__all__ = ["Column", "ColumnKind"]

ColumnKind = Literal["real", "binary", "categorical"]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: what heads it.
        kind: real, binary or categorical.
        categories: of a categorical column, in the order of its one-hot; of others none.

    Raises:
        UsageError: a categorical column has fewer than two categories, or one twice; another column has some.

    >>> column = Column("town", "categorical", ("Bonn", "Rome"))
    >>> column.size, column.features
    (2, ('town=Bonn', 'town=Rome'))
    """

    name: str
    kind: ColumnKind
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, f"column {shown(self.name)}")
        if self.kind == "categorical" and len(set(self.categories)) < max(2, len(self.categories)):
            raise UsageError(
                f"column {shown(self.name)} must have two categories or more, each once, got {shown(self.categories)}."
            )
        if self.kind != "categorical" and self.categories:
            raise UsageError(f"column {shown(self.name)} is {self.kind} and has categories: give it none.")

    @property
    def size(self) -> int:
        """How many numbers of x it is."""
        return len(self.categories) or 1

    @property
    def features(self) -> tuple[str, ...]:
        """What these numbers are called."""
        return tuple(f"{self.name}={category}" for category in self.categories) or (self.name,)

    @property
    def in_words(self) -> str:
        """The kind, of a categorical one with its categories."""
        return f"{self.kind} ({', '.join(self.categories)})" if self.categories else self.kind

    def values(self, x: Tensor) -> Any:
        """What stands in the table for its numbers in x, (N, size): numbers, or of each row the category, (N,)."""
        if not self.categories:
            return x[:, 0].cpu().numpy()
        return np.array(self.categories, dtype=object)[x.argmax(-1).cpu().numpy()]

    def to_json(self) -> dict[str, Any]:
        """The column in JSON's own types."""
        return {"name": self.name, "kind": self.kind, "categories": list(self.categories)}

    @classmethod
    def from_json(cls, values: Any) -> Column:
        """The inverse of :meth:`to_json`.

        Raises:
            UsageError: it is no description of a column.
        """
        if isinstance(values, Column):
            return values
        if not isinstance(values, Mapping) or "name" not in values or "kind" not in values:
            raise UsageError(f"a column is described by name, kind and categories, got {shown(values)}.")
        for name in values:
            one_of("unknown entry in the description of a column,", name, ("name", "kind", "categories"))
        given = values.get("categories", ())
        return cls(values["name"], values["kind"], tuple(given) if isinstance(given, list) else given)
