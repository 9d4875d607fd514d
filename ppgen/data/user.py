"""``dataset_from``: a data set of the user's own tensors, arrays, frames and files, for a registered pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from numbers import Number
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppgen.arguments import Seed, checked
from ppgen.data.assemble import binarize_once, permutation
from ppgen.data.chosen import Chosen
from ppgen.data.column import Column
from ppgen.data.columns import Classes, as_table, check_complete, is_text, kind_found, names_of
from ppgen.data.dataset import Dataset, Split
from ppgen.data.disk_rows import DiskRows
from ppgen.data.mixed import Kinds, kinds_of_text
from ppgen.data.rows import Rows, pieces, take
from ppgen.data.scaling import Scaling
from ppgen.data.sequences import facts, largest
from ppgen.data.sources import entries_of, named_splits, opened, opened_alone, rows_of
from ppgen.data.sparse import SparseRows, is_sparse
from ppgen.data.spec import DataSpec, Observation
from ppgen.data.validate import check_split
from ppgen.errors import UsageError, setting, shown
from ppgen.registry import DATA

__all__ = ["dataset_from", "held_out_shares", "hold_out"]


@checked
def dataset_from(
    train: Any,
    valid: Any = None,
    test: Any = None,
    *,
    columns: Any = None,
    target: str | int | None = None,
    labels: bool | None = None,
    categorical: bool | None = None,
    kinds: Any = None,
    observation: Observation | None = None,
    standardise: bool = False,
    name: str = "user",
    image_shape: tuple[int, ...] | None = None,
    levels: int | None = None,
    num_classes: int | None = None,
    vocabulary: Any = None,
    dynamic: bool = False,
    held_out: float = 0.1,
    seed: Seed = 0,
) -> Dataset:
    """A data set of one's own tensors, arrays, frames, files, or data sets of torch's.

    Args:
        train: x of shape (N, ...), a tensor or anything that NumPy makes an array of numbers of; a tuple (x, y); a
            frame of pandas, or a dict of arrays with a number a row, whose columns are x; another dict of arrays, which
            are x and y; a map-style data set of torch's, whose parts are x and y; the path of a file of either
            (:func:`ppgen.data.as_dataset`); or a dict of the splits. More than two dimensions are
            flattened to (N, D); (N, H, W) and (N, C, H, W) give ``image_shape``. Sparse matrices of SciPy and sparse
            tensors stay sparse. x is in torch's default type, and documents whose words it does not count exactly are
            refused. What is on disk (:func:`ppgen.data.on_disk`) stays there, and is cast when it is read. A list of
            strings is texts, whose words are counted as the data set ``texts`` does by default, or kept in their order
            where ``observation`` is ``"symbols"``.
        valid: the same; or the share of ``train``'s rows that is held out, 0 for none; None: ``held_out``.
        test: the same.
        columns: names of those that are x, in their order; None: all but the target.
        target: the column that is y, which may be text.
        labels: whether batches are (x, y); None: where there is a y.
        categorical: whether y holds names of classes, which are numbered in their order; None: where it is text, or a
            target of the whole numbers 0..C-1, each of which occurs.
        kinds: of columns of x by name: ``"real"``, ``"binary"``, ``"categorical"``, or a list of categories; those that
            are left out are found: text is categorical, 0 and 1 are binary, other numbers real. x is mixed then.
        observation: the likelihood; None: ``"mixed"`` where a table's columns are of several kinds, ``"binary"`` where
            every x is 0 or 1, or the data is dynamic, ``"quantised"`` where ``levels`` is given, ``"counts"`` where
            train is sparse, ``"real"`` otherwise. ``"symbols"`` is never guessed: x is (N, T), 0..V-1 in their order
            and -1 after the last.
        standardise: whether each feature is moved and scaled to mean 0 and standard deviation 1 over ``train``, as
            ``scaling`` keeps it, of mixed columns the real ones; other x is real then.
        vocabulary: the words that the columns of counts stand for, or the symbols 0, 1, ..., in their order.
        dynamic: x holds probabilities in [0, 1]; train is drawn anew at each presentation, valid and test
            once, to memory.
        held_out: the share of ``train``'s rows that becomes valid, and again test, where these are None.
        seed: seeds the permutation that splits, and of the one-time draws.

    Raises:
        UsageError: x has no rows of numbers, or a mask, a gap or free text; there is no such column, or one holds one
            value alone; a category is none of the training data's; a loader, whose data set is to be given; or anything
            that :class:`Dataset` refuses.

    >>> data = dataset_from(torch.randn(100, 3))
    >>> data.spec.observation, len(data.train[0]), len(data.valid[0]), len(data.test[0])
    ('real', 80, 10, 10)
    >>> dataset_from(["a rose is a rose", "roses are red", "a red rose"], valid=0.0, test=0.0).spec.vocabulary
    ('are', 'is', 'red', 'rose', 'roses')
    >>> table = {"height": [1.5, 1.7, 1.6, 1.8], "smokes": [0, 1, 1, 0], "name": ["Ann", "Bob", "Bob", "Ann"]}
    >>> dataset_from(table, valid=0.0, test=0.25, target="name")
    data 'user': 3 to train, 1 held out for test; height: real; smokes: binary; name: categorical (Ann, Bob)
    >>> dataset_from(table, valid=0.0, test=0.0).train[0][:2]  # height, smokes, and a one-hot of the name
    tensor([[1.5000, 0.0000, 1.0000, 0.0000],
            [1.7000, 1.0000, 0.0000, 1.0000]])
    """
    parts = named_splits(train, valid, test)
    shares = held_out_shares(parts, held_out)
    if _are_texts(parts["train"]):
        beside = {"columns": columns, "target": target, "labels": labels, "categorical": categorical, "levels": levels}
        beside |= {"kinds": kinds, "standardise": standardise, "image_shape": image_shape, "num_classes": num_classes}
        beside |= {"vocabulary": vocabulary, "dynamic": dynamic}
        beside |= {} if observation in ("counts", "symbols") else {"observation": observation}
        return _of_texts(parts, shares, beside, name, seed, sequences=observation == "symbols")
    chosen = Chosen(names_of(columns), None if target is None else str(target))
    said, plain = kinds_of_text(kinds), observation is None and levels is None and not dynamic
    mixed = True if observation == "mixed" or said else None if plain else False
    opened_parts = {split: _opened(split, part) for split, part in parts.items() if split not in shares}
    chosen = _settled(*opened_parts["train"], chosen, said, mixed)
    observation = "mixed" if chosen.mixed else observation
    found = {split: _entries(*part, chosen) for split, part in opened_parts.items()}
    batches = {split: _labelled(split, entries, labels) for split, (entries, _) in found.items()}
    classes = _classes(batches["train"], chosen, categorical)
    shaped = {split: _tensors(split, entries, classes) for split, entries in batches.items()}
    shape = image_shape or _image_shape(shaped["train"][0])
    given = {split: _flat(part) for split, part in shaped.items()}
    splits = hold_out(given, shares, seed)
    if dynamic and observation != "real":
        drawn = [split for split in ("valid", "test") if splits.get(split)]
        splits |= {split: _drawn(split, splits[split], seed) for split in drawn}
    scaling = None
    if standardise:
        scaling = _scaling(splits["train"][0], observation, dynamic, chosen.mixed)
        splits = {split: (scaling(part[0]), *part[1:]) for split, part in splits.items()}
        observation = observation or "real"
    x = splits["train"][0]
    observation = observation or _infer(x, levels, dynamic)
    words = _words(vocabulary)
    num_symbols = _num_symbols(given, words) if observation == "symbols" else 0
    spec = DataSpec(
        name,
        **facts(x, observation, num_symbols),
        observation=observation,
        image_shape=shape,
        levels=levels,
        num_classes=num_classes if classes is None else len(classes.names),
        num_data=len(x) or None,
        vocabulary=words,
        columns=chosen.mixed or None,
    )
    for split, part in given.items():  # here rows have the numbers that the user knows them by
        check_split(split, part, spec, probabilities=dynamic)
    kinds = found["train"][1] | _kind_of_target(splits["train"], chosen.target, classes)
    held = (splits.get("valid", ()), splits.get("test", ()))
    return Dataset(spec, splits["train"], *held, dynamic=dynamic, kinds=kinds, scaling=scaling)


def _are_texts(part: Any) -> bool:
    return isinstance(part, list) and bool(part) and all(isinstance(text, str) for text in part)


def _of_texts(
    parts: Mapping[str, Any],
    shares: Mapping[str, Any],
    beside: Mapping[str, Any],
    name: str,
    seed: int,
    *,
    sequences: bool,
) -> Dataset:
    """Words of texts, counted or as ``sequences``; ``beside`` are options of tables and arrays, none to be given."""
    if asked := [option for option, value in beside.items() if value is not None and value is not False]:
        raise UsageError(
            f"train is a list of strings, texts whose words are counted, and {', '.join(asked)} is not for these: "
            "leave it out, or count them by the options of ppgen.load_data('texts', file=[...])."
        )
    given = {split: part for split, part in parts.items() if split not in shares}
    valid, test = (float(shares.get(split) or 0) for split in ("valid", "test"))
    load = DATA["texts"].cls  # whose files are made sets here
    found: Dataset = load(file=given, sequences=sequences, valid=valid, test=test, seed=seed)
    return replace(found, spec=replace(found.spec, name=name))


def _opened(split: str, part: Any) -> tuple[str, Any]:
    """What a part is called, and what it holds: a table by the names of its columns."""
    where = f"{split} in {part}" if isinstance(part, str | Path) else split
    part = opened(split, part)
    table = as_table(part)
    return where, part if table is None else table


def _settled(where: str, part: Any, chosen: Chosen, said: Kinds, mixed: bool | None) -> Chosen:
    if isinstance(part, Mapping):
        return chosen.settled(where, part, said, mixed=mixed)
    if mixed:
        raise UsageError(
            f"{where} has no columns with names, of which kinds could be said: give a frame, a dict of arrays, or a "
            ".csv file."
        )
    return chosen


def _entries(where: str, part: Any, chosen: Chosen) -> tuple[tuple[Any, ...], dict[str, str]]:
    """The entries of a batch, and the kinds of columns that have names."""
    if isinstance(part, Mapping):
        entries = chosen.entries(where, part)
        return entries, {} if len(entries) > 1 and chosen.target is None else chosen.kinds(where, part)
    if chosen != Chosen():
        raise UsageError(
            f"{where} has no columns with names: give columns and target with a frame, a dict of arrays, or a .csv or "
            ".npz file."
        )
    return entries_of(where, part), {}


def _labelled(split: str, entries: tuple[Any, ...], labels: bool | None) -> tuple[Any, ...]:
    if labels and len(entries) < 2:
        named = setting("D", "target", "y")
        raise UsageError(f"labels were asked for, and {split} has no y: name its column, {named}, or give (x, y).")
    return entries[:1] if labels is False else entries


def _classes(entries: tuple[Any, ...], chosen: Chosen, categorical: bool | None) -> Classes | None:
    if len(entries) < 2 or (chosen.target is None and categorical is None and not is_text(entries[1])):
        return None
    if chosen.target is not None:
        check_complete("train", f"the target {shown(chosen.target)}", entries[1])
    return Classes.found(entries[1], categorical)


def _kind_of_target(train: Split, target: str | None, classes: Classes | None) -> dict[str, str]:
    if target is None or len(train) < 2:
        return {}
    return {target: kind_found(train[1]) if classes is None else str(classes)}


def _scaling(x: Rows, observation: Observation | None, dynamic: bool, mixed: Sequence[Column]) -> Scaling:
    """That of the real features."""
    if observation not in (None, "real", "mixed") or dynamic or not isinstance(x, Tensor):
        what = "on disk" if isinstance(x, DiskRows) else observation or ("dynamic" if dynamic else "sparse")
        raise UsageError(f"standardise is for real data in memory, and these are {what}: leave it out.")
    left = [column.kind != "real" for column in mixed for _ in column.features]
    return Scaling.of(x, torch.tensor(left) if left else None)


def _tensors(split: str, entries: tuple[Any, ...], classes: Classes | None) -> Split:
    """(x,) or (x, y): x in torch's default type with at least two dimensions, or sparse; y in int64 or that type."""
    x = _x(split, entries[0])
    if classes is not None:
        entries = (entries[0], classes.numbered(split, entries[1]), *entries[2:])
    rest = [_numbers(split, opened_alone(split, entry)) for entry in entries[1:]]
    if x.ndim < 2:
        raise UsageError(
            f"x in {split} must have rows, shape (N, num_features), got {tuple(x.shape)}: "
            "use x[:, None] for data with one feature."
        )
    lengths = [part.shape[0] if part.ndim else 0 for part in (x, *rest)]
    if len(set(lengths)) > 1:
        raise UsageError(f"the tensors in {split} must have the same number of rows, got {lengths}.")
    return (x, *(_floating(y) if y.is_floating_point() else y.to(torch.int64) for y in rest))


