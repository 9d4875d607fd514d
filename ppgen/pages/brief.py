"""What a result shows of itself: a heading and a few rows, as text at a prompt and as HTML in a notebook."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from markupsafe import Markup

from ppgen.errors import cut

__all__ = ["Brief"]

_ROWS, _WIDTH = 8, 120


class Brief:
    """A result whose repr is at most ten lines of 120 characters."""

    @abstractmethod
    def brief(self) -> tuple[str, Sequence[tuple[str, ...]]]:
        """A heading of one line, and rows of as many cells each; those past the eighth are counted alone."""

    def __repr__(self) -> str:
        heading, rows = self._shown()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
        more = len(self.brief()[1]) - len(rows)
        return "\n".join([heading, *(cut(f"  {line.rstrip()}", _WIDTH) for line in lines), *_counted(more)])

    def _repr_html_(self) -> str:
        heading, rows = self._shown()
        cells = (Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row) for row in rows)
        body = Markup("").join(Markup("<tr>{}</tr>").format(row) for row in cells)
        more = Markup("").join(map(Markup("<p>{}</p>").format, _counted(len(self.brief()[1]) - len(rows))))
        return str(Markup("<div><p><b>{}</b></p><table>{}</table>{}</div>").format(heading, body, more))

    def _shown(self) -> tuple[str, Sequence[tuple[str, ...]]]:
        heading, rows = self.brief()
        return cut(heading, _WIDTH), rows[:_ROWS]


def _counted(more: int) -> list[str]:
    return [f"  and {more} more"] if more > 0 else []
