"""Continuous latents beyond the Gaussian: by implicit reparameterization where torch has it, else by their score.

The exact gradient of a bound is a sum over a fine grid of z, with densities by torch: of each family by itself, and of
a Bernoulli, a Gaussian and a Gamma without a reparameterized sample side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppgen.errors import UsageError
from ppgen.inference import ELBO, IWELBO, NVIL, REINFORCE, STL, VIMCO, DReG
from ppgen.pairs.pair import Pair
from tests.inference.truth import CRITICAL, error_of_mean
from tests.marks import thorough

X = 0.7
COPIES = 150_000
"""Draws of a gradient, one for each copy of the parameters: a tenth too much or too little is seen."""


class ScoredGamma(dist.Gamma):
    """A Gamma distribution whose draws have no path."""

    has_rsample = False


@dataclass(frozen=True)
class Family:
    """A family of the guide, by unconstrained parameters (..., P), and a grid (G, E) of its support with cells (G,)."""

    made: Callable[[Tensor], Any]
    start: tuple[float, ...]
    prior: tuple[float, ...]
    grid: Tensor
    cells: Tensor
    seen: Callable[[Tensor], Tensor] = lambda z: z[..., 0]
    """What x is the noisy value of: (..., E) to (...)."""

    def log_joint(self, z: Tensor) -> Tensor:
        prior: Tensor = self.made(torch.tensor(self.prior, dtype=torch.float64)).log_prob(z)
        joint: Tensor = prior + dist.Normal(self.seen(z), 1.0).log_prob(torch.tensor(X))
        return joint

    def exact(self, num_particles: int = 1) -> Tensor:
        """The gradient of the ELBO, or of the IWELBO of two particles, by the parameters, (P,)."""
        theta = torch.tensor(self.start, dtype=torch.float64, requires_grad=True)
        log_q = self.made(theta).log_prob(self.grid)
        mass, log_w = self.cells * log_q.exp(), self.log_joint(self.grid) - log_q  # (G,)
        assert num_particles in (1, 2)
        if num_particles == 2:
            mass, log_w = mass * mass[:, None], torch.logaddexp(log_w, log_w[:, None]) - math.log(2)  # (G, G)
        return torch.autograd.grad((mass * log_w).sum(), theta)[0]


class Lone(Pair):
    """One latent z of a family, one copy of its parameters for each datum; ``held``: its draws have no path."""

    def __init__(self, family: Family, *, held: bool = False) -> None:
        super().__init__()
        self.family, self.held = family, held
        self.theta = nn.Parameter(torch.tensor(family.start, dtype=torch.float64).repeat(COPIES, 1))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", self.family.made(torch.tensor(self.family.prior, dtype=torch.float64)))  # (K, B, E)
            pyro.sample("x", dist.Normal(self.family.seen(z.detach() if self.held else z), 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.family.made(self.theta))


def _gamma(kind: Any) -> Callable[[Tensor], Any]:
    return lambda theta: kind(*theta.exp().split(1, -1)).to_event(1)


def _beta(theta: Tensor) -> Any:
    return dist.Beta(*theta.exp().split(1, -1)).to_event(1)


def _von_mises(theta: Tensor) -> Any:
    loc, log_concentration = theta.split(1, -1)
    return dist.VonMises(loc, log_concentration.exp()).to_event(1)


def _axis(low: float, high: float, num: int) -> tuple[Tensor, float]:
    """Points of the trapezoid rule, whose error falls exponentially for what is smooth and vanishes at the ends.

    The gradients differ by at most 2e-5 from those of finer grids.
    """
    return torch.linspace(low, high, num, dtype=torch.float64), (high - low) / (num - 1)


def _positive() -> tuple[Tensor, Tensor]:
    u, step = _axis(-14, 4, 401)
    return u.exp()[:, None], u.exp() * step


def _share() -> tuple[Tensor, Tensor]:
    u, step = _axis(-30, 30, 401)
    return u.sigmoid()[:, None], u.sigmoid() * (-u).sigmoid() * step


def _simplex() -> tuple[Tensor, Tensor]:
    """A stick broken twice, at sigmoid(u) and sigmoid(v)."""
    axis, step = _axis(-25, 25, 57)
    u, v = torch.cartesian_prod(axis, axis).T
    first, second, left = u.sigmoid(), v.sigmoid(), (-u).sigmoid()
    z = torch.stack([first, left * second, left * (-v).sigmoid()], -1)
    return z, first * left * left * second * (-v).sigmoid() * step**2


def _circle() -> tuple[Tensor, Tensor]:
    angle = torch.arange(-500, 500, dtype=torch.float64) * (math.pi / 500)
    return angle[:, None], torch.full_like(angle, math.pi / 500)


IMPLICIT = {
    "Gamma": Family(_gamma(dist.Gamma), (1.2, 0.1), (0.7, 0.2), *_positive()),
    "Beta": Family(_beta, (0.5, 0.2), (0.1, 0.6), *_share(), seen=lambda z: 2 * z[..., 0]),
    "Dirichlet": Family(
        lambda theta: dist.Dirichlet(theta.exp()),
        (0.3, 0.6, 0.1),
        (0.2, 0.4, 0.5),
        *_simplex(),
        seen=lambda z: 2 * z[..., 0] - z[..., 1],
    ),
}
SCORED = {
    "Gamma": Family(_gamma(ScoredGamma), (1.2, 0.1), (0.7, 0.2), *_positive()),
    "VonMises": Family(_von_mises, (1.5, 0.4), (0.0, 0.1), *_circle(), seen=lambda z: z[..., 0].sin()),
}


def score(objective: Any, pair: Any, exact: Tensor) -> float:
    """The largest |z| of the mean of a gradient's draws, over its numbers."""
    torch.manual_seed(0)
    x = torch.full((COPIES,), X, dtype=torch.float64)
    parameters = list(pair.parameters())
    draws = torch.autograd.grad(-objective.differentiable_loss(pair.model, pair.guide, x), parameters)
    found = torch.cat([g.flatten(1) for g in draws], 1)  # (COPIES, P)
    return max(abs(float(g.mean() - truth)) / error_of_mean(g) for g, truth in zip(found.T, exact, strict=True))


