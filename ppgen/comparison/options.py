"""What a comparison is asked for: the options of ``ppgen.compare`` and ``ppgen compare``, checked in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Gt, Lt
from pydantic import Field

from ppgen.arguments import Positive, Words, check_fields
from ppgen.errors import UsageError, shown

__all__ = ["ComparisonOptions", "Point", "Standard"]

INIT, TRAINED = "init", "trained"

Point = Annotated[int, Ge(0)] | Annotated[str, Field(pattern=f"^({INIT}|{TRAINED})$"), Words("'init' or 'trained'")]
"""A point of training: ``"init"``, ``"trained"``, or a number of steps."""

Standard: TypeAlias = Literal["auto", "enumeration", "quadrature", "run"]
"""What bias is measured from: ``"enumeration"``, the exact gradient by a sum over all states; ``"quadrature"``, by
states times Gauss-Hermite nodes; ``"run"``, ten times as many draws of the quietest unbiased estimator; ``"auto"``, the
first of the exact ones that the pair allows, or else as many draws of that estimator as of each."""

Probability = Annotated[float, Gt(0), Lt(1)]


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """Options of a comparison.

    Args:
        draws: gradients of each objective, at each point; they are split into repeats, and rounded up to make whole
            ones.
        precision: draw as many as make the interval of every objective's variance no wider than this share of it to
            either side, judging by a few first draws; overrides ``draws``.
        seconds: at most so many seconds of drawing in all, shared evenly; with ``precision`` too, whichever is less. An
            exact gradient that would take longer is refused where ``exact`` names it, and else left out.
        repeats: independent groups of draws, whose spread gives all error bars; fewer where memory asks for it.
        exact: what bias is measured from (``Standard``); one that is named and cannot be had is refused.
        blocks: names of the blocks of parameters to look at; None: all.
        at: points of training, in rising order: ``"init"`` (the pair as it is), ``"trained"``, or numbers of steps.
        double: draw in float64.
        warmup: steps in which an objective's own parameters and state settle, at each point, before it is drawn.
        particles: of the reference for log p(x), where it is not exact.
        level: of the confidence intervals.
        false_alarm: the probability that any unbiased objective at all is called biased.
        seed: seeds the draws; those of an objective do not depend on which others there are.
        eager: do not compile.
    """

    draws: Annotated[int, Ge(32)] = 1000
    precision: Probability | None = None
    seconds: Positive | None = None
    repeats: Annotated[int, Ge(16)] = 64
    exact: Standard = "auto"
    blocks: Sequence[str] | None = None
    at: Sequence[Point] = (INIT,)
    double: bool = False
    warmup: Annotated[int, Ge(0)] = 100
    particles: Annotated[int, Ge(2)] = 5000
    level: Probability = 0.95
    false_alarm: Probability = 1e-3
    seed: int = 0
    eager: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        _check_points(self.at)


def _check_points(at: Sequence[Point]) -> None:
    if not at:
        raise UsageError("at must name at least one point of training, as in ['init', 1000, 'trained'], got none.")
    if len(set(at)) != len(at):
        raise UsageError(f"a point of training is named twice in {shown(list(at))}: name each once.")
