"""What pairs on counts of words share: where topics start, and logarithms off zero."""

from __future__ import annotations

import torch
from torch import Tensor

from ppgen.data.spec import DataSpec
from ppgen.errors import UsageError, setting, shown

__all__ = ["check_counts", "check_no_symbols", "check_symbols", "frequencies", "off_zero", "ratio", "start_topics"]


def check_counts(who: str, spec: DataSpec) -> None:
    """The data are counts.

    Raises:
        UsageError: they are not.
    """
    if spec.observation == "symbols":
        counted = setting("D", "sequences", False)
        raise UsageError(
            f"{who} needs counts of words, but data {shown(spec.name)} are sequences of them: load it with {counted}."
        )
    if spec.observation != "counts":
        counted = setting("D", "observation", "counts")
        raise UsageError(
            f"{who} needs counts of words, but data {shown(spec.name)} are {spec.in_words}: load a table of counts "
            f"with {counted}, or text as data set 'texts' or 'documents'."
        )


def check_symbols(who: str, spec: DataSpec) -> None:
    """The data are sequences of symbols.

    Raises:
        UsageError: they are not.
    """
    if spec.observation != "symbols":
        ordered = setting("D", "sequences", True)
        raise UsageError(
            f"{who} needs sequences of words, but data {shown(spec.name)} are {spec.observation}: load data set "
            f"'texts' or 'pydoc' with {ordered}, or whole numbers (N, T) by dataset_from(x, observation='symbols')."
        )


def check_no_symbols(spec: DataSpec) -> None:
    """The data are vectors.

    Raises:
        UsageError: they are sequences of symbols.
    """
    if spec.observation == "symbols":
        raise UsageError(
            f"data {shown(spec.name)} are sequences of symbols, and this pair takes vectors: take 'markov', or load "
            f"the counts of words, {setting('D', 'sequences', False)}."
        )


def frequencies(spec: DataSpec) -> Tensor:
    """How often each word comes in a training document, (V,), positive; the same of all where the data do not say."""
    return torch.ones(spec.num_features) if spec.mean is None else spec.mean.clamp_min(1e-4)


def start_topics(spec: DataSpec, num_topics: int, spread: float = 0.5) -> Tensor:
    """Logits (T, V) of topics to start from: those of the words' frequencies, each disturbed by N(0, spread^2)."""
    return frequencies(spec).log() + spread * torch.randn(num_topics, spec.num_features)


def off_zero(value: Tensor) -> Tensor:
    """``value`` off zero, so that it can be divided by and has a logarithm.

    >>> off_zero(torch.tensor([0.0, 0.5])) > 0
    tensor([True, True])
    """
    return value.clamp_min(torch.finfo(value.dtype).tiny)


def ratio(x: Tensor, mean: Tensor) -> Tensor:
    """Counts x over their means, of one shape: what multiplicative updates and EM of mixed words sum; no 0 / 0.

    >>> ratio(torch.tensor([0.0, 3.0]), torch.tensor([0.0, 2.0]))
    tensor([0.0000, 1.5000])
    """
    return x / off_zero(mean)
