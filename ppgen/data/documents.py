"""Documents of one's own, as word counts in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ppgen.arguments import Seed
from ppgen.data.dataset import Dataset
from ppgen.data.user import dataset_from
from ppgen.data.words import read_counts, read_lda_c, read_vocabulary
from ppgen.errors import UsageError, setting, shown
from ppgen.registry import register_data

__all__ = ["documents"]


@register_data(
    "documents",
    summary="word counts of documents of one's own, from a file that file= names",
    reference="Blei, lda-c, which brought the text format",
    year=2004,
    link="https://github.com/blei-lab/lda-c",
    tags=("text", "counts"),
)
def documents(
    *, file: str = "", vocabulary: str = "", valid: str = "", test: str = "", held_out: float = 0.1, seed: Seed = 0
) -> Dataset:
    """Word counts in compressed sparse rows (``.npz``) or in lda-c's text format (any other name).

    A ``.npz`` archive is what ``scipy.sparse.save_npz`` wrote, or holds ``indptr``, ``indices`` and ``counts``:
    document i has the words ``indices[indptr[i]:indptr[i + 1]]``, each as often as ``counts`` says at the same place;
    it unpacks to 1 GiB at most. A line of lda-c's format is the number of a document's different words, then
    ``word:count`` for each, in any order; words are counted from 0. x is sparse in memory.

    Args:
        file: the training documents.
        vocabulary: a text file in UTF-8, word i on line i + 1; without it words have no names.
        valid: a file of the same kind; without it a ``held_out`` share of the training documents validates.
        test: the same, to test.
        held_out: between 0 and 1.
        seed: seeds the permutation that holds out.

    Raises:
        UsageError: no file is named, one is missing or no such file, a word is beyond the vocabulary, a document is
            empty or has more words than torch's default type counts exactly (2^24 in float32).
    """
    if not file:
        example = setting("D", "file", "counts.npz")
        raise UsageError(f"data set 'documents' needs the .npz or lda-c file of word counts: {example}.")
    words = read_vocabulary(_existing("vocabulary", vocabulary)) if vocabulary else None
    size = None if words is None else len(words)
    train = _read(_existing("file", file), size)
    held = {
        name: _read(_existing(name, path), size or train.shape[1])
        for name, path in (("valid", valid), ("test", test))
        if path
    }
    return dataset_from(
        train, **held, observation="counts", name="documents", vocabulary=words, held_out=held_out, seed=seed
    )


def _existing(option: str, name: str) -> Path:
    path = Path(os.path.expanduser(str(name)))
    if not os.path.isfile(path):  # pathlib raises for names that are too long
        raise UsageError(f"{option} must name a file, got {shown(str(name))}, where there is none: correct the path.")
    return path


def _read(path: Path, columns: int | None) -> Any:
    return read_counts(path, columns=columns) if path.suffix == ".npz" else read_lda_c(path, columns)
