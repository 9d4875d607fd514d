"""Binary units that are joined each with each: what Boltzmann machines and Hopfield nets share.

    log p~(s) = c + a s + s' J s / 2,        s in {0, 1}^N,  J symmetric with a zero diagonal        (nats)

    p(s_i | all others) = Bernoulli(sigmoid(a_i + sum_j J_ij s_j))

Tempered, b: a goes to (1 - b) b_0 + b a, J to b J and c to b c; at b = 0 the units are independent.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ppgen.chains.gibbs import gibbs_sweep
from ppgen.distributions.binary_states import binary_states, check_states
from ppgen.pairs.energy import EnergyPair

__all__ = ["CoupledUnits", "symmetric"]


class CoupledUnits(EnergyPair):
    """A pair whose chains' state is s, all units, swept one after another.

    To add one: 1. write the three methods below, ``model``, ``guide`` and ``free_energy``; 2. where s is more than a
    datum, ``state_at`` and ``visible``.
    """

    reversible = False

    @abstractmethod
    def couplings(self) -> Tensor:
        """J, (N, N), symmetric with a zero diagonal."""

    @abstractmethod
    def biases(self) -> Tensor:
        """a, (N,)."""

    @abstractmethod
    def base_biases(self) -> Tensor:
        """b_0, (N,)."""

    def offset(self) -> Tensor | float:
        """c, log p~ of the state in which all units are off."""
        return 0.0

    @torch.no_grad()
    def sweep(self, s: Tensor) -> Tensor:
        return gibbs_sweep(s, self.couplings(), self.biases())

    def log_tempered(self, s: Tensor, b: Tensor | float) -> Tensor:
        b = torch.as_tensor(b, dtype=s.dtype, device=s.device)
        quadratic = 0.5 * (s @ self.couplings() * s).sum(-1)
        return (1 - b) * (s @ self.base_biases()) + b * (self.offset() + s @ self.biases() + quadratic)

    @torch.no_grad()
    def tempered_sweep(self, s: Tensor, b: Tensor | float) -> Tensor:
        b = torch.as_tensor(b, dtype=s.dtype, device=s.device).unsqueeze(-1)
        bias = (1 - b) * self.base_biases() + b * self.biases()
        return gibbs_sweep(s, b.unsqueeze(-1) * self.couplings(), bias)

    @torch.no_grad()
    def base_sample(self, num: int) -> Tensor:
        return torch.bernoulli(self.base_biases().sigmoid().expand(num, -1))

    def base_log_z(self) -> Tensor:
        return softplus(self.base_biases()).sum()

    @torch.no_grad()
    def exact_log_z(self) -> Tensor:
        """Sums over the states of all units."""
        weight = self.couplings()
        check_states(len(weight), "exact log Z")
        totals = [self.log_tempered(s, 1.0).logsumexp(0) for s in binary_states(len(weight), weight)]
        return torch.stack(totals).logsumexp(0)


def symmetric(weight: Tensor) -> Tensor:
    """The symmetric part, (N, N), with a zero diagonal."""
    both = (weight + weight.T) / 2
    return both - both.diagonal().diag()
