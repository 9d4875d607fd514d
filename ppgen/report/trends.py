"""Section of the report for topics of documents that have classes: each topic's part in each class, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppgen.data import Dataset
from ppgen.errors import UsageError
from ppgen.evaluation.clusters import agreement
from ppgen.evaluation.coherence import topics_of
from ppgen.evaluation.features import labelled_data
from ppgen.evaluation.topics import document_shares, topic_trends
from ppgen.pages.elements import Section, figure_of
from ppgen.pages.numbers import counted, number
from ppgen.pages.statistics import plot_table
from ppgen.pairs.looking import seeded
from ppgen.report.parts import shown_data

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["trends"]

_TOPICS, _CLASSES, _DOCUMENTS = 20, 20, 1000
"""Topics and classes of the chart, and documents that it is made of, at most."""

_NARROW = 8
"""Classes that fit half the page."""


def trends(run: Run) -> Section | None:
    """The topics' parts in the words of each class of documents, and how far main topics are the classes.

    None for a pair without topics or shares of them, and for data that have no classes, or one: the classes of data
    that were trained on without are loaded, as ``evaluate --labels`` does.
    """
    if topics_of(run.pair) is None or (labelled := _labelled(run.data)) is None:
        return None
    if (found := _documents(run.data, labelled)) is None:
        return None
    x, y = found
    with seeded(0):
        theta = document_shares(run.pair, (x,))
    if theta is None or len(y.unique()) < 2:
        return None
    classes, parts = topic_trends(theta, x.sum(1), y)  # (G,), (G, T)
    order = parts.mean(0).argsort(descending=True)[:_TOPICS].tolist()
    names = [_names(labelled)[int(c)] for c in classes[:_CLASSES]]
    cut = f" The first {_CLASSES} of {len(classes)} classes." if len(classes) > _CLASSES else ""
    rows = {f"topic {k}": parts[:_CLASSES, k].tolist() for k in order}
    caption = f"Percent of a class's words that are a topic's; the topics of the largest shares first.{cut}"
    chart = plot_table(rows, names, x_label="class", y_label="")
    figure = figure_of(chart, f"Shares of {counted(len(order), 'topic')} in {len(names)} classes.", caption)
    return Section("Topics by class", _explained(run, theta, y), (figure,), group="Model", wide=len(names) > _NARROW)


def _explained(run: Run, theta: Tensor, y: Tensor) -> str:
    rand, information = agreement(theta.argmax(1), y)
    return (
        f"Each topic's part in the words of a class, for classes in their order: a trend, where they are times. From "
        f"{counted(len(y), 'document')} ({shown_data(run)}). Put together by their main topic, they agree with the "
        f"classes at an adjusted Rand index of {number(rand)} and a normalised mutual information of "
        f"{number(information)}; 1 is the same parts."
    )


def _labelled(data: Dataset) -> Dataset | None:
    """The same data with their classes; None where they have none that can be loaded."""
    try:
        return labelled_data(data, asked=True)
    except UsageError:
        return None


def _documents(data: Dataset, labelled: Dataset) -> tuple[Tensor, Tensor] | None:
    """Documents whose class is known, (B, V), (B,), drawn at random where there are many; None: the labels are those
    of other data."""
    split = data.last_split
    if labelled.size(split) != data.size(split):
        return None
    with seeded(0):
        rows = torch.randperm(data.size(split))[:_DOCUMENTS].sort().values
    x = data.rows(split, rows.to(data.train[0].device))[0]
    found, y, *_ = labelled.rows(split, rows.to(labelled.train[0].device))
    known = (y >= 0).to(x.device)
    return (x[known], y.to(x.device)[known]) if torch.equal(found.to(x.device), x) else None


def _names(labelled: Dataset) -> list[str]:
    """Of the classes, where they are those of folders, else their numbers."""
    num = labelled.spec.num_classes or 0
    said = labelled.kinds.get("class", "")
    names = said.removeprefix("categorical (").removesuffix(")").split(", ")
    return names if len(names) == num else [str(c) for c in range(num)]
