"""Tempered transitions: persistent chains that go up to flatter distributions and down again, to stay or to go back.

    1 = b_0 > b_1 > ... > b_T = lowest:    from the model's own distribution to one where chains mix
    up        u_0 = s,    u_i ~ a sweep at b_i from u_{i-1},          i = 1 .. T
    down      d_T = u_T,  d_{i-1} ~ a sweep at b_i from d_i,          i = T .. 1
    accept    d_0 with probability min(1, w),  w = prod_{i < T} p~_{i+1}(u_i) p~_i(d_i) / (p~_i(u_i) p~_{i+1}(d_i))

With sweeps that are reversible at each temperature this leaves the model's distribution invariant: a chain leaves its
mode by way of the flatter ones, and one set of chains does what parallel tempering needs a set for each temperature
for. A step makes an ordinary sweep, then a transition, k times; as with persistent chains the gradient is that of
-log p(v) in the limit of a falling learning rate, and biased at a finite one.

Neal: Sampling from Multimodal Distributions using Tempered Transitions, Statistics and Computing 6, 1996.
Salakhutdinov: Learning in Markov Random Fields using Tempered Transitions, NIPS 2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Lt
from torch import Tensor

from ppgen.arguments import Count
from ppgen.errors import UsageError
from ppgen.objectives.negative_phase import NegativePhase
from ppgen.objectives.objective import Scheduled
from ppgen.objectives.turns import State
from ppgen.pairs.energy import EnergyPair, energy_pair
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import register_objective

__all__ = ["TemperedTransitions"]


@register_objective(
    "tempered_transitions",
    summary="persistent chains that go to flatter distributions and back",
    reference="Salakhutdinov, Learning in Markov random fields using tempered transitions",
    year=2009,
    link="https://papers.nips.cc/paper/2009/hash/b7ee6f5f9aa5cd17ca1aea43ce848496-Abstract.html",
    tags=("energy-based", "biased"),
    tiny=lambda: TemperedTransitions(num_chains=4, num_temperatures=3),
)
@dataclass(frozen=True, kw_only=True)
class TemperedTransitions(NegativePhase):
    """``num_chains`` (M) chains; ``num_steps`` (k) sweeps, each with a transition, a step.

    Args:
        num_chains: M.
        num_temperatures: T + 1, evenly spaced.
        lowest: b_T.
        num_steps: k.

    State: ``chains``, (M, S). Metric: ``acceptance_rate``, of the transitions.

    >>> import ppgen
    >>> pair = ppgen.models.RBM(ppgen.DataSpec("bits", 4, "binary"), hidden=2)
    >>> _ = torch.nn.init.zeros_(pair.weight)
    >>> run = ppgen.fit(pair, torch.ones(20, 4), TemperedTransitions(num_chains=7), steps=1, eager=True)
    >>> run.metrics[-1]["acceptance_rate"]  # of one distribution at all temperatures
    1.0
    """

    shards: ClassVar[Mapping[str, int]] = {"chains": 0}

    num_chains: Count = 100
    num_temperatures: Annotated[int, Ge(2)] = 10
    lowest: Annotated[float, Ge(0), Lt(1)] = 0.5
    num_steps: Scheduled[Count] = 1

    def initial_state(self, program: Program, batch: Batch) -> State:
        return {"chains": self.started(program, batch, self.num_chains)}

    def chains(self, state: State) -> Tensor | None:
        return state.get("chains")

    def negative(self, pair: EnergyPair, v: Tensor, state: State) -> tuple[Tensor, State, Mapping[str, Tensor]]:
        chains, rates = state["chains"], []
        for _ in range(self.num_steps):  # type: ignore[arg-type]  # schedules are numbers by now
            chains, accepted = self.transition(pair, pair.sweep(chains))
            rates.append(accepted.to(chains.dtype).mean())
        return chains, {"chains": chains}, {"acceptance_rate": torch.stack(rates).mean()}

    def transition(self, pair: EnergyPair, s: Tensor) -> tuple[Tensor, Tensor]:
        """Where chains at s, (M, S), stand after one, and which of them moved, (M,)."""
        rungs = list(torch.linspace(1, self.lowest, self.num_temperatures, dtype=s.dtype, device=s.device))
        gain, moved = torch.zeros_like(pair.log_tempered(s, rungs[0])), s  # (M,)
        for before, after in pairwise(rungs):
            gain = gain + pair.log_tempered(moved, after) - pair.log_tempered(moved, before)
            moved = pair.tempered_sweep(moved, after)
        for before, after in pairwise(reversed(rungs)):
            moved = pair.tempered_sweep(moved, before)
            gain = gain + pair.log_tempered(moved, after) - pair.log_tempered(moved, before)
        accepted = torch.rand_like(gain).log() < gain
        return torch.where(accepted.reshape(-1, *(1,) * (s.dim() - 1)), moved, s), accepted

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        pair = energy_pair(program.model, type(self).__name__)
        if not pair.reversible:
            raise UsageError(
                f"TemperedTransitions needs sweeps that are reversible, and those of {type(pair).__name__} are not "
                "(units one after another, or moves that are not corrected): choose 'pcd' or 'parallel_tempering'."
            )
