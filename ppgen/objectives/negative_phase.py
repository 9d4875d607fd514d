"""Training by the likelihood of an energy-based pair: what is common to the ways of drawing its negative phase.

    d/dt -log p(v) = d/dt F(v) - E_{v' ~ p}[ d/dt F(v') ]

The first term is read off the data, the second, the negative phase, off the states of chains; latents are summed out of
the first, and of the second where a state does not hold them. The loss, per datum in nats,

    mean F(data) + mean log p~(chains),

has that gradient when the chains, taken as fixed, are draws from the model: where a state is v, the second term is
minus mean F(chains). Its value is no bound and no measure of
fit: it is near zero whenever data and chains have the same energy.

With ``sparsity`` the loss has a term more, of the q_j that hidden units average to, given the B data of a batch,

    sparsity sum_j (sparsity_target - q_j)^2,        q_j = (1 / B) sum_b E[h_j | v_b],

which draws units to be on for a share ``sparsity_target`` of the data. Its gradient is the whole one, with respect to
all that E[h | v] depends on; Lee, Ekanadham and Ng apply that with respect to the hidden biases alone.

Sparse deep belief net model for visual area V2. Honglak Lee, Chaitanya Ekanadham and Andrew Ng, 2008, eq. 5.
A practical guide to training restricted Boltzmann machines. Geoffrey Hinton, 2012, section 11.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.arguments import Count, NonNegative
from ppgen.errors import UsageError
from ppgen.objectives.energies import EnergyObjective
from ppgen.objectives.objective import Scheduled
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.tracing import Batch, Program

__all__ = ["NegativePhase"]


@dataclass(frozen=True, kw_only=True)
class NegativePhase(EnergyObjective):
    """An objective that is data's free energy minus that of chains; subclasses declare ``num_steps``.

    Args:
        sparsity: what hidden units are penalised by, in nats a datum; 0: not at all.
        sparsity_target: the mean of a hidden unit that costs nothing.

    Metrics: ``free_energy``, the data's (its excess on validation over training data shows overfitting), and
    ``energy_gap``, the loss per datum without the penalty; with ``sparsity`` ``activation``, the mean of the q_j. Under
    Pyro's own ``SVI``, which carries no state, chains start anew each step.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :meth:`negative`, and ``initial_state`` of
    what must persist; 3. register it.
    """

    measures_fit = False

    num_steps: Scheduled[Count]
    sparsity: NonNegative = 0.0
    sparsity_target: NonNegative = 0.05

    @abstractmethod
    def negative(self, pair: EnergyPair, v: Tensor, state: State) -> tuple[Tensor, State, Mapping[str, Tensor]]:
        """The negative phase: M states of the pair's chains, (M, S), at data v (B, D); the next step's state; metrics.

        Without gradient.
        """

    def positive(self, pair: EnergyPair, v: Tensor) -> Tensor:
        """What is lowered at the data, (B, D) -> (B,): their free energy."""
        return pair.free_energy(v)

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        pair = self.seen(program, batch)[0]
        v = pair.datum(batch)
        with torch.no_grad():
            negative, state, metrics = self.negative(pair, v, state)
        data, model = self.positive(pair, v).mean(), -pair.log_tempered(negative, negative.new_ones(())).mean()
        gap, num_data = data - model, float(pair.data_size or len(v))
        metrics = {"free_energy": data, "energy_gap": gap, **metrics}
        if not self.sparsity:
            return Outcome(gap * num_data, num_data, metrics, state)
        means = pair.unit_means(v).flatten(0, -2).mean(0)  # (H,)
        penalty = self.sparsity * (self.sparsity_target - means).square().sum()
        return Outcome((gap + penalty) * num_data, num_data, {**metrics, "activation": means.mean()}, state)

    def started(self, program: Program, batch: Batch, num_chains: int) -> Tensor:
        """States at ``num_chains`` data drawn from the batch, (num_chains, S): where persistent chains begin.

        Raises:
            UsageError: there are no data, or the pair is not energy-based.
        """
        pair = self.seen(program, batch)[0]
        v = pair.datum(batch)
        if not len(v):
            raise UsageError("chains start at data, and the batch is empty: give at least one row.")
        return pair.state_at(v[torch.randint(len(v), (num_chains,), device=v.device)])
