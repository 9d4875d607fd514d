"""The generalised doubly reparameterized gradient: also for parameters of the priors that latents are scored by.

The model's gradient under ``dreg`` holds sum_k v_k d log p(z | pa; theta)/dtheta of each prior site z with parameters
(of a hierarchical model, or a learned prior): a score at draws of *another* distribution, q. It becomes a path as well.
Let z = T(e; theta, pa) be how p would draw z, and u = dT/dtheta at the noise e that gives this z, held fixed. Since p's
mass is carried along u, dp/dtheta = -d(p u)/dz, and by parts under q

    E_q[ h d log p(z | pa)/dtheta ] = E_q[ ( dh/dz + h d/dz [ log q - log p(z | pa) ] ) u ],

with all else fixed: d/dz is partial, of the joint log q(z_1, z_2, ... | x), at fixed parameters and other latents. For
h = v_k of a bound of K particles, which sees z_k through log w_k alone, with c_k = v_k - dv_k/dlog w_k,

    sum_k ( (v_k - c_k) dlog w_k/dz_k + v_k d/dz_k [ log q - log p(z_k | pa) ] ) dT(e_k; theta, pa)/dtheta.

For the importance-weighted bound v = w~ and v - c = w~ - w~^2. The rest is ``dreg``: the guide's gradient, and
sum_k v_k d log p/dtheta for the likelihood and for priors that have no known T. All of it is unbiased. Which of score
and path has less noise is not said by theory: where q is close to the posterior, log q - log p(z | pa) is the rest of
the model but for a constant, and the path has little noise where that is flat. Neither is without noise there.

T is known for location-scale families (Normal, Laplace, Cauchy, Gumbel), T = loc + scale e. A prior of another kind,
one that is masked or scaled, those beside global latents, and those of pairs whose particles run one after another
keep their score. Beside latents that are scored it is ``pathwise="gdreg"`` of their estimator, where the joint log q
holds theirs, which depends on z if they are drawn after it (:mod:`ppgen.objectives.pathwise`).

Bauer, Mnih: Generalized Doubly Reparameterized Gradient Estimators, ICML 2021 (the
estimator for scores at draws of another distribution, and hierarchical models).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from pyro.distributions.util import sum_rightmost
from torch import Tensor, distributions

from ppgen.arguments import Count
from ppgen.objectives.bounds import BoundName, check_smooth
from ppgen.objectives.objective import Scheduled
from ppgen.objectives.pathwise import PathDerivative
from ppgen.pairs.reductions import weighted_sum
from ppgen.pairs.sites import Site, is_latent, is_masked, per_datum, unscaled
from ppgen.pairs.tracing import Particles
from ppgen.registry import register_objective

__all__ = ["GDReG"]

_LOCATION_SCALE = (distributions.Normal, distributions.Laplace, distributions.Cauchy, distributions.Gumbel)


@register_objective(
    "gdreg",
    summary="doubly reparameterized gradient that takes the priors' parameters along a path, too",
    reference="Bauer and Mnih, Generalized doubly reparameterized gradient estimators",
    year=2021,
    link="https://arxiv.org/abs/2101.11046",
    tags=("estimator", "pathwise"),
    tiny=lambda: GDReG(num_particles=3),
)
@dataclass(frozen=True, kw_only=True)
class GDReG(PathDerivative):
    """The generalised doubly reparameterized gradient of ``bound``, with ``num_particles`` (K) particles.

    Raises:
        UsageError: the weights of the bound jump, so that they have no derivative.

    >>> GDReG(num_particles=8).target
    IWELBO(num_particles=8)
    """

    splits_particles = False  # it differentiates by the values of sites

    num_particles: Scheduled[Count] = 5
    bound: BoundName = "iwelbo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_smooth(self)

    def along(self, particles: Particles, v: Tensor, c: Tensor) -> Tensor:
        fixed = particles.with_fixed(latents=True)  # (K, B)
        priors = list(_transported(fixed)) if torch.is_grad_enabled() else []
        slopes = _Slopes.of(particles, priors) if priors else None
        along_path = slopes.along_path() if slopes else particles.with_fixed(model=True, guide=True).log_w
        value = weighted_sum(c, along_path) + weighted_sum(v, fixed.log_p)  # (B,)
        for name, (shared, own) in (slopes.along_priors(fixed) if slopes else {}).items():
            value = value + ((v - c) * shared + v * own).sum(0) - weighted_sum(v, fixed.log_prob(name))
        return value


def _transported(fixed: Particles) -> Iterator[str]:
    """Names of the latents whose prior has parameters and a known T; latents themselves are held fixed."""
    if not fixed.inside or fixed.outside is not None or fixed.made_of:
        return
    if any("parts" in fixed.guide_sites[name] for name in fixed.latents):
        return
    for name in fixed.latents:
        prior, sites = fixed.model_sites[name], (fixed.model_sites[name], fixed.guide_sites[name])
        if any("parts" in site or is_masked(site) or _is_scaled(site, fixed.plate) for site in sites):
            continue
        base = _base(prior)
        if type(base) in _KNOWN and (base.loc.requires_grad or base.scale.requires_grad):
            yield name


_KNOWN = {kind for family in _LOCATION_SCALE for kind in (family, *family.__subclasses__())}
"""The families, and Pyro's own classes of them; not a user's, who may draw otherwise."""


def _base(site: Site) -> Any:
    fn = site["fn"]
    while isinstance(fn, distributions.Independent):
        fn = fn.base_dist
    return fn


def _is_scaled(site: Site, plate: str | None) -> bool:
    scale = site["scale"]
    return torch.is_tensor(scale) or not math.isclose(scale, unscaled(site, plate)["scale"], rel_tol=1e-9)


@dataclass(frozen=True)
class _Slopes:
    """Of each particle's log-densities by the values of its latents, each of the shape of a value, at fixed parameters.

    A particle's densities see its latents alone, so that one slope serves all weights of particles.

    Attributes:
        of_log_w: d log w / dz, by latent.
        own: d (log q - log p(z | pa)) / dz, by latent whose prior is taken along a path.
    """

    particles: Particles
    of_log_w: Mapping[str, Tensor]
    own: Mapping[str, Tensor]

    @classmethod
    def of(cls, particles: Particles, priors: list[str]) -> _Slopes:
        with torch.enable_grad():
            own_path = {n for n, s in particles.guide_sites.items() if is_latent(s) and s["fn"].has_rsample}
            sites = {n: _leaf(s) if n in own_path else s for n, s in particles.guide_sites.items()}
            apart = replace(particles, guide_sites=sites).with_fixed(model=True, guide=True)
            names = [name for name in sites if name in own_path]  # one masked out may be seen by others
            every = [sites[name]["value"] for name in names]
            of_log_w = torch.autograd.grad(apart.log_w.sum(), every, retain_graph=True, materialize_grads=True)
            leaves = [sites[name]["value"] for name in priors]
            of_q = torch.autograd.grad(apart.log_q_of(apart.latents).sum(), leaves, retain_graph=True)
            priors_own = [apart.log_prob(name).sum() for name in priors]
            of_p = [torch.autograd.grad(p, z, retain_graph=True)[0] for p, z in zip(priors_own, leaves, strict=True)]
        own = [q - p for q, p in zip(of_q, of_p, strict=True)]
        return cls(particles, dict(zip(names, of_log_w, strict=True)), dict(zip(priors, own, strict=True)))

    def along_path(self) -> Tensor:
        """What has the gradient of log w along the guide's draws, (K, B); its value is not read."""
        sites, plate = self.particles.guide_sites, self.particles.plate
        terms = [
            (per_datum(sites[name], plate, slope) * per_datum(sites[name], plate, sites[name]["value"])).sum(-1)
            for name, slope in self.of_log_w.items()
        ]
        return torch.stack(terms).sum(0)

    def along_priors(self, fixed: Particles) -> dict[str, tuple[Tensor, Tensor]]:
        """What has the two slopes times u as gradient, (K, B) each, by latent whose prior is taken along a path."""
        sites = fixed.model_sites
        return {
            name: (_along(fixed, sites[name], self.of_log_w[name]), _along(fixed, sites[name], own))
            for name, own in self.own.items()
        }


def _leaf(site: Site) -> Site:
    return {**site, "value": site["value"].detach().requires_grad_()}


def _along(fixed: Particles, prior: Site, slope: Tensor) -> Tensor:
    """The slope times T(e; theta) with e held fixed, (K, B): its gradient is the slope times u."""
    base = _base(prior)
    noise = ((prior["value"] - base.loc) / base.scale).detach()
    path = slope * (base.loc + base.scale * noise)
    return fixed.reduced(prior, sum_rightmost(path, prior["fn"].event_dim))
