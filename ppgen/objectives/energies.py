"""Training by a pair's energy: what objectives that read a free energy share.

Two kinds: those with a negative phase (:mod:`ppgen.objectives.negative_phase`), and *criteria*, sums over data of a
function of the energy at and near each datum, in which log Z cancels: no chain is run.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.energy import EnergyPair, energy_pair
from ppgen.pairs.rows import x_of
from ppgen.pairs.tracing import Batch, Program

__all__ = ["Criterion", "EnergyObjective", "flip_gains", "score"]


class EnergyObjective(Objective):
    """An objective of the energy of a pair, whose latents it sums out."""

    is_bound = False
    unbiased_gradient = False
    needs_energy = True

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *batch: Any, **options: Any
    ) -> Tensor:
        """The loss, summed over the batch and times N / B."""
        model(*batch, **options)  # Pyro's handlers see the parameters of what runs, and a free energy is no model
        return super().differentiable_loss(model, guide, *batch, **options)

    def seen(self, program: Program, batch: Batch) -> tuple[EnergyPair, Tensor]:
        """The pair, and the data, (B, D).

        Raises:
            UsageError: the pair is not energy-based, or x is no tensor with rows.
        """
        return energy_pair(program.model, type(self).__name__), x_of(batch, type(self).__name__)


class Criterion(EnergyObjective):
    """The mean over data of a function of the energy around each. It falls as the pair comes nearer to the data, those
    held out too, and is no likelihood.

    Metric: ``free_energy``, the data's.

    To add one: 1. a file in ``inference/energy/`` with a frozen dataclass; 2. write :meth:`criterion`, and say by
    ``needs_observation`` what data it is for; 3. register it.
    """

    @abstractmethod
    def criterion(self, pair: EnergyPair, v: Tensor, program: Program) -> Tensor:
        """The criterion of each datum, (B, D) -> (B,)."""

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        pair, v = self.seen(program, batch)
        each, num_data = self.criterion(pair, v, program), float(pair.data_size or len(v))
        with torch.no_grad():
            metrics = {"free_energy": pair.free_energy(v).mean(), **self.metrics(program)}
        return Outcome(each.mean() * num_data, num_data, metrics, state)

    def metrics(self, program: Program) -> Mapping[str, Tensor]:
        """Whatever else is reported."""
        return {}


def _some_features(v: Tensor, num: int | None) -> Tensor:
    """Numbers of ``num`` features of data (B, D), drawn without replacement, the same for all data; None: all D."""
    size = v.shape[-1]
    if num is None or num >= size:
        return torch.arange(size, device=v.device)
    return torch.rand(size, device=v.device).topk(num).indices


def flip_gains(pair: EnergyPair, v: Tensor, num: int | None) -> tuple[Tensor, float]:
    """F(v with feature i flipped) - F(v) for ``num`` of the features of binary data, (M, B), in nats, and D / M, by
    which a sum over them stands for the sum over all."""
    features = _some_features(v, num)
    return pair.flip_gains(v, features), v.shape[-1] / len(features)


def score(pair: EnergyPair, v: Tensor) -> Tensor:
    """grad log p(v) = -grad F(v) at a leaf v, (B, D), of its shape; it may be differentiated once more."""
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(-pair.free_energy(v).sum(), v, create_graph=True)
    return slope
