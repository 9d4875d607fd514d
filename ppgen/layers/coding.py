"""One layer of an autoencoder as a pair with a point guide, and what such layers share.

    h(x) = s(W' x + b)          W: (D, H),  b: (H,)
    x'   = r(V h + c)           V: (D, H), or W where it is tied;  c: (D,)

    p(x | h) = "rates"          bits of the rates x, x' = sigmoid(V h + c): minus a cross-entropy
               "binary"         the same of bits
               "real"           N(x', I): minus |x - x'|^2 / 2, less (D / 2) log 2 pi

    q(h | x) = a point at h(x~),        x~ ~ c(x~ | x) in training where there is noise, an auxiliary site; else x

p(h) is flat and counts nothing, so that a log-weight is log p(x | h(x~)) less what is penalised:

    sparsity        b sum_j KL(rho || mean_x h_j(x)),           the mean is over the batch (Ng)
    contraction     l |dh/dx|^2 = l sum_j s'_j^2 |W_j|^2,       one layer (Rifai et al. 2011, eq. 5); of several the
                                                                product of their Jacobians, exact too
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import kl_divergence

from ppgen.distributions.corruption import Corruption, corruption_of
from ppgen.distributions.point import RoundedPoint
from ppgen.layers.reconstruction import Observed, given_outputs
from ppgen.pairs.pair import Pair

__all__ = ["UNITS", "CodingLayer", "Noise", "Penalties", "Units", "contraction", "flat"]

Units = Literal["sigmoid", "tanh", "relu", "identity"]


class _Unit(NamedTuple):
    """s, and s' as a function of s."""

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


UNITS: dict[str, _Unit] = {
    "identity": _Unit(lambda a: a, torch.ones_like),
    "relu": _Unit(torch.relu, lambda h: (h > 0).to(h.dtype)),
    "sigmoid": _Unit(torch.sigmoid, lambda h: h * (1 - h)),
    "tanh": _Unit(torch.tanh, lambda h: 1 - h.square()),
}
"""Units by name."""


@dataclass(frozen=True)
class Noise:
    """c(x~ | x): its kind, and its level; at 0 there is none."""

    kind: Corruption
    level: float

    def of(self, x: Tensor, *, training: bool) -> Tensor:
        """x~, (B, D), or of K particles (K, B, D), drawn at site ``x_tilde``; x itself where there is no noise."""
        if not training or self.level == 0:
            return x
        with poutine.mask(mask=False):  # it is no latent: its probability counts nowhere
            drawn: Tensor = pyro.sample(
                "x_tilde", corruption_of(x, self.kind, self.level), infer={"is_auxiliary": True}
            )
        return drawn


@dataclass(frozen=True)
class Penalties:
    """Weights of what is taken off a log-weight: b of sparsity with its rho, and l of the contraction."""

    sparsity: float = 0.0
    target: float = 0.05
    contractive: float = 0.0

    def take(self, x: Tensor, layers: Sequence[CodingLayer]) -> None:
        """The factor ``penalty`` of a datum, in the plate of the data x, (B, D); none where both weights are 0."""
        if self.sparsity == 0 and self.contractive == 0:
            return
        hs = activations(x, layers)
        taken = self.contractive * contraction(hs, layers) if self.contractive else x.new_zeros(len(x))
        if self.sparsity:
            taken = taken + self.sparsity * self.divergence(hs[-1])
        pyro.factor("penalty", -taken)  # (B,)

    def divergence(self, h: Tensor) -> Tensor:
        """sum_j KL(rho || mean_x h_j), of h (B, H) in (0, 1), (), nats."""
        tiny = torch.finfo(h.dtype).eps
        aimed = dist.Bernoulli(torch.full_like(h[0], self.target))
        found: Tensor = kl_divergence(aimed, dist.Bernoulli(h.mean(0).clamp(tiny, 1 - tiny))).sum()
        return found


