"""A pair with a number that all data share: its posterior and that of each datum's own are normal.

    m ~ N(0, 9),  z_n ~ N(0, 1),  x_n | z_n, m ~ N(w z_n + m, s^2)
    p(m | x_1..N) = N(v sum_n x_n / (w^2 + s^2), v),   1 / v = 1/9 + N / (w^2 + s^2)
    p(z_n | x_n, m) = N(w (x_n - m) / (w^2 + s^2), s^2 / (w^2 + s^2))

A fault of m costs what it costs all data together, in nats, and one of z_n the mean over data.
"""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppgen.pairs.pair import Pair
from ppgen.testing.planted.fault import TRAIN, Planted, as_data, planted

__all__ = ["SharedPair"]


class SharedPair(Pair):
    """See the module. The guide is the posterior, m's standard deviations times ``c`` and off by ``d`` of them, z's
    times ``own_c``. Sites: m () outside the plate ``data``; z (), x (1,) observed, inside it."""

    def __init__(self, w: float, s: float, total: float, c: float, d: float, own_c: float) -> None:
        super().__init__(TRAIN)
        self.w, self.s, self.own_c = w, s, own_c
        v = 1 / (1 / 9 + TRAIN / (w**2 + s**2))
        mean = v * total / (w**2 + s**2)
        self.loc = nn.Parameter(torch.tensor(mean + d * math.sqrt(v), dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.tensor(math.log(c * math.sqrt(v)), dtype=torch.float64))

    def model(self, x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros_like(self.loc), 3.0))  # (K, 1)
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(self.loc), 1.0))  # (K, B)
            pyro.sample("x", dist.Normal((self.w * z + m)[..., None], self.s).to_event(1), obs=x)  # (B, 1)

    def guide(self, x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(self.loc, self.log_scale.exp()))  # (K, 1)
        with self.data_plate(x):
            variance = self.w**2 + self.s**2
            scale = torch.full_like(x[:, 0], self.own_c * self.s / math.sqrt(variance))
            pyro.sample("z", dist.Normal(self.w * (x[:, 0] - m) / variance, scale))  # (K, B)


def _shared(c: float = 1.0, d: float = 0.0, own_c: float = 1.0) -> Planted:
    w, s, m = 0.5 + float(torch.rand(())), 0.5 + float(torch.rand(())), float(3 * torch.randn(()))
    data = as_data(lambda num: m + w * torch.randn(num, 1).double() + s * torch.randn(num, 1).double())
    pair = SharedPair(w, s, float(data.rows("train")[0].sum()), c, d, own_c)
    nats = _nats(c, d) + _nats(own_c, 0.0)
    return Planted(pair, data, nats, max(_distance(c, d), _distance(own_c, 0.0)))


def _nats(c: float, d: float) -> float:
    """KL( N(d, c^2) || N(0, 1) )."""
    return (c**2 + d**2 - 1) / 2 - math.log(c)


def _distance(c: float, d: float) -> float:
    """W1 of the same."""
    spread = abs(c - 1)
    if spread == 0:
        return abs(d)
    r = abs(d) / spread
    return spread * math.sqrt(2 / math.pi) * math.exp(-(r**2) / 2) + abs(d) * math.erf(r / math.sqrt(2))


@planted("shared")
def sound(t: float) -> Planted:
    """The posterior is the guide."""
    return _shared()


@planted("shared", "too narrow")
def too_narrow(t: float) -> Planted:
    """The standard deviation of m times c, down to 0.2."""
    return _shared(c=1 - 0.8 * t)


@planted("shared", "shifted")
def shifted(t: float) -> Planted:
    """The mean of m is off by up to 2 standard deviations."""
    return _shared(d=2 * t * (1 if float(torch.rand(())) < 0.5 else -1))


@planted("shared", "own too narrow")
def own_too_narrow(t: float) -> Planted:
    """The standard deviation of each z times c, down to 0.3."""
    return _shared(own_c=1 - 0.7 * t)
