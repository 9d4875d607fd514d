"""Codes of a spike and a slab: most numbers of a code are exactly zero, and which ones is a latent of its own.

    h_j ~ Bernoulli(a),   z_j ~ N(0, t^2)           j = 1..H: the code is h z, spikes times slab
    p(x | h, z) = N(W (h z) + c, s^2 I)             x: (D,)

    q(h, z | x) = prod_j q(h_j) q(z_j | h_j)        q(h_j = 1) = g_j, q(z_j | 1) = N(m_j, 1 / p_j), q(z_j | 0) = p(z_j)

Each factor is the best one, the others held, at (with G = W'W and b = W'(x - c))

    p_j = G_jj / s^2 + 1 / t^2,     m_j = (b_j - sum_{i != j} G_ji g_i m_i) / (s^2 p_j),
    log g_j / (1 - g_j) = log a / (1 - a) - log(t^2 p_j) / 2 + p_j m_j^2 / 2,

which is repeated, one j after another, until no g_j m_j moves. No step lowers the bound

    L(x) = E_q log p(x | h, z) - sum_j KL(g_j || a) - sum_j g_j KL(N(m_j, 1 / p_j) || N(0, t^2))  <=  log p(x).

It has many optima. From zero, the first columns take all; the ascent begins at the lasso's code, under a Laplace prior
of the same variance, which a convex problem tells. q has no gradient: where L is greatest it adds nothing to W's.

Given h all is Gaussian. The guide draws h from q and the slabs together, from ("full")

    p(z | h, x) = N(V U'(x - c) / s^2, V),   V = (U'U / s^2 + I / t^2)^-1,   U = W diag(h),

whose bound is above L, or from q as well ("mean_field"); the former takes H^2 numbers for each draw. And log p(x) =
log sum_h p(h) N(x; c, s^2 I + t^2 U U'), exact, where 2^H are few.

Spike and Slab Variational Inference for Multi-Task and Multiple Kernel Learning, Titsias and Lazaro-Gredilla, 2011,
section 3.1; Large-Scale Feature Learning With Spike-and-Slab Sparse Coding, Goodfellow, Courville and Bengio, 2012.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from ppgen.errors import UsageError
from ppgen.layers.lasso import lasso_codes
from ppgen.layers.linear_latents import GuideKind

__all__ = ["SpikeAndSlab", "Spikes"]

_LOOKS = 5
"""Sweeps after each of which rows that have arrived are left out."""
_MOST = 2**20
"""Numbers that the sum over spikes may hold of a datum."""


class Spikes(NamedTuple):
    """q(h, z | x) of B data: log-odds of g, m, (B, H), and 1 / p^1/2, (H,)."""

    logits: Tensor
    loc: Tensor
    scale: Tensor

    @property
    def mean(self) -> Tensor:
        """E h z, (B, H)."""
        return self.logits.sigmoid() * self.loc

    @property
    def second(self) -> Tensor:
        """E (h z)^2, (B, H)."""
        return self.logits.sigmoid() * (self.loc.square() + self.scale.square())


@dataclass(frozen=True)
class SpikeAndSlab:
    """The prior, a and t, with the noise s; sweeps over all j, at most; and how the guide draws slabs."""

    active: float
    slab: float
    noise: float
    iterations: int
    guide: GuideKind = "full"

    def draw(self, like: Tensor, number: int) -> Tensor:
        """The model's sites ``h`` and ``z``; h z, (K, B, H)."""
        zero = like.new_zeros(number)
        h: Tensor = pyro.sample("h", dist.Bernoulli(zero + self.active).to_event(1))
        z: Tensor = pyro.sample("z", dist.Normal(zero, self.slab).to_event(1))
        return h * z

    def infer(self, x: Tensor, W: Tensor) -> None:
        """The guide's sites ``h``, of q, and ``z``, of data x less c, (B, D)."""
        q = self.best(x, W)
        h = pyro.sample("h", dist.Bernoulli(logits=q.logits).to_event(1))  # (K, B, H)
        if self.guide == "mean_field":
            pyro.sample("z", dist.Normal(h * q.loc, h * q.scale + (1 - h) * self.slab).to_event(1))
        else:
            pyro.sample("z", self.slabs(h, x, W.detach()))

    def slabs(self, h: Tensor, x: Tensor, W: Tensor) -> Any:
        """p(z | h, x), exact, of spikes (..., H): of event shape (H,)."""
        used = W * h.unsqueeze(-2)  # (..., D, H)
        precision = used.mT @ used / self.noise**2 + torch.eye(W.shape[1]).to(W) / self.slab**2
        covariance = torch.cholesky_inverse(torch.linalg.cholesky(precision))
        loc = (covariance @ used.mT @ x.unsqueeze(-1)).squeeze(-1) / self.noise**2  # (..., H)
        return dist.MultivariateNormal(loc, covariance_matrix=covariance)

    def best(self, x: Tensor, W: Tensor) -> Spikes:
        """q of data x less c, (..., D), at W, (D, H), without gradient."""
        W = W.detach()
        gram, cross = W.T @ W, (x.detach() @ W).reshape(-1, W.shape[1])
        penalty = self.noise**2 * (2 / self.active) ** 0.5 / self.slab  # of a Laplace of variance a t^2
        start = lasso_codes(gram, cross, penalty, self.iterations)
        odds = math.log(self.active) - math.log1p(-self.active)
        logits, loc = _ascent(gram, cross, start, odds, self.slab, self.noise, self.iterations)
        shape = (*x.shape[:-1], W.shape[1])
        return Spikes(logits.reshape(shape), loc.reshape(shape), self._precision(gram).rsqrt())

    def bound(self, x: Tensor, W: Tensor, q: Spikes) -> Tensor:
        """L of data x less c, (B, D), at q: (B,), in nats, differentiable in W."""
        left = (x - q.mean @ W.T).square().sum(-1)
        spread = (q.second - q.mean.square()) @ W.square().sum(0)
        told = -(left + spread) / (2 * self.noise**2) - x.shape[-1] * math.log(2 * math.pi * self.noise**2) / 2
        spikes = kl_divergence(dist.Bernoulli(logits=q.logits), dist.Bernoulli(torch.full_like(q.logits, self.active)))
        slabs = kl_divergence(dist.Normal(q.loc, q.scale), dist.Normal(torch.zeros_like(q.loc), self.slab))
        bound: Tensor = told - (spikes + q.logits.sigmoid() * slabs).sum(-1)
        return bound

    def log_evidence(self, x: Tensor, W: Tensor) -> Tensor:
        """log p(x) of data x less c, (B, D), by the sum over spikes: (B,), in nats.

        Raises:
            UsageError: the sum would hold too many numbers.
        """
        features, number = W.shape
        if 2**number * features * number > _MOST:
            raise UsageError(
                f"the exact log p(x) is a sum over 2^{number} spikes of {features} numbers each, which is too many: "
                "bound it by local_bound(x), or estimate it by ppgen.log_weights."
            )
        h = ((torch.arange(2**number, device=W.device)[:, None] >> torch.arange(number, device=W.device)) & 1).to(W)
        log_prior = dist.Bernoulli(h.new_tensor(self.active)).log_prob(h).sum(-1)  # (S,)
        noise = x.new_full((features,), self.noise**2)
        given = dist.LowRankMultivariateNormal(torch.zeros_like(noise), self.slab * W * h[:, None], noise)
        evidence: Tensor = (given.log_prob(x.unsqueeze(-2)) + log_prior).logsumexp(-1)
        return evidence

    def _precision(self, gram: Tensor) -> Tensor:
        return gram.diagonal() / self.noise**2 + 1 / self.slab**2


