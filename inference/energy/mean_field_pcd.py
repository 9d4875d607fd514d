"""Persistent contrastive divergence with a mean field of the hidden units: the training of deep Boltzmann machines.

    loss = mean F_m(v) - mean F(c_k),        F_m(v) = min over q(h) = prod_j Bernoulli(m_j) of
                                             -E_q[log p~(v, h)] - entropy of q  >=  F(v)

F_m is the bound at the mean field of each datum. At its minimum the means do not count: its gradient is that of the
energy at (v, m) with m held fixed, the positive phase of Salakhutdinov and Hinton. The negative phase is that of
``pcd``, chains that go on from step to step. The loss then has the gradient of -log p(v) + KL(q || p(h | v)) in the
limit in which that of ``pcd`` has the gradient of -log p(v): the posterior is drawn to where a mean field is good.

Where the pair's ``free_energy`` is that bound, as beyond a few hidden units, it is ``pcd``; where hidden units are
independent given v, as an RBM's are, F_m is F, and it is ``pcd`` again.

Salakhutdinov and Hinton: Deep Boltzmann Machines, AISTATS 2009, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.negative_phase import NegativePhase
from ppgen.objectives.objective import Scheduled
from ppgen.objectives.turns import State
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["MeanFieldPCD"]


@register_objective(
    "mean_field_pcd",
    summary="persistent chains against a mean field of the data's hidden units",
    reference="Salakhutdinov and Hinton, Deep Boltzmann machines",
    year=2009,
    link="https://proceedings.mlr.press/v5/salakhutdinov09a.html",
    tags=("energy-based", "biased"),
    tiny=lambda: MeanFieldPCD(num_chains=4),
)
@dataclass(frozen=True, kw_only=True)
class MeanFieldPCD(NegativePhase):
    """``num_chains`` (M) persistent chains that make ``num_steps`` sweeps a step, and the mean field's bound.

    State: ``chains``, (M, S). Metric ``free_energy``: the bound.

    >>> import ppgen, torch
    >>> pair = ppgen.models.DBM(ppgen.DataSpec("bits", 4, "binary"), hidden=(3, 2))
    >>> run = ppgen.fit(pair, torch.ones(20, 4), MeanFieldPCD(num_chains=7), steps=2, eager=True)
    >>> run.chains.shape  # v and h2 of each
    torch.Size([7, 6])
    """

    shards: ClassVar[Mapping[str, int]] = {"chains": 0}

    num_chains: Count = 100
    num_steps: Scheduled[Count] = 1

    @property
    def _persistent(self) -> Any:
        """The negative phase."""
        return OBJECTIVES["pcd"].cls(num_chains=self.num_chains, num_steps=self.num_steps)

    def initial_state(self, program: Program, batch: Batch) -> State:
        state: State = self._persistent.initial_state(program, batch)
        return state

    def chains(self, state: State) -> Tensor | None:
        chains: Tensor | None = self._persistent.chains(state)
        return chains

    def positive(self, pair: EnergyPair, v: Tensor) -> Tensor:
        return pair.mean_field_free_energy(v)

    def negative(self, pair: EnergyPair, v: Tensor, state: State) -> tuple[Tensor, State, Mapping[str, Tensor]]:
        drawn: tuple[Tensor, State, Mapping[str, Tensor]] = self._persistent.negative(pair, v, state)
        return drawn
