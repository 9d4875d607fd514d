"""Texts and strings in their order: data of the kind ``"symbols"``, padded sequences of whole numbers.

x is (N, T), x_t = 0..V-1 and -1 after the last (:mod:`ppgen.distributions.symbols`); T is the longest sequence of all
splits, and what there is of the mask and the lengths stays with x wherever rows are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppgen.data.rows import Rows, pieces
from ppgen.data.sparse import SparseRows
from ppgen.data.spec import Observation
from ppgen.data.words import MOST_WORDS
from ppgen.distributions.symbols import END, present

__all__ = ["analysed", "facts", "largest", "padded", "symbol_counts"]


def symbol_counts(x: Tensor, num_symbols: int) -> Tensor:
    """How often each symbol stands in sequences x, (B, T): (V,), int64, their order forgotten."""
    return torch.bincount(x[present(x)].long(), minlength=num_symbols)


def padded(sequences: Sequence[Sequence[int]], longest: int) -> NDArray[np.float64]:
    """Sequences of different lengths as one array (N, ``longest``)."""
    x = np.full((len(sequences), longest), float(END))
    for row, sequence in zip(x, sequences, strict=True):
        row[: len(sequence)] = sequence
    return x


def analysed(counter: Any, texts: Mapping[str, Sequence[str]]) -> dict[str, NDArray[np.float64]]:
    """By split, the words that scikit-learn's fitted ``counter`` counts, in their order: (N, T) each.

    Words outside its vocabulary are left out, and their neighbours become neighbours: the words are those of its
    counts, and as many.
    """
    analyse, places = counter.build_analyzer(), counter.vocabulary_
    found = {
        split: [[places[word] for word in analyse(text) if word in places] for text in given]
        for split, given in texts.items()
    }
    longest = max((len(sequence) for sequences in found.values() for sequence in sequences), default=0)
    return {split: padded(sequences, max(longest, 1)) for split, sequences in found.items()}


def facts(x: Any, observation: Observation, num_symbols: int) -> dict[str, Any]:
    """What a ``DataSpec`` says of training data x: ``num_features``, ``mean`` and ``length``.

    Args:
        x: (N, D), or (N, T) of symbols.
        observation: its kind.
        num_symbols: V, of symbols; not looked at else.
    """
    if observation != "symbols":
        mean = x.mean(0)
        length = _mean_length(mean) if observation == "counts" else None
        return {"num_features": x.shape[1], "mean": mean, "length": length}
    counts = sum(symbol_counts(piece.clamp(max=num_symbols), num_symbols + 1) for piece in _dense(x))
    mean = torch.as_tensor(counts)[:num_symbols].to(x.dtype) / max(len(x), 1)
    return {"num_features": num_symbols, "mean": mean, "length": _mean_length(mean)}


def largest(x: Rows) -> int:
    """The largest symbol of x, (N, T), at least 0; no larger than what is refused."""
    return max((int(piece.nan_to_num(0.0).clamp(0, MOST_WORDS).max()) for piece in _dense(x) if len(piece)), default=0)


def _dense(x: Rows) -> Iterator[Tensor]:
    yield from [x[:]] if isinstance(x, SparseRows) else (piece for _, piece in pieces(x))


def _mean_length(mean: Tensor) -> int | None:
    """Words in a document, rounded, where each word comes ``mean`` (D,) times; None where these are no counts."""
    words = float(mean.sum())
    return max(1, round(words)) if 0 < words < float("inf") else None
