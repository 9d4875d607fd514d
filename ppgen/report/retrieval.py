"""Sections of the report on retrieval: precision against recall, and what is nearest to some data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppgen.evaluation.features import ROWS, features_of
from ppgen.evaluation.result import Measure
from ppgen.evaluation.retrieval import likeness
from ppgen.pages.charts import Curve, plot_curves
from ppgen.pages.elements import Figure, Section, figure_of
from ppgen.pages.look import look_of
from ppgen.pages.numbers import counted, number, plus_minus
from ppgen.pairs.looking import seeded
from ppgen.report.parts import pictured, shown_data

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["nearest_neighbours", "precision_and_recall"]

_QUERIES, _NEAREST = 6, 9
"""Data, and the training data nearest to each, that are shown."""


def precision_and_recall(run: Run) -> Section | None:
    """The precision of retrieval along its recall, with standard errors; None where it was not measured."""
    found = _retrieval(run)
    if found is None or found.along is None:
        return None
    recall, value, error = found.along.x, found.along.value, found.along.standard_error
    chart = plot_curves([Curve("", recall, value, error)], x_label=found.along.x_label, y_label=found.along.label)
    alt = f"Precision {number(value[0])} at recall {number(recall[0])}, {number(value[-1])} at {number(recall[-1])}."
    text = (
        f"Mean average precision {number(found.value)}, {found.meaning}. A bar is one standard error of the mean over "
        "queries."
    )
    rows = [(number(r), *plus_minus(v, e)) for r, v, e in zip(recall, value, error, strict=True)]
    table = (("recall", "precision", "standard error"), *rows)
    return Section("Retrieval", text, (figure_of(chart, alt),), table=table, group="Fit")


@pictured("Nearest neighbours", applies=lambda run: _retrieval(run) is not None)
def nearest_neighbours(run: Run) -> Iterator[Figure]:
    """Data that were held out, and with each the training data nearest to it in the features."""
    data, split = run.data, run.data.last_split
    with seeded(0):
        rows = torch.randperm(data.size("train"))[:ROWS].to(data.train[0].device)
        known, asked = data.draw(data.rows("train", rows)), data.draw(data.rows(split, slice(_QUERIES)))
        order = likeness(_features(run, asked), _features(run, known)).argsort(dim=1, descending=True, stable=True)
    nearest = order[:, :_NEAREST].to(rows.device)  # (queries, nearest)
    groups = {f"datum {i}": torch.cat([asked[0][[i]], known[0][near]]) for i, near in enumerate(nearest)}
    yield look_of(data).rows(
        groups,
        f"{counted(len(groups), 'query', 'queries')} and their nearest neighbours.",
        f"Of each row the first is one of the {shown_data(run)}, those after it are the nearest to it in the features, "
        f"of {len(rows):,} training data, the nearest first.",
    )


def _retrieval(run: Run) -> Measure | None:
    """What was measured of retrieval."""
    measures = () if run.evaluation is None else run.evaluation.measures
    return next((measure for measure in measures if measure.name == "mean_average_precision"), None)


def _features(run: Run, batch: tuple[Tensor, ...]) -> Tensor:
    found = features_of(run.pair, batch, run.data.spec.num_classes)
    return (found > 0).double() if getattr(run.pair, "binary_codes", False) else found
