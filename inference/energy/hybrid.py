"""Hybrid training of pairs with labels: how well y is told from x, beside how well both are modelled.

    loss = - mean log p(y | x) + weight (mean F(x, y) - mean F(chains))         of an energy-based pair
    loss = - mean log p(y | x) - weight mean ELBO(x, y)                         of one that states its density

The first term and its gradient are exact: a softmax over classes, of an energy-based pair that of its free energies.
The second is that of contrastive divergence, or with ``num_chains`` of persistent contrastive divergence, on data with
their labels; of a pair with a density, such as an autoencoder, it is the bound's. With ``weight`` 0 training is
discriminative, and no chain is run: a deep pair that was trained otherwise is fine-tuned so.

Larochelle, Bengio: Classification using Discriminative Restricted Boltzmann Machines, ICML 2008, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ppgen.arguments import Count, NonNegative
from ppgen.errors import UsageError
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.parameters import owner
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["Hybrid"]


@register_objective(
    "hybrid",
    summary="p(y | x) of pairs with labels, beside contrastive divergence or the bound on x and y",
    reference="Larochelle and Bengio, Classification using discriminative restricted Boltzmann machines",
    year=2008,
    link="https://doi.org/10.1145/1390156.1390224",
    tags=("energy-based", "labels", "biased"),
    tiny=lambda: Hybrid(),
)
@dataclass(frozen=True, kw_only=True)
class Hybrid(Objective):
    """Discriminative training with a share of generative one.

    Args:
        weight: of the generative term; 0: none.
        num_steps: sweeps of its negative phase; of an energy-based pair.
        num_chains: its persistent chains; None: short chains from the data.

    State: ``chains``, (M, S), where they persist.

    Metrics: ``label_log_prob``, log p(y | x), nats; with a generative term its own too.

    >>> import math, ppgen, torch
    >>> spec = ppgen.DataSpec("bits", 4, "binary", num_classes=3)
    >>> pair, x, y = ppgen.models.RBM(spec, hidden=2, labels=True), torch.ones(5, 4), torch.zeros(5, dtype=torch.int64)
    >>> _ = torch.nn.init.zeros_(pair.label_weight)  # every label is as likely
    >>> math.isclose(Hybrid(weight=0).loss(pair.model, pair.guide, x, y), 5 * math.log(3), rel_tol=1e-5)
    True
    """

    is_bound = False
    unbiased_gradient = False
    needs_labels = True
    shards: ClassVar[Mapping[str, int]] = {"chains": 0}

    weight: NonNegative = 0.01
    num_steps: Count = 1
    num_chains: Count | None = None

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *batch: Any, **options: Any
    ) -> Tensor:
        """The loss, summed over the batch and times N / B."""
        model(*batch, **options)  # Pyro's handlers see the parameters of what runs, and p(y | x) is no model
        return super().differentiable_loss(model, guide, *batch, **options)

    def initial_state(self, program: Program, batch: Batch) -> State:
        return self._generative(program).initial_state(program, batch) if self.weight else {}

    def chains(self, state: State) -> Tensor | None:
        return state.get("chains")

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        pair: Any = owner(program.model)
        x, y = batch[:2]
        told = pair.label_log_probs(x).gather(-1, y[:, None]).mean()
        num_data = float(pair.data_size or len(x))
        if not self.weight:
            return Outcome(-told * num_data, num_data, {"label_log_prob": told}, state)
        modelled = self._generative(program).play(player, program, batch, state)
        metrics = {"label_log_prob": told, **modelled.metrics}
        return Outcome(-told * num_data + self.weight * modelled.loss, num_data, metrics, modelled.state)

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        if self.weight:
            self._generative(program)._look(program, batch)

    def _generative(self, program: Program) -> Objective:
        way, options = "cd", {"num_steps": self.num_steps}
        if not isinstance(owner(program.model), EnergyPair):
            way, options = "elbo", {}
            if self.num_chains is not None:
                raise UsageError(
                    "num_chains of Hybrid are those of an energy-based pair, and "
                    f"{type(owner(program.model)).__name__} has none: leave them out."
                )
        elif self.num_chains is not None:
            way, options = "pcd", options | {"num_chains": self.num_chains}
        made: Objective = OBJECTIVES[way].cls(**options)
        return made
