"""Families richer than a guide's own, for one datum at a time: a Gaussian of full covariance, and a flow of it.

    full     u ~ N(m, S S')
    flow     u = m + S v,  v = T(a + T_c e; c),  e ~ N(0, I)          c: a vector of each datum

u are all continuous latents of a datum, unconstrained. :mod:`ppgen.diagnostics.local` searches them.

Cremer, Li and Duvenaud, Inference suboptimality in variational autoencoders, ICML 2018.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ppgen.chains.posterior import LatentChains
from ppgen.layers.flows import Flow, flow
from ppgen.pairs.latents import set_apart, side_by_side
from ppgen.pairs.tracing import Particles

__all__ = ["Bent", "Full", "OwnFamily", "Parameters"]

Parameters: TypeAlias = dict[Any, Tensor]

_CONTEXT = 16
"""Size of what a flow is given of each datum."""


class OwnFamily(Protocol):
    """The guide with its parameters moved at each datum."""

    one: Particles

    def run(self, shifts: Mapping[Any, Tensor], num: int) -> Particles:
        """``num`` draws of it, and the model there."""


class Full:
    """One Gaussian with a full covariance over all latents of a datum, unconstrained and relative to ``own``'s moments.

    v = a + T e, e ~ N(0, I), T triangular;  u = m + S v, with m and S S' the mean and covariance of draws of ``own``.
    """

    def __init__(self, family: OwnFamily, shifts: Mapping[Any, Tensor]) -> None:
        self.family, self.shifts = family, shifts
        chains = self.chains(max(256, 4 * side_by_side(family.one).shape[-1]))
        u = side_by_side(chains.particles, chains.unconstrained(chains.start()))  # (K, B, F)
        self.mean = u.mean(0)
        centred = u - self.mean
        covariance = torch.einsum("kbf,kbg->bfg", centred, centred) / (len(u) - 1)
        jitter = 1e-6 * covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-12)
        self.scale = torch.linalg.cholesky(covariance + torch.diag_embed(jitter))  # (B, F, F)

    def start(self) -> Parameters:
        return {"loc": torch.zeros_like(self.mean), "scale": torch.zeros_like(self.scale)}

    def chains(self, num: int) -> LatentChains:
        """``num`` draws of ``own`` for each datum, whose shapes the latents have."""
        return LatentChains(self.family.run(self.shifts, num), "local optimisation")

    def log_weights(self, parameters: Parameters, chains: LatentChains) -> Tensor:
        """log p(u, x) - log q(u), (K, B), for as many draws as there are chains; its gradient follows u alone."""
        v, log_q = self.drawn(parameters, chains.particles.num_particles)
        u = self.mean + torch.einsum("bfg,kbg->kbf", self.scale, v)
        sites = set_apart(chains.particles, u, chains.unconstrained(chains.start()))
        log_w: Tensor = chains.log_density(sites, {}) - (log_q - _log_det(self.scale))
        return log_w

    def drawn(self, parameters: Parameters, num: int) -> tuple[Tensor, Tensor]:
        """``num`` draws v (K, B, F), and their log-density (K, B), whose gradient follows v alone."""
        loc, scale = parameters["loc"], _triangular(parameters["scale"])
        noise = torch.randn(num, *loc.shape).to(loc)
        v = loc + torch.einsum("bfg,kbg->kbf", scale, noise)
        log_q = -(noise.square().sum(-1) + loc.shape[-1] * math.log(2 * math.pi)) / 2  # (K, B)
        log_q = log_q - _log_det(scale.detach())
        slope = -torch.linalg.solve_triangular(scale.detach().mT, noise.permute(1, 2, 0), upper=True)  # of log q in v
        return v, log_q + (slope.permute(2, 0, 1) * (v - v.detach())).sum(-1)  # exact in value: no v is solved for e


class Bent(Full):
    """That Gaussian of each datum, from where it was found, bent by one flow of all data given a vector of each.

    v = T(a + T e; c), where T starts as nothing. log q follows v alone: it is undone with all parameters held.
    """

    def __init__(self, gaussians: Full, found: Parameters) -> None:
        self.family, self.shifts = gaussians.family, gaussians.shifts
        self.mean, self.scale, self.found = gaussians.mean, gaussians.scale, found
        self.through = _Through(flow("realnvp(num=4)", self.mean.shape[-1], _CONTEXT)).to(self.mean)
        self.context = torch.randn(len(self.mean), _CONTEXT).to(self.mean)

    def start(self) -> Parameters:
        networks = {name: value.detach() for name, value in self.through.named_parameters()}
        return {**self.found, "context": self.context, **networks}

    def drawn(self, parameters: Parameters, num: int) -> tuple[Tensor, Tensor]:
        held = {name: value.detach() for name, value in parameters.items()}
        v, _ = self._passed(parameters, super().drawn(parameters, num)[0], back=False)
        before, log_det = self._passed(held, v, back=True)
        base = torch.distributions.MultivariateNormal(held["loc"], scale_tril=_triangular(held["scale"]))
        return v, base.log_prob(before) - log_det

    def _passed(self, parameters: Parameters, values: Tensor, *, back: bool) -> tuple[Tensor, Tensor]:
        networks = {name: parameters[name] for name, _ in self.through.named_parameters()}
        found: tuple[Tensor, Tensor] = functional_call(self.through, networks, (parameters["context"], values, back))
        return found


class _Through(nn.Module):
    """Values (..., F) through a flow or back, and log |det dT/dx| of the way there, (...)."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, context: Tensor, values: Tensor, back: bool) -> tuple[Tensor, Tensor]:
        base = torch.distributions.Normal(torch.zeros_like(values), 1.0)
        transforms = self.flow(torch.distributions.Independent(base, 1), context).transforms
        total = values.new_zeros(values.shape[:-1])
        for transform in reversed(transforms) if back else transforms:
            after = transform.inv(values) if back else transform(values)
            total = total + transform.log_abs_det_jacobian(*((after, values) if back else (values, after)))
            values = after
        return values, total


def _triangular(raw: Tensor) -> Tensor:
    """Lower triangular with the exponentials of the diagonal on it."""
    return raw.tril(-1) + torch.diag_embed(raw.diagonal(dim1=-2, dim2=-1).exp())


def _log_det(triangular: Tensor) -> Tensor:
    return triangular.diagonal(dim1=-2, dim2=-1).log().sum(-1)
