"""The up-down algorithm, contrastive wake-sleep: deep belief nets are fine-tuned as a whole.

    up, model:      d log p~(v, h)/dtheta,                 h ~ q(h | v)
    top, model:     - d log p~(s')/dtheta,                 s' after k sweeps of the machine on top, from h's own state
    down, guide:    d log q(h' | v')/dphi,                 (v', h') drawn downwards from s'

With log Z that of the machine on top, the first two are the gradient of E_q[log p~(v, h)] - log Z when s' is a draw of
that machine: the model ascends the bound of log p(v). The guide descends KL(p(h | v') || q) at dreams, as in
wake-sleep, whose dreams here begin near the data. Chains of k sweeps make the second biased; with ``num_chains`` they
persist. The loss, per datum in nats,

    - mean log p~(v, h) + mean log p~(s') - mean log q(h' | v'),

has these gradients, all draws taken as fixed; its value is no measure of fit.

Hinton, Osindero, Teh: A Fast Learning Algorithm for Deep Belief Nets, Neural Computation 18, 2006, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.energies import EnergyObjective
from ppgen.objectives.objective import Scheduled
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.stack import directed_layers
from ppgen.pairs.tracing import Batch, Program, run_particles
from ppgen.registry import register_objective

__all__ = ["UpDown"]


@register_objective(
    "up_down",
    summary="contrastive wake-sleep of a deep belief net, after greedy learning",
    reference="Hinton, Osindero and Teh, A fast learning algorithm for deep belief nets",
    year=2006,
    link="https://doi.org/10.1162/neco.2006.18.7.1527",
    tags=("energy-based", "discrete", "biased"),
    tiny=lambda: UpDown(),
)
@dataclass(frozen=True, kw_only=True)
class UpDown(EnergyObjective):
    """Contrastive wake-sleep with ``num_steps`` (k) sweeps on top.

    Args:
        num_steps: k.
        num_chains: persistent chains on top, whose states are dreamt of; None: one chain for each datum, from it.

    State: ``chains``, (M, S), where they persist.

    Metrics: ``free_energy``, the bound's, log q(h | v) - log p~(v, h); ``dreams``, log q(h' | v').

    >>> import ppgen
    >>> net = ppgen.models.DBN(ppgen.DataSpec("bits", 4, "binary"), hidden=(3, 2))
    >>> run = ppgen.fit(net, torch.ones(20, 4), "greedy, up_down", steps=6, eager=True)
    >>> sorted(run.metrics[-1].keys() & {"free_energy", "dreams", "stage"})
    ['dreams', 'free_energy', 'stage']
    """

    measures_fit = False
    needs_layers = True
    shards: ClassVar[Mapping[str, int]] = {"chains": 0}

    num_steps: Scheduled[Count] = 1
    num_chains: Count | None = None

    def initial_state(self, program: Program, batch: Batch) -> State:
        if self.num_chains is None:
            return {}
        pair = directed_layers(program.model, type(self).__name__)
        states = pair.state_of(pair.ascend(batch), batch)
        return {"chains": states[torch.randint(len(states), (self.num_chains,), device=states.device)]}

    def chains(self, state: State) -> Tensor | None:
        return state.get("chains")

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        pair = self.seen(program, batch)[0]
        directed = directed_layers(program.model, type(self).__name__)
        recognised = directed.ascend(batch)
        awake = run_particles(program, batch, 1, _one(recognised))
        states = state.get("chains", directed.state_of(recognised, batch))
        for _ in range(self.num_steps):  # type: ignore[arg-type]  # schedules are numbers by now
            states = pair.sweep(states)
        data, latents = directed.descend(states)
        asleep = run_particles(program, data, 1, _one(latents))
        wake, sleep = awake.log_p.mean(), asleep.log_q.mean()
        loss = -wake + pair.log_tempered(states, states.new_ones(())).mean() - sleep
        num_data = float(pair.data_size or len(batch[0]))
        metrics = {"free_energy": (awake.log_q - awake.log_p).mean(), "dreams": sleep}
        return Outcome(loss * num_data, num_data, metrics, {"chains": states} if "chains" in state else {})


def _one(latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As one particle."""
    return {name: value.unsqueeze(0) for name, value in latents.items()}