def _x(split: str, values: Any) -> Rows:
    values = opened_alone(split, values)
    return SparseRows.of(values, where=f"x in {split}") if is_sparse(values) else _floating(_numbers(split, values))


def _floating(values: Tensor | DiskRows) -> Tensor | DiskRows:
    return values.to(torch.get_default_dtype())


def _numbers(split: str, values: Any) -> Tensor | DiskRows:
    found = rows_of(split, values)
    if found.dtype.is_complex:
        raise UsageError(f"{split} must be an array of numbers, got {found.dtype}.")
    return found.contiguous() if isinstance(found, Tensor) else found


def _words(vocabulary: Any) -> Any:
    """Words in their order as a tuple; what has no order, or is one word, is left to be refused."""
    unordered = isinstance(vocabulary, str | Mapping) or not hasattr(vocabulary, "__getitem__")
    return vocabulary if unordered else tuple(vocabulary)


def _num_symbols(splits: Mapping[str, Split], vocabulary: Any) -> int:
    """V, that of the vocabulary, or up to the largest of any split."""
    return 1 + max(largest(part[0]) for part in splits.values()) if vocabulary is None else len(vocabulary)


def _image_shape(x: Rows) -> tuple[int, ...] | None:
    return tuple(x.shape[1:]) if x.ndim in (3, 4) else None


