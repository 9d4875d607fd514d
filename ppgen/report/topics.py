"""Section of the report for pairs with topics: their words, their coherence, their shares of the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppgen.evaluation.coherence import COHERENCE_WORDS, published_coherence, top_words, topics_of
from ppgen.pages.elements import COLUMNS, Figure, Section, picture
from ppgen.pages.numbers import counted, number
from ppgen.pages.pictures import grid
from ppgen.pairs.log_weights import read_particles
from ppgen.pairs.looking import seeded
from ppgen.pairs.rows import take_rows
from ppgen.report.parts import shown_data

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["topics"]

_TOPICS, _WORDS = 100, 10
"""Rows of the table, and words in a row, at most."""

_DOCUMENTS, _PARTICLES = 1000, 10
"""Test documents, and draws of the guide for each, from which shares are taken."""


def topics(run: Run) -> Section | None:
    """A table of topics by their most probable words, those of the largest share first, and pictures of them.

    None for a pair without ``topics``, (K, V); shares are known of one whose ``shares_site`` names the latent whose
    softmax they are. A pair whose topics are no mixture's says by ``topics_are`` what they are.
    """
    found = topics_of(run.pair)
    if found is None:
        return None
    share, npmi = _shares(run), _coherence(run, found)
    rank = next((by for by in (share, npmi) if by is not None), -torch.arange(len(found)))
    order = rank.argsort(descending=True)[:_TOPICS].to(found.device)
    columns = {
        "topic": [str(k) for k in order.tolist()],
        "share": [] if share is None else [f"{number(100 * float(share[k]), 1)} %" for k in order],
        "NPMI": [] if npmi is None else [number(float(npmi[k])) for k in order],
        _unit(run)[0]: list(_words(run, found[order])),
    }
    shown = {title: cells for title, cells in columns.items() if cells}
    table = (tuple(shown), *zip(*shown.values(), strict=True))
    text, figures = " ".join(_explained(run, found, share, npmi)), tuple(_pictures(run, found[order]))
    return Section("Topics", text, figures, table=table, text_columns=(len(shown) - 1,), group="Model")


def _explained(run: Run, found: Tensor, share: Tensor | None, npmi: Tensor | None) -> Iterator[str]:
    if said := getattr(run.pair, "topics_are", ""):
        yield said
    if len(found) > _TOPICS:
        yield f"The first {_TOPICS} of {len(found):,} topics."
    if share is not None:
        count = min(_DOCUMENTS, len(run.data.shown[0]))
        whose = f"{counted(count, 'document')} ({shown_data(run)})"
        yield f"A topic's share is its part in the words of {whose}, a mean under the guide."
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
    """The mean over the words of test documents of their shares of the topics; None where no latent tells them."""
    site = getattr(run.pair, "shares_site", None)
    if site is None:
        return None
    batch = take_rows(run.data.shown, slice(_DOCUMENTS))
    words: Tensor = batch[0].sum(1, keepdim=True)  # (B, 1)
    with seeded(0):
        chunks = read_particles(run.pair, batch, _PARTICLES, lambda p: p.guide_sites[site]["value"].softmax(-1))
        theta: Tensor = torch.cat([torch.cat(blocks).mean(0) for blocks in chunks])  # (B, topics)
    return (words * theta).sum(0) / words.sum()


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