def activations(x: Tensor, layers: Sequence[CodingLayer]) -> list[Tensor]:
    """h_1 .. h_L of x, (..., D) to (..., H_l) each."""
    found = [x]
    for layer in layers:
        found.append(layer.encode(found[-1]))
    return found[1:]


def contraction(hs: Sequence[Tensor], layers: Sequence[CodingLayer]) -> Tensor:
    """|d h_L / d x|^2, the sum of squares of the Jacobian, of h_l (B, H_l): (B,)."""
    slopes = [UNITS[layer.units].slope(h) for h, layer in zip(hs, layers, strict=True)]
    if len(layers) == 1:
        return slopes[0].square() @ layers[0].weight.square().sum(0)
    jacobian = slopes[-1].unsqueeze(-1) * layers[-1].weight.T  # (B, H_L, H_{L-1})
    for slope, layer in zip(slopes[-2::-1], layers[-2::-1], strict=True):
        jacobian = (jacobian * slope.unsqueeze(-2)) @ layer.weight.T  # (B, H_L, H_{l-1})
    return jacobian.square().sum((-2, -1))


def flat(x: Tensor, size: int) -> Tensor:
    """The model's site ``z``, (K, B, size): what stands for its prior counts nothing, and its draws are of N(0, I)."""
    with poutine.mask(mask=False):
        drawn: Tensor = pyro.sample("z", dist.Normal(x.new_zeros(size), x.new_ones(size)).to_event(1))
    return drawn


class CodingLayer(Pair):
    """One layer. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (H,), real, in the plate ``data``: h
        x: (D,), observed, in the plate ``data``
        penalty: (), a factor, in the plate ``data``; only where something is penalised

    Parameters: ``weight`` W (D, H), ``hidden_bias`` b, ``visible_bias`` c, and ``decoder_weight`` V (D, H), untied.

    Args:
        num_inputs: D.
        size: H.
        units: s.
        observed: what x is; of real x, r is the identity, or ``inner``.
        tied: whether V is W.
        noise: c(x~ | x).
        penalties: what is penalised.
        data_size: N.
        inner: the units that made x, where x are codes of a layer below: those of its reconstruction too.
    """

    def __init__(
        self,
        num_inputs: int,
        size: int,
        units: Units,
        observed: Observed,
        tied: bool,
        noise: Noise,
        penalties: Penalties,
        data_size: int | None = None,
        inner: Units = "identity",
    ) -> None:
        super().__init__(data_size=data_size)
        self.units, self.observed, self.inner = units, observed, inner
        self.noise, self.penalties = noise, penalties
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_inputs, size)))
        self.hidden_bias = nn.Parameter(torch.zeros(size))
        self.visible_bias = nn.Parameter(torch.zeros(num_inputs))
        self.decoder_weight = None if tied else nn.Parameter(self.weight.detach().clone())

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            h = flat(x, len(self.hidden_bias))  # (K, B, H)
            self.penalties.take(x, [self])
            pyro.sample("x", self.given(h), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            h = self.encode(self.noise.of(x, training=self.training))
            pyro.sample("z", RoundedPoint(h, event_dim=1))  # type: ignore[no-untyped-call]  # (K, B, H)

    def encode(self, x: Tensor) -> Tensor:
        """h(x), (..., D) to (..., H)."""
        return UNITS[self.units].value(x @ self.weight + self.hidden_bias)

    def outputs(self, h: Tensor) -> Tensor:
        """V h + c, (..., H) to (..., D)."""
        return self.visible_bias + h @ (self.weight if self.decoder_weight is None else self.decoder_weight).T

    def decode(self, h: Tensor) -> Tensor:
        """x', (..., H) to (..., D)."""
        outputs = self.outputs(h)
        return UNITS[self.inner].value(outputs) if self.observed == "real" else outputs.sigmoid()

    def given(self, h: Tensor) -> Any:
        """p(x | h), event shape (D,)."""
        return given_outputs(self.observed, self.decode(h) if self.observed == "real" else self.outputs(h))