def _flat(part: Split) -> Split:
    return part if part[0].ndim == 2 else (part[0].flatten(1), *part[1:])  # (N, D)


def held_out_shares(parts: Mapping[str, Any], held_out: float) -> dict[str, Any]:
    """Of each split that is not given, the share of train's rows that it takes; None: none, which was asked for."""
    shares = {split: parts.get(split, held_out) for split in ("valid", "test")}
    asked: dict[str, Any] = {split: share for split, share in shares.items() if isinstance(share, Number)}
    return {split: None if split in parts and share == 0 else share for split, share in asked.items()}


def hold_out(splits: dict[str, Split], asked: Mapping[str, Any], seed: int) -> dict[str, Split]:
    """Take these shares of valid and test from the permuted rows of train."""
    n, shares = len(splits["train"][0]), {split: share for split, share in asked.items() if share is not None}
    sizes = {split: max(1, round(share * n)) if 0 < share < 1 else n for split, share in shares.items()}
    if not sizes:
        return splits
    if sum(sizes.values()) >= n:
        wanted = " and ".join(sizes)
        rows, given = (" and ".join(map(str, dict.fromkeys(of.values()))) for of in (sizes, shares))
        raise UsageError(
            f"cannot split {wanted} of {rows} rows off the {n} rows of train: give {wanted}, or a held_out between 0 "
            f"and 1 that leaves rows to train (got {given})."
        )
    order = torch.from_numpy(permutation(n, seed))
    ends = list(accumulate(sizes.values()))
    places = dict(zip([*sizes, "train"], torch.tensor_split(order, ends), strict=True))
    return splits | {split: tuple(take(part, index) for part in splits["train"]) for split, index in places.items()}


def _drawn(split: str, part: tuple[Tensor, ...], seed: int) -> tuple[Tensor, ...]:
    x = binarize_once(part[0][:].cpu().numpy(), seed + 1 + (split == "test"))
    return (torch.from_numpy(x).to(part[0].device, part[0].dtype), *part[1:])


def _infer(x: Rows, levels: int | None, dynamic: bool) -> Observation:
    if levels is not None:
        return "quantised"
    if isinstance(x, SparseRows):
        return "counts"
    return "binary" if dynamic or all(_is_binary(piece) for _, piece in pieces(x)) else "real"


def _is_binary(x: Tensor) -> bool:
    return bool(((x == 0) | (x == 1)).all())
