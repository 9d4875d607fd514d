"""Are the samples of an implicit pair like the data? It states no density: its samples are all there is to judge.

The measures of an evaluation that read samples (:data:`ppgen.evaluation.MEASURES`), as a question: a kernel two-sample
test, nearness to the training data, and the data's modes where they are known.
"""

from __future__ import annotations

from dataclasses import asdict

from ppgen.diagnostics.case import Case
from ppgen.diagnostics.result import Finding, Status
from ppgen.evaluation.measures import MEASURES
from ppgen.evaluation.result import Measure
from ppgen.evaluation.subject import Subject

__all__ = ["likeness"]

_SAMPLES = 2500
_LEVEL = 0.05
_COPIES = 0.6
"""Nearness to the training data from which samples are called copies."""

_ADVICE = (
    "Look at the samples beside data, and at the modes that are missing; train longer, or with an objective that does "
    "not drop modes ('wasserstein_gp', 'mmd'). There is no posterior to diagnose in a pair without a density."
)


def likeness(case: Case) -> Finding | None:
    """The p-value of samples and data being alike: a warning below 0.05, and where samples are copies.

    None for a pair that states a density.
    """
    if not case.pair.implicit:
        return None
    subject = Subject(
        case.pair, case.data, case.split, case.batch, case.num_particles, case.seed, case.progress, _SAMPLES
    )
    found = {one.name: one for measure in MEASURES for one in measure(subject)}
    p_value, nearness = found["two_sample_p_value"].value, found.get("nearness_to_train")
    copies = nearness is not None and nearness.value > _COPIES
    status: Status = "warn" if p_value < _LEVEL or copies else "good"
    return Finding(
        question="likeness",
        title="Are samples like the data?",
        status=status,
        number=p_value,
        threshold=_LEVEL,
        source="Gretton et al. 2012, a kernel two-sample test; Meehan et al. 2020 for copies",
        meaning="; ".join(["p-value of samples and data being alike", *map(_said, found.values())]),
        advice="" if status == "good" else _ADVICE,
        details={name: asdict(one) for name, one in found.items()},
    )


def _said(measure: Measure) -> str:
    return f"{measure.name.replace('_', ' ')} {measure.value:.3g}"
