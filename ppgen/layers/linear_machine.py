"""A restricted Boltzmann machine of binary visible and linear hidden units, with Gaussian noise of unit variance.

    log p(v, h) = b v + h (W' v + c) - |h|^2 / 2 - log Z,        v in {0, 1}^D, h in R^H, up to a constant

    p(h | v) = N(W' v + c, I),        p(v | h) = Bernoulli(sigmoid(b + W h)),        F(v) = -b v - |W' v + c|^2 / 2

in nats. It is the machine on top of a stack whose code is real (Hinton and Salakhutdinov 2006). Tempered, b goes to
(1 - t) b_0 + t b and W' v + c to t times it.

Reference: Exponential Family Harmoniums, Welling, Rosen-Zvi and Hinton, 2005.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppgen.arguments import Count
from ppgen.data import DataSpec
from ppgen.distributions.binary_states import binary_states, check_states
from ppgen.layers.visibles import draw_binary
from ppgen.pairs.energy import EnergyPair

__all__ = ["LinearMachine"]


class LinearMachine(EnergyPair):
    """Binary visible and linear hidden units. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        h: (H,), real, in the plate ``data``
        energy: (), a factor, in the plate ``data``: log p~(v, h) over the density N(0, I) of h

    Parameters: ``weight`` (D, H), ``visible_bias`` (D,), ``hidden_bias`` (H,).

    Args:
        spec: of the layer below, binary.
        hidden: H.
    """

    base_bias: Tensor

    def __init__(self, spec: DataSpec, hidden: Count) -> None:
        super().__init__(data_size=spec.num_data)
        self.observation = spec.observation
        self.weight = nn.Parameter(0.01 * torch.randn(spec.num_features, hidden))
        self.visible_bias = nn.Parameter(torch.zeros(spec.num_features))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.register_buffer("base_bias", torch.zeros(spec.num_features))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            h = pyro.sample("h", dist.Normal(torch.zeros_like(self.hidden_bias), 1.0).to_event(1))  # (K, B, H)
            pyro.factor("energy", x @ self.visible_bias + (h * self._mean(x)).sum(-1))  # (K, B)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("h", dist.Normal(self._mean(x), 1.0).to_event(1))  # (K, B, H)

    def free_energy(self, v: Tensor) -> Tensor:
        return -(v @ self.visible_bias) - self._mean(v).square().sum(-1) / 2

    def sweep(self, s: Tensor) -> Tensor:
        return self.tempered_sweep(s, 1.0)

    def log_tempered(self, s: Tensor, b: Tensor | float) -> Tensor:
        b = torch.as_tensor(b, dtype=s.dtype, device=s.device)  # (...,)
        own = (1 - b) * (s @ self.base_bias) + b * (s @ self.visible_bias)
        return own + b.square() * self._mean(s).square().sum(-1) / 2

    @torch.no_grad()
    def tempered_sweep(self, s: Tensor, b: Tensor | float) -> Tensor:
        b = torch.as_tensor(b, dtype=s.dtype, device=s.device).unsqueeze(-1)
        mean = b * self._mean(s)
        h = mean + torch.randn_like(mean)  # (..., H)
        return draw_binary((1 - b) * self.base_bias + b * (self.visible_bias + h @ self.weight.T))

    @torch.no_grad()
    def base_sample(self, num: int) -> Tensor:
        return draw_binary(self.base_bias.expand(num, -1))

    def base_log_z(self) -> Tensor:
        return softplus(self.base_bias).sum()

    @torch.no_grad()
    def exact_log_z(self) -> Tensor:
        check_states(len(self.visible_bias), "exact log Z")
        totals = [(-self.free_energy(v)).logsumexp(0) for v in binary_states(len(self.visible_bias), self.weight)]
        return torch.stack(totals).logsumexp(0)

    def _mean(self, v: Tensor) -> Tensor:
        """Of h given v, (..., D) -> (..., H)."""
        return v @ self.weight + self.hidden_bias
