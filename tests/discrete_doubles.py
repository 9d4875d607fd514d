"""Small pairs with discrete latents whose bounds and gradients are exact: every state summed, none of the engine.

Pairs: :class:`Coin` and :class:`CloseCoin` (one Bernoulli, the (b - t)^2 toy), :class:`TinySBN` and
:class:`TinyDeepSBN` (one layer and two), :class:`Choice` (two one-hot units), :class:`Blend` (a reparameterized site
between two discrete ones), :class:`Braid` (two of either kind in turn).

A particle takes one of A atoms: a state of the discrete sites, and, in :class:`Blend`, a node of the Gauss-Hermite rule
for the noise of the reparameterized one. With masses q_a and log-weights log w_a, the expectation of a bound of K
particles is the sum over the A^K tuples of atoms, and autograd through masses and log-weights gives its exact gradient.

With ``copies``, every parameter is there as many times as there are data, (copies, ...): the gradient of a sum over
data then holds an independent draw of the gradient for each datum.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from ppgen.pairs.pair import Pair

__all__ = [
    "DOUBLES",
    "Blend",
    "Braid",
    "Choice",
    "CloseCoin",
    "Coin",
    "DiscreteDouble",
    "Reduce",
    "TinyDeepSBN",
    "TinySBN",
    "exact_gradient",
    "exact_value",
    "gradient_draws",
]

Parameters = Mapping[str, Tensor]
"""One copy of a pair's parameters, by name."""

Reduce = Callable[[Tensor], Tensor]
"""A bound as a function of log-weights, (K, ...) to (...)."""


class DiscreteDouble(Pair):
    """A pair in float64 that can list its atoms. One batch is ``(x,)``, x of shape (B, D), all copies of ``datum``.

    Args:
        copies: how many copies of its parameters it holds, one for each datum; None: one for all data.
    """

    start: ClassVar[Mapping[str, Tensor]]
    datum: ClassVar[Tensor]
    """One x, (D,)."""

    def __init__(self, copies: int | None = None) -> None:
        super().__init__()
        self.copies = copies
        for name, value in self.start.items():
            value = value.double()
            setattr(
                self, name, nn.Parameter(value.clone() if copies is None else value.repeat(copies, *[1] * value.dim()))
            )

    @property
    def batch(self) -> tuple[Tensor, ...]:
        """The datum, once for each copy of the parameters: ``(x,)``, (B, D)."""
        return (self.datum.double().repeat(self.copies or 1, 1),)

    @abstractmethod
    def atoms(self, p: Parameters) -> tuple[Tensor, Tensor]:
        """The masses and the log-weights of the atoms at ``datum``, (A,) each; written without Pyro."""

    @classmethod
    def parameters_once(cls) -> dict[str, Tensor]:
        """One copy of the initial parameters, by name, with gradients."""
        return {name: value.double().clone().requires_grad_() for name, value in cls.start.items()}


def exact_value(
    pair: DiscreteDouble, reduce: Reduce, num_particles: int, parameters: Parameters | None = None
) -> Tensor:
    """E reduce(log w_1, ..., log w_K) at the pair's datum, a scalar in nats: the sum over all tuples of atoms."""
    mass, log_w = pair.atoms(pair.parameters_once() if parameters is None else parameters)
    tuples = torch.cartesian_prod(*[torch.arange(len(mass))] * num_particles).reshape(-1, num_particles).T  # (K, A^K)
    return (mass[tuples].prod(0) * reduce(log_w[tuples])).sum()


def exact_gradient(pair: DiscreteDouble, reduce: Reduce, num_particles: int) -> dict[str, Tensor]:
    """The gradient of :func:`exact_value` by every parameter, in its own shape."""
    parameters = pair.parameters_once()
    value = exact_value(pair, reduce, num_particles, parameters)
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


