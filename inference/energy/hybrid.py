"""Hybrid training of energy-based pairs with labels: how well y is told from x, beside how well both are modelled.

    loss = - mean log p(y | x) + weight (mean F(x, y) - mean F(chains))

The first term and its gradient are exact, a softmax over classes of the pair's free energies; the second is that of
contrastive divergence, or with ``num_chains`` of persistent contrastive divergence, on data with their labels. With
``weight`` 0 training is discriminative, and no chain is run: a deep pair that was trained otherwise is fine-tuned so.

Larochelle, Bengio: Classification using Discriminative Restricted Boltzmann Machines, ICML 2008, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ppgen.arguments import Count, NonNegative
from ppgen.objectives.energies import EnergyObjective
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["Hybrid"]


@register_objective(
    "hybrid",
    summary="p(y | x) of energy-based pairs with labels, beside contrastive divergence on x and y",
    reference="Larochelle and Bengio, Classification using discriminative restricted Boltzmann machines",
    year=2008,
    link="https://doi.org/10.1145/1390156.1390224",
    tags=("energy-based", "labels", "biased"),
    tiny=lambda: Hybrid(),
)
@dataclass(frozen=True, kw_only=True)
class Hybrid(EnergyObjective):
    """Discriminative training with a share of generative one.

    Args:
        weight: of the generative term; 0: none.
        num_steps: sweeps of its negative phase.
        num_chains: its persistent chains; None: short chains from the data.

    State: ``chains``, (M, S), where they persist.

    Metrics: ``label_log_prob``, log p(y | x), nats; with a generative term those of contrastive divergence too.

    >>> import math, ppgen, torch
    >>> spec = ppgen.DataSpec("bits", 4, "binary", num_classes=3)
    >>> pair, x, y = ppgen.models.RBM(spec, hidden=2, labels=True), torch.ones(5, 4), torch.zeros(5, dtype=torch.int64)
    >>> _ = torch.nn.init.zeros_(pair.label_weight)  # every label is as likely
    >>> math.isclose(Hybrid(weight=0).loss(pair.model, pair.guide, x, y), 5 * math.log(3), rel_tol=1e-5)
    True
    """

    needs_labels = True
    shards: ClassVar[Mapping[str, int]] = {"chains": 0}

    weight: NonNegative = 0.01
    num_steps: Count = 1
    num_chains: Count | None = None

    def initial_state(self, program: Program, batch: Batch) -> State:
        return self._generative.initial_state(program, batch) if self.weight else {}

    def chains(self, state: State) -> Tensor | None:
        return state.get("chains")

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        pair: Any = self.seen(program, batch)[0]
        x, y = batch[:2]
        told = pair.label_log_probs(x).gather(-1, y[:, None]).mean()
        num_data = float(pair.data_size or len(x))
        if not self.weight:
            return Outcome(-told * num_data, num_data, {"label_log_prob": told}, state)
        modelled = self._generative.play(player, program, batch, state)
        metrics = {"label_log_prob": told, **modelled.metrics}
        return Outcome(-told * num_data + self.weight * modelled.loss, num_data, metrics, modelled.state)

    @property
    def _generative(self) -> Objective:
        way, options = ("cd", {}) if self.num_chains is None else ("pcd", {"num_chains": self.num_chains})
        made: Objective = OBJECTIVES[way].cls(num_steps=self.num_steps, **options)
        return made
