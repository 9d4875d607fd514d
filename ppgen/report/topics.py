"""Section of the report for pairs with topics: their words, coherence, shares, documents, and how they lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppgen.evaluation.coherence import COHERENCE_WORDS, published_coherence, top_words, topics_of
from ppgen.evaluation.topics import document_shares, plane_of_topics
from ppgen.pages.elements import COLUMNS, Figure, Section, figure_of, picture
from ppgen.pages.numbers import counted, number
from ppgen.pages.pictures import grid
from ppgen.pages.statistics import plot_map
from ppgen.pairs.looking import seeded
from ppgen.pairs.rows import take_rows
from ppgen.report.parts import shown_data

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["topics"]

_TOPICS, _WORDS = 100, 10
"""Rows of the table, and words in a row, at most."""

_DOCUMENTS, _PARTICLES, _NEAREST = 1000, 10, 3
"""Test documents, and draws of the guide for each, from which shares are taken; those that a topic's row names."""


def topics(run: Run) -> Section | None:
    """A table of topics by their most probable words, those of the largest share first, and pictures of them.

    None for a pair without ``topics``, (K, V); shares are known of one whose ``shares_site`` names the latent whose
    softmax they are. A pair whose topics are no mixture's says by ``topics_are`` what they are.
    """
    found = topics_of(run.pair)
    if found is None:
        return None
    theta, npmi = _shares(run), _coherence(run, found)
    share = None if theta is None else _of_words(run, theta)
    rank = next((by for by in (share, npmi) if by is not None), -torch.arange(len(found)))
    order = rank.argsort(descending=True)[:_TOPICS].to(found.device)
    columns = {
        "topic": [str(k) for k in order.tolist()],
        "share": [] if share is None else [f"{number(100 * float(share[k]), 1)} %" for k in order],
        "main of": [] if theta is None else [str(int((theta.argmax(1) == k).sum())) for k in order],
        "NPMI": [] if npmi is None else [number(float(npmi[k])) for k in order],
        _unit(run)[0]: list(_words(run, found[order])),
        "nearest documents": [] if theta is None else [_nearest(theta[:, k]) for k in order],
    }
    shown = {title: cells for title, cells in columns.items() if cells}
    table = (tuple(shown), *zip(*shown.values(), strict=True))
    text, figures = " ".join(_explained(run, found, theta, npmi)), tuple(_figures(run, found, order, share))
    of_words = tuple(place for place, title in enumerate(shown) if title in (_unit(run)[0], "nearest documents"))
    return Section("Topics", text, figures, table=table, text_columns=of_words, group="Model")


def _explained(run: Run, found: Tensor, theta: Tensor | None, npmi: Tensor | None) -> Iterator[str]:
    if said := getattr(run.pair, "topics_are", ""):
        yield said
    if len(found) > _TOPICS:
        yield f"The first {_TOPICS} of {len(found):,} topics."
    if theta is not None:
        whose = f"{counted(len(theta), 'document')} ({shown_data(run)})"
        yield (
            f"A topic's share is its part in the words of {whose}, a mean under the guide; of how many it is the main "
            f"topic, and which have the largest shares of it, by their row, stands beside."
        )
    if npmi is not None:
        few, many = COHERENCE_WORDS
        yield (
            f"NPMI, from −1 to 1, tells whether the first {few} and {many} words of a topic are found in the same "
            f"document ({shown_data(run)}); its mean over the topics is {number(float(npmi.mean()), 3)}."
        )


def _unit(run: Run) -> tuple[str, float]:
    """What the column of words is, and what a share is times there: a mixture's are probabilities."""
    if getattr(run.pair, "topics_are", ""):
        return "words of the largest shares, times the mean word's", float(run.data.spec.num_features)
    return "most probable words, in percent", 100.0


def _words(run: Run, found: Tensor) -> Iterator[str]:
    times = _unit(run)[1]
    names = run.data.spec.vocabulary or [f"word {v}" for v in range(found.shape[1])]
    for topic, words in zip(found, top_words(found, min(_WORDS, found.shape[1])), strict=True):
        yield ", ".join(f"{names[v]}\N{NO-BREAK SPACE}{number(times * float(topic[v]), 1)}" for v in words.tolist())


def _coherence(run: Run, found: Tensor) -> Tensor | None:
    """NPMI of each topic in the test documents; None where the vocabulary is too small for it."""
    return published_coherence(found, run.data.shown[0][:]) if max(COHERENCE_WORDS) <= found.shape[1] else None


def _shares(run: Run) -> Tensor | None:
    """Shares of the topics in test documents, (B, topics); None where no latent tells them."""
    with seeded(0):
        return document_shares(run.pair, take_rows(run.data.shown, slice(_DOCUMENTS)), _PARTICLES)


def _of_words(run: Run, theta: Tensor) -> Tensor:
    """The topics' parts in the words of those documents, (topics,)."""
    words: Tensor = take_rows(run.data.shown, slice(len(theta)))[0].sum(1, keepdim=True)  # (B, 1)
    return (words * theta).sum(0) / words.sum()


def _nearest(share: Tensor) -> str:
    found = share.topk(min(_NEAREST, len(share)))
    each = zip(found.indices.tolist(), found.values.tolist(), strict=True)
    return ", ".join(f"{row}\N{NO-BREAK SPACE}({number(100 * value, 0)}\N{NO-BREAK SPACE}%)" for row, value in each)


def _figures(run: Run, found: Tensor, order: Tensor, share: Tensor | None) -> Iterator[Figure]:
    yield from _pictures(run, found[order])
    if len(found) > 2 and run.data.spec.image_shape is None:
        sizes = torch.ones(len(found)) if share is None else share
        places = plane_of_topics(found[order]).tolist()
        caption = "Topics by number, the nearer the more alike: two principal components of their distances."
        if share is not None:
            caption += " The area of a mark is the topic's share."
        names = [str(k) for k in order.tolist()]
        yield figure_of(plot_map(places, sizes[order].tolist(), names), f"Map of {len(names)} topics", caption)


def _pictures(run: Run, found: Tensor) -> Iterator[Figure]:
    """The topics as pictures, where data are."""
    shape = run.data.spec.image_shape
    if shape is not None:
        columns = min(COLUMNS, len(found))
        most = float(found.max())
        caption = f"The topics in the table's order, row by row; black is 0, white {number(100 * most, 1)} percent."
        yield Figure(
            picture(grid(found, shape, columns, grey=(0.0, most)), columns, f"{counted(len(found), 'topic')}."), caption
        )
