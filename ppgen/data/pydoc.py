"""English text that every Python carries: the language reference, as ``help()`` prints it."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from ppgen.data.assemble import Part, assemble, permutation
from ppgen.data.dataset import Dataset
from ppgen.data.sequences import analysed
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
    tags=("text", "counts", "sequences", "embedded"),
)
def pydoc(*, sequences: bool = False, stop_words: Literal["english", "none"] = "english") -> Dataset:
    """Paragraphs of ``pydoc_data.topics`` as word counts: 1,308 documents, 838 words under Python 3.11.

    Paragraphs are split at blank lines, and those that stand there more than once count once. Words are runs of three
    letters or more, in lower case; scikit-learn's English stop words and words of fewer than 5 paragraphs are left out,
    then paragraphs of fewer than 5 words. In the order ``RandomState(0).permutation(N)``, a tenth validates, a tenth
    tests, the rest trains. **Another version of Python has another text**: compare numbers under one version only.

    Args:
        sequences: x is the words in their order (N, T), T the longest paragraph's, 0..V-1 and -1 after the last
            (:mod:`ppgen.distributions.symbols`); those outside the vocabulary are left out as they are of counts.
        stop_words: ``"english"``: scikit-learn's list of them is left out; ``"none"``.
    """
    left_out = None if stop_words == "none" else stop_words
    documents, words = _read(_paragraphs(), left_out, sequences=sequences)
    documents = documents[permutation(documents.x.shape[0], 0)]
    tenth = documents.x.shape[0] // 10
    valid, test, train = documents[:tenth], documents[tenth : 2 * tenth], documents[2 * tenth :]
    return assemble("pydoc", train, valid, test, observation="symbols" if sequences else "counts", vocabulary=words)


def _paragraphs() -> list[str]:
    """Every different paragraph, in the order of the titles."""
    from pydoc_data.topics import topics

    return list(dict.fromkeys(text for title in sorted(topics) for text in re.split(r"\n\s*\n", topics[title])))


def _read(paragraphs: list[str], stop_words: str | None, *, sequences: bool) -> tuple[Part, tuple[str, ...]]:
    """The paragraphs that are long enough, counts (documents, words) or sequences (documents, T), and the words."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(stop_words=stop_words, min_df=LEAST, token_pattern=WORD)
    counts = counter.fit_transform(paragraphs)
    x = analysed(counter, {"train": paragraphs})["train"] if sequences else counts
    return Part(x[np.asarray(counts.sum(1)).ravel() >= LEAST]), tuple(counter.get_feature_names_out())
