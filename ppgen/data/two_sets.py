"""Two sets side by side, of which the one is to be translated into the other: pairs of vectors, or no pairs at all.

    paired      (x_i, s_i),  x_i made of s_i                                a batch is rows i of both
    unpaired    x_1..x_N ~ p(x)  and  s_1..s_M ~ p(s), independently        a batch is B rows of each

A batch is (x, s), x the target, s the source. Unpaired sources are shuffled, and the smaller of two sets is gone
through again from its first row until the larger is at its end: an epoch shows every datum of the larger set once. A
loss that is a mean over x and a mean over s, as ``cycle`` is, sees no more of a row than its two ends. Held-out splits
may be pairs where train is not: so a translation that was learnt without pairs is judged by a truth.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from ppgen.arguments import Seed, checked
from ppgen.data.assemble import permutation
from ppgen.data.dataset import SPLITS, Dataset, Split
from ppgen.data.load import load_data
from ppgen.data.user import dataset_from
from ppgen.errors import UsageError, setting, shown
from ppgen.registry import register_data

__all__ = ["Paired", "translation_data", "two_sets"]

Paired = Literal["all", "held_out", "none"]


@register_data(
    "two_sets",
    summary="two data sets side by side, source= and target=, to translate between: files, folders or registered names",
    reference="Zhu, Park, Isola and Efros, Unpaired image-to-image translation",
    year=2017,
    link="https://arxiv.org/abs/1703.10593",
    tags=("files", "translation"),
)
def two_sets(*, source: str = "", target: str = "", paired: Paired = "none", seed: Seed = 0) -> Dataset:
    """:func:`translation_data` of two data sets that are loaded with their default options.

    Args:
        source: what :func:`ppgen.data.load_data` takes: the name of a data set, or the path of its file.
        target: the same.
        paired: which splits' rows belong together: ``"all"``, those ``"held_out"``, or ``"none"``.
        seed: of the order of unpaired sources.

    Raises:
        UsageError: a set is not named; anything that :func:`translation_data` refuses.
    """
    for name, value in (("source", source), ("target", target)):
        if not value:
            raise UsageError(
                f"data set 'two_sets' needs a source and a target, and {name} is empty: name a data set or a file, "
                f"{setting('D', name, 'ring')}."
            )
    return translation_data(load_data(source), load_data(target), paired=paired, seed=seed)


@checked
def translation_data(
    source: Any, target: Any, *, paired: Paired = "none", name: str = "two_sets", seed: Seed = 0
) -> Dataset:
    """Two data sets as one whose batches are (x, s): x (B, D) of ``target``, s (B, D_s) of ``source``.

    Args:
        source: a data set, or what :func:`ppgen.data.dataset_from` makes one of; without labels.
        target: the same.
        paired: which splits' rows belong together: ``"all"``, those ``"held_out"``, or ``"none"``.
        name: what it is called.
        seed: of the order of unpaired sources.

    Raises:
        UsageError: a set has labels, or is drawn anew at each presentation; a split is in one of them alone; paired
            splits have other numbers of rows.

    >>> data = translation_data(torch.randn(60, 3), torch.randn(100, 2))
    >>> x, s = data.train
    >>> x.shape, s.shape, data.spec.source.num_features, data.spec.paired
    (torch.Size([80, 2]), torch.Size([80, 3]), 3, 'none')
    """
    sets = {
        which: given if isinstance(given, Dataset) else dataset_from(given)
        for which, given in (("source", source), ("target", target))
    }
    for which, data in sets.items():
        _check_plain(which, data)
    splits = {split: _joined(split, sets, paired, seed) for split in SPLITS}
    of_source, of_target = sets["source"].spec, sets["target"].spec
    rows = len(splits["train"][0])
    spec = replace(of_target, name=name, num_data=rows, source=of_source, paired=paired)
    return Dataset(spec, splits["train"], splits["valid"], splits["test"])


def _joined(split: str, sets: dict[str, Dataset], paired: Paired, seed: int) -> Split:
    """(x, s) of a split; empty where neither set has it."""
    held = {which: bool(getattr(data, split)) for which, data in sets.items()}
    if not any(held.values()):
        return ()
    if not all(held.values()):
        has, lacks = sorted(held, key=lambda which: not held[which])
        raise UsageError(
            f"the {has} has data held out for {shown(split)} and the {lacks} has none: hold some out of both, or of "
            "neither."
        )
    s, x = (sets[which].rows(split)[0] for which in ("source", "target"))
    if paired == "all" or (paired == "held_out" and split != "train"):
        if len(x) != len(s):
            raise UsageError(
                f"rows of {split} are pairs, and the target has {len(x)} of them where the source has {len(s)}: give "
                f"as many of both, or paired='none'."
            )
        return x, s
    shuffled = s[torch.from_numpy(permutation(len(s), seed)).to(s.device)]
    most = max(len(x), len(s))
    return _again(x, most), _again(shuffled, most)


def _again(x: Tensor, num: int) -> Tensor:
    """The rows of x, and again from the first until there are ``num``."""
    return x if len(x) == num else x[torch.arange(num, device=x.device) % len(x)]


def _check_plain(which: str, data: Dataset) -> None:
    if data.spec.num_classes is not None or data.spec.source is not None:
        has = "a source of its own" if data.spec.source is not None else f"labels of {data.spec.num_classes} classes"
        raise UsageError(
            f"the {which} of a translation is one set of vectors, and data {shown(data.spec.name)} have {has}: load "
            "them without."
        )
    if data.dynamic:
        raise UsageError(
            f"the {which} of a translation is shown as it is, and data {shown(data.spec.name)} are drawn anew at each "
            f"presentation: load them with {setting('D', 'binarize', 'none')}."
        )
