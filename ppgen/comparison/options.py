"""What a comparison is asked for: the options of ``ppgen.compare`` and ``ppgen compare``, checked in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ppgen.errors import UsageError

__all__ = ["ComparisonOptions", "Point"]

Point = int | str
"""A point of training: ``"init"``, ``"trained"``, or a number of steps."""

INIT, TRAINED = "init", "trained"


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """Options of a comparison.

    Args:
        draws: gradients of each objective, at each point; they are split into repeats, and rounded up to make whole
            ones.
        precision: draw as many as make the interval of every objective's variance no wider than this share of it to
            either side, judging by a few first draws; overrides ``draws``.
        seconds: at most so many seconds of drawing in all, shared evenly; with ``precision`` too, whichever is less.
        repeats: independent groups of draws, whose spread gives all error bars; fewer where memory asks for it.
        blocks: names of the blocks of parameters to look at; None: all.
        at: points of training, in rising order: ``"init"`` (the pair as it is), ``"trained"``, or numbers of steps.
        double: draw in float64.
        warmup: steps in which an objective's own parameters and state settle, at each point, before it is drawn.
        particles: of the reference for log p(x), where it is not exact.
        level: of the confidence intervals.
        false_alarm: the probability that any unbiased objective at all is called biased.
        seed: of the draws; those of an objective do not depend on which others there are.
        eager: do not compile.
    """

    draws: int = 1000
    precision: float | None = None
    seconds: float | None = None
    repeats: int = 64
    blocks: Sequence[str] | None = None
    at: Sequence[Point] = (INIT,)
    double: bool = False
    warmup: int = 100
    particles: int = 5000
    level: float = 0.95
    false_alarm: float = 1e-3
    seed: int = 0
    eager: bool = False

    def __post_init__(self) -> None:
        for name, least in {"draws": 32, "repeats": 16, "warmup": 0, "particles": 2}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"{name} must be a whole number of at least {least}, got {value!r}.")
        for name in ("level", "false_alarm", "precision"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise UsageError(f"{name} must lie between 0 and 1, got {value!r}.")
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError(f"seconds must be positive, got {self.seconds!r}.")
        _check_points(self.at)


def _check_points(at: Sequence[Point]) -> None:
    if isinstance(at, str) or not at:
        raise UsageError(f"at must be a list of points of training such as ['init', 1000, 'trained'], got {at!r}.")
    for point in at:
        is_step = isinstance(point, int) and not isinstance(point, bool) and point >= 0
        if not is_step and point not in (INIT, TRAINED):
            raise UsageError(f"a point of training is 'init', 'trained' or a number of steps, got {point!r}.")
    if len(set(at)) != len(at):
        raise UsageError(f"a point of training is named twice in {list(at)}: name each once.")
