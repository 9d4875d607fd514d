"""What must hold of every case: each law is a function of a case that is silent where it holds.

To add one: write ``<name>(case)`` in the file of its kind and decorate it with :func:`law` and the law as a sentence.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import pytest
import torch
from torch import Tensor

from ppgen.errors import UsageError
from tests.public.case import Case, quiet

__all__ = ["CRITICAL", "LAWS", "Law", "NotApplicable", "finite", "judge", "law", "z_score"]

FALSE_ALARM = 1e-6
CRITICAL = NormalDist().inv_cdf(1 - FALSE_ALARM / 2)
"""|z| beyond which two means differ: a test raises a false alarm with probability 1e-6, all of them (at most four for
each of fifty cases) with probability below 2e-4; seeds are fixed."""

SAID_ONCE = re.compile(r"one after another|all data together are one datum")
"""What the engine may say of a legal pair: its particles cannot be vectorized, or its bound is joint."""


class NotApplicable(Exception):  # noqa: N818  # no error: the reason why there is nothing to judge
    """The law says nothing about this case; the text is the reason."""


@dataclass(frozen=True)
class Law:
    """One law: its name, the law as a sentence, the function that judges it, and whether that takes seconds."""

    name: str
    sentence: str
    function: Callable[[Case], None]
    slow: bool
    thorough: bool = False
    """Whether it is judged by ``make thorough`` alone: it takes a minute for some cases."""


LAWS: dict[str, Law] = {}
"""By name, in the order in which they are judged."""


def law(
    sentence: str, *, slow: bool = False, thorough: bool = False
) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Enter a law under its function's name."""

    def enter(function: Callable[[Case], None]) -> Callable[[Case], None]:
        LAWS[function.__name__] = Law(function.__name__, sentence, function, slow, thorough)
        return function

    return enter


def judge(case: Case, one: Law) -> None:
    """The law holds, or is refused as the case states; the engine warns of nothing but what it may say."""
    pattern = case.refused.get(one.name)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with quiet():
            if pattern is None:
                one.function(case)
            else:
                with pytest.raises(UsageError, match=pattern):
                    one.function(case)
    unexpected = [str(w.message) for w in heard if not SAID_ONCE.search(str(w.message))]
    assert not unexpected, f"warned: {unexpected[0]}"


def z_score(first: Tensor, second: Tensor) -> float:
    """Of the difference of the means of two samples (n,); rounding of float32 counts as 1e-6 of the mean."""
    rounding = 1e-6 * float(first.mean().abs() + second.mean().abs())
    error = math.sqrt(float(first.var() / len(first) + second.var() / len(second)) + rounding**2)
    return float(first.mean() - second.mean()) / error


def finite(*values: Tensor) -> bool:
    """Whether all numbers are finite."""
    return all(bool(torch.isfinite(value).all()) for value in values)
