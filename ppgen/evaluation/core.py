"""``evaluate``: the log-likelihood of a split by the method that the pair allows, and every measure that applies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from ppgen.data import Dataset
from ppgen.errors import UsageError
from ppgen.evaluation.likelihood import bound
from ppgen.evaluation.measures import MEASURES
from ppgen.evaluation.result import Evaluation, Measure
from ppgen.evaluation.subject import Subject
from ppgen.pair import Pair
from ppgen.partition import LogZ

__all__ = ["evaluate"]


def evaluate(
    pair: Pair,
    data: Dataset,
    *,
    split: str = "test",
    particles: int = 1000,
    num_data: int | None = None,
    log_z: LogZ | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Evaluation:
    """Evaluate ``pair`` on a split of ``data``.

    Args:
        pair: trained or not, on the data's device.
        data: whose split.
        split: ``train``, ``valid`` or ``test``.
        particles: K of the bound.
        num_data: only the first so many data; None: all.
        log_z: of an unnormalised pair, from :func:`ppgen.log_z` with options of one's own; None: with its defaults.
        seed: of the draws; the global random state is left as it was.
        progress: show a progress bar.

    Raises:
        UsageError: K < 1, an unknown split, num_data not between 2 and the split's size, data that do not share the
            pair's log Z, a log Z for a normalised pair.
    """
    batch = data.split(split)
    if len(batch[0]) < 2:
        raise UsageError(
            f"expected 2 data or more for an error bar, split {split!r} has {len(batch[0])}: name another."
        )
    total = len(batch[0]) if num_data is None else num_data
    if not 2 <= total <= len(batch[0]):
        raise UsageError(f"num_data must lie between 2 and {len(batch[0])} (the data in {split!r}), got {num_data!r}.")
    batch = tuple(part[:total] for part in batch)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        subject = Subject(pair, data, split, data.draw(batch), particles, seed, progress)
        found = bound(subject, log_z)
        return replace(found, measures=tuple(_measures(subject)))


def _measures(subject: Subject) -> Iterator[Measure]:
    for measure in MEASURES:
        torch.manual_seed(subject.seed)  # no measure's numbers depend on which others there are
        yield from measure(subject)
