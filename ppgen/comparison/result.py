"""What a comparison gives: plain frozen records of numbers, rows of a table, and JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ppgen.comparison.options import ComparisonOptions, Point
from ppgen.comparison.statistics import Bias, Interval
from ppgen.comparison.truth import Evidence

__all__ = ["EXACT", "BlockResult", "Comparison", "ObjectiveResult", "PointResult", "Verdict"]

Verdict = Literal["biased", "no bias seen", "reference", "not tested"]
"""``"biased"``: at the family-wise false-alarm rate of the comparison; ``"reference"``: others were held against it;
``"not tested"``: no exact gradient and no reference of the same bound."""

EXACT = "exact"


@dataclass(frozen=True)
class BlockResult:
    """One objective's gradient by one block of parameters; all intervals are of the comparison's level.

    Args:
        name: of the block; ``"all"`` holds every parameter.
        num_parameters: D.
        variance: tr Cov(g) of one draw of the gradient of the loss per datum.
        snr: |E g| / sqrt(tr Cov(g)) of one draw.
        work: variance times the seconds of a draw: the variance that a second of drawing and averaging leaves.
        bias: against the exact gradient or the reference; None: not tested.
        verdict: what is to be thought of it.
    """

    name: str
    num_parameters: int
    variance: Interval
    snr: Interval
    work: Interval
    bias: Bias | None
    verdict: Verdict


@dataclass(frozen=True)
class ObjectiveResult:
    """One objective at one point of training.

    Args:
        label: its name here.
        bound_name: the bound whose gradient it estimates; None: no function of log-weights.
        num_particles: K; None: it takes none.
        unbiased: whether it declares that its gradient is unbiased.
        bound: the mean of its value per datum, in nats, with its interval.
        standard_error: of that mean.
        seconds: of one draw: each repeat's median, and their mean.
        draws: how many.
        compiled: whether they came from compiled steps.
        reference: ``"exact"``, or the label of the objective whose draws its bias was measured from; None: not tested.
        blocks: ``"all"`` first.
    """

    label: str
    bound_name: str | None
    num_particles: int | None
    unbiased: bool
    bound: Interval
    standard_error: float
    seconds: Interval
    draws: int
    compiled: bool
    reference: str | None
    blocks: tuple[BlockResult, ...]

    @property
    def whole(self) -> BlockResult:
        """The block of all parameters."""
        return self.blocks[0]

    @property
    def verdict(self) -> Verdict:
        """``"biased"`` if any block is; else that of the whole."""
        return "biased" if any(block.verdict == "biased" for block in self.blocks) else self.whole.verdict


@dataclass(frozen=True)
class PointResult:
    """All objectives at one point of training."""

    at: Point
    step: int
    evidence: Evidence | None
    why_not_exact: str
    """Why the exact gradient of some bound is not known; empty where it is."""
    objectives: tuple[ObjectiveResult, ...]

    @property
    def best(self) -> dict[str, str]:
        """For each bound, the objective of least variance x time among those that are unbiased for all that is known.

        Those count that declare their gradient unbiased and were not found biased.
        """
        found: dict[str, ObjectiveResult] = {}
        for one in self.objectives:
            if one.bound_name is None or not one.unbiased or one.verdict == "biased":
                continue
            other = found.get(one.bound_name)
            if other is None or one.whole.work.value < other.whole.work.value:
                found[one.bound_name] = one
        return {bound: one.label for bound, one in found.items()}


@dataclass(frozen=True)
class Comparison:
    """The result of :func:`ppgen.compare`.

    Args:
        points: in the order of training.
        options: what was asked for.
        num_data: B of the batch.
        repeats: R, the groups of draws behind all error bars.
        num_tests: how many tests for bias share the false-alarm rate ``options.false_alarm``.
    """

    points: tuple[PointResult, ...]
    options: ComparisonOptions
    num_data: int
    repeats: int
    num_tests: int

    @property
    def best(self) -> dict[str, str]:
        """For each bound, the best objective at the last point of training; see :attr:`PointResult.best`."""
        return self.points[-1].best

    def rows(self) -> list[dict[str, Any]]:
        """One flat row for each point, objective and block, for a table, a CSV file or a data frame.

        Every interval ``i`` is three columns ``i``, ``i_low`` and ``i_high``; what was not tested is None.
        """
        return [
            {"at": point.at, "step": point.step, **_of_estimator(one), **_of_block(block)}
            for point in self.points
            for one in point.objectives
            for block in one.blocks
        ]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of everything, with ``best`` and ``words``; numbers that are not finite are None."""
        return {**_plain(asdict(self)), "best": self.best, "words": self.words()}

    def words(self) -> str:
        """A paragraph for each point of training: what is biased, what is cheapest, what to avoid and why."""
        from ppgen.comparison.words import in_words

        return "\n\n".join(in_words(point, self) for point in self.points)


def _of_estimator(one: ObjectiveResult) -> dict[str, Any]:
    return {
        "objective": one.label,
        "bound_name": one.bound_name,
        "num_particles": one.num_particles,
        "unbiased": one.unbiased,
        **_columns("bound", one.bound),
        "standard_error": one.standard_error,
        **_columns("seconds", one.seconds),
        "draws": one.draws,
        "compiled": one.compiled,
        "reference": one.reference,
    }


def _of_block(block: BlockResult) -> dict[str, Any]:
    bias = block.bias
    return {
        "block": block.name,
        "num_parameters": block.num_parameters,
        **_columns("variance", block.variance),
        **_columns("snr", block.snr),
        **_columns("work", block.work),
        **_columns("bias", None if bias is None else bias.along),
        **_columns("bias_size", None if bias is None else bias.size),
        "z": None if bias is None else bias.z_along,
        "z_across": None if bias is None else bias.z_across,
        "p_value": None if bias is None else bias.p_value,
        "resolution": None if bias is None else bias.resolution,
        "verdict": block.verdict,
    }


def _columns(name: str, interval: Interval | None) -> dict[str, float | None]:
    ends = (None,) * 3 if interval is None else (interval.value, interval.low, interval.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def _plain(value: Any) -> Any:
    """Without numbers that JSON has no way to write."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
