"""Pairs of one latent number whose truth is known, on which objectives are judged.

    gaussian:   z ~ N(0, 1),        x | z ~ N(w z, 1),          q(z | x) = N(a x + b, s^2)
    bernoulli:  z ~ Bernoulli(1/2), x | z ~ N(w z, 1),          q(z | x) = Bernoulli(sigmoid(a x + b))
    shared:     the gaussian pair with one more latent outside the data plate, m ~ N(0, 1), x | z, m ~ N(w z + m, 1)
    energy:     log p~(x, h) = -(x - a)^2 / (2 s^2) + h (w x + b),  h in {0, 1}, unnormalised, with the exact guide

The other guides are wrong on purpose: at the exact posterior all bounds agree, and none can be told from another.
"""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.pair import Pair

__all__ = ["BernoulliYardstick", "EnergyYardstick", "GaussianYardstick", "SharedYardstick", "data"]

_VALUES = {"w": 1.2, "a": 0.3, "b": 0.2, "log_s": -0.2}


def data(size: int) -> tuple[Tensor]:
    """A batch of ``size`` numbers, half of them -1 and half 1.5: (size,), float64."""
    return (torch.tensor([-1.0, 1.5], dtype=torch.float64).repeat(math.ceil(size / 2))[:size],)


class _Yardstick(Pair):
    """Parameters, and the guide's loc, that the three share."""

    def __init__(self, data_size: int | None = None) -> None:
        super().__init__(data_size)
        _set_parameters(self)


class GaussianYardstick(_Yardstick):
    """See the module. Sites: z (), x () observed, both in the plate ``data``."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(self.w), 1.0))  # (K, B)
            pyro.sample("x", dist.Normal(self.w * z, 1.0), obs=x)  # (B,)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.a * x + self.b, self.log_s.exp()))  # (K, B)

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x), exact, (B,), in nats."""
        evidence: Tensor = dist.Normal(torch.zeros_like(x), (1 + self.w.square()).sqrt()).log_prob(x)
        return evidence.detach()


class BernoulliYardstick(_Yardstick):
    """See the module. Sites: z (), x () observed, both in the plate ``data``."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Bernoulli(logits=torch.zeros_like(self.w)))  # (K, B)
            pyro.sample("x", dist.Normal(self.w * z, self.log_s.exp()), obs=x)  # (B,)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Bernoulli(logits=self.a * x + self.b))  # (K, B)

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x), exact, (B,), in nats."""
        each = [dist.Normal(self.w * z, self.log_s.exp()).log_prob(x) for z in (0.0, 1.0)]
        return (torch.stack(each).logsumexp(0) - math.log(2)).detach()


class SharedYardstick(_Yardstick):
    """See the module. Sites: m () outside the plate ``data``; z (), x () observed, inside it."""

    def model(self, x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros_like(self.w), 1.0))  # (K, 1)
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(self.w), 1.0))  # (K, B)
            pyro.sample("x", dist.Normal(self.w * z + m, 1.0), obs=x)  # (B,)

    def guide(self, x: Tensor) -> None:
        pyro.sample("m", dist.Normal(self.b, self.log_s.exp()))  # (K, 1)
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.a * x, self.log_s.exp()))  # (K, B)


class EnergyYardstick(EnergyPair):
    """See the module. Sites: h (), energy () a factor, both in the plate ``data``. A datum is one number, x (B,)."""

    w: Tensor
    a: Tensor
    b: Tensor
    log_s: Tensor

    def __init__(self, data_size: int | None = None) -> None:
        super().__init__(data_size)
        _set_parameters(self)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            h = pyro.sample("h", dist.Bernoulli(logits=torch.zeros_like(self.w)))  # (K, B)
            pyro.factor("energy", self._log_base(x) + h * self._logit(x) + math.log(2))  # (K, B)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("h", dist.Bernoulli(logits=self._logit(x)))  # (K, B)

    def free_energy(self, v: Tensor) -> Tensor:
        return -self._log_base(v) - softplus(self._logit(v))

    def sweep(self, v: Tensor) -> Tensor:
        return self.tempered_sweep(v, 1.0)

    def log_tempered(self, v: Tensor, b: Tensor | float) -> Tensor:
        return self._log_base(v) + softplus(b * self._logit(v))

    def tempered_sweep(self, v: Tensor, b: Tensor | float) -> Tensor:
        h = torch.bernoulli((b * self._logit(v)).sigmoid())
        scale = self.log_s.exp()
        return self.a + scale.square() * b * self.w * h + scale * torch.randn_like(v)

    def base_sample(self, num: int) -> Tensor:
        return self.a + self.log_s.exp() * torch.randn(num).to(self.a)

    def base_log_z(self) -> Tensor:
        return self.log_s + 0.5 * math.log(2 * math.pi) + math.log(2)

    def exact_log_z(self) -> Tensor:
        with_h = self.w * self.a + 0.5 * (self.w * self.log_s.exp()).square() + self.b
        return self.log_s + 0.5 * math.log(2 * math.pi) + softplus(with_h)

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x), exact, (B,), in nats."""
        return (-self.free_energy(x) - self.exact_log_z()).detach()

    def _log_base(self, v: Tensor) -> Tensor:
        return -0.5 * ((v - self.a) / self.log_s.exp()).square()

    def _logit(self, v: Tensor) -> Tensor:
        return self.w * v + self.b


def _set_parameters(pair: Pair) -> None:
    for name, value in _VALUES.items():
        setattr(pair, name, nn.Parameter(torch.tensor(value, dtype=torch.float64)))
