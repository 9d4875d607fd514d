"""What a comparison found of one block of parameters, one objective, one point of training: frozen numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppgen.comparison.options import Point
from ppgen.comparison.truth import Evidence
from ppgen.measuring.statistics import Bias, Interval

__all__ = ["EXACT", "BlockResult", "ObjectiveResult", "PointResult", "Verdict"]


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

    @property
    def biases(self) -> dict[str, Bias]:
        """By the block's name, where it was tested."""
        return {block.name: block.bias for block in self.blocks if block.bias is not None}

    @property
    def fits(self) -> bool:
        """Whether it is unbiased for all that is known: it declares its gradient so, and was not found biased."""
        return self.unbiased and self.verdict != "biased"


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
    def ranked(self) -> dict[str, list[ObjectiveResult]]:
        """For each bound, those that are unbiased for all that is known, the least variance x time first."""
        found: dict[str, list[ObjectiveResult]] = {}
        for one in self.objectives:
            if one.bound_name is not None and one.fits:
                found.setdefault(one.bound_name, []).append(one)
        return {bound: sorted(each, key=lambda one: one.whole.work.value) for bound, each in found.items()}

    @property
    def best(self) -> dict[str, str]:
        """For each bound, the first of :attr:`ranked`."""
        return {bound: each[0].label for bound, each in self.ranked.items()}
