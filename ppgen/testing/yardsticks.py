"""Pairs of one latent number whose truth is known, on which objectives are judged.

    gaussian:   z ~ N(0, 1),        x | z ~ N(w z, 1),          q(z | x) = N(a x + b, s^2)
    bernoulli:  z ~ Bernoulli(1/2), x | z ~ N(w z, 1),          q(z | x) = Bernoulli(sigmoid(a x + b))
    shared:     the gaussian pair with one more latent outside the data plate, m ~ N(0, 1), x | z, m ~ N(w z + m, 1)
    normal:     z ~ N(0, 1),        x = b + s z,                without a density; the guide is the prior,
                                                                or q(z | x) = N(a x, 1/4)
    counted:    z ~ N(0, 1),        x | z ~ Bernoulli(sigmoid(w z)), whose draws have no gradient
    energy:     log p~(x, h) = -(x - a)^2 / (2 s^2) + h (w x + b),  h in {0, 1}, unnormalised, with the exact guide
    directed:   log p~(h) = w h + softplus(a h + b),  h in {0, 1},  x | h ~ N(w h, 1),  q(h | x) as that of bernoulli
    bits:       log p~(x, h) = a x_1 + b x_2 + h (w (x_1 + x_2) + log s),  x in {0, 1}^2, h in {0, 1}, likewise

The other guides are wrong on purpose: at the exact posterior all bounds agree, and none can be told from another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.pair import Pair
from ppgen.pairs.running import Batch
from ppgen.pairs.stack import Directed

__all__ = [
    "BernoulliYardstick",
    "BitsYardstick",
    "CountedYardstick",
    "DirectedYardstick",
    "EnergyYardstick",
    "GaussianYardstick",
    "ImplicitYardstick",
    "SharedYardstick",
    "Yardstick",
    "data",
]


def data(size: int) -> tuple[Tensor]:
    """A batch of ``size`` numbers, half of them -1 and half 1.5: (size,), float64."""
    return (torch.tensor([-1.0, 1.5], dtype=torch.float64).repeat(math.ceil(size / 2))[:size],)


class Yardstick(Pair):
    """The parameters, and the data, that all share."""

    values: ClassVar[Mapping[str, float]] = {"w": 1.2, "a": 0.3, "b": 0.2, "log_s": -0.2}
    w: Tensor
    a: Tensor
    b: Tensor
    log_s: Tensor

    def __init__(self, data_size: int | None = None) -> None:
        super().__init__(data_size)
        for name, value in self.values.items():
            setattr(self, name, nn.Parameter(torch.tensor(value, dtype=torch.float64)))

    def batch(self, size: int) -> tuple[Tensor, ...]:
        """A batch of ``size`` data that it is judged on."""
        return data(size)


class GaussianYardstick(Yardstick):
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


class BernoulliYardstick(Yardstick):
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


class SharedYardstick(Yardstick):
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


class ImplicitYardstick(Yardstick):
    """See the module. Sites: z (1,), x (1,) observed, both in the plate ``data``; with ``shared`` m (1,) outside it,
    which is added to x. Its data are normal too, so that :meth:`distance` is known. ``infers``: the guide depends on x;
    ``sources``: a batch is (x, s), and x is independent of its source s, data's and the model's alike.
    """

    implicit = True
    values: ClassVar[Mapping[str, float]] = {"b": 0.2, "log_s": -0.2}

    def __init__(
        self, data_size: int | None = None, shared: bool = False, infers: bool = False, sources: bool = False
    ) -> None:
        super().__init__(data_size)
        self.shared, self.sources = shared, sources
        self.slope = nn.Parameter(torch.tensor(0.3, dtype=torch.float64)) if infers else None

    def batch(self, size: int) -> tuple[Tensor, ...]:
        """``size`` numbers that stand for N(-2, 1), its quantiles: (size, 1), float64; sources 1 and -1 in turn."""
        levels = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        x = torch.special.ndtri(levels)[:, None] - 2
        return (x, 1 - 2 * (torch.arange(size).to(x)[:, None] % 2)) if self.sources else (x,)

    def model(self, x: Tensor, s: Tensor | None = None) -> None:
        m = pyro.sample("m", self._prior(x)) if self.shared else 0.0  # (K, 1, 1)
        with self.data_plate(x):
            z = pyro.sample("z", self._prior(x))  # (K, B, 1)
            pyro.sample("x", dist.Delta(m + self.b + self.log_s.exp() * z, event_dim=1), obs=x)  # (B, 1)

    def guide(self, x: Tensor, s: Tensor | None = None) -> None:
        if self.shared:
            pyro.sample("m", self._prior(x))
        with self.data_plate(x):
            inferred = self._prior(x) if self.slope is None else dist.Normal(self.slope * x, 0.5).to_event(1)
            pyro.sample("z", inferred)

    def distance(self) -> float:
        """The squared 2-Wasserstein distance of its draws, N(b, s^2), from its data, N(-2, 1)."""
        return float(((self.b + 2).square() + (self.log_s.exp() - 1).square()).detach())

    def _prior(self, x: Tensor) -> Any:
        return dist.Normal(x.new_zeros(1), 1.0).to_event(1)


class CountedYardstick(Yardstick):
    """See the module. Sites: z (), x () observed, both in the plate ``data``."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(self.w), 1.0))  # (K, B)
            pyro.sample("x", dist.Bernoulli(logits=self.w * z), obs=x)  # (B,)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.a * x + self.b, self.log_s.exp()))  # (K, B)


