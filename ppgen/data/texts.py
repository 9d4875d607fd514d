"""Texts of one's own, a folder of files or a list of strings: words that training texts have, counted or in order."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppgen.arguments import Count, Seed, Share
from ppgen.data.dataset import SPLITS, Dataset
from ppgen.data.folders import Entries, FileKind
from ppgen.data.reading import reading
from ppgen.data.sequences import analysed
from ppgen.data.spec import Observation
from ppgen.data.user import dataset_from, held_out_shares, hold_out
from ppgen.data.words import read_vocabulary
from ppgen.errors import UsageError, setting, shown
from ppgen.registry import register_data

__all__ = ["TEXTS", "texts"]

TEXTS = FileKind("texts", (".txt",))
WORD = r"(?u)\b\w\w+\b"
"""scikit-learn's: two letters, digits or underscores at least."""


@register_data(
    "texts",
    summary="texts of one's own, .txt files in the folder that file= names, as word counts or sequences of words",
    reference="Pedregosa and others, Scikit-learn: Machine learning in Python",
    year=2011,
    link="https://scikit-learn.org/stable/modules/generated/sklearn.feature_extraction.text.CountVectorizer.html",
    tags=("files", "text", "counts", "sequences", "labels"),
)
def texts(
    *,
    file: str | Sequence[str] | Mapping[str, Sequence[str]] = "",
    labels: bool = False,
    min_df: int | float = 1,
    max_df: int | float = 1.0,
    stop_words: str = "none",
    pattern: str = WORD,
    max_words: Count | None = None,
    vocabulary: str = "",
    sequences: bool = False,
    drop_empty: bool = False,
    valid: Share = 0.1,
    test: Share = 0.1,
    seed: Seed = 0,
) -> Dataset:
    """``folder/*.txt`` or ``folder/CLASS/*.txt``, or below ``folder/train`` beside ``test`` and ``valid``, in UTF-8.

    Words are counted by scikit-learn's ``CountVectorizer``, in lower case. The vocabulary is that of the training texts
    alone, after the others are held out, and what these have beside it is not counted. x is sparse in memory. A run
    keeps the vocabulary in ``vocabulary.txt``.

    Args:
        file: the folder; in Python also a list of strings, a text each, or a dict of such lists by split.
        labels: batches are (x, y), y the class: classes are numbered in the order of their folders' names.
        min_df: a word stands in so many training texts at least, or, of a number with a point, in such a share of them.
        max_df: the same, at most: 0.5 leaves out what stands in more than half.
        stop_words: ``"english"``: scikit-learn's list of them is left out; ``"none"``.
        pattern: of a word, a regular expression.
        max_words: of the words that remain, the most frequent are kept, so many.
        vocabulary: a text file, a word a line, that is counted instead: that of another run.
        sequences: x is the words in their order (N, T), T the longest text's, 0..V-1 and -1 after the last
            (:mod:`ppgen.distributions.symbols`); those outside the vocabulary are left out as they are of counts.
        drop_empty: leave out texts without a word of the vocabulary.
        valid: the share of the training texts to validate on, 0 for none, where there is no folder ``valid``.
        test: the same, to test.
        seed: seeds the permutation that holds out.

    Raises:
        UsageError: no folder is named, it holds no texts, one is not in UTF-8 or has no word of the vocabulary (it is
            named), no word is left, scikit-learn refuses an option, or labels were asked for and there are no classes.

    >>> data = texts(file=["a rose is a rose", "roses are red", "a red rose"], valid=0.0, test=0.0)
    >>> data.spec.vocabulary
    ('are', 'is', 'red', 'rose', 'roses')
    >>> data.train[0][0]
    tensor([0., 1., 0., 2., 0.])
    >>> texts(file=["a rose is a rose", "roses are red"], sequences=True, valid=0.0, test=0.0).train[0]
    tensor([[3., 1., 3.],
            [4., 0., 2.]])
    """
    found, names = _found(file, labels)
    split = _split(found, {"valid": valid, "test": test}, seed)
    counter = _counter(min_df, max_df, stop_words, pattern, max_words, vocabulary)
    read = {name: [text() for _, _, text in entries] for name, entries in split.items()}
    words = _words(counter, read["train"], vocabulary)
    parts: dict[str, Any] = {"valid": 0, "test": 0}
    ordered = analysed(counter, read) if sequences else {}
    for name, entries in split.items():
        counts = counter.transform(read[name])
        x = ordered.get(name, counts)
        kept = _kept(counts, [where for where, _, _ in entries], drop_empty)
        y = np.array([names.index(label) for _, label, _ in entries], np.int64) if names else None
        parts[name] = (x[kept],) if y is None else (x[kept], y[kept])
    name = Path(os.path.expanduser(file)).resolve().name if isinstance(file, str) else "texts"
    kind: Observation = "symbols" if sequences else "counts"
    made = dataset_from(parts, name=name, observation=kind, vocabulary=words, num_classes=len(names) or None)
    return replace(made, kinds={"class": f"categorical ({', '.join(names)})"} if names else {})


