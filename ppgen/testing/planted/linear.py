"""Linear-Gaussian pairs, whose posterior is a normal: what can be wrong with its guide, and with its model.

    p(z) = N(0, I),  p(x | z) = N(W z, s^2 I),  p(z | x) = N(A x, V);   q(z | x) = N(m(x), S S'), or cut off

A guide cut off at a standard deviations keeps the mass P of the posterior and loses -log P. Data of another model,
N(0, C*), cost KL( N(0, C*) || N(0, C) ).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppgen.layers.linear_latents import posterior_map
from ppgen.pairs.pair import Pair
from ppgen.testing.planted.fault import Planted, as_data, planted
from ppgen.testing.planted.sizes import Off, of_grids, of_normals

__all__ = ["Linear", "LinearPair"]

Answer = Callable[[Tensor], Any]
_NUM_GRID = 4001


class LinearPair(Pair):
    """See the module; the guide is ``answer(x)``. Sites: z (F,), x (D,) observed, both in the plate ``data``."""

    def __init__(self, weight: Tensor, noise: float, answer: Any) -> None:
        super().__init__()
        self.weight, self.noise, self.answer = nn.Parameter(weight), noise, answer

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.weight.shape[1]), 1.0).to_event(1))  # (K, B, F)
            pyro.sample("x", dist.Normal(z @ self.weight.T, self.noise).to_event(1), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.answer(x))  # (K, B, F)


@dataclass(frozen=True, eq=False)
class Linear:
    """W (D, F), s, and data that the model makes; the posterior's A (F, D) and V (F, F)."""

    weight: Tensor
    noise: float

    @classmethod
    def drawn(cls, num_latents: int | None = None, num_features: int | None = None) -> Linear:
        """Of 1 to 4 latents and two features more, or three."""
        F = int(torch.randint(1, 5, ())) if num_latents is None else num_latents
        D = F + int(torch.randint(2, 4, ())) if num_features is None else num_features
        return cls(torch.randn(D, F, dtype=torch.float64), float(0.7 + 0.6 * torch.rand(())))

    @property
    def covariance(self) -> Tensor:
        """Of x, (D, D)."""
        return self.weight @ self.weight.T + self.noise**2 * torch.eye(len(self.weight)).double()

    def posterior(self, x: Tensor) -> dist.MultivariateNormal:
        """p(z | x), (B,) of (F,)."""
        loc, noise = self.weight.new_zeros(len(self.weight)), self.weight.new_tensor(self.noise**2)
        slope, _, covariance = posterior_map(self.weight, loc, noise, self.weight.new_zeros(self.weight.shape[1]))
        return dist.MultivariateNormal(x @ slope.T, covariance)

    def draw(self, num: int) -> Tensor:
        """Data of the model, (num, D)."""
        return drawn_from(self.covariance, num)

    def with_guide(self, answer: Answer, off: Callable[[Tensor], Off] | None = None) -> Planted:
        """The pair with that guide, on data of its model."""
        data = as_data(self.draw)
        x = data.rows("test")[0]
        size = of_normals(_joint(answer(x)), self.posterior(x)) if off is None else off(x)
        return Planted(LinearPair(self.weight, self.noise, answer), data, size.nats, size.deviations)

    def with_data(self, covariance: Tensor) -> Planted:
        """The pair with its posterior, on data from N(0, C*)."""
        truth, own = (dist.MultivariateNormal(c.new_zeros(len(c)), c) for c in (covariance, self.covariance))
        nats = float(torch.distributions.kl_divergence(truth, own))
        data = as_data(lambda num: drawn_from(covariance, num))
        return Planted(LinearPair(self.weight, self.noise, self.posterior), data, nats)


def drawn_from(covariance: Tensor, num: int) -> Tensor:
    """(num, D) from N(0, C)."""
    root: Tensor = torch.linalg.cholesky(covariance)
    return torch.randn(num, len(covariance)).double() @ root.T


def _joint(fn: Any) -> Any:
    """Independent normals as one normal of them all."""
    if isinstance(fn, dist.MultivariateNormal):
        return fn
    return dist.MultivariateNormal(fn.mean, torch.diag_embed(fn.variance))


def _sign() -> float:
    return 1.0 if float(torch.rand(())) < 0.5 else -1.0


def _narrowed(truth: Linear, c: float) -> Planted:
    def answer(x: Tensor) -> Any:
        p = truth.posterior(x)
        return dist.MultivariateNormal(p.mean, c**2 * p.covariance_matrix)

    return truth.with_guide(answer)


def _moved(truth: Linear, by: Callable[[Tensor, Tensor], Tensor]) -> Planted:
    """The mean moved by as many of the posterior's standard deviations as ``by(x, latents)`` says, (B, F)."""

    def answer(x: Tensor) -> Any:
        p = truth.posterior(x)
        moved = by(x, p.stddev)
        return dist.MultivariateNormal(p.mean + moved * p.stddev, p.covariance_matrix)

    return truth.with_guide(answer)


@planted("linear")
def sound(t: float) -> Planted:
    """The posterior is the guide."""
    truth = Linear.drawn()
    return truth.with_guide(truth.posterior)


@planted("linear", "too narrow")
def too_narrow(t: float) -> Planted:
    """Standard deviations times c, down to 0.3."""
    return _narrowed(Linear.drawn(), 1 - 0.7 * t)


@planted("linear", "too wide")
def too_wide(t: float) -> Planted:
    """Standard deviations times c, up to 2.5."""
    return _narrowed(Linear.drawn(), 1 + 1.5 * t)


