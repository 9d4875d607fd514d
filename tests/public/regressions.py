"""Bayesian regressions and small hierarchies, with latents of all data and guides made by Pyro."""

# The idioms as they are public: Pyro's decorators, modules and guides are untyped.
# mypy: disable-error-code="arg-type, call-arg, no-any-return"

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoDiagonalNormal, AutoMultivariateNormal, AutoNormal, init_to_value
from pyro.nn import PyroModule, PyroSample
from torch import Tensor, nn

from tests.public.case import FLOAT32, Case, Made

__all__ = ["CASES"]


class Yields(PyroModule):
    """Yields of plots by three measures of their soil: a linear layer whose weight and bias are sampled."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = PyroModule[nn.Linear](3, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 3]).to_event(2))
        self.linear.bias = PyroSample(dist.Normal(0.0, 5.0).expand([1]).to_event(1))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        sigma = pyro.sample("sigma", dist.Uniform(0.0, 4.0))
        mean: Tensor = self.linear(x).squeeze(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("obs", dist.Normal(mean, sigma), obs=y)
        return mean


def yields() -> Made:
    model = Yields()
    x = torch.randn(12, 3)
    return Made(model, AutoDiagonalNormal(model, init_scale=0.05), (x, x.sum(-1) + 0.3 * torch.randn(12)))


class Curve(PyroModule):
    """A curve through points: a network of two sampled layers, nested modules, plate of the author's own name."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = PyroModule[nn.Linear](1, 4)
        self.hidden.weight = PyroSample(dist.Normal(0.0, 1.0).expand([4, 1]).to_event(2))
        self.hidden.bias = PyroSample(dist.Normal(0.0, 1.0).expand([4]).to_event(1))
        self.out = PyroModule[nn.Linear](4, 1)
        self.out.weight = PyroSample(lambda self: dist.Normal(0.0, self.width).expand([1, 4]).to_event(2))
        self.out.width = PyroSample(dist.LogNormal(0.0, 0.3))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        mean: Tensor = self.out(torch.tanh(self.hidden(x))).squeeze(-1)
        with pyro.plate("points", x.shape[0]):
            pyro.sample("y", dist.Normal(mean, 0.2), obs=y)
        return mean


def curve() -> Made:
    model = Curve()
    x = torch.linspace(-1, 1, 9).unsqueeze(-1)
    return Made(model, AutoNormal(model, init_scale=0.05), (x, x.squeeze(-1).sin()))


INPUTS = torch.linspace(-1, 1, 8, dtype=torch.float64).unsqueeze(-1)


def kernel(x: Tensor) -> Tensor:
    """Squared exponential, (N, N)."""
    return (-((x - x.T) ** 2) / 0.5).exp()


def smooth(x: Tensor, y: Tensor) -> None:
    """A function with a Gaussian process prior, seen with noise, in double precision and without a plate."""
    jitter = 1e-6 * torch.eye(len(x), dtype=x.dtype)
    f = pyro.sample("f", dist.MultivariateNormal(x.new_zeros(len(x)), kernel(x) + jitter))
    noise = pyro.param("noise", torch.tensor(0.5, dtype=torch.float64), constraint=dist.constraints.positive)
    pyro.sample("y", dist.Normal(f, noise).to_event(1), obs=y)


def smoothed() -> Made:
    """With a guide near the posterior, a fifth wider, so that its weights have a mean to be told."""
    guide, batch = AutoMultivariateNormal(smooth, init_scale=0.3), (INPUTS, torch.sin(3 * INPUTS).squeeze(-1))
    guide(*batch)
    prior = kernel(INPUTS) + 1e-6 * torch.eye(len(INPUTS), dtype=torch.float64)
    gain = torch.linalg.solve(prior + 0.25 * torch.eye(len(INPUTS), dtype=torch.float64), prior).T
    root = torch.linalg.cholesky(prior - gain @ prior)
    with torch.no_grad():
        guide.loc.copy_(gain @ batch[1])
        guide.scale = 1.2 * root.diag()
        guide.scale_tril = root / root.diag().unsqueeze(-1)
    return Made(smooth, guide, batch)


def smooth_evidence(x: Tensor, y: Tensor) -> Tensor:
    """log N(y; 0, K + noise^2), (1,), in nats."""
    covariance = kernel(x) + (1e-6 + 0.25) * torch.eye(len(x), dtype=x.dtype)
    return dist.MultivariateNormal(x.new_zeros(len(x)), covariance).log_prob(y).unsqueeze(0)


def reading(guess: float) -> None:
    """The weight of a parcel, guessed and then read once from a scale."""
    weight = pyro.sample("weight", dist.Normal(guess, 1.2))
    pyro.sample("measurement", dist.Normal(weight, 0.75), obs=torch.tensor(9.5))


def reading_guide(guess: float) -> None:
    a = pyro.param("a", torch.tensor(guess))
    b = pyro.param("b", torch.tensor(0.9), constraint=dist.constraints.positive)
    pyro.sample("weight", dist.Normal(a, b))


