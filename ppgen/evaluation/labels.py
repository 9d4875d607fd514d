"""What labels say of a pair's features: the linear probe and retrieval, from features that are taken once."""

from __future__ import annotations

from collections.abc import Iterator

from ppgen.evaluation.case import Case
from ppgen.evaluation.features import labelled_features
from ppgen.evaluation.probe import probes
from ppgen.evaluation.result import Measure
from ppgen.evaluation.retrieval import retrievals

__all__ = ["of_labels"]


def of_labels(case: Case) -> Iterator[Measure]:
    """``probe_error``, ``mean_average_precision`` and ``precision_at_tenth_recall`` of data with labels."""
    features = labelled_features(case)
    if features is not None:
        yield from probes(features, case.split)
        yield from retrievals(features, case.split)
