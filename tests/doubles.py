"""Small pairs and objectives whose truth is known, each with what a special case in the engine would be needed for.

Pairs: :class:`Line` and :class:`Chain` (linear-Gaussian, one and two latents), :class:`Mixture` (a discrete latent that
can be enumerated), :class:`Energy` (an unnormalised density), :class:`Shared` (a global latent outside the data plate).
Objectives: :class:`Enumerated` (exact expectation over states), :class:`Adversarial` (two players with unequal steps),
:class:`Contrast` (a persistent chain that goes from step to step).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Outcome, Player, State
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import owner
from ppgen.pairs.tracing import Batch, Program, run_particles

__all__ = [
    "Adversarial",
    "Chain",
    "Contrast",
    "Energy",
    "Enumerated",
    "Line",
    "Mixture",
    "Shared",
    "Switch",
    "data",
]


def data(size: int, seed: int = 1) -> Tensor:
    """Observations for all pairs here: (size, 1), float64."""
    return 1.5 * torch.randn(size, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5


class _Scalars(Pair):
    """A pair whose parameters are scalars in float64, or, with ``copies``, as many copies of each as there are data.

    With one copy for each datum, the gradient of a sum over data holds independent draws of the gradient for one.
    """

    start: ClassVar[Mapping[str, float]]

    def __init__(self, copies: int | None = None, data_size: int | None = None) -> None:
        super().__init__(data_size)
        shape = () if copies is None else (copies,)
        for name, value in self.start.items():
            setattr(self, name, nn.Parameter(torch.full(shape, value, dtype=torch.float64)))


class Line(_Scalars):
    """z ~ N(0, 1), x | z ~ N(weight z + loc, noise^2); q(z | x) = N(slope x + shift, scale^2).

    Sites:
        z: (), in the plate ``data``
        x: (1,), observed, in the plate ``data``
    """

    start: ClassVar = {"weight": 0.9, "loc": 0.4, "log_noise": -0.3, "slope": 0.2, "shift": -0.3, "log_scale": 0.1}

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))  # (K, B)
            loc = (self.weight * z + self.loc).unsqueeze(-1)  # (K, B, 1)
            pyro.sample("x", dist.Normal(loc, self.log_noise.exp().unsqueeze(-1)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.slope * x[:, 0] + self.shift, self.log_scale.exp()))  # (K, B)

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x), (B, 1) to (B,), in nats."""
        variance = self.weight.square() + (2 * self.log_noise).exp()
        log_prob: Tensor = dist.Normal(self.loc, variance.sqrt()).log_prob(x[:, 0])
        return log_prob

    @torch.no_grad()
    def land(self) -> Line:
        """Put the posterior into the guide."""
        noise = (2 * self.log_noise).exp()
        variance = 1 / (1 + self.weight.square() / noise)
        self.slope.copy_(variance * self.weight / noise)
        self.shift.copy_(-variance * self.weight * self.loc / noise)
        self.log_scale.copy_(variance.log() / 2)
        return self


