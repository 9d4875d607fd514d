"""Score matching: the slope of the log-density is to be that of the data's, and log Z has none.

    loss = sum_i 1/2 s_i(v)^2 + d s_i(v) / d v_i,        s(v) = grad log p(v) = -grad F(v)

which is, up to a constant, the mean of 1/2 |s - s_data|^2 over the data's density, by integration by parts (Hyvärinen
2005): for real v and an F with two derivatives. Consistent, without a chain. The trace of the Jacobian of s takes D
derivatives of a derivative; ``num_projections`` (M) normal directions u at each step give it without bias instead,

    1/M sum_m u_m' (d s / d v) u_m        (Song, Garg, Shi and Ermon 2019, sliced with reduced variance).

Hyvärinen: Estimation of Non-Normalized Statistical Models by Score Matching, JMLR 6, 2005, theorem 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.energies import Criterion, score
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.tracing import Program
from ppgen.registry import register_objective

__all__ = ["ScoreMatching"]


@register_objective(
    "score_matching",
    summary="energy-based, real data: the slope of the log-density matches the data's, without chains",
    reference="Hyvärinen, Estimation of non-normalized statistical models by score matching",
    year=2005,
    link="https://www.jmlr.org/papers/v6/hyvarinen05a.html",
    tags=("energy-based",),
    tiny=lambda: ScoreMatching(),
)
@dataclass(frozen=True, kw_only=True)
class ScoreMatching(Criterion):
    """Score matching with the exact trace, or with ``num_projections`` directions. The loss has no unit.

    >>> import ppgen, torch
    >>> pair = ppgen.models.RBM(ppgen.DataSpec("numbers", 3, "real"), hidden=2)
    >>> _ = torch.nn.init.zeros_(pair.weight)  # N(0, 1): the slope at 0 is 0, and its derivative -1
    >>> ScoreMatching().loss(pair.model, pair.guide, torch.zeros(1, 3))
    -3.0
    """

    unit: ClassVar[str] = ""
    needs_observation = "real"
    splits_data = True
    num_projections: Count | None = None

    def criterion(self, pair: EnergyPair, v: Tensor, program: Program) -> Tensor:
        with torch.enable_grad():
            v = v.detach().requires_grad_()
            slope = score(pair, v)  # (B, D)
            return 0.5 * slope.square().reshape(len(v), -1).sum(-1) + self._trace(slope, v)

    def _trace(self, slope: Tensor, v: Tensor) -> Tensor:
        """The sum over i of d s_i / d v_i, (B,): as many directions, weighed by themselves."""
        num = v[0].numel()
        if self.num_projections is None:
            directions = torch.eye(num, dtype=v.dtype, device=v.device)[:, None].expand(num, len(v), num)
        else:
            directions = torch.randn(self.num_projections, len(v), num, dtype=v.dtype, device=v.device)
        total = v.new_zeros(len(v))
        for u in directions.reshape(-1, *v.shape):
            (row,) = torch.autograd.grad(slope, v, u, create_graph=True, retain_graph=True)  # u' ds/dv
            total = total + (row * u).reshape(len(v), -1).sum(-1)
        return total / (self.num_projections or 1)
