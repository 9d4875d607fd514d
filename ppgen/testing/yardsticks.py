"""Pairs of one latent number whose truth is known, on which objectives are judged.

    gaussian:   z ~ N(0, 1),        x | z ~ N(w z, 1),          q(z | x) = N(a x + b, s^2)
    bernoulli:  z ~ Bernoulli(1/2), x | z ~ N(w z, 1),          q(z | x) = Bernoulli(sigmoid(a x + b))
    shared:     the gaussian pair with one more latent outside the data plate, m ~ N(0, 1), x | z, m ~ N(w z + m, 1)

The guides are wrong on purpose: at the exact posterior all bounds agree, and none can be told from another.
"""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppgen.pair import Pair

__all__ = ["BernoulliYardstick", "GaussianYardstick", "SharedYardstick", "data"]


def data(size: int) -> tuple[Tensor]:
    """A batch of ``size`` numbers, half of them -1 and half 1.5: (size,), float64."""
    return (torch.tensor([-1.0, 1.5], dtype=torch.float64).repeat(math.ceil(size / 2))[:size],)


class _Yardstick(Pair):
    """Parameters, and the guide's loc, that the three share."""

    def __init__(self, data_size: int | None = None) -> None:
        super().__init__(data_size)
        for name, value in {"w": 1.2, "a": 0.3, "b": 0.2, "log_s": -0.2}.items():
            setattr(self, name, nn.Parameter(torch.tensor(value, dtype=torch.float64)))


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