@pytest.mark.parametrize(
    "objective", [ELBO(), *thorough([DReG(num_particles=2), STL(), IWELBO(num_particles=2)])], ids=str
)
@pytest.mark.parametrize("name", IMPLICIT)
def test_the_gradient_along_an_implicit_path_is_the_exact_one(name: str, objective: Any) -> None:
    family = IMPLICIT[name]
    exact = family.exact(objective.num_particles)
    assert score(objective, Lone(family), exact) < CRITICAL
    assert score(objective, Lone(family), exact / 1.1) > CRITICAL
    assert score(objective, Lone(family, held=True), exact) > CRITICAL


@pytest.mark.parametrize("objective", [REINFORCE(num_particles=3), VIMCO(num_particles=3, bound="elbo")], ids=str)
@pytest.mark.parametrize("name", SCORED)
def test_the_score_of_a_continuous_latent_without_a_path_is_the_exact_gradient(name: str, objective: Any) -> None:
    pair, exact = Lone(SCORED[name]), SCORED[name].exact()
    assert score(objective, pair, exact) < CRITICAL
    assert score(objective, pair, exact / 1.1) > CRITICAL


def test_von_mises_has_no_path_in_torch_and_is_refused_by_name() -> None:
    pair = Lone(SCORED["VonMises"])
    wanted = (
        r"site 'z' of the guide is drawn from VonMises, which has no reparameterized sample.*: 'nvil', .*'reinforce'"
    )
    with pytest.raises(UsageError, match=wanted):
        ELBO().loss(pair.model, pair.guide, torch.full((COPIES,), X, dtype=torch.float64))


class Trio(Pair):
    """q(y) q(z | y) q(g | z): Bernoulli, Gaussian, and a Gamma without a path, whose score carries the path of z."""

    start: ClassVar = (0.3, 0.2, 0.6, -0.4, 0.3, 0.5)

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(self.start, dtype=torch.float64).repeat(COPIES, 1))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            y = pyro.sample("y", dist.Bernoulli(0.4 * torch.ones((), dtype=x.dtype)))
            z = pyro.sample("z", dist.Normal(y, 1.0))
            g = pyro.sample("g", ScoredGamma(2.0 * torch.ones((), dtype=x.dtype), 1.5))
            pyro.sample("x", dist.Normal(z * y + g, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        logit, loc, jump, log_scale, shape, slope = self.theta.unbind(-1)
        with self.data_plate(x):
            y = pyro.sample("y", dist.Bernoulli(logits=logit))
            z = pyro.sample("z", dist.Normal(loc + jump * y, log_scale.exp()))
            pyro.sample("g", ScoredGamma(shape.exp(), (slope * z).exp()))

    @classmethod
    def exact(cls) -> Tensor:
        """Over two states, 40 nodes of z and a grid of g."""
        theta = torch.tensor(cls.start, dtype=torch.float64, requires_grad=True)
        logit, loc, jump, log_scale, shape, slope = theta
        nodes, weights = (torch.from_numpy(a)[:, None] for a in np.polynomial.hermite_e.hermegauss(40))
        g, cells = (numbers.reshape(-1) for numbers in _positive())
        y = torch.tensor([0.0, 1.0], dtype=torch.float64)[:, None, None]
        z = loc + jump * y + log_scale.exp() * nodes  # (2, 40, 1)
        log_y = dist.Bernoulli(logits=logit).log_prob(y)
        log_g = dist.Gamma(shape.exp(), (slope * z).exp()).log_prob(g)  # (2, 40, G)
        log_q = log_y + dist.Normal(loc + jump * y, log_scale.exp()).log_prob(z) + log_g
        log_p = dist.Bernoulli(torch.tensor(0.4, dtype=torch.float64)).log_prob(y) + dist.Normal(y, 1.0).log_prob(z)
        log_p = log_p + dist.Gamma(2.0, 1.5).log_prob(g) + dist.Normal(z * y + g, 1.0).log_prob(torch.tensor(X))
        mass = (log_y + log_g).exp() * cells * weights / weights.sum()
        return torch.autograd.grad((mass * (log_p - log_q)).sum(), theta)[0]


class HeldScore(REINFORCE):
    """The score of what depends on a reparameterized latent does not follow it."""

    def _ascent(self, particles: Any, *arguments: Any) -> Tensor:
        return super()._ascent(particles.with_fixed(latents=True), *arguments)


@pytest.mark.parametrize(
    "objective",
    [REINFORCE(num_particles=3), VIMCO(num_particles=3, bound="elbo"), NVIL(num_particles=2, normalise=False)],
    ids=str,
)
def test_discrete_gaussian_and_scored_continuous_latents_are_composed(objective: Any) -> None:
    assert score(objective, Trio(), Trio.exact()) < CRITICAL
    assert score(objective, Trio(), Trio.exact() / 1.1) > CRITICAL


def test_a_score_that_does_not_follow_the_path_is_caught() -> None:
    assert score(HeldScore(num_particles=3), Trio(), Trio.exact()) > CRITICAL