def reading_evidence(guess: float) -> Tensor:
    """log N(9.5; guess, 1.2^2 + 0.75^2), (1,), in nats."""
    return dist.Normal(guess, (1.2**2 + 0.75**2) ** 0.5).log_prob(torch.tensor([9.5]))


def coached(effects: Tensor, errors: Tensor) -> None:
    """Effects measured in seven towns, each with its own error; the true effect of each is latent."""
    mu = pyro.sample("mu", dist.Normal(0.0, 4.0))
    tau = pyro.sample("tau", dist.HalfCauchy(2.0))
    with pyro.plate("towns", len(effects)):
        eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
        pyro.sample("effect", dist.Normal(mu + tau * eta, errors), obs=effects)


def towns() -> Made:
    batch = torch.tensor([5.0, 1.5, -1.0, 2.5, 0.0, 4.0, 7.0]), torch.tensor([3.0, 2.0, 3.5, 2.0, 1.5, 2.0, 4.0])
    return Made(coached, AutoNormal(coached, init_scale=0.1), batch)


def sorted_letters(weights: Tensor) -> None:
    """A latent of each letter, at full batch: its place in the batch is its name."""
    with pyro.plate("letters", len(weights)):
        true = pyro.sample("true", dist.Normal(20.0, 30.0))
        pyro.sample("weighed", dist.Normal(true, 0.5), obs=weights)


def letters() -> Made:
    weights = torch.arange(8.0) * 10
    guide = AutoNormal(sorted_letters, init_loc_fn=init_to_value(values={"true": weights}), init_scale=0.55)
    return Made(sorted_letters, guide, (weights,))


def letters_evidence(weights: Tensor) -> Tensor:
    """log N(x; 20, 30^2 + 0.5^2), (B,), in nats."""
    return dist.Normal(20.0, (30.0**2 + 0.5**2) ** 0.5).log_prob(weights)


class Named(nn.Module):
    """Sites named as scopes and as dims of ArviZ are: ``encoder/code``, ``draw``, ``chain``; one in two plates."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Linear(3, 2)

    def model(self, x: Tensor) -> None:
        with pyro.plate("samples", len(x), dim=-2):
            draw = pyro.sample("draw", dist.Normal(torch.zeros(1), 1.0))  # (B, 1)
            chain = pyro.sample("chain", dist.Gamma(2.0, torch.ones(1)))  # (B, 1)
            with pyro.plate("genes", 3, dim=-1):
                code = pyro.sample("encoder/code", dist.Normal(draw, 1.0))  # (B, 3)
                pyro.sample("decoder/x", dist.Normal(code, chain.sqrt()), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("named", self)
        loc, log_rate = self.code(x).chunk(2, dim=-1)
        with pyro.plate("samples", len(x), dim=-2):
            draw = pyro.sample("draw", dist.Normal(loc, 0.4))
            pyro.sample("chain", dist.LogNormal(0.3 * log_rate, 0.3))
            with pyro.plate("genes", 3, dim=-1):
                pyro.sample("encoder/code", dist.Normal((x + draw) / 2, 0.6))


def named() -> Made:
    pair = Named()
    return Made(pair.model, pair.guide, (torch.randn(6, 3),))


CASES = [
    Case(
        "yields",
        "tutorial/bayesian_regression.ipynb: PyroModule[nn.Linear] with PyroSample weights, AutoDiagonalNormal",
        yields,
        weights="global",
        num_data=12,
        broken=FLOAT32,
        looped=True,
    ),
    Case(
        "curve",
        "tutorial/modules.ipynb: nested PyroModules, a prior that reads another PyroSample, AutoNormal",
        curve,
        weights="global",
        num_data=9,
        broken=FLOAT32,
        looped=True,
    ),
    Case(
        "smooth",
        "tutorial/gp.ipynb: a Gaussian process in float64, all data one event, so joint; AutoMultivariateNormal",
        smoothed,
        weights="joint",
        log_evidence=smooth_evidence,
    ),
    Case(
        "reading",
        "tutorial/intro_part_ii.ipynb: obs=torch.tensor(9.5), a float as the argument, raw pyro.param",
        lambda: Made(reading, reading_guide, (8.5,)),
        weights="joint",
        log_evidence=reading_evidence,
        broken=FLOAT32,
    ),
    Case(
        "towns",
        "examples/eight_schools/svi.py: effects and errors, latents of all and of each under AutoNormal",
        towns,
        weights="global",
        num_data=7,
        broken=FLOAT32,
    ),
    Case(
        "letters",
        "tutorial/svi_part_ii.ipynb: AutoNormal with a latent of each datum at full batch",
        letters,
        num_data=8,
        log_evidence=letters_evidence,
        broken=FLOAT32,
    ),
    Case(
        "named_sites",
        "examples/scanvi and pyro.contrib: sites with '/', sites named 'draw' and 'chain', a latent in two plates",
        named,
        num_data=6,
        broken=FLOAT32,
    ),
]