def _found(file: Any, labels: bool) -> tuple[dict[str, list[tuple[str, str, Any]]], list[str]]:
    """By split the place, the class and a reader of each text; and the names of the classes."""
    if not isinstance(file, str):
        return _of_strings(file, labels), []
    folder = Path(os.path.expanduser(file))
    if not file or not os.path.isdir(folder):  # pathlib raises for names that are too long
        example = setting("D", "file", "folder")
        raise UsageError(f"data set 'texts' needs a folder of .txt files, got {shown(file)}: {example}.")
    found: dict[str, Entries] = TEXTS.splits(folder)
    names = TEXTS.classes(found) if labels else []
    return {
        split: [(str(path), label, lambda path=path: _read(path)) for label, path in entries]
        for split, entries in found.items()
    }, names


def _of_strings(given: Any, labels: bool) -> dict[str, list[tuple[str, str, Any]]]:
    if labels:
        raise UsageError("labels of texts are the names of folders: name a folder with one for each class.")
    splits = dict(given) if isinstance(given, Mapping) else {"train": given}
    wrong = [split for split in splits if split not in SPLITS]
    if wrong or "train" not in splits:
        raise UsageError(f"texts by split are called {', '.join(SPLITS)}, train at least, got {', '.join(splits)}.")
    for split, texts_ in splits.items():
        strange = next((i for i, text in enumerate(texts_) if not isinstance(text, str)), None)
        if not len(texts_) or strange is not None:
            what = "none" if strange is None else f"{shown(texts_[strange])} at {strange}"
            raise UsageError(f"{split} must be a list of strings, a text each, got {what}.")
    return {
        split: [(f"text {i} of {split}", "", lambda text=text: text) for i, text in enumerate(texts_)]
        for split, texts_ in splits.items()
    }


def _read(path: Path) -> str:
    with reading(path, "a text in UTF-8"):
        try:
            return path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise UsageError(
                f"{path} must be a text in UTF-8, and line {line} is in another encoding: save it in UTF-8."
            ) from error


def _split(
    found: dict[str, list[tuple[str, str, Any]]], shares: dict[str, float], seed: int
) -> dict[str, list[tuple[str, str, Any]]]:
    """Texts by split, those of train that are held out taken from it."""
    asked = held_out_shares({**shares, **found}, 0.0)
    places = hold_out({"train": (torch.arange(len(found["train"])),)}, asked, seed)
    return found | {split: [found["train"][i] for i in rows.tolist()] for split, (rows,) in places.items()}


def _counter(
    min_df: float, max_df: float, stop_words: str, pattern: str, max_words: int | None, vocabulary: str
) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    if stop_words not in ("none", "english"):
        raise UsageError(f"stop_words must be 'none' or 'english', got {shown(stop_words)}.")
    kept = list(read_vocabulary(Path(os.path.expanduser(vocabulary)))) if vocabulary else None
    return CountVectorizer(
        min_df=min_df,
        max_df=max_df,
        stop_words=None if stop_words == "none" else stop_words,
        token_pattern=pattern,
        max_features=max_words,
        vocabulary=kept,
    )


def _words(counter: Any, train: list[str], vocabulary: str) -> tuple[str, ...]:
    """The vocabulary, found in the training texts where none is given."""
    try:
        if vocabulary:
            counter.transform(train[:1])
        else:
            counter.fit(train)
    except Exception as error:  # scikit-learn's own checks of options, and re.error of the pattern
        raise UsageError(
            f"the words of {len(train)} training texts cannot be counted ({' '.join(str(error).split())}): change "
            "min_df, max_df, stop_words, pattern or the vocabulary."
        ) from error
    return tuple(map(str, counter.get_feature_names_out()))


def _kept(counts: Any, places: list[str], drop_empty: bool) -> Any:
    """Rows with words."""
    full = np.asarray(counts.sum(1)).ravel() > 0
    if not drop_empty and not full.all():
        empty = np.flatnonzero(~full)
        which, them = f"{places[empty[0]]} has", "it"
        if len(empty) > 1:
            which, them = f"{places[empty[0]]} and {len(empty) - 1} more have", "them"
        raise UsageError(
            f"{which} no word of the vocabulary: take {them} away, lower min_df, or leave such "
            f"texts out, {setting('D', 'drop_empty', True)}."
        )
    return np.flatnonzero(full)