@planted("linear", "shifted")
def shifted(t: float) -> Planted:
    """The mean of one latent off by up to 1.2 standard deviations, to the same side for all data."""
    truth, sign = Linear.drawn(), _sign()

    def by(x: Tensor, sd: Tensor) -> Tensor:
        off = torch.zeros_like(sd)
        off[:, 0] = 1.2 * t * sign
        return off

    return _moved(truth, by)


@planted("linear", "wrong slope")
def wrong_slope(t: float) -> Planted:
    """The mean follows the datum too much or too little: off by up to 1.2 standard deviations a unit of x."""
    truth, sign = Linear.drawn(), _sign()
    direction = torch.nn.functional.normalize(torch.randn(len(truth.weight)).double(), dim=0)
    return _moved(truth, lambda x, sd: (0.8 * t * sign * (x @ direction))[:, None] * torch.ones_like(sd))


@planted("linear", "wrong for a share")
def wrong_for_a_share(t: float) -> Planted:
    """Of 5 to 30 % of the data, those farthest along a direction, all means are off by up to 3 standard deviations."""
    truth, share = Linear.drawn(), 0.05 + 0.25 * float(torch.rand(()))
    direction = torch.randn(len(truth.weight)).double()
    limit = float(torch.special.ndtri(torch.tensor(1 - share)) * (direction @ truth.covariance @ direction).sqrt())
    return _moved(truth, lambda x, sd: (3 * t * (x @ direction > limit).double())[:, None] * torch.ones_like(sd))


@planted("linear", "correlation left out")
def correlation_left_out(t: float) -> Planted:
    """Of latents that one direction of the data goes along with, the best guide of independent normals."""
    F = int(torch.randint(2, 5, ()))
    shared = torch.randn(F + 2, 1).double()
    truth = Linear(math.sqrt(1 - t) * torch.randn(F + 2, F).double() + math.sqrt(t) * shared, 0.7)

    def answer(x: Tensor) -> Any:
        p = truth.posterior(x)
        return dist.Normal(p.mean, p.precision_matrix.diagonal(dim1=-2, dim2=-1).rsqrt()).to_event(1)

    return truth.with_guide(answer)


@planted("linear", "unit ignored")
def unit_ignored(t: float) -> Planted:
    """One unit keeps to its prior whatever the datum, the others to their posterior; W is scaled by t."""
    F = int(torch.randint(2, 5, ()))
    truth = Linear(t * torch.randn(F + 2, F).double(), 1.0)

    def answer(x: Tensor) -> Any:
        p = truth.posterior(x)
        keep = (torch.arange(F) > 0).double()
        covariance = p.covariance_matrix * keep * keep[:, None] + torch.diag(1 - keep)
        return dist.MultivariateNormal(p.mean * keep, covariance)

    return truth.with_guide(answer)


class CutOff:
    """N(m, s^2) between the levels low and high, as independent numbers: the mass between them is 1 - what is lost."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, loc: Tensor, scale: Tensor) -> Any:
        low = torch.full_like(loc, self.low)
        levels = dist.Uniform(low, torch.full_like(loc, self.high), validate_args=False)
        normal = torch.distributions.transforms.CumulativeDistributionTransform(dist.Normal(loc, scale)).inv
        return dist.TransformedDistribution(levels, [normal]).to_event(1)

    def off(self, p: Any) -> Off:
        """Of each of the (B,) posteriors, one number each; the same of all."""
        grid = torch.linspace(-8, 8, _NUM_GRID, dtype=torch.float64)
        inside = (torch.special.ndtr(grid) >= self.low) & (torch.special.ndtr(grid) <= self.high)
        log_p = (-grid.square() / 2)[:, None, None]
        one = of_grids(torch.where(inside[:, None, None], log_p, -torch.inf), log_p, grid)
        kl = torch.full_like(p.mean[:, 0], -math.log(self.high - self.low))
        return Off(kl, one.distance * p.stddev, one.sd * p.stddev)


@planted("linear", "tail cut off")
def tail_cut_off(t: float) -> Planted:
    """One latent's posterior without the mass beyond up to 1 standard deviation, on one side or on both."""
    truth, beyond = Linear.drawn(1), 0.5 * math.erfc((2.5 - 1.5 * t) / math.sqrt(2))
    cut = CutOff(beyond, 1.0 - beyond if _sign() > 0 else 1.0)

    def answer(x: Tensor) -> Any:
        p = truth.posterior(x)
        return cut(p.mean, p.stddev)

    return truth.with_guide(answer, lambda x: cut.off(truth.posterior(x)))


@planted("linear", "units collapsed", "model")
def units_collapsed(t: float) -> Planted:
    """Data of F latents, of which the model uses some alone; W is scaled by t."""
    F = int(torch.randint(1, 5, ()))
    truth, used = Linear((0.2 + 0.8 * t) * torch.randn(F + 3, F).double(), 1.0), int(torch.randint(0, F, ()))
    own = Linear(truth.weight * (torch.arange(F) < used), 1.0)
    return own.with_data(truth.covariance)


@planted("linear", "variance of the noise", "model")
def wrong_variance(t: float) -> Planted:
    """The data's noise has up to twice the model's standard deviation, or down to half of it."""
    own, factor = Linear.drawn(), (1 + t) ** _sign()
    return own.with_data(own.covariance + own.noise**2 * (factor**2 - 1) * torch.eye(len(own.weight)).double())


@planted("linear", "dependence of the noise", "model")
def dependent_noise(t: float) -> Planted:
    """The data's noise of two features has a correlation of up to 0.95."""
    own, correlation = Linear.drawn(), 0.95 * t * _sign()
    noise = torch.eye(len(own.weight)).double()
    noise[0, 1] = noise[1, 0] = correlation
    return own.with_data(own.weight @ own.weight.T + own.noise**2 * noise)
