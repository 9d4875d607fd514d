"""``diagnose``: every question that arises for a pair, asked of it and of some data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ppgen.arguments import Positive, at_least, kind_of, one_of
from ppgen.data import Dataset
from ppgen.diagnostics.finding import Finding
from ppgen.diagnostics.question import Question
from ppgen.diagnostics.questions.every import QUESTIONS
from ppgen.diagnostics.result import Diagnosis
from ppgen.diagnostics.weights import without_weights
from ppgen.distributions.turns import taken_by
from ppgen.errors import UsageError, first_sentence, in_a_sentence, line_of_pair, within_memory
from ppgen.evaluation.case import Arguments, Case, data_or_arguments, num_data_within
from ppgen.machine.entry import entry_point
from ppgen.machine.progress import in_seconds, track
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.looking import seeded
from ppgen.pairs.pair import Pair
from ppgen.pairs.places import brought_to

__all__ = ["NUM_DATA", "NUM_PARTICLES", "diagnose"]

NUM_DATA, NUM_PARTICLES = 256, 1000

_SMALLER = "lower num_particles or num_data, or ask fewer questions"

_LOG = logging.getLogger(__name__)


@entry_point
def diagnose(
    pair: Any,
    data: Any = None,
    *,
    split: str | None = None,
    num_data: int | None = None,
    num_particles: int = NUM_PARTICLES,
    questions: Sequence[str] | None = None,
    chains: Tensor | None = None,
    budget: float | None = None,
    keep: Callable[[Diagnosis], None] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Diagnosis:
    """Is the guide of ``pair`` to be believed?

    Every question of :data:`ppgen.diagnostics.QUESTIONS` that arises for such a pair is asked; one that cannot be
    answered, whatever it raises, is found ``unknown``, with a sentence that says why, and the others are asked all the
    same. Tracebacks are logged at level DEBUG.

    Args:
        pair: a pair, any module with ``model`` and ``guide``, to whose device the data are brought; or a
            :class:`ppgen.Run`, whose directory then keeps the
            result as ``diagnosis.json``.
        data: whose split is looked at: a data set, or data of one's own, as :func:`ppgen.fit` takes them; None: the
            run's own. Of data in several parts, the first. A tuple that holds anything but columns (None, numbers,
            lists of tensors, packed sequences, nothing) is the arguments of the model, one batch.
        split: ``train``, ``valid`` or ``test``; None: ``test``, or where nothing is held out for it, the last that
            there is; the answer names it.
        num_data: the first so many data; None: 256, or the split where it is smaller.
        num_particles: K of the log-weights of each datum.
        questions: names of those to ask; None: all.
        chains: where the persistent chains of an energy-based pair stand, (M, D); a run knows.
        budget: seconds that a question may take, up to the next step of its loops; one that takes longer is
            ``unknown``, and says so. None: as long as it takes.
        keep: called with what was found so far, after each question that is not the last (a run writes it down).
        seed: seeds all draws; the global random state is left as it was.
        progress: show progress, where there is a terminal or a notebook.

    Raises:
        UsageError: a pair without data, an unknown split or question, num_data not between 2 and the split's size,
            num_particles < 2, a budget that is not above 0.
    """
    options: dict[str, Any] = {"split": split, "num_data": num_data, "num_particles": num_particles}
    options |= {"questions": questions, "budget": budget, **({} if keep is None else {"keep": keep})}
    if data is None:
        return _of_run(pair, **options, seed=seed, progress=progress)
    asked = _asked(questions)
    if budget is not None:
        kind_of(Positive).read("budget", budget)
    data, chains = brought_to(pair, data_or_arguments(data)), brought_to(pair, chains)
    split = data.last_split if split is None else split
    batch = data.rows(split, slice(_num_data(data, split, num_data)))
    at_least("num_particles", num_particles, 2)
    findings: list[Finding] = []
    with seeded(seed):
        case = Case(
            pair=as_pair(pair),
            data=data,
            split=split,
            batch=data.draw(batch),
            num_particles=num_particles,
            seed=seed,
            progress=progress,
            chains=chains,
        )
        for number, question in enumerate(asked, 1):
            found = _answer(question, case, budget)
            findings += [] if found is None else [found]
            if keep is not None and asked[number:]:
                keep(_diagnosis(case, findings, asked[number:]))
    return _diagnosis(case, findings, [])


def _diagnosis(case: Case, findings: Sequence[Finding], left: Sequence[Question]) -> Diagnosis:
    """What was found, before the questions that are left."""
    return Diagnosis(
        findings=tuple(findings),
        split=case.split,
        num_data=case.num_data,
        num_particles=case.num_particles,
        seed=case.seed,
        left_out=_left_out(case.pair),
        not_asked=tuple(question.name for question in left),
    )


def _of_run(run: Any, **options: Any) -> Diagnosis:
    if not callable(getattr(run, "diagnose", None)):
        raise UsageError(
            f"expected data beside the pair, or a run, which has its own, got {type(run).__name__} alone: give "
            "ppgen.diagnose(pair, data)."
        )
    found: Diagnosis = run.diagnose(**options)
    return found


def _left_out(pair: Pair) -> str:
    """Which questions do not arise for such a pair, and why."""
    if not pair.has_weights:
        of_whom = "The pair" if pair.implicit else "The pair's guide"
        return (
            f"{of_whom} states no density: there are no log-weights, and no posterior to hold a guide against; samples "
            "are asked about."
        )
    if pair.needs_log_z:
        return (
            "The pair is known up to a constant: its latents have no prior that could be drawn from, and its chains "
            "are asked about instead."
        )
    equal = "The guide is the posterior: its weights are all equal, and are not asked about."
    return "" if pair.has_approximate_guide else equal


def _answer(question: Question, case: Case, budget: float | None) -> Finding | None:
    """The finding; its numbers do not depend on which other questions there are, nor on what they raise."""
    torch.manual_seed(case.seed)
    what = f"a diagnosis of {case.num_data} data with K = {case.num_particles} particles"
    try:
        with within_memory(what, _SMALLER), in_seconds(budget), taken_by(partial(track, shown=case.progress)):
            return question(case)
    except Exception as error:
        _LOG.debug("%s has no answer", question.name, exc_info=True)
        return question.found(Finding(status="unknown", meaning=f"No answer: {_reason(error, case)}"))


def _reason(error: Exception, case: Case) -> str:
    """Why a question has no answer, as a sentence.

    Where a datum's log-weights are not finite, drawing and scoring may fail in any way: the datum is named then.
    """
    if isinstance(error, UsageError):
        return str(error)
    datum = _without_weights(case) if isinstance(error, RuntimeError | ValueError) else None
    if datum is not None:
        return f"log-weights of datum {datum} are not finite: look at what guide and model say there."
    if line := line_of_pair(error):
        return (
            f"it runs the pair at other data or draws than these, and the pair cannot be run so ({line}: "
            f"{first_sentence(error)})."
        )
    return in_a_sentence(error)[0]


def _without_weights(case: Case) -> int | None:
    """The first datum with a log-weight that is NaN or +inf, or none that is finite; None: there is none."""
    broken: list[int] = []
    with suppress(Exception):  # they cannot be had either
        broken = without_weights(case.log_w).nonzero()[:, 0].tolist() if case.pair.has_weights else []
    return broken[0] if broken else None


def _asked(names: Sequence[str] | None) -> list[Question]:
    known = {question.name: question for question in QUESTIONS}
    for name in names or ():
        one_of("expected the name of a question, got", name, known)
    return [question for name, question in known.items() if names is None or name in names]


def _num_data(data: Dataset | Arguments, split: str, asked: int | None) -> int:
    most = data.size(split)
    return min(most, NUM_DATA) if asked is None else num_data_within(most, split, asked)