class EnergyYardstick(Yardstick, EnergyPair):
    """See the module. Sites: h (), energy () a factor, both in the plate ``data``. A datum is one number, x (B,)."""

    observation = "real"

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


class DirectedYardstick(Yardstick, Directed, EnergyPair):
    """See the module. Sites: h (), energy () a factor, both in the plate ``data``. A datum is one number, x (B,), and a
    chain's state is h."""

    exact_guide = False

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            h = pyro.sample("h", dist.Bernoulli(logits=torch.zeros_like(self.w)))  # (K, B)
            pyro.factor("energy", self.log_tempered(h, 1.0) + self._log_visible(x, h) + math.log(2))  # (K, B)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("h", dist.Bernoulli(logits=self.a * x + self.b))  # (K, B)

    def free_energy(self, v: Tensor) -> Tensor:
        h = torch.stack([torch.zeros_like(v), torch.ones_like(v)])
        return -(self.log_tempered(h, 1.0) + self._log_visible(v, h)).logsumexp(0)

    def sweep(self, s: Tensor) -> Tensor:
        return self.tempered_sweep(s, 1.0)

    def log_tempered(self, s: Tensor, b: Tensor | float) -> Tensor:
        return b * (self.w * s + softplus(self.a * s + self.b))

    def tempered_sweep(self, s: Tensor, b: Tensor | float) -> Tensor:
        one, none = (self.log_tempered(h, b) for h in (torch.ones_like(s), torch.zeros_like(s)))
        return torch.bernoulli((one - none).sigmoid())

    def base_sample(self, num: int) -> Tensor:
        return torch.rand(num).round().to(self.a)

    def base_log_z(self) -> Tensor:
        return torch.full_like(self.w, 2.0).log()

    def exact_log_z(self) -> Tensor:
        return self.log_tempered(torch.tensor([0.0, 1.0], dtype=torch.float64), 1.0).logsumexp(0)

    @property
    def has_own_state(self) -> bool:
        return True

    def state_at(self, v: Tensor) -> Tensor:
        return self.ascend((v,))["h"]

    def visible(self, s: Tensor) -> Tensor:
        found: Tensor = self.descend(s)[0][0]
        return found

    @torch.no_grad()
    def ascend(self, batch: Batch) -> dict[str, Tensor]:
        return {"h": torch.bernoulli((self.a * batch[0] + self.b).sigmoid())}

    def state_of(self, latents: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return latents["h"]

    @torch.no_grad()
    def descend(self, s: Tensor) -> tuple[Batch, dict[str, Tensor]]:
        return (self.w * s + torch.randn_like(s),), {"h": s}

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x), exact, (B,), in nats."""
        return (-self.free_energy(x) - self.exact_log_z()).detach()

    def _log_visible(self, x: Tensor, h: Tensor) -> Tensor:
        return -0.5 * (x - self.w * h).square() - 0.5 * math.log(2 * math.pi)


class BitsYardstick(Yardstick, EnergyPair):
    """See the module. Sites: h (), energy () a factor, both in the plate ``data``. A datum is two bits, x (B, 2)."""

    observation = "binary"

    def batch(self, size: int) -> tuple[Tensor]:
        """``size`` data, (0, 1), (1, 1) and (0, 0) in turn: (size, 2), float64."""
        three = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
        return (three[torch.arange(size) % 3],)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            h = pyro.sample("h", dist.Bernoulli(logits=torch.zeros_like(self.w)))  # (K, B)
            pyro.factor("energy", x @ self._bias() + h * self._logit(x) + math.log(2))  # (K, B)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("h", dist.Bernoulli(logits=self._logit(x)))  # (K, B)

    def free_energy(self, v: Tensor) -> Tensor:
        return -self.log_tempered(v, 1.0)

    def sweep(self, v: Tensor) -> Tensor:
        return self.tempered_sweep(v, 1.0)

    def log_tempered(self, v: Tensor, b: Tensor | float) -> Tensor:
        return b * (v @ self._bias()) + softplus(b * self._logit(v))

    def tempered_sweep(self, v: Tensor, b: Tensor | float) -> Tensor:
        h = torch.bernoulli((b * self._logit(v)).sigmoid())
        logits = self._bias() + self.w * h[..., None]
        return torch.bernoulli((torch.as_tensor(b)[..., None] * logits).sigmoid())

    def base_sample(self, num: int) -> Tensor:
        return torch.rand(num, 2).round().to(self.a)

    def base_log_z(self) -> Tensor:
        return 3 * torch.full_like(self.w, 2.0).log()

    def exact_log_z(self) -> Tensor:
        return self.log_tempered(self.states(), 1.0).logsumexp(0)

    def states(self) -> Tensor:
        """All data, (4, 2)."""
        return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 2)

    def _bias(self) -> Tensor:
        return torch.stack([self.a, self.b])

    def _logit(self, v: Tensor) -> Tensor:
        return self.w * v.sum(-1) + self.log_s
