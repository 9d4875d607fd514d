"""Advice that knows the pair: an objective is named only where it trains that pair.

Advice is written with clauses in brackets, each around the objectives in braces that it is about:

    Take a richer guide[, or an objective that covers more mass ({iwelbo, vimco, rws sleep=1})].

Of a pair with continuous latents of its data this says: Take a richer guide, or an objective that covers more mass
('iwelbo', or 'rws' with sleep=1). Where every objective of a clause refuses the pair, the clause is left out.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import Any

from ppgen.evaluation.case import Case
from ppgen.factory import make_objective
from ppgen.pairs.tracing import Program

__all__ = ["advised", "filled"]

_CLAUSE = re.compile(r"\[([^][{}]*)\{([^{}]*)\}([^][{}]*)\]")


def advised(case: Case, advice: str) -> str:
    """The advice for the pair at hand: see above. :meth:`ppgen.Objective.refuses` is asked of each objective."""
    program, few = Program(case.pair.model, case.pair.guide), case.first(2)

    @functools.cache
    def trains(name: str) -> bool:
        name, *options = name.split()
        try:
            objective = make_objective(name, **dict(map(_option, options)))
            return objective.refuses(program, few) is None
        except Exception:  # the pair's own, of a run that the objective makes: not to be named then
            return False

    return filled(advice, trains)


def filled(advice: str, trains: Callable[[str], bool]) -> str:
    """The advice with the objectives that ``trains`` says yes of.

    >>> filled("Train longer[, or by {elbo, dreg, rws sleep=1}][; {cd} mixes].", {"dreg", "rws sleep=1"}.__contains__)
    "Train longer, or by 'dreg' or 'rws' with sleep=1."
    """

    def clause(found: re.Match[str]) -> str:
        before, names, after = found.groups()
        able = [_in_words(name.strip()) for name in names.split(",") if trains(name.strip())]
        *others, last = able or [""]
        return f"{before}{' or '.join(filter(None, (', '.join(others), last)))}{after}" if able else ""

    return _CLAUSE.sub(clause, advice)


def _option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, json.loads(value)


def _in_words(name: str) -> str:
    name, *options = name.split()
    return f"{name!r}{' with ' if options else ''}{', '.join(options)}"
