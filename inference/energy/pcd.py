"""Persistent contrastive divergence: the negative phase is read off chains that go on from step to step.

    loss = mean F(v) - mean F(c_k),        c_0: where the last step left the chains,  c_{j+1} ~ sweep(c_j)

If parameters change slowly against how fast the chains mix, the chains follow the model and the gradient is that of
-log p(v): a stochastic approximation (Younes 1989), exact in the limit of a falling learning rate; at any finite
rate biased. Chains begin at data of the first batch. With ``restart`` each chain begins anew, at a draw of the pair's
base distribution, with that probability at every step, as samples in the replay buffer of Du and Mordatch (2019) do.

Tieleman: Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient, ICML 2008.
Du, Mordatch: Implicit Generation and Modeling with Energy-Based Models, NeurIPS 2019, section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ppgen.arguments import Count, Share
from ppgen.objectives.negative_phase import NegativePhase
from ppgen.objectives.objective import Scheduled
from ppgen.objectives.turns import State
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import register_objective

__all__ = ["PCD"]


@register_objective(
    "pcd",
    summary="persistent contrastive divergence: chains that go on from step to step",
    reference="Tieleman, Training restricted Boltzmann machines using approximations to the likelihood gradient",
    year=2008,
    link="https://doi.org/10.1145/1390156.1390290",
    tags=("energy-based", "biased"),
    tiny=lambda: PCD(num_chains=4),
)
@dataclass(frozen=True, kw_only=True)
class PCD(NegativePhase):
    """``num_chains`` (M) persistent chains that make ``num_steps`` sweeps a step; a share ``restart`` starts anew.

    State: ``chains``, (M, D).

    >>> import ppgen, torch
    >>> pair = ppgen.models.RBM(ppgen.DataSpec("bits", 4, "binary"), hidden=2)
    >>> run = ppgen.fit(pair, torch.ones(20, 4), PCD(num_chains=7), steps=2, eager=True)
    >>> run.chains.shape  # where they stand
    torch.Size([7, 4])
    """

    shards: ClassVar[Mapping[str, int]] = {"chains": 0}

    num_chains: Count = 100
    num_steps: Scheduled[Count] = 1
    restart: Share = 0.0

    def initial_state(self, program: Program, batch: Batch) -> State:
        return {"chains": self.started(program, batch, self.num_chains)}

    def chains(self, state: State) -> Tensor | None:
        return state.get("chains")

    def negative(self, pair: EnergyPair, v: Tensor, state: State) -> tuple[Tensor, State, Mapping[str, Tensor]]:
        chains = state["chains"]
        if self.restart:
            anew = torch.rand_like(chains[:, :1]) < self.restart  # (M, 1)
            chains = torch.where(anew, pair.base_sample(len(chains)), chains)
        for _ in range(self.num_steps):  # type: ignore[arg-type]  # schedules are numbers by now
            chains = pair.sweep(chains)
        return chains, {"chains": chains}, {}
