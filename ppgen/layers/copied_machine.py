"""A restricted Boltzmann machine of binary units with copies of its layers: what a layer of a deep one learns as.

    log p~(v_1 .. v_m, h_1 .. h_n) = sum_i b v_i + sum_j c h_j + sum_ij v_i W h_j,        v_i, h_j binary vectors

    F(v) = -m b v - n sum over units of softplus(c + m v W),        all v_i = v        (nats)

A layer inside a deep Boltzmann machine has neighbours on both sides. Learnt alone, it lacks one of them, and a copy of
the other stands in: with m = 2, the bottom machine infers h from twice its input, p(h | v, v) = sigmoid(c + 2 v W),
and with n = 2 the top machine makes v from twice its own (Salakhutdinov and Hinton 2009, section 3.1).
"""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppgen.arguments import Count
from ppgen.distributions.binary_states import binary_states, check_states
from ppgen.layers.visibles import draw_binary
from ppgen.pairs.energy import EnergyPair

__all__ = ["CopiedMachine"]


class CopiedMachine(EnergyPair):
    """The machine of two layers that are given by their parameters. One batch is ``(v,)``, v of shape (B, D), binary.

    A chain's state is v_1 .. v_m side by side, (m D,).

    Sites:
        h: (n H,), h_1 .. h_n side by side, in the plate ``data``
        energy: (), a factor, in the plate ``data``: log p~ over the uniform probability of h

    Args:
        visible_bias: b, (D,).
        weight: W, (D, H).
        hidden_bias: c, (H,).
        base_bias: of v where the tempered path starts, (D,).
        below: m.
        above: n.

    >>> one, two = (nn.Parameter(torch.zeros(size)) for size in (3, 2))
    >>> machine = CopiedMachine(one, nn.Parameter(torch.zeros(3, 2)), two, torch.zeros(3), below=2)
    >>> round(float(machine.exact_log_z()) / math.log(2), 4)  # 2^(2 * 3 + 2) states of equal energy
    8.0
    """

    base_bias: Tensor

    def __init__(
        self,
        visible_bias: nn.Parameter,
        weight: nn.Parameter,
        hidden_bias: nn.Parameter,
        base_bias: Tensor,
        *,
        below: Count = 1,
        above: Count = 1,
    ) -> None:
        super().__init__()
        self.visible_bias, self.weight, self.hidden_bias = visible_bias, weight, hidden_bias
        self.below, self.above, self.observation = below, above, "binary"
        self.register_buffer("base_bias", base_bias.detach().clone())

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            free = x.new_zeros(self.above * len(self.hidden_bias))
            h = pyro.sample("h", dist.Bernoulli(logits=free).to_event(1))  # (K, B, n H)
            energy = self.below * (x @ self.visible_bias) + (h * self._hidden_logits(x)).sum(-1)
            pyro.factor("energy", energy + len(free) * math.log(2))  # (K, B)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("h", dist.Bernoulli(logits=self._hidden_logits(x)).to_event(1))  # (K, B, n H)

    def free_energy(self, v: Tensor) -> Tensor:
        return -self.log_tempered(self.state_at(v), 1.0)

    def unit_means(self, v: Tensor) -> Tensor:
        return (self.hidden_bias + self.below * (v @ self.weight)).sigmoid()

    def state_at(self, v: Tensor) -> Tensor:
        return v.repeat(*(1,) * (v.dim() - 1), self.below)

    def visible(self, s: Tensor) -> Tensor:
        return s[..., : len(self.visible_bias)]

    def sweep(self, s: Tensor) -> Tensor:
        return self.tempered_sweep(s, 1.0)

    def log_tempered(self, s: Tensor, b: Tensor | float) -> Tensor:
        b = torch.as_tensor(b, dtype=s.dtype, device=s.device).unsqueeze(-1)
        v = self._sum(s)
        own = (v * self._visible_bias(b)).sum(-1)
        return own + self.above * softplus(b * (self.hidden_bias + v @ self.weight)).sum(-1)

    @torch.no_grad()
    def tempered_sweep(self, s: Tensor, b: Tensor | float) -> Tensor:
        b = torch.as_tensor(b, dtype=s.dtype, device=s.device).unsqueeze(-1)
        logits = b * (self.hidden_bias + self._sum(s) @ self.weight)  # (..., H)
        h = draw_binary(logits.expand(self.above, *logits.shape)).sum(0)
        return draw_binary(self.state_at(self._visible_bias(b) + b * (h @ self.weight.T)))

    @torch.no_grad()
    def base_sample(self, num: int) -> Tensor:
        return draw_binary(self.state_at(self.base_bias).expand(num, -1))

    def base_log_z(self) -> Tensor:
        return self.below * softplus(self.base_bias).sum() + self.above * len(self.hidden_bias) * math.log(2)

    @torch.no_grad()
    def exact_log_z(self) -> Tensor:
        units = self.below * len(self.visible_bias)
        check_states(units, "exact log Z")
        totals = [self.log_tempered(s, 1.0).logsumexp(0) for s in binary_states(units, self.weight)]
        return torch.stack(totals).logsumexp(0)

    def _sum(self, s: Tensor) -> Tensor:
        """v_1 + ... + v_m, (..., m D) -> (..., D)."""
        copies: Tensor = s.unflatten(-1, (self.below, -1))
        return copies.sum(-2)

    def _visible_bias(self, b: Tensor) -> Tensor:
        return (1 - b) * self.base_bias + b * self.visible_bias

    def _hidden_logits(self, v: Tensor) -> Tensor:
        """Of all copies of h where every copy of v is this one, (..., n H)."""
        logits = self.hidden_bias + self.below * (v @ self.weight)
        return logits.repeat(*(1,) * (logits.dim() - 1), self.above)
