"""Training by the likelihood of an energy-based pair: what is common to the ways of drawing its negative phase.

    d/dt -log p(v) = d/dt F(v) - E_{v' ~ p}[ d/dt F(v') ]

The first term is read off the data, the second, the negative phase, off chains; latents are summed out in both. The
loss, per datum in nats,

    mean F(data) - mean F(chains),

has that gradient when the chains, taken as fixed, are draws from the model. Its value is no bound and no measure of
fit: it is near zero whenever data and chains have the same energy.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.errors import UsageError
from ppgen.objectives.objective import Objective, Outcome, Scheduled, State
from ppgen.pairs.energy import EnergyPair, energy_pair
from ppgen.pairs.rows import x_of
from ppgen.pairs.tracing import Batch, Program

__all__ = ["NegativePhase"]


class NegativePhase(Objective):
    """An objective that is data's free energy minus that of chains; subclasses declare ``num_steps``.

    Metrics: ``free_energy``, the data's (its excess on validation over training data shows overfitting), and
    ``energy_gap``, the loss per datum. Under Pyro's own ``SVI``, which carries no state, chains start anew each step.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :meth:`negative`, and ``initial_state`` of
    what must persist; 3. register it.
    """

    is_bound = False
    unbiased_gradient = False
    needs_energy = True

    num_steps: Scheduled[Count]

    @abstractmethod
    def negative(self, pair: EnergyPair, v: Tensor, state: State) -> tuple[Tensor, State, Mapping[str, Tensor]]:
        """The negative phase: M states of the pair's chains, (M, S), at data v (B, D); the next step's state; metrics.

        Without gradient.
        """

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        pair, v = energy_pair(program.model, type(self).__name__), x_of(batch, type(self).__name__)
        with torch.no_grad():
            negative, state, metrics = self.negative(pair, v, state)
        energies = pair.free_energy(torch.cat([v, pair.visible(negative)]))  # (B + M,)
        data, model = energies[: len(v)].mean(), energies[len(v) :].mean()
        gap, num_data = data - model, float(pair.data_size or len(v))
        return Outcome(gap * num_data, num_data, {"free_energy": data, "energy_gap": gap, **metrics}, state)

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *batch: Any, **options: Any
    ) -> Tensor:
        """The loss, in nats, summed over the batch and times N / B. Its gradient alone has a meaning."""
        model(*batch, **options)  # Pyro's handlers see the parameters of what runs, and a free energy is no model
        return super().differentiable_loss(model, guide, *batch, **options)

    def started(self, program: Program, batch: Batch, num_chains: int) -> Tensor:
        """States at ``num_chains`` data drawn from the batch, (num_chains, S): where persistent chains begin.

        Raises:
            UsageError: there are no data, or the pair is not energy-based.
        """
        pair, v = energy_pair(program.model, type(self).__name__), x_of(batch, type(self).__name__)
        if not len(v):
            raise UsageError("chains start at data, and the batch is empty: give at least one row.")
        return pair.state_at(v[torch.randint(len(v), (num_chains,), device=v.device)])