@torch.library.custom_op(
    "ppgen::spike_slab",
    mutates_args=(),
    schema="(Tensor g, Tensor b, Tensor start, float odds, float t, float s, int n) -> (Tensor, Tensor)",
)
def _ascent(
    gram: Tensor, cross: Tensor, start: Tensor, odds: float, slab: float, noise: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """Log-odds and m, (B, H) each; a row stops when nothing of it moves, so that it does not depend on the others."""
    precision = gram.diagonal() / noise**2 + 1 / slab**2
    scaled = (1 / (noise**2 * precision)).unsqueeze(-1)  # (H, 1)
    pulls, others = scaled * cross.T, scaled * (gram - gram.diagonal().diag())  # (H, B), (H, H)
    base, near = odds - (slab**2 * precision).log() / 2, torch.finfo(cross.dtype).eps ** 0.5 / 10
    found, mean = torch.zeros_like(pulls), start.T.contiguous()  # m and g m of rows that have not arrived, (H, rows)
    rows, loc = torch.arange(len(cross), device=cross.device), found.clone()
    for first in range(0, iterations, _LOOKS):
        for _ in range(min(_LOOKS, iterations - first)):
            before = mean.clone()
            for pull, other, at, now, constant, half in zip(pulls, others, loc, mean, base, precision / 2, strict=True):
                torch.addmv(pull, mean.T, other, alpha=-1, out=at)
                torch.mul(torch.addcmul(constant, half * at, at).sigmoid_(), at, out=now)
        found[:, rows] = loc
        left = (mean - before).abs().amax(0) > near * mean.abs().amax(0)
        if not bool(left.any()):
            break
        rows, loc, mean, pulls = rows[left], loc[:, left], mean[:, left], pulls[:, left]
    logits = base.unsqueeze(-1) + precision.unsqueeze(-1) * found.square() / 2
    return logits.T.contiguous(), found.T.contiguous()


@_ascent.register_fake
def _(
    gram: Tensor, cross: Tensor, start: Tensor, odds: float, slab: float, noise: float, iterations: int
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(cross), torch.empty_like(cross)
