"""``evaluate``: the log-likelihood of a split by the method that the pair allows, and every measure that applies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from ppgen.arguments import check_names
from ppgen.chains.log_z import LogZ
from ppgen.data import Dataset, as_dataset
from ppgen.errors import UsageError, shown, spelled, within_memory
from ppgen.evaluation.case import AT_ONCE, Annealing, Case, num_data_within
from ppgen.evaluation.features import labelled_data
from ppgen.evaluation.judge import Judge
from ppgen.evaluation.likelihood import bound
from ppgen.evaluation.measures import MEASURES
from ppgen.evaluation.parzen import parzen_window
from ppgen.evaluation.result import Evaluation, Measure
from ppgen.machine.entry import entry_point
from ppgen.pairs.looking import seeded
from ppgen.pairs.pair import Pair
from ppgen.pairs.places import brought_to

__all__ = ["SAMPLES", "evaluate"]

SAMPLES = 10_000
"""Draws of a model that is judged by its samples (Goodfellow et al. 2014)."""


@entry_point
def evaluate(
    pair: Pair,
    data: Any,
    *,
    split: str | None = None,
    particles: int = 1000,
    num_data: int | None = None,
    log_z: LogZ | Mapping[str, Any] | None = None,
    num_samples: int | None = None,
    labels: bool | None = None,
    classifier: Judge | None = None,
    annealing: Annealing | Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Evaluation:
    """Evaluate ``pair`` on a split of ``data``.

    Args:
        pair: trained or not; the data are brought to its device.
        data: whose split: a data set, or data of one's own, as :func:`ppgen.fit` takes them.
        split: ``train``, ``valid`` or ``test``; None: ``test``, or where nothing is held out for it, the last that
            there is; the answer names it.
        particles: K of the bound; not used for a pair without a density, which has none.
        num_data: only the first so many data; None: all.
        log_z: of an unnormalised pair, from :func:`ppgen.log_z`, or the options with which it is to be estimated; None:
            its defaults.
        num_samples: draws of the model, for the measures that read samples: a kernel two-sample test, nearness to the
            training data, the data's modes where they are known. None: 10,000 for a pair without a density, whose
            log-likelihood is that of a Parzen window of them, and for data with known modes; 0 for any other.
        labels: whether the pair's features are held against labels (a linear probe, retrieval), which a pair never sees
            there; True: of data without labels those that their loader has; None: where the data have them.
        classifier: a judge of samples, from :func:`ppgen.evaluation.judge`: which classes they show, how far its
            features of them are from those of data, and of a pair that is told labels how often it is right.
        annealing: log p(x) of the first data by annealed importance sampling of their latents, and how far a bound from
            above is from it on simulated data: :class:`ppgen.evaluation.Annealing`, or its options. A pair without a
            density needs ``noise``.
        seed: seeds the draws; the global random state is left as it was.
        progress: show a progress bar, where there is a terminal or a notebook.

    Raises:
        UsageError: K < 1, an unknown split, num_data not between 2 and the split's size, a log Z that is not that
            of the data, a log Z for a normalised pair, too few samples, labels of data that have none, a classifier of
            other data, annealing of a pair that has no latents, or no density and no noise.
    """
    data = brought_to(pair, as_dataset(data))
    split = data.last_split if split is None else split
    asked = _num_data(data, split, num_data)
    batch = data.rows(split, slice(min(asked, AT_ONCE) if data.on_disk(split) else asked))
    if log_z and not pair.needs_log_z:
        what = spelled("--temperatures, --chains, --spacing, --budget, --sandwich or --exact-log-z", "log_z")
        raise UsageError(f"{what} was given for a pair that is normalised, whose log Z is 0: leave it out.")
    samples, labelled = _num_samples(pair, data, num_samples), labelled_data(data, labels)
    drawn = f" and {samples} samples" if samples else ""
    what = f"an evaluation of {len(batch[0])} data with K = {particles} particles{drawn}"
    with within_memory(what, "lower particles, num_samples or num_data"), seeded(seed):
        seen = data.draw(batch)
        case = Case(
            pair,
            data,
            split,
            seen,
            particles,
            seed,
            progress,
            samples,
            asked=asked,
            labelled=labelled,
            judge=classifier,
            annealing=_annealing(annealing),
            asked_log_z=log_z or {},
        )
        found = bound(case) if pair.has_weights else parzen_window(case)
        return replace(found, num_samples=samples, measures=(*found.measures, *_measures(case)))


def _annealing(asked: Annealing | Mapping[str, Any] | None) -> Annealing | None:
    if asked is None or isinstance(asked, Annealing):
        return asked
    check_names("annealing", Annealing, asked)
    return Annealing(**asked)


def _num_data(data: Dataset, split: str, asked: int | None) -> int:
    most = len(data.split(split)[0])
    if most < 2:
        raise UsageError(f"expected 2 data or more for an error bar, split {shown(split)} has {most}: name another.")
    return most if asked is None else num_data_within(most, split, asked)


def _num_samples(pair: Pair, data: Dataset, asked: int | None) -> int:
    if asked is None:
        return 0 if pair.has_weights and data.modes is None else SAMPLES
    if asked < 2 and not (pair.has_weights and asked == 0):
        least = (
            "0, or 2 or more" if pair.has_weights else "2 or more (the pair states no density and is judged by them)"
        )
        raise UsageError(f"num_samples must be {least}, got {shown(asked)}.")
    return asked


def _measures(case: Case) -> Iterator[Measure]:
    for measure in MEASURES:
        torch.manual_seed(case.seed)  # no measure's numbers depend on which others there are
        yield from measure(case)