class Switch(_Scalars):
    """z ~ Bernoulli(1/2), x | z ~ N(weight z + loc, noise^2); q(z | x) = Bernoulli(logit slope x + shift).

    Sites:
        z: (), 0 or 1, in the plate ``data``
        x: (1,), observed, in the plate ``data``
    """

    start: ClassVar = {"weight": 0.9, "loc": 0.4, "log_noise": -0.3, "slope": 0.2, "shift": -0.3}

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Bernoulli(x.new_full((), 0.5)))  # (K, B)
            loc = (self.weight * z + self.loc).unsqueeze(-1)  # (K, B, 1)
            pyro.sample("x", dist.Normal(loc, self.log_noise.exp().unsqueeze(-1)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Bernoulli(logits=self.slope * x[:, 0] + self.shift))  # (K, B)


class Chain(_Scalars):
    """z2 ~ N(0, 1), z1 | z2 ~ N(top z2, spread^2), x | z1 ~ N(bottom z1, 1); q(z1 | x) q(z2 | z1), both linear.

    Sites:
        z1: (), in the plate ``data``; the guide's first
        z2: (), in the plate ``data``; the model's first
        x: (1,), observed, in the plate ``data``
    """

    start: ClassVar = {
        "top": 0.8,
        "log_spread": -0.2,
        "bottom": 1.1,
        "slope1": 0.25,
        "shift1": -0.3,
        "log_scale1": 0.1,
        "slope2": 0.9,
        "shift2": 0.4,
        "log_scale2": -0.1,
    }

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(()), 1.0))  # (K, B)
            z1 = pyro.sample("z1", dist.Normal(self.top * z2, self.log_spread.exp()))  # (K, B)
            pyro.sample("x", dist.Normal((self.bottom * z1).unsqueeze(-1), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            z1 = pyro.sample("z1", dist.Normal(self.slope1 * x[:, 0] + self.shift1, self.log_scale1.exp()))
            pyro.sample("z2", dist.Normal(self.slope2 * z1 + self.shift2, self.log_scale2.exp()))  # (K, B)

    @torch.no_grad()
    def land(self) -> Chain:
        """Put the posterior into the guide: p(z1 | x) from the prior variance of z1, p(z2 | z1)."""
        spread = (2 * self.log_spread).exp()
        prior = self.top.square() + spread
        variance = 1 / (1 / prior + self.bottom.square())
        for name, value in {
            "slope1": variance * self.bottom,
            "shift1": torch.zeros_like(prior),
            "log_scale1": variance.log() / 2,
            "slope2": self.top / prior,
            "shift2": torch.zeros_like(prior),
            "log_scale2": (spread / prior).log() / 2,
        }.items():
            getattr(self, name).copy_(value)
        return self


class Mixture(Pair):
    """z ~ Categorical(logits) of three states, x | z ~ N(locs[z], 1); q(z | x) = Categorical(slopes x + offsets).

    Sites:
        z: (), 0, 1 or 2, in the plate ``data``
        x: (1,), observed, in the plate ``data``
    """

    num_states = 3

    def __init__(self, data_size: int | None = None) -> None:
        super().__init__(data_size)
        self.logits = nn.Parameter(torch.tensor([0.2, -0.4, 0.1], dtype=torch.float64))
        self.locs = nn.Parameter(torch.tensor([-1.5, 0.3, 2.0], dtype=torch.float64))
        self.slopes = nn.Parameter(torch.tensor([-0.5, 0.1, 0.7], dtype=torch.float64))
        self.offsets = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Categorical(logits=self.logits))  # (K, B)
            pyro.sample("x", dist.Normal(self.locs[z].unsqueeze(-1), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Categorical(logits=self.slopes * x + self.offsets))  # (K, B)

    def states(self, x: Tensor) -> dict[str, Tensor]:
        """Every state for every datum, z: (num_states, B)."""
        return {"z": torch.arange(self.num_states, device=x.device)[:, None].expand(-1, len(x))}

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, z) of every state, (num_states, B), in nats; written without Pyro."""
        squares = (x[:, 0] - self.locs[:, None]).square()
        return self.logits.log_softmax(0)[:, None] - (squares + math.log(2 * math.pi)) / 2

    def log_guide(self, x: Tensor) -> Tensor:
        """log q(z | x) of every state, (num_states, B), in nats; written without Pyro."""
        return (self.slopes * x + self.offsets).log_softmax(1).T

    @torch.no_grad()
    def land(self) -> Mixture:
        """Put the posterior into the guide: softmax(logits + locs x - locs^2 / 2), components having unit scale."""
        self.slopes.copy_(self.locs)
        self.offsets.copy_(self.logits - self.locs.square() / 2)
        return self


class Energy(Pair):
    """p(x, z) = exp( log N(z; 0, 1) + coupling x z - (x - loc)^2 / 2 ) / Z; q(z | x) = N(slope x, scale^2).

    With z summed out, x is normal of mean loc / (1 - coupling^2) and variance 1 / (1 - coupling^2).

    Sites:
        z: (), in the plate ``data``
        energy: a factor, in the plate ``data``
    """

    coupling: Tensor
    loc: Tensor
    slope: Tensor
    log_scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, value in {"coupling": 0.6, "loc": 0.3, "slope": 0.4, "log_scale": 0.1}.items():
            setattr(self, name, nn.Parameter(torch.tensor(value, dtype=torch.float64)))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))  # (K, B)
            pyro.factor("energy", self.coupling * x[:, 0] * z - (x[:, 0] - self.loc).square() / 2)  # (K, B)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.slope * x[:, 0], self.log_scale.exp()))  # (K, B)

    def log_unnormalised(self, x: Tensor) -> Tensor:
        """log of the integral of exp(...) over z, (B, 1) to (B,), in nats."""
        return ((self.coupling * x).square() - (x - self.loc).square())[:, 0] / 2

    def log_z(self) -> Tensor:
        """log Z, in nats."""
        precision = 1 - self.coupling.square()
        return (2 * math.pi / precision).log() / 2 + self.loc.square() * (1 / precision - 1) / 2

    def gibbs(self, x: Tensor) -> Tensor:
        """One sweep z | x, x | z of the chains ``x``, (C, 1)."""
        z = self.coupling * x + torch.randn_like(x)
        return self.loc + self.coupling * z + torch.randn_like(x)


class Shared(_Scalars):
    """mean ~ N(0, 1); z | mean ~ N(mean, 1), x | z ~ N(z, noise^2) for each datum; q(mean) q(z | x, mean).

    Sites:
        mean: (), global: outside the plate ``data``
        z: (), in the plate ``data``
        x: (1,), observed, in the plate ``data``
    """

    log_noise: Tensor
    at: Tensor
    log_width: Tensor
    slope: Tensor
    pull: Tensor
    log_scale: Tensor

    start: ClassVar = {"log_noise": -0.2, "at": 0.3, "log_width": -0.5, "slope": 0.4, "pull": 0.3, "log_scale": -0.1}

    def model(self, x: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(x.new_zeros(()), 1.0))  # (K, 1)
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(mean, 1.0))  # (K, B)
            pyro.sample("x", dist.Normal(z.unsqueeze(-1), self.log_noise.exp()).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(self.at, self.log_width.exp()))  # (K, 1)
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.slope * x[:, 0] + self.pull * mean, self.log_scale.exp()))  # (K, B)

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x) of all data together, (B, 1) to (), in nats: the mean is what they have in common."""
        own = 1 + (2 * self.log_noise).exp()
        covariance = own * torch.eye(len(x), dtype=x.dtype) + 1
        log_prob: Tensor = dist.MultivariateNormal(x.new_zeros(len(x)), covariance).log_prob(x[:, 0])
        return log_prob

    @torch.no_grad()
    def land(self, x: Tensor) -> Shared:
        """Put the posterior of all data into the guide: of the mean, and of each z given it."""
        noise = (2 * self.log_noise).exp()
        precision = 1 + len(x) / (1 + noise)
        self.at.copy_(x.sum() / (1 + noise) / precision)
        self.log_width.copy_(-precision.log() / 2)
        return self.land_local()

    @torch.no_grad()
    def land_local(self) -> Shared:
        """Put the posterior of each z given the mean into the guide, and leave that of the mean as it is."""
        noise = (2 * self.log_noise).exp()
        self.slope.copy_(1 / (1 + noise))
        self.pull.copy_(noise / (1 + noise))
        self.log_scale.copy_((noise / (1 + noise)).log() / 2)
        return self

    def exact_elbo(self, x: Tensor) -> Tensor:
        """The ELBO of all data, scaled by N / B for those of a minibatch, in nats; every expectation by hand."""
        m, v = self.at, (2 * self.log_width).exp()
        noise, variance = (2 * self.log_noise).exp(), (2 * self.log_scale).exp()
        miss = (x[:, 0] - self.slope * x[:, 0] - self.pull * m).square() + self.pull.square() * v + variance
        likelihood = -(2 * math.pi * noise).log() / 2 - miss / (2 * noise)  # (B,)
        off = (self.slope * x[:, 0] + (self.pull - 1) * m).square() + (self.pull - 1).square() * v + variance
        prior = -math.log(2 * math.pi) / 2 - off / 2  # (B,)
        local = likelihood + prior + (2 * math.pi * math.e * variance).log() / 2  # (B,)
        overall = (1 + v.log() - m.square() - v) / 2
        return local.sum() * (1 if self.data_size is None else self.data_size / len(x)) + overall


@dataclass(frozen=True, kw_only=True)
class Enumerated(Objective):
    """The ELBO of :class:`Mixture`, its expectation summed over the states."""

    needs_discrete: ClassVar[bool] = True

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        pair = owner(program.model)
        assert isinstance(pair, Mixture)
        particles = run_particles(program, batch, pair.num_states, given=pair.states(batch[0]))
        value = (particles.log_q.exp() * particles.log_w).sum(0)  # (B,)
        num_data = particles.scale * len(value)
        return Outcome(-particles.scale * value.sum(), num_data, {"bound": value.mean()})


@dataclass(frozen=True, kw_only=True)
class Adversarial(Objective):
    """A critic tells data from draws of the model; the model is the generator. Least squares (Mao et al. 2017)."""

    is_bound: ClassVar[bool] = False

    critic_steps: int = 2

    def players(self) -> tuple[Player, ...]:
        return (Player("critic", ("objective.",), self.critic_steps), Player("generator", ("pair.",)))

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        return nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        (x,) = batch
        assert program.own is not None
        with poutine.trace() as tracer:
            poutine.uncondition(program.model)(x)
        fake = torch.as_tensor(tracer.trace.nodes["x"]["value"])  # (B, 1)
        if player == "generator":
            loss = (program.own(fake) - 1).square().sum()
        else:
            loss = (program.own(x) - 1).square().sum() + program.own(fake.detach()).square().sum()
        return Outcome(loss, len(x), {"loss_of_" + player: loss / len(x)})


@dataclass(frozen=True, kw_only=True)
class Contrast(Objective):
    """Likelihood of :class:`Energy` by persistent contrastive divergence: the chains are the state (Tieleman 2008)."""

    is_bound: ClassVar[bool] = False
    needs_rsample: ClassVar[bool] = True

    num_chains: int = 10

    def initial_state(self, program: Program, batch: Batch) -> State:
        return {"chain": torch.zeros(self.num_chains, 1).to(batch[0])}

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        pair = owner(program.model)
        assert isinstance(pair, Energy)
        positive = run_particles(program, batch, 1).log_w.mean(0)  # (B,)
        chain = pair.gibbs(state["chain"]).detach()  # (C, 1)
        loss = len(positive) * pair.log_unnormalised(chain).mean() - positive.sum()
        return Outcome(loss, len(positive), {"energy_gap": loss / len(positive)}, {"chain": chain})
