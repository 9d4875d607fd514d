"""A number whose posterior has two modes, and one that is positive: densities on a grid.

    two modes:    p(z) = sum_k w_k N(z; m_k, 1),  p(x | z) = N(z, s^2):   p(z | x) = sum_k w'_k(x) N(z; m'_k(x), v)
    counts:       p(z) = Gamma(a, b),  p(x | z) = Poisson(z):             p(z | x) = Gamma(a + x, b + 1)

The evidence of the second is negative binomial, and data with more zeros cost a sum over counts. A log-normal of the
same mean and variance of log z, log N(psi(a + x) - log(b + 1), psi'(a + x)), has another tail than the Gamma.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ppgen.pairs.pair import Pair
from ppgen.testing.planted.fault import Planted, as_data, planted
from ppgen.testing.planted.sizes import of_grids

__all__ = ["OneSite", "kl_from_gamma"]

_MOST = 4000
"""Counts that are summed over."""


class OneSite(Pair):
    """z from ``prior``, x from ``likelihood(z)``; the guide is ``answer(x)``. Sites: z (F,), x (F,) observed, both in
    the plate ``data``."""

    def __init__(self, prior: Any, likelihood: Any, answer: Any) -> None:
        super().__init__()
        self.prior, self.likelihood, self.answer = prior, likelihood, answer

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", self.prior)  # (K, B, F)
            pyro.sample("x", self.likelihood(z), obs=x)  # (B, F)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.answer(x))  # (K, B, F)


def _mixture(weights: Tensor, means: Tensor, scale: float) -> Any:
    """Of normals, (..., k) weights and means: one number, (..., 1)."""
    parts = dist.Normal(means, torch.full_like(means, scale))
    return dist.MixtureSameFamily(dist.Categorical(probs=weights), parts)


class TwoModes:
    """w (2,), modes at -m and m, and s."""

    def __init__(self, apart: float, noise: float, first: float) -> None:
        self.means, self.noise = torch.tensor([-apart, apart]).double(), noise
        self.weights = torch.tensor([first, 1 - first]).double()

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor, float]:
        """Weights and means of the two parts, (B, 1, 2), and their standard deviation."""
        v = self.noise**2 / (1 + self.noise**2)
        log_w = self.weights.log() - 0.5 * (x[..., None] - self.means).square() / (1 + self.noise**2)
        return log_w.softmax(-1), v * (self.means + x[..., None] / self.noise**2), math.sqrt(v)

    def planted(self, change: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor, float]]) -> Planted:
        """The pair whose guide is a change of the posterior's parts, on data of its model."""
        prior = _mixture(self.weights[None], self.means[None], 1.0).to_event(1)
        answer = lambda x: _mixture(*change(*self.posterior(x))).to_event(1)  # noqa: E731
        pair = OneSite(prior, lambda z: dist.Normal(z, self.noise).to_event(1), answer)
        data = as_data(lambda num: prior.sample((num,)) + self.noise * torch.randn(num, 1).double())
        x = data.rows("test")[0]
        grid = torch.linspace(-16, 16, 4001, dtype=torch.float64)
        at = grid[:, None, None]
        off = of_grids(
            _mixture(*change(*self.posterior(x))).log_prob(at), _mixture(*self.posterior(x)).log_prob(at), grid
        )
        return Planted(pair, data, off.nats, off.deviations)


def _two_modes(first: float = 0.5) -> TwoModes:
    return TwoModes(2.0 + 2 * float(torch.rand(())), 2.5 + 2 * float(torch.rand(())), first)


@planted("two modes")
def two_modes(t: float) -> Planted:
    """The posterior is the guide."""
    return _two_modes().planted(lambda w, m, s: (w, m, s))


@planted("two modes", "mode left out")
def mode_left_out(t: float) -> Planted:
    """The second mode, of a weight of up to 0.6, is left out, but for a thousandth of its weight."""
    kept = torch.tensor([1.0, 1e-3]).double()
    return _two_modes(1 - 0.6 * t).planted(lambda w, m, s: (w * kept / (w * kept).sum(-1, keepdim=True), m, s))


@planted("two modes", "too narrow")
def modes_too_narrow(t: float) -> Planted:
    """Both modes are narrower, by a factor down to 0.3."""
    return _two_modes().planted(lambda w, m, s: (w, m, (1 - 0.7 * t) * s))


@planted("two modes", "shifted")
def modes_shifted(t: float) -> Planted:
    """Both modes lie off to a side by up to 1.5 of their standard deviations."""
    return _two_modes().planted(lambda w, m, s: (w, m + 1.5 * t * s, s))


