"""The questions a diagnosis asks."""

from __future__ import annotations

from ppgen.diagnostics.question import Question
from ppgen.diagnostics.questions.aggregate import aggregate
from ppgen.diagnostics.questions.calibration import calibration
from ppgen.diagnostics.questions.collapse import collapse
from ppgen.diagnostics.questions.elpd import leave_one_out
from ppgen.diagnostics.questions.gaps import gaps
from ppgen.diagnostics.questions.global_calibration import global_calibration
from ppgen.diagnostics.questions.global_importance import global_importance
from ppgen.diagnostics.questions.importance import importance
from ppgen.diagnostics.questions.likeness import likeness
from ppgen.diagnostics.questions.mean_field import mean_field
from ppgen.diagnostics.questions.mixing import mixing
from ppgen.diagnostics.questions.predictive import posterior_predictive, prior_predictive
from ppgen.diagnostics.questions.recall import recall
from ppgen.diagnostics.questions.reference import reference
from ppgen.diagnostics.questions.sandwich import sandwich

__all__ = ["QUESTIONS"]

QUESTIONS: list[Question] = [
    importance,
    global_importance,
    gaps,
    sandwich,
    collapse,
    aggregate,
    posterior_predictive,
    prior_predictive,
    leave_one_out,
    calibration,
    global_calibration,
    reference,
    mixing,
    mean_field,
    recall,
    likeness,
]
"""In the order in which they are shown. To add one: 1. write a function of the case in a file of its own, named as the
question is in JSON, under :func:`ppgen.diagnostics.asks`; its annotation, ``Finding[Numbers] | None``, names a frozen
dataclass of what is found beside the number, as which ``diagnosis.json`` is read back; 2. let it give None where the
question does not arise for such a pair, told by what the pair is capable of and never by a name; 3. let it give a
finding of status ``unknown``, or raise a ``UsageError``, where the question arises and cannot be answered; 4. put it
here."""
