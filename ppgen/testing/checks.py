"""What a check is: a plain function that is silent when its rule holds and raises :class:`CheckFailed` when not.

To add one: 1. write ``check_<rule>(pair, batch)`` (or ``(objective)``), one rule, in the file of its subject;
2. decorate it with :func:`pair_check` (or :func:`objective_check`) and the rule as one sentence; 3. break a pair in
``tests/test_testing.py`` so that this check alone catches it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

from ppgen.errors import UsageError, blame, first_sentence
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.pairs.structure import APART
from ppgen.pairs.tracing import Batch
from ppgen.testing.sandbox import prepared, untouched, with_density

__all__ = [
    "OBJECTIVE_CHECKS",
    "PAIR_CHECKS",
    "Check",
    "CheckFailed",
    "NotApplicable",
    "needs_a_density",
    "objective_check",
    "pair_check",
]


class CheckFailed(AssertionError):  # noqa: N818  # says what happened, as AssertionError does for pytest
    """A rule is broken: what came instead (``message``), ``where``, and what to do (``advice``).

    >>> import ppgen, torch
    >>> from ppgen.testing import CheckFailed, check_support
    >>> pair = ppgen.models.VAE(ppgen.DataSpec("bits", 3, "binary"), latent_dim=2, hidden=())
    >>> try:
    ...     check_support(pair, (torch.full((5, 3), 2.0),))
    ... except CheckFailed as error:
    ...     print(error)
    site 'x': the data leave the support ... of the model's distribution: choose a likelihood for this kind of data.
    """

    def __init__(self, message: str, *, where: str, advice: str) -> None:
        super().__init__(f"{where}: {message}: {advice}.")
        self.message, self.where, self.advice = message, where, advice


class NotApplicable(Exception):  # noqa: N818  # no error: the reason why there is nothing to judge
    """The rule says nothing about this pair or objective; the text is the reason.

    >>> import ppgen, torch
    >>> from ppgen.testing import NotApplicable, check_subsampling_scale
    >>> pair = ppgen.models.VAE(ppgen.DataSpec("bits", 3, "binary"), latent_dim=2, hidden=())
    >>> try:
    ...     check_subsampling_scale(pair, (torch.zeros(5, 3),))
    ... except NotApplicable as reason:
    ...     print(reason)
    the pair does not know the size of its data set: a batch is all the data
    """

    def __init__(self, reason: str, *, where: str = "") -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.message, self.where = reason, where


@dataclass(frozen=True)
class Check:
    """One rule: its name, the rule as a sentence, and the function that judges it.

    >>> from ppgen.testing import PAIR_CHECKS
    >>> PAIR_CHECKS["check_sites_match"]
    Check(name='check_sites_match', rule='guide and model have the same latent sites, with the same shapes', ...)
    """

    name: str
    rule: str
    function: Callable[..., None]
    gate: bool = False
    """Whether nothing after it can be judged where it is broken."""
    slow: bool = False
    """Whether it takes more than a few seconds."""


PAIR_CHECKS: dict[str, Check] = {}
"""The rules of pairs by the name of their function, ``function(pair, batch)``."""

OBJECTIVE_CHECKS: dict[str, Check] = {}
"""The rules of objectives by the name of their function, ``function(objective)``."""

PairRule = Callable[[Pair, Batch], None]
ObjectiveRule = Callable[[Objective], None]


def pair_check(
    rule: str, *, gate: bool = False, slow: bool = False
) -> Callable[[PairRule], Callable[[Any, Batch], None]]:
    """Enter a check of pairs: it gets a prepared :class:`Pair`, and leaves it, and all global state, as they were.

    An implicit pair is given a density for the time of the check; see :func:`ppgen.testing.sandbox.with_density`.
    """

    def enter(function: PairRule) -> Callable[[Any, Batch], None]:
        @wraps(function)
        def guarded(pair: Any, batch: Batch) -> None:
            with _explained("the pair"):
                ready = prepared(pair, batch)
                with untouched(ready), with_density(ready), warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message=APART)  # which is no fault
                    function(ready, batch)

        PAIR_CHECKS[function.__name__] = Check(function.__name__, rule, guarded, gate, slow)
        return guarded

    return enter


def objective_check(rule: str, *, gate: bool = False) -> Callable[[ObjectiveRule], ObjectiveRule]:
    """Enter a check of objectives, which brings pairs of its own and leaves all global state as it was."""

    def enter(function: ObjectiveRule) -> ObjectiveRule:
        @wraps(function)
        def guarded(objective: Objective) -> None:
            with _explained(type(objective).__name__), untouched():
                function(objective)

        OBJECTIVE_CHECKS[function.__name__] = Check(function.__name__, rule, guarded, gate)
        return guarded

    return enter


def needs_a_density(pair: Pair) -> None:
    """For rules of densities themselves.

    Raises:
        NotApplicable: the pair is implicit.
    """
    if not pair.has_weights:
        what = ("x is", "x") if pair.implicit else ("the guide's latents are", "them")
        raise NotApplicable(f"the pair is implicit: it states how {what[0]} drawn, and no density of {what[1]}")


@contextmanager
def _explained(subject: str) -> Iterator[None]:
    """Whatever is raised within becomes a :class:`CheckFailed` that says where."""
    try:
        yield
    except (CheckFailed, NotApplicable):
        raise
    except UsageError as error:
        what, _, advice = str(error).rstrip(".").rpartition(": ")
        site = re.search(r"site '[^']+'", what)
        where = site[0] if site else subject
        raise CheckFailed(what.removeprefix(where).lstrip(": "), where=where, advice=advice) from error
    except Exception as error:
        raise CheckFailed(
            f"raised {type(error).__name__}: {first_sentence(error)}",
            where=blame(error, subject),
            advice="mend that line, or what is given to it",
        ) from error
