"""Translation: how far what is made of a source is from the datum that belongs to it.

    there       mean over pairs of ||x - G(s)||
    back        mean over pairs of ||s - F(x)||

of models that translate, G by ``translate(s)`` and F by ``translate_back(x)``, on splits whose rows (x, s) belong
together. ||.|| is the root of the sum of squares over features, in the units of x, or of s. Beside each stands how far
the mean of what is to be found is from it, which any translation should be nearer to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor

from ppgen.evaluation.case import Case
from ppgen.evaluation.likelihood import mean_and_error
from ppgen.evaluation.result import Measure
from ppgen.pairs.looking import looking

__all__ = ["translation"]

_ROWS = 1000
"""Data at a time."""


def translation(case: Case) -> Iterator[Measure]:
    """``translation_error`` and, of pairs that translate back too, ``back_translation_error``."""
    if not case.pair.translates or not case.dataset.spec.pairs_in(case.split):
        return
    (x, s), pair = case.batch, cast(Any, case.pair)
    yield _error("translation_error", case, pair.translate, s, x, "a translated source from its target")
    if callable(back := getattr(pair, "translate_back", None)):
        yield _error("back_translation_error", case, back, x, s, "a target, translated back, from its source")


def _error(
    name: str, case: Case, translate: Callable[[Tensor], Tensor], given: Tensor, wanted: Tensor, of: str
) -> Measure:
    with looking(case.pair):
        made = torch.cat([translate(part) for part in given.split(_ROWS)])
    off = torch.linalg.vector_norm((made - wanted).double(), dim=1)  # (B,)
    of_mean = torch.linalg.vector_norm((wanted - wanted.mean(0)).double(), dim=1).mean()
    meaning = f"distance of {of}; mean of {len(wanted):,} {case.split} data, whose own mean is {of_mean:.3g} away"
    return Measure(name, *mean_and_error(off), meaning)
