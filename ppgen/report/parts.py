"""What the page's sections share: how data are laid out, and what makes a section of a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING

from ppgen.diagnostics.result import Finding
from ppgen.pages.charts import Vectors
from ppgen.pages.elements import COLUMNS, Figure, Section
from ppgen.pages.pictures import picture_shape

if TYPE_CHECKING:
    from ppgen.runs.run import Run


from typing import TYPE_CHECKING

from ppgen.errors import is_out_of_memory
from ppgen.pages.pictures import grey_range

if TYPE_CHECKING:
    from ppgen.runs.run import Run


__all__ = ["grey", "layout", "modes_of", "name_of_value", "of_question", "pictured", "shown_data"]


def pictured(
    title: str, applies: Callable[[Run], bool] = lambda run: True
) -> Callable[[Callable[[Run], Iterator[Figure]]], Callable[[Run], Section | None]]:
    """Make a section of a function that yields figures: None for a run to which it does not apply.

    Where the pair cannot give the figures, the section says why.
    """

    def decorate(figures: Callable[[Run], Iterator[Figure]]) -> Callable[[Run], Section | None]:
        @wraps(figures)
        def section(run: Run) -> Section | None:
            try:
                return Section(title, figures=tuple(figures(run))) if applies(run) else None
            except (RuntimeError, ValueError) as error:
                if is_out_of_memory(error):
                    raise
                return Section(title, f"There is no such picture of this pair: {error}")

        return section

    return decorate


def name_of_value(run: Run) -> str:
    """What the objective's value may be called: a bound on log p(x), or just the objective."""
    return "bound" if run.objective.is_bound else "objective"


def shown_data(run: Run) -> str:
    """What the data are that the page shows: test data where there are some."""
    return {"test": "test", "valid": "validation", "train": "training"}[run.data.last_split] + " data"


def layout(run: Run) -> tuple[tuple[int, ...] | None, int]:
    """How a datum is drawn, and how many stand side by side."""
    columns = 1 if run.data.spec.image_shape is None else min(COLUMNS, len(run.data.shown[0]))
    return picture_shape(run.data.spec), columns


def grey(run: Run) -> tuple[float, float]:
    """The values of x that a picture shows as black and as white."""
    return grey_range(run.data.spec, run.data.shown[0])


def modes_of(run: Run) -> list[Vectors]:
    """The known modes of data in the plane, as crosses; none where there are none."""
    modes = run.data.modes
    return [Vectors(modes.centres, 2, marker="+")] if modes is not None and modes.centres.shape[1] == 2 else []


def of_question(
    question: str, title: str
) -> Callable[[Callable[[Run, Finding], Iterator[Figure]]], Callable[[Run], Section | None]]:
    """Make a section of a function that draws one finding: None where there is no such finding or nothing to draw."""

    def decorate(figures: Callable[[Run, Finding], Iterator[Figure]]) -> Callable[[Run], Section | None]:
        @wraps(figures)
        def section(run: Run) -> Section | None:
            every = () if run.diagnosis is None else run.diagnosis.findings
            made = tuple(figure for found in every if found.question == question for figure in figures(run, found))
            return Section(title, figures=made) if made else None

        return section

    return decorate