def gradient_draws(objective: Any, pair: DiscreteDouble, rounds: int = 1) -> dict[str, Tensor]:
    """Independent draws of the gradient of the bound (minus the loss), one a round for each copy that the pair holds.

    Shape (rounds * copies,) and that of the parameter.
    """
    parameters = dict(pair.named_parameters())
    found = [
        torch.autograd.grad(
            -objective.differentiable_loss(pair.model, pair.guide, *pair.batch),
            list(parameters.values()),
            allow_unused=True,
            materialize_grads=True,
        )
        for _ in range(rounds)
    ]
    return {name: torch.cat(draws) for name, draws in zip(parameters, zip(*found, strict=True), strict=True)}


def _bernoulli(value: Tensor, logits: Tensor) -> Tensor:
    """log p of 0 or 1, elementwise."""
    return value * logsigmoid(logits) + (1 - value) * logsigmoid(-logits)


def _normal(value: Tensor, loc: Tensor, log_scale: Tensor | float = 0.0) -> Tensor:
    log_scale = torch.as_tensor(log_scale)
    return -((value - loc) * (-log_scale).exp()).square() / 2 - log_scale - math.log(2 * math.pi) / 2


def _bits(num_units: int) -> Tensor:
    """All states of binary units, (2^n, n)."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * num_units).reshape(-1, num_units)


def _times(z: Tensor, weight: Tensor) -> Tensor:
    """z W: (..., n) by (n, m), or, for copies, by (B, n, m)."""
    return (z.unsqueeze(-1) * weight).sum(-2)


class Coin(DiscreteDouble):
    """The toy of the literature: maximise E_q[(b - t)^2] over q(b) = Bernoulli(sigmoid(logit)); t = 0.45 or 0.499.

    The "model" gives (b - t)^2 as a log-probability beside a uniform b that the guide's log q is taken against, so that
    the ELBO is E (b - t)^2 plus the entropy of q, and its gradient that of both.

    Sites:
        b: (1,), 0 or 1, in the plate ``data``
        reward: a factor, in the plate ``data``: (b - t)^2 + log 2
    """

    start: ClassVar = {"logit": torch.tensor([-0.4]), "target": torch.tensor([0.45])}
    datum: ClassVar = torch.zeros(1)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            b = pyro.sample("b", dist.Bernoulli(logits=x.new_zeros(1)).to_event(1))  # (K, B, 1)
            pyro.factor("reward", (b - self.target).square().sum(-1) + math.log(2))  # (K, B)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("b", dist.Bernoulli(logits=self.logit).to_event(1))  # (K, B, 1)

    def atoms(self, p: Parameters) -> tuple[Tensor, Tensor]:
        b = _bits(1)[:, 0]
        log_q = _bernoulli(b, p["logit"])
        return log_q.exp(), (b - p["target"]).square() - log_q


class CloseCoin(Coin):
    """:class:`Coin` with t = 0.499, where the two rewards are all but equal."""

    start: ClassVar = {"logit": torch.tensor([0.0]), "target": torch.tensor([0.499])}


class TinySBN(DiscreteDouble):
    """A sigmoid belief network of 3 binary pixels and 2 hidden units; its guide is logistic in the pixels.

    Sites:
        z: (2,), 0 or 1, in the plate ``data``
        x: (3,), observed, in the plate ``data``
    """

    start: ClassVar = {
        "prior": torch.tensor([0.3, -0.6]),
        "weight": torch.tensor([[0.9, -1.4, 0.5], [-0.7, 0.8, 1.6]]),
        "bias": torch.tensor([0.2, -0.3, 0.4]),
        "slope": torch.tensor([[0.6, -0.5], [-0.9, 0.4], [0.3, 0.8]]),
        "offset": torch.tensor([-0.2, 0.5]),
    }
    datum: ClassVar = torch.tensor([1.0, 0.0, 1.0])

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Bernoulli(logits=self.prior).to_event(1))  # (K, B, 2)
            pyro.sample("x", dist.Bernoulli(logits=_times(z, self.weight) + self.bias).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Bernoulli(logits=_times(x, self.slope) + self.offset).to_event(1))  # (K, B, 2)

    def atoms(self, p: Parameters) -> tuple[Tensor, Tensor]:
        z, x = _bits(2), self.datum.double()
        log_p = _bernoulli(z, p["prior"]).sum(-1) + _bernoulli(x, z @ p["weight"] + p["bias"]).sum(-1)
        log_q = _bernoulli(z, x @ p["slope"] + p["offset"]).sum(-1)
        return log_q.exp(), log_p - log_q


class TinyDeepSBN(DiscreteDouble):
    """Two layers: p(z2) p(z1 | z2) p(x | z1), q(z1 | x) q(z2 | z1), two units each.

    Sites:
        z1: (2,), 0 or 1, in the plate ``data``; the guide's first
        z2: (2,), 0 or 1, in the plate ``data``; the model's first
        x: (3,), observed, in the plate ``data``
    """

    start: ClassVar = {
        "prior": torch.tensor([0.3, -0.6]),
        "top": torch.tensor([[1.1, -0.8], [-0.5, 1.3]]),
        "top_bias": torch.tensor([-0.2, 0.1]),
        "weight": torch.tensor([[0.9, -1.4, 0.5], [-0.7, 0.8, 1.6]]),
        "bias": torch.tensor([0.2, -0.3, 0.4]),
        "slope1": torch.tensor([[0.6, -0.5], [-0.9, 0.4], [0.3, 0.8]]),
        "offset1": torch.tensor([-0.2, 0.5]),
        "slope2": torch.tensor([[0.7, -0.9], [-0.4, 0.6]]),
        "offset2": torch.tensor([0.1, -0.1]),
    }
    datum: ClassVar = torch.tensor([1.0, 0.0, 1.0])

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z2 = pyro.sample("z2", dist.Bernoulli(logits=self.prior).to_event(1))  # (K, B, 2)
            z1 = pyro.sample("z1", dist.Bernoulli(logits=_times(z2, self.top) + self.top_bias).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=_times(z1, self.weight) + self.bias).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            z1 = pyro.sample("z1", dist.Bernoulli(logits=_times(x, self.slope1) + self.offset1).to_event(1))
            pyro.sample("z2", dist.Bernoulli(logits=_times(z1, self.slope2) + self.offset2).to_event(1))

    def atoms(self, p: Parameters) -> tuple[Tensor, Tensor]:
        z1, z2, x = _bits(4)[:, :2], _bits(4)[:, 2:], self.datum.double()
        log_p = _bernoulli(z2, p["prior"]).sum(-1) + _bernoulli(z1, z2 @ p["top"] + p["top_bias"]).sum(-1)
        log_p = log_p + _bernoulli(x, z1 @ p["weight"] + p["bias"]).sum(-1)
        log_q = _bernoulli(z1, x @ p["slope1"] + p["offset1"]).sum(-1)
        log_q = log_q + _bernoulli(z2, z1 @ p["slope2"] + p["offset2"]).sum(-1)
        return log_q.exp(), log_p - log_q


class Choice(DiscreteDouble):
    """Two one-hot units of three classes; x | c ~ N(sum of the classes' locs, 1).

    Sites:
        c: (2, 3), one-hot rows, in the plate ``data``
        x: (2,), observed, in the plate ``data``
    """

    start: ClassVar = {
        "prior": torch.tensor([[0.2, -0.4, 0.1], [-0.3, 0.5, 0.0]]),
        "locs": torch.tensor([[[-1.5, 0.4], [0.3, -0.9], [1.2, 0.8]], [[0.5, -0.7], [-1.1, 0.2], [0.9, 1.3]]]),
        "slope": torch.tensor([[[-0.5, 0.1, 0.7], [0.4, -0.6, 0.2]], [[0.3, -0.2, 0.5], [-0.8, 0.6, 0.1]]]),
        "offset": torch.tensor([[0.1, -0.2, 0.0], [0.0, 0.3, -0.4]]),
    }
    datum: ClassVar = torch.tensor([0.8, -0.5])

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            c = pyro.sample("c", dist.OneHotCategorical(logits=self.prior).to_event(1))  # (K, B, 2, 3)
            pyro.sample("x", dist.Normal((c.unsqueeze(-1) * self.locs).sum((-3, -2)), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        logits = (x[:, :, None, None] * self.slope).sum(-3) + self.offset  # (B, 2, 3)
        with self.data_plate(x):
            pyro.sample("c", dist.OneHotCategorical(logits=logits).to_event(1))  # (K, B, 2, 3)

    def atoms(self, p: Parameters) -> tuple[Tensor, Tensor]:
        x = self.datum.double()
        one, other = torch.cartesian_prod(torch.arange(3), torch.arange(3)).T  # (9,)
        logits = torch.einsum("d,duc->uc", x, p["slope"]) + p["offset"]
        log_q, prior = logits.log_softmax(-1), p["prior"].log_softmax(-1)
        log_p = prior[0, one] + prior[1, other] + _normal(x, p["locs"][0, one] + p["locs"][1, other]).sum(-1)
        log_q = log_q[0, one] + log_q[1, other]
        return log_q.exp(), log_p - log_q


class Blend(DiscreteDouble):
    """A reparameterized site between two discrete ones.

    p(b) p(y | b) p(c | y) p(x | y, c), and q(b | x) q(y | b, x) q(c | y): log q(c | y) carries the path of y.

    Sites:
        b: (1,), 0 or 1, in the plate ``data``
        y: (1,), real, in the plate ``data``
        c: (1,), 0 or 1, in the plate ``data``
        x: (1,), observed, in the plate ``data``
    """

    start: ClassVar = {
        "prior_b": torch.tensor([0.3]),
        "jump": torch.tensor([1.2]),
        "log_spread": torch.tensor([-0.3]),
        "link": torch.tensor([0.9]),
        "gain": torch.tensor([0.7]),
        "shift": torch.tensor([-0.8]),
        "slope_b": torch.tensor([0.8]),
        "slope_y": torch.tensor([0.5]),
        "jump_y": torch.tensor([0.6]),
        "log_scale_y": torch.tensor([-0.2]),
        "slope_c": torch.tensor([-0.7]),
        "offset_c": torch.tensor([0.2]),
    }
    datum: ClassVar = torch.tensor([1.3])
    nodes: ClassVar = 40

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            b = pyro.sample("b", dist.Bernoulli(logits=self.prior_b).to_event(1))  # (K, B, 1)
            y = pyro.sample("y", dist.Normal(self.jump * b, self.log_spread.exp()).to_event(1))
            c = pyro.sample("c", dist.Bernoulli(logits=self.link * y).to_event(1))
            pyro.sample("x", dist.Normal(self.gain * y + self.shift * c, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            b = pyro.sample("b", dist.Bernoulli(logits=self.slope_b * x).to_event(1))  # (K, B, 1)
            loc = self.slope_y * x + self.jump_y * b
            y = pyro.sample("y", dist.Normal(loc, self.log_scale_y.exp()).to_event(1))
            pyro.sample("c", dist.Bernoulli(logits=self.slope_c * y + self.offset_c).to_event(1))

    def atoms(self, p: Parameters) -> tuple[Tensor, Tensor]:
        x = self.datum.double()
        points, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(self.nodes))
        b, c = (unit[:, None] for unit in _bits(2).T)  # (4, 1)
        y = p["slope_y"] * x + p["jump_y"] * b + p["log_scale_y"].exp() * points  # (4, nodes)
        log_p = _bernoulli(b, p["prior_b"]) + _normal(y, p["jump"] * b, p["log_spread"])
        log_p = log_p + _bernoulli(c, p["link"] * y) + _normal(x, p["gain"] * y + p["shift"] * c)
        log_b, log_c = _bernoulli(b, p["slope_b"] * x), _bernoulli(c, p["slope_c"] * y + p["offset_c"])
        log_y = _normal(y, p["slope_y"] * x + p["jump_y"] * b, p["log_scale_y"])
        mass = (log_b + log_c).exp() * weights / math.sqrt(2 * math.pi)
        return mass.flatten(), (log_p - log_b - log_y - log_c).flatten()


class Braid(DiscreteDouble):
    """Two reparameterized sites, the second of which has the path of the first, and a discrete one after each.

    p(y) p(b) p(v | y, b) p(c | v) p(x | v, c), and q(y | x) q(b | y) q(v | y, b) q(c | v); the priors of v and c have
    parameters, and that of v those of a location and a scale.

    Sites:
        y: (1,), real, in the plate ``data``
        b: (1,), 0 or 1, in the plate ``data``
        v: (1,), real, in the plate ``data``
        c: (1,), 0 or 1, in the plate ``data``
        x: (1,), observed, in the plate ``data``
    """

    names: ClassVar = "reach jump log_spread link shift slope_y log_scale_y slope_b reach_v jump_v log_scale_v slope_c"
    values: ClassVar = torch.tensor([0.8, -0.9, 0.1, 0.7, -0.8, 0.3, -0.1, 0.9, 0.5, -0.4, -0.2, -0.8])
    start: ClassVar = dict(zip(names.split(), values[:, None], strict=True))
    datum: ClassVar = torch.tensor([0.9])
    nodes: ClassVar = 14

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            y = pyro.sample("y", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            b = pyro.sample("b", dist.Bernoulli(logits=x.new_zeros(1)).to_event(1))
            v = pyro.sample("v", dist.Normal(self.reach * y + self.jump * b, self.log_spread.exp()).to_event(1))
            c = pyro.sample("c", dist.Bernoulli(logits=self.link * v).to_event(1))
            pyro.sample("x", dist.Normal(v + self.shift * c, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            y = pyro.sample("y", dist.Normal(self.slope_y * x, self.log_scale_y.exp()).to_event(1))
            b = pyro.sample("b", dist.Bernoulli(logits=self.slope_b * y).to_event(1))
            loc = self.reach_v * y + self.jump_v * b
            v = pyro.sample("v", dist.Normal(loc, self.log_scale_v.exp()).to_event(1))
            pyro.sample("c", dist.Bernoulli(logits=self.slope_c * v).to_event(1))

    def atoms(self, p: Parameters) -> tuple[Tensor, Tensor]:
        x = self.datum.double()
        points, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(self.nodes))
        first, second = torch.cartesian_prod(points, points).T  # (nodes^2,)
        mass = torch.cartesian_prod(weights, weights).prod(-1) / (2 * math.pi)
        b, c = (unit[:, None] for unit in _bits(2).T)  # (4, 1)
        y = p["slope_y"] * x + p["log_scale_y"].exp() * first
        loc = p["reach_v"] * y + p["jump_v"] * b
        v = loc + p["log_scale_v"].exp() * second  # (4, nodes^2)
        log_p = _normal(y, torch.zeros(1)) + _bernoulli(b, torch.zeros(1).double())
        log_p = log_p + _normal(v, p["reach"] * y + p["jump"] * b, p["log_spread"]) + _bernoulli(c, p["link"] * v)
        log_p = log_p + _normal(x, v + p["shift"] * c)
        log_d = _bernoulli(b, p["slope_b"] * y) + _bernoulli(c, p["slope_c"] * v)
        log_r = _normal(y, p["slope_y"] * x, p["log_scale_y"]) + _normal(v, loc, p["log_scale_v"])
        return (log_d.exp() * mass).flatten(), (log_p - log_d - log_r).flatten()


DOUBLES: tuple[type[DiscreteDouble], ...] = (Coin, CloseCoin, TinySBN, TinyDeepSBN, Choice, Blend)
"""Every pair here but :class:`Braid`, which is for pathwise parts."""
