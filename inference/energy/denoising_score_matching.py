"""Denoising score matching: the slope of the log-density points from noisy data back to where they came from.

    loss = s^2 / 2 |grad log p(v + s e) + e / s|^2,        e ~ N(0, 1)

Up to a constant and the factor s^2 this is explicit score matching of the data's density smoothed by N(0, s^2) (Vincent
2011): one derivative in v instead of two. What it makes p is the smoothed density: biased for that of the data by the
order of s^2, with a variance that grows as s shrinks.

Vincent: A Connection Between Score Matching and Denoising Autoencoders, Neural Computation 23, 2011, eq. 4.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ppgen.arguments import Positive
from ppgen.objectives.energies import Criterion, score
from ppgen.objectives.objective import Scheduled
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.tracing import Program
from ppgen.registry import register_objective

__all__ = ["DenoisingScoreMatching"]


@register_objective(
    "denoising_score_matching",
    summary="energy-based, real data: the slope of the log-density points back from noise to data",
    reference="Vincent, A connection between score matching and denoising autoencoders",
    year=2011,
    link="https://doi.org/10.1162/NECO_a_00142",
    tags=("energy-based", "biased"),
    tiny=lambda: DenoisingScoreMatching(),
)
@dataclass(frozen=True, kw_only=True)
class DenoisingScoreMatching(Criterion):
    """Denoising score matching with noise of standard deviation ``scale`` (s). The loss has no unit.

    >>> import ppgen, torch
    >>> pair = ppgen.models.RBM(ppgen.DataSpec("numbers", 3, "real"), hidden=2)
    >>> DenoisingScoreMatching(scale=0.5).loss(pair.model, pair.guide, torch.zeros(4, 3)) > 0
    True
    """

    unit: ClassVar[str] = ""
    needs_observation = "real"
    scale: Scheduled[Positive] = 0.1

    def criterion(self, pair: EnergyPair, v: Tensor, program: Program) -> Tensor:
        e = torch.randn_like(v)
        noisy = (v + self.scale * e).detach().requires_grad_()  # type: ignore[operator]  # schedules are numbers by now
        off = self.scale * score(pair, noisy) + e  # type: ignore[operator]  # (B, D)
        return 0.5 * off.square().reshape(len(v), -1).sum(-1)
