"""The energy distance between data and draws, from distances alone, and no critic.

    D^2 = 2 E||x - x'|| - E||x - y|| - E||x' - y'||,        x, y ~ p_data,  x', y' ~ p_g, independent

It is never negative, zero only where p_g = p_data, and in one dimension twice the integral of the squared difference of
the two distribution functions; like MMD^2 with the kernel -||x - y||, it has no bandwidth to choose. The estimate takes
the means over i != j,

    2 mean_ij ||x_i - x'_j|| - mean_{i != j} ||x_i - x_j|| - mean_{i != j} ||x'_i - x'_j||        (in the units of x)

a U-statistic: it and its gradient are unbiased, for any number of data from two on, and it is below zero about as often
as above where p_g = p_data. A batch is all that it sees: use hundreds of data.

Energy Statistics: A Class of Statistics Based on Distances, Szekely and Rizzo, Journal of Statistical Planning and
Inference 2013.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.rows import x_of
from ppgen.pairs.sampling import data_size, generated
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import register_objective

__all__ = ["EnergyDistance"]


@register_objective(
    "energy_distance",
    summary="the energy distance between data and draws, without a critic or a bandwidth",
    reference="Szekely and Rizzo, Energy statistics: a class of statistics based on distances",
    year=2013,
    link="https://doi.org/10.1016/j.jspi.2013.03.018",
    tags=("samples",),
    tiny=lambda: EnergyDistance(),
)
@dataclass(frozen=True, kw_only=True)
class EnergyDistance(Objective):
    """``exponent``: of all distances, in [1, 2), which keeps what is said above; at 2 only means would count.

    Metric: ``energy_distance``, the estimate, in the units of x to the power of ``exponent``.

    >>> objective, near, far = EnergyDistance(), torch.zeros(2, 1), torch.full((3, 1), 5.0)
    >>> objective.discrepancy(near, near), objective.discrepancy(near, far)
    (tensor(0.), tensor(10.))
    """

    is_bound = False
    needs_samples = True
    unit = "in the units of x"

    exponent: Annotated[float, Ge(1), Lt(2)] = 1.0

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        value = self.discrepancy(x_of(batch, type(self).__name__), generated(program, batch))
        num_data = data_size(program, batch)
        return Outcome(num_data * value, num_data, {"energy_distance": value})

    def discrepancy(self, real: Tensor, fake: Tensor) -> Tensor:
        """The estimate of D^2, of (B, ...) and (B', ...) -> (); a sample of one has no distances within, taken as 0."""
        x, y = (part.reshape(len(part), -1) for part in (real, fake))
        between = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")  # (B, B')
        return 2 * between.pow(self.exponent).mean() - self._within(x) - self._within(y)

    def _within(self, x: Tensor) -> Tensor:
        """The mean distance between two rows of (B, D), -> ()."""
        apart = torch.pdist(x).pow(self.exponent)  # (B (B - 1) / 2,)
        return apart.sum() / max(apart.numel(), 1)

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        if len(x_of(batch, type(self).__name__)) < 2:
            raise UsageError(
                "EnergyDistance takes distances between the data of a batch, at least 2, got 1: raise batch_size."
            )
