"""English text that every Python carries: the language reference, as ``help()`` prints it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ppgen.data.assemble import Part, assemble, permutation
from ppgen.data.dataset import Dataset
from ppgen.registry import register_data

__all__ = ["pydoc"]

WORD = r"\b[a-z]{3,}\b"
LEAST = 5
"""A word stands in so many paragraphs, and a paragraph has so many words, at least."""


@register_data(
    "pydoc",
    summary="English text that every Python carries, the paragraphs of its language reference",
    reference="The Python Language Reference, as pydoc_data.topics holds it",
    year=1991,
    link="https://docs.python.org/3/reference/",
    tags=("text", "counts", "embedded"),
)
def pydoc() -> Dataset:
    """Paragraphs of ``pydoc_data.topics`` as word counts: 1,308 documents, 838 words under Python 3.11.

    Paragraphs are split at blank lines, and those that stand there more than once count once. Words are runs of three
    letters or more, in lower case; scikit-learn's English stop words and words of fewer than 5 paragraphs are left out,
    then paragraphs of fewer than 5 words. In the order ``RandomState(0).permutation(N)``, a tenth validates, a tenth
    tests, the rest trains. **Another version of Python has another text**: compare numbers under one version only.
    """
    counts, words = _count(_paragraphs())
    documents = Part(counts)[permutation(counts.shape[0], 0)]
    tenth = counts.shape[0] // 10
    valid, test, train = documents[:tenth], documents[tenth : 2 * tenth], documents[2 * tenth :]
    return assemble("pydoc", train, valid, test, observation="counts", vocabulary=words)


def _paragraphs() -> list[str]:
    """Every different paragraph, in the order of the titles."""
    from pydoc_data.topics import topics

    return list(dict.fromkeys(text for title in sorted(topics) for text in re.split(r"\n\s*\n", topics[title])))


def _count(paragraphs: list[str]) -> tuple[Any, tuple[str, ...]]:
    """Word counts of the paragraphs that are long enough, a sparse matrix (documents, words), and the words."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(stop_words="english", min_df=LEAST, token_pattern=WORD)
    counts = counter.fit_transform(paragraphs)
    return counts[np.asarray(counts.sum(1)).ravel() >= LEAST], tuple(counter.get_feature_names_out())
