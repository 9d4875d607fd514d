"""Articles of the Associated Press as bags of words: the sample that came with the first code for topic models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppgen.data.assemble import Part, assemble, permutation
from ppgen.data.dataset import Dataset
from ppgen.data.download import PLACE, find
from ppgen.data.formats import check_rows
from ppgen.data.words import read_counts, read_lda_c, read_vocabulary
from ppgen.errors import UsageError
from ppgen.registry import register_data

__all__ = ["ap"]

SHAPE = (2246, 10_473)
HELD_OUT = 225
PAGE = "http://www.cs.columbia.edu/~blei/lda-c/ap.tgz"


@register_data(
    "ap",
    summary="articles of the Associated Press, word counts over 10,473 words",
    reference="Blei, Ng and Jordan, Latent Dirichlet allocation",
    year=2003,
    link="https://www.jmlr.org/papers/v3/blei03a.html",
    tags=("text", "counts"),
)
def ap() -> Dataset:
    """1,796 train, 225 valid, 225 test documents: the articles in the order of ``RandomState(0).permutation(2246)``.

    There is no published split. These are the 2,246 articles handed out with lda-c, not the larger set of the paper's
    perplexities. x is sparse in memory.

    Raises:
        UsageError: the folder of PPGEN_DATA does not hold ``ap.npz`` and ``ap_vocab.txt``, nor lda-c's own ``ap.dat``
            and ``vocab.txt``.
    """
    path, counts, vocabulary = _packed() or _original() or _missing()
    check_rows(path, counts, SHAPE)
    articles = Part(counts)[permutation(SHAPE[0], 0)]
    parts = articles[: -2 * HELD_OUT], articles[-2 * HELD_OUT : -HELD_OUT], articles[-HELD_OUT:]
    return assemble("ap", *parts, observation="counts", vocabulary=vocabulary)


Found = tuple[Path, Any, tuple[str, ...]]
"""A file, its counts (a sparse matrix of SciPy's), and the words."""


def _packed() -> Found | None:
    path, words = find("ap.npz"), find("ap_vocab.txt")
    if path is None or words is None:
        return None
    vocabulary = read_vocabulary(words)
    return path, read_counts(path, columns=len(vocabulary)), vocabulary


def _original() -> Found | None:
    path, words = find("ap.dat"), find("vocab.txt")
    if path is None or words is None:
        return None
    vocabulary = read_vocabulary(words)
    return path, read_lda_c(path, len(vocabulary)), vocabulary


def _missing() -> Found:
    raise UsageError(
        f"data set 'ap' needs ap.dat and vocab.txt (from {PAGE}), or ap.npz and ap_vocab.txt, none of which is "
        f"downloaded, for want of a published checksum: {PLACE}."
    )
