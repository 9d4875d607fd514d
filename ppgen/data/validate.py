"""What a split must hold, checked once where a data set is made, so that no training step has to."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions.constraints import boolean, nonnegative_integer, one_hot, unit_interval

from ppgen.data.rows import Rows, place_of, stored, to_ask
from ppgen.data.sparse import SparseRows
from ppgen.data.spec import DataSpec
from ppgen.distributions.discretized_logistic import Grid
from ppgen.distributions.labels import UNKNOWN_LABEL
from ppgen.distributions.symbols import END, lengths, present
from ppgen.errors import UsageError, cut, shown

__all__ = ["UNKNOWN_LABEL", "check_kind", "check_split"]


def check_split(
    name: str,
    split: tuple[Rows, ...],
    spec: DataSpec,
    *,
    like: tuple[Rows, ...] | None = None,
    probabilities: bool = False,
) -> None:
    """Check that ``split``, (x,), (x, y) or more, is what ``spec`` says; binary x may be ``probabilities``.

    It must have the types and the shapes of ``like``, the training data, and be on their device.

    Raises:
        UsageError: the split is empty, its tensors differ in length, a shape or type is wrong, x is not
            finite or outside of what its likelihood can produce; the sentence names the split and the first
            offending row.
    """
    where = f"{name} of data {shown(spec.name)}"
    _check_tensors(where, split)
    if like is not None:
        _check_alike(name, split, like)
    _check_shapes(where, split, spec)
    least = 0 if spec.num_labelled is None else UNKNOWN_LABEL
    if spec.num_classes is not None:
        _check_label_type(where, split)
    if spec.source is not None:
        _check_source(where, split, spec.source)
    for index, part in enumerate(split):
        question = (index, spec.observation, spec.columns, spec.levels, spec.num_classes, least, probabilities)
        for first, piece in to_ask(part, question):
            _check_finite(where, piece, first)
            if index == 0 and probabilities and spec.observation == "binary":
                (numbers,) = stored(piece)
                _refuse(where, piece, ~unit_interval.check(numbers), "probabilities in [0, 1]", "rescale x", first)
            elif index == 0:
                check_kind(where, piece, spec, first)
            elif index == 1 and spec.num_classes is not None:
                _check_labels(where, piece, spec.num_classes, least, first)
            elif index == 1 and spec.source is not None:
                check_kind(f"the source in {where}", piece, spec.source, first)


def _check_tensors(where: str, split: object) -> None:
    if not isinstance(split, tuple) or not split or not all(isinstance(part, Rows) for part in split):
        raise UsageError(f"{where} must be a tuple of tensors, (x,) or (x, y), got {type(split).__name__}.")


def _check_shapes(where: str, split: tuple[Rows, ...], spec: DataSpec) -> None:
    x = split[0]
    if spec.shape is not None:
        _check_shape(where, x, spec.shape)
    elif x.ndim != 2 or not _fits(x, spec) or not x.is_floating_point():
        columns = "T" if spec.observation == "symbols" else spec.num_features
        raise UsageError(
            f"x in {where} must be a floating-point tensor of shape (B, {columns}), got {tuple(x.shape)} of {x.dtype}."
        )
    if isinstance(x, SparseRows) and spec.observation not in ("counts", "any"):
        raise UsageError(f"x in {where} is sparse, which only counts may be, and is {spec.observation}: make it dense.")
    if len(x) == 0:
        raise UsageError(f"{where} is empty: give it at least one row.")
    lengths = [part.shape[0] if part.ndim else 0 for part in split]
    if len(set(lengths)) > 1:
        raise UsageError(f"the tensors in {where} must have the same number of rows, got {lengths}.")


def _fits(x: Rows, spec: DataSpec) -> bool:
    return x.shape[1] >= 1 if spec.observation == "symbols" else x.shape[1] == spec.num_features


def _check_alike(name: str, split: tuple[Rows, ...], like: tuple[Rows, ...]) -> None:
    expected, came = (
        [f"{part.dtype} ({', '.join(map(str, ('N', *part.shape[1:])))}) on {part.device}" for part in own]
        for own in (like, split)
    )
    if expected != came:
        raise UsageError(
            f"{name} must be of the kind of train, which is {', '.join(expected)}, and is {', '.join(came)}."
        )


def _check_shape(where: str, x: Rows, shape: tuple[int, ...]) -> None:
    if not x.ndim or tuple(x.shape[1:]) != shape:
        expected = ", ".join(map(str, ("B", *shape)))
        raise UsageError(f"x in {where} must have shape ({expected}), got {tuple(x.shape)}.")


def _check_finite(where: str, part: Tensor | SparseRows, first: int) -> None:
    remedy = "remove or impute it (a pair that knows what is missing is given a mask as one more tensor)"
    numbers = stored(part)[-1]
    if not numbers.numel() or not numbers.is_floating_point():  # a sparse matrix of zeros, whole numbers
        return
    wide = numbers.float() if numbers.element_size() == 1 else numbers  # of eight bits torch finds no extremes
    extremes = torch.stack(torch.aminmax(wide))  # NaN propagates; four times as fast as asking every entry
    if not bool(torch.isfinite(extremes).all()):
        _refuse(where, part, ~torch.isfinite(wide), "finite numbers", remedy, first)


def check_kind(where: str, x: Tensor | SparseRows, spec: DataSpec, first: int = 0) -> None:
    """Check that x, (B, D), holds what data of the spec's kind can; ``first`` is the number of its first row.

    Raises:
        UsageError: a number is none of these, or a document is empty; the sentence names ``where``, row and column.
    """
    if spec.observation == "binary":
        remedy = "binarize x, pass dynamic=True for probabilities, or choose another observation"
        _refuse(where, x, ~boolean.check(stored(x)[-1]), "0 or 1", remedy, first)
    if spec.dequantised:
        _refuse(where, x, ~unit_interval.check(stored(x)[-1]), "numbers in [0, 1]", "rescale x or drop levels", first)
    elif spec.levels is not None:
        expected = f"k / {spec.levels - 1} with k = 0..{spec.levels - 1}"
        _refuse(where, x, ~Grid(spec.levels).check(stored(x)[-1]), expected, "rescale x or correct levels", first)
    if spec.observation == "counts":
        _check_counts(where, x, first)
    if spec.observation == "categorical":
        _check_one_hot(where, stored(x)[-1], first)
    for column, place in spec.column_places:
        values, kind = stored(x)[-1][:, place], DataSpec(spec.name, column.size, column.kind)
        check_kind(f"column {shown(column.name)} of {where}", values.squeeze(-1), kind, first)
    if spec.observation == "symbols":
        _check_symbols(where, x, spec.num_features, first)


def _check_one_hot(where: str, x: Tensor, first: int) -> None:
    wrong = ~one_hot.check(x)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise UsageError(
            f"{where} must hold one-hots, a 1 among 0s, got {cut(shown(x[row].tolist()))} in row {first + row}: number "
            "the categories, and take rows of an identity matrix."
        )


def _check_symbols(where: str, x: Tensor | SparseRows, num_symbols: int, first: int) -> None:
    (places,) = stored(x)
    wrong = (places != places.round()) | (places < END) | (places >= num_symbols)
    expected = f"symbols 0..{num_symbols - 1}, and {END} after the last"
    _refuse(where, x, wrong, expected, "number symbols by their places in the vocabulary", first)
    _check_words(where, lengths(places), first)
    late = torch.zeros_like(wrong)
    late[:, 1:] = present(places[:, 1:]) & ~present(places[:, :-1])
    _refuse(where, x, late, f"nothing but {END} after a sequence's end", "put what is left out at the end", first)


def _check_counts(where: str, x: Tensor | SparseRows, first: int) -> None:
    _refuse(where, x, ~nonnegative_integer.check(stored(x)[-1]), "counts 0, 1, 2, ...", "give word counts", first)
    words = x.sum(1)  # (N,)
    _check_words(where, words, first)
    exact = 2 / torch.finfo(x.dtype).eps  # up to it every whole number has a float of its own
    _refuse(
        where,
        words,
        words >= exact,
        f"documents of fewer than {exact:.0f} words, which {x.dtype} counts exactly",
        "call torch.set_default_dtype(torch.float64) first, or divide the document",
        first,
    )


def _check_words(where: str, words: Tensor, first: int) -> None:
    """No document is empty: ``words`` (N,) has how many each has."""
    empty = (first + (words == 0).nonzero()[:, 0]).tolist()
    if empty:
        shown = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
        raise UsageError(
            f"{where} must hold documents of at least one word, and {len(empty)} of {len(words)} are empty (row "
            f"{shown}): drop the empty documents."
        )


def _check_label_type(where: str, split: tuple[Rows, ...]) -> None:
    if len(split) < 2 or split[1].ndim != 1 or split[1].dtype != torch.int64:
        came = [(tuple(part.shape), str(part.dtype)) for part in split]
        raise UsageError(f"{where} must be (x, y) with int64 labels y of shape (B,), got {came}.")


def _check_source(where: str, split: tuple[Rows, ...], source: DataSpec) -> None:
    fits = len(split) == 2 and split[1].ndim == 2 and split[1].shape[1] == source.num_features
    if not fits or not split[1].is_floating_point():
        came = [(tuple(part.shape), str(part.dtype)) for part in split]
        raise UsageError(
            f"{where} must be (x, source) with a floating-point source of shape (B, {source.num_features}), got {came}."
        )


def _check_labels(where: str, part: Tensor | SparseRows, num_classes: int, least: int, first: int) -> None:
    (y,) = stored(part)
    wrong = (y < least) | (y >= num_classes)
    _refuse(where, y, wrong, f"labels {least}..{num_classes - 1}", "renumber the labels", first)


def _refuse(where: str, part: Tensor | SparseRows, bad: Tensor, expected: str, remedy: str, first_row: int) -> None:
    """Raise for the first of the numbers kept of ``part`` that is ``bad``, if one is."""
    if not bool(bad.any()):
        return
    first = tuple(int(i) for i in bad.nonzero()[0])
    value = stored(part)[-1][first].item()
    row, *column = place_of(part, first)
    place = f"row {first_row + row}" + "".join(f", column {i}" for i in column)
    raise UsageError(f"{where} must hold {expected}, got {value:g} in {place}: {remedy}.")