class Counts:
    """a and b, of D counts that are independent."""

    def __init__(self, shape: float, rate: float, num: int) -> None:
        self.shape, self.rate, self.num = shape, rate, num
        a, b = (torch.full((num,), value).double() for value in (shape, rate))
        self.prior = dist.Gamma(a, b).to_event(1)

    @classmethod
    def drawn(cls, shape: float | None = None) -> Counts:
        """One to three counts of a few units each."""
        a = 1 + 3 * float(torch.rand(())) if shape is None else shape
        return cls(a, 0.3 + 0.3 * float(torch.rand(())), int(torch.randint(1, 4, ())))

    def posterior(self, x: Tensor) -> Any:
        """p(z | x), (B, D)."""
        return dist.Gamma(self.shape + x.double(), torch.full_like(x, self.rate + 1, dtype=torch.float64))

    def draw(self, num: int) -> Tensor:
        """Data of the model, (num, D)."""
        return torch.poisson(self.prior.sample((num,)))

    def pair(self, answer: Callable[[Tensor], Any]) -> OneSite:
        """With that guide."""
        return OneSite(self.prior, lambda z: dist.Poisson(z).to_event(1), lambda x: answer(x).to_event(1))

    def with_guide(self, answer: Callable[[Tensor], Any]) -> Planted:
        """On data of its model."""
        data = as_data(self.draw)
        x = data.rows("test")[0].double()
        q, p = answer(x), self.posterior(x)
        nats = float(kl_from_gamma(q, p).sum(-1).mean())
        grid = torch.linspace(1e-4, float(12 * (1 + x.max())), 6001, dtype=torch.float64)
        off = of_grids(q.log_prob(grid[:, None, None]), p.log_prob(grid[:, None, None]), grid)
        return Planted(self.pair(answer), data, nats, off.deviations)

    def log_evidence(self) -> Tensor:
        """log p(x) of one count, (4000,)."""
        a, b = (torch.tensor(value).double() for value in (self.shape, self.rate))
        log_p: Tensor = dist.GammaPoisson(a, b).log_prob(torch.arange(_MOST).double())
        return log_p


def kl_from_gamma(q: Any, p: Any) -> Tensor:
    """KL(q || Gamma(a, b)) of a Gamma q, or of a log-normal, whose E z is exp(m + s^2 / 2)."""
    if isinstance(q, dist.Gamma):
        return torch.distributions.kl_divergence(q, p)
    log_p = p.concentration * p.rate.log() - p.concentration.lgamma() + (p.concentration - 1) * q.loc - p.rate * q.mean
    kl: Tensor = -q.entropy() - log_p
    return kl


@planted("counts")
def counts(t: float) -> Planted:
    """The posterior is the guide."""
    own = Counts.drawn()
    return own.with_guide(own.posterior)


@planted("counts", "another tail")
def another_tail(t: float) -> Planted:
    """A log-normal of the posterior's mean and variance of log z, the smaller a the worse: down to 0.5."""
    own = Counts.drawn(0.5 + 2 * (1 - t))

    def answer(x: Tensor) -> Any:
        a = own.shape + x.double()
        return dist.LogNormal(a.digamma() - math.log(own.rate + 1), torch.polygamma(1, a).sqrt())

    return own.with_guide(answer)


@planted("counts", "too narrow")
def counts_too_narrow(t: float) -> Planted:
    """A Gamma of the posterior's mean and a variance that is smaller, by a factor of up to 8."""
    own, k = Counts.drawn(), 1 + 7 * t
    return own.with_guide(lambda x: dist.Gamma(k * (own.shape + x.double()), k * (own.rate + 1 + 0 * x.double())))


@planted("counts", "too large")
def counts_too_large(t: float) -> Planted:
    """A Gamma whose mean is too large, by a factor of up to 2."""
    own = Counts.drawn()
    return own.with_guide(lambda x: dist.Gamma(own.shape + x.double(), (own.rate + 1 + 0 * x.double()) / (1 + t)))


@planted("counts", "zeros too many", "model")
def zeros_too_many(t: float) -> Planted:
    """Of the counts a share of up to 0.5 is zero whatever z."""
    own, share = Counts.drawn(2.0 + 2 * float(torch.rand(()))), 0.5 * t
    log_p = own.log_evidence()
    log_truth = log_p + math.log(1 - share)
    log_truth[0] = torch.logaddexp(log_truth[0], torch.tensor(share).double().log())
    nats = own.num * float((log_truth.exp() * (log_truth - log_p)).sum())

    def make(num: int) -> Tensor:
        return own.draw(num) * (torch.rand(num, own.num) >= share)

    return Planted(own.pair(own.posterior), as_data(make), nats)
