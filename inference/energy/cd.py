"""Contrastive divergence: the negative phase is read off short chains that start at the data.

    loss = mean F(v) - mean F(v_k),        v_0 = v,  v_{j+1} ~ sweep(v_j)

Its gradient is that of KL(p_data || p) - KL(p_k || p) less a term, usually small, from how p_k depends on the
parameters: biased, and the more so the slower the chains mix, as weights grow. With k to infinity it becomes the
gradient of -log p(v). Nothing persists from step to step.

Hinton: Training Products of Experts by Minimizing Contrastive Divergence, Neural Computation 14, 2002, eq. 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.negative_phase import NegativePhase
from ppgen.objectives.objective import Scheduled
from ppgen.objectives.turns import State
from ppgen.pairs.energy import EnergyPair
from ppgen.registry import register_objective

__all__ = ["CD"]


@register_objective(
    "cd",
    summary="contrastive divergence: chains of k sweeps from the data",
    reference="Hinton, Training products of experts by minimizing contrastive divergence",
    year=2002,
    link="https://doi.org/10.1162/089976602760128018",
    tags=("energy-based", "biased"),
    tiny=lambda: CD(num_steps=2),
)
@dataclass(frozen=True, kw_only=True)
class CD(NegativePhase):
    """Contrastive divergence with ``num_steps`` (k) sweeps; a schedule of whole numbers lets k grow.

    >>> import ppgen, torch
    >>> pair = ppgen.models.RBM(ppgen.DataSpec("bits", 4, "binary"), hidden=2)
    >>> _ = torch.nn.init.zeros_(pair.weight)
    >>> CD(num_steps=5).loss(pair.model, pair.guide, torch.ones(3, 4))  # all states have the same energy
    0.0
    """

    num_steps: Scheduled[Count] = 1

    def negative(self, pair: EnergyPair, v: Tensor, state: State) -> tuple[Tensor, State, Mapping[str, Tensor]]:
        s = pair.state_at(v)
        for _ in range(self.num_steps):  # type: ignore[arg-type]  # schedules are numbers by now
            s = pair.sweep(s)
        return s, {}, {}
