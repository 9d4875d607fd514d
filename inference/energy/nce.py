"""Noise-contrastive estimation: data are told from noise by the odds that the model gives, with log Z learned.

    loss = -log sigmoid(G(v) - log n) - sum_j log sigmoid(log n - G(v_j)),        v_j ~ p_0, j = 1..n

    G(v) = log p~(v) - c - log p_0(v)        (nats)

p_0 is the pair's own base distribution, at the temperature 0 of its annealing path, whose density is known, and c a
parameter: where the loss is least, p~ exp(-c) is the data's density, so that c is an estimate of log Z without any
chain. Consistent for every n; the variance falls as n grows, and as noise comes nearer to data. What noise never looks
like is not learned: p_0 has the data's means and no more.

Gutmann, Hyvärinen: Noise-Contrastive Estimation: A New Estimation Principle for Unnormalized Statistical Models,
AISTATS 2010, eq. 3; with n noise draws a datum: JMLR 13, 2012, eq. 8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppgen.arguments import Count
from ppgen.errors import UsageError
from ppgen.objectives.energies import Criterion
from ppgen.pairs.energy import EnergyPair, energy_pair
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import register_objective

__all__ = ["NCE"]


class _LogZ(nn.Module):
    """c, which starts at the base distribution's log Z."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.log_z = nn.Parameter(start.detach().clone())


@register_objective(
    "nce",
    summary="energy-based: data told from draws of the base distribution; learns log Z without chains",
    reference="Gutmann and Hyvärinen, Noise-contrastive estimation",
    year=2010,
    link="https://proceedings.mlr.press/v9/gutmann10a.html",
    tags=("energy-based",),
    tiny=lambda: NCE(num_noise=2),
)
@dataclass(frozen=True, kw_only=True)
class NCE(Criterion):
    """Noise-contrastive estimation with ``num_noise`` (n) draws of noise for each datum. The loss is in nats.

    Parameter and metric: ``log_z``, the estimate c. Under Pyro's own ``SVI``, which trains the pair alone, c stays at
    the base distribution's log Z.

    >>> import ppgen
    >>> pair = ppgen.models.RBM(ppgen.DataSpec("bits", 4, "binary"), hidden=2)
    >>> _ = torch.nn.init.zeros_(pair.weight)  # the model is its own noise
    >>> round(NCE(num_noise=1).loss(pair.model, pair.guide, torch.ones(1, 4)), 4)  # 2 log 2
    1.3863
    """

    num_noise: Count = 10

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        return _LogZ(energy_pair(pair, type(self).__name__).base_log_z())

    def criterion(self, pair: EnergyPair, v: Tensor, program: Program) -> Tensor:
        with torch.no_grad():
            noise = pair.base_sample(self.num_noise * len(v))
        c: Any = pair.base_log_z().detach() if program.own is None else program.own.log_z
        gains = self._gains(pair, torch.cat([v, noise])) - c - math.log(self.num_noise)  # G - log n
        of_noise = softplus(gains[len(v) :]).reshape(self.num_noise, len(v))
        return softplus(-gains[: len(v)]) + of_noise.sum(0)

    def metrics(self, program: Program) -> Mapping[str, Tensor]:
        return {} if program.own is None else {"log_z": program.own.log_z.detach()}  # type: ignore[operator]

    def _gains(self, pair: EnergyPair, v: Tensor) -> Tensor:
        """log p~(v) - log p_0(v), (B,)."""
        with torch.no_grad():
            base = pair.log_tempered(v, v.new_zeros(())) - pair.base_log_z()
        return -pair.free_energy(v) - base

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        pair = energy_pair(program.model, "NCE")
        if pair.has_own_state:
            raise UsageError(
                f"NCE tells data from draws of the base distribution, and a state of {type(pair).__name__} holds more "
                "than a datum: choose 'pseudolikelihood' for binary data, or 'pcd'."
            )
