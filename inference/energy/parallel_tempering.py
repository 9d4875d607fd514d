"""Parallel tempering: persistent chains at a ladder of temperatures, which exchange their places.

    p~_b,  0 = b_1 < ... < b_T = 1, evenly spaced:    from a factorised distribution, where chains mix at once, to the
                                                      model's own, off which the negative phase is read
    loss = mean F(v) - mean F(chains at b_T)

A step makes k times a sweep of every chain, which leaves its p~_b invariant, and then proposes to neighbours (first
the pairs 1-2, 3-4, ..., then 2-3, 4-5, ...) to exchange their states u at b and v at b', accepted with probability

    min(1, p~_b(v) p~_b'(u) / (p~_b(u) p~_b'(v))),

which leaves the product of all p~_b invariant. Chains that are stuck in one mode of the model leave it by way of
the flatter distributions. As with persistent chains the gradient is that of -log p(v) in the limit of a falling
learning rate, and biased at a finite one. With T = 2 the ladder is b = 0, 1.

Desjardins, Courville, Bengio, Vincent, Delalleau: Tempered Markov Chain Monte Carlo for Training of Restricted
Boltzmann Machines, AISTATS 2010.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.negative_phase import NegativePhase
from ppgen.objectives.objective import Scheduled
from ppgen.objectives.turns import State
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import register_objective

__all__ = ["ParallelTempering"]


@register_objective(
    "parallel_tempering",
    summary="persistent chains at several temperatures that exchange places",
    reference="Desjardins et al., Tempered Markov chain Monte Carlo for training of restricted Boltzmann machines",
    year=2010,
    link="https://proceedings.mlr.press/v9/desjardins10a.html",
    tags=("energy-based", "biased"),
    tiny=lambda: ParallelTempering(num_chains=4, num_temperatures=3),
)
@dataclass(frozen=True, kw_only=True)
class ParallelTempering(NegativePhase):
    """``num_chains`` (M) sets of ``num_temperatures`` (T) chains; ``num_steps`` sweeps and exchanges a step.

    State: ``chains``, (T, M, D), the model's own last. Metric: ``swap_rate``, the share of accepted exchanges.

    >>> import ppgen
    >>> pair = ppgen.models.RBM(ppgen.DataSpec("bits", 4, "binary"), hidden=2)
    >>> _ = torch.nn.init.zeros_(pair.weight)
    >>> run = ppgen.fit(pair, torch.ones(20, 4), ParallelTempering(num_chains=7), steps=1, eager=True)
    >>> run.metrics[-1]["swap_rate"]  # of one distribution at all temperatures
    1.0
    """

    shards: ClassVar[Mapping[str, int]] = {"chains": 1}

    num_chains: Count = 100
    num_temperatures: Annotated[int, Ge(2)] = 10
    num_steps: Scheduled[Count] = 1

    def initial_state(self, program: Program, batch: Batch) -> State:
        chains = self.started(program, batch, self.num_temperatures * self.num_chains)
        return {"chains": chains.unflatten(0, (self.num_temperatures, self.num_chains))}

    def chains(self, state: State) -> Tensor | None:
        return state["chains"][-1] if "chains" in state else None

    def negative(self, pair: EnergyPair, v: Tensor, state: State) -> tuple[Tensor, State, Mapping[str, Tensor]]:
        chains, b = state["chains"], self.ladder(v)
        rates = []
        for _ in range(self.num_steps):  # type: ignore[arg-type]  # schedules are numbers by now
            chains = pair.tempered_sweep(chains, b)
            for first in (0, 1):
                chains, rate = self.exchange(pair, chains, first)
                rates.append(rate)
        swap_rate = 2 * torch.stack(rates).sum() / (len(rates) * (self.num_temperatures - 1))
        return chains[-1], {"chains": chains}, {"swap_rate": swap_rate}

    def ladder(self, like: Tensor) -> Tensor:
        """b of every temperature, (T, 1)."""
        return torch.linspace(0, 1, self.num_temperatures, dtype=like.dtype, device=like.device)[:, None]

    def exchange(self, pair: EnergyPair, chains: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Exchanges between temperatures first and first + 1, first + 2 and first + 3, ...; and their rates' sum."""
        partner = _partners(self.num_temperatures, first, chains.device)  # (T,)
        other, b = chains[partner], self.ladder(chains)
        gain = pair.log_tempered(other, b) - pair.log_tempered(chains, b)  # (T, M)
        accept = torch.rand_like(gain).log() < gain + gain[partner]
        lower = torch.arange(self.num_temperatures, device=chains.device).minimum(partner)
        accept = accept[lower] & (partner != torch.arange(len(partner), device=chains.device))[:, None]  # both or none
        wide = accept.reshape(accept.shape + (1,) * (chains.dim() - accept.dim()))
        return torch.where(wide, other, chains), accept.to(chains.dtype).mean(1).sum() / 2


def _partners(num: int, first: int, device: torch.device) -> Tensor:
    """Of each temperature its neighbour in the exchange, (num,); its own number where it has none."""
    place = torch.arange(num, device=device)
    partner = place + torch.where((place - first) % 2 == 0, 1, -1)
    return torch.where((partner < first) | (partner >= num), place, partner)
