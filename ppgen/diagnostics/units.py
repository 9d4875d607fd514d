"""The latents of a datum, unit by unit: how much each tells of the data.

A unit u is one number of a continuous latent, and one draw of a discrete one: a bit, or a row of C classes. Of each,

    KL_u = E_x KL( q(z_u | x) || p(z_u) ),      nats: what the bound pays for it
    A_u  = Var_x E_q[z_u | x] / Var_p[z_u]      the share of its prior variance that data explain

Under a N(0, 1) prior A_u is the activity of Burda et al., who call a unit active where it exceeds 0.01. Var_x is taken
between means of K draws each, less the part of it that is their noise, E_x Var_q[z_u | x] / K, so that it is unbiased.
Classes are counted as one-hot rows, and their variances added.

KL_u is exact given the latents before it where the units of a site are independent given these and torch knows the
divergence; log q - log p at the draws where it does not. Of a site whose units depend on each other it is that of
normals with the moments of their draws.

Importance Weighted Autoencoders. Yuri Burda, Roger Grosse and Ruslan Salakhutdinov, 2016, section 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ppgen.diagnostics.finding import Real
from ppgen.distributions.wrappers import core_of
from ppgen.draws.samples import prior_latents
from ppgen.evaluation.case import Case
from ppgen.pairs.divergence import moment_kl, unit_entropy, unit_kl
from ppgen.pairs.log_weights import read_particles
from ppgen.pairs.sites import Site, per_datum
from ppgen.pairs.tracing import Particles

__all__ = ["Unit", "by_units", "units_of"]

_DRAWS = 100
"""Draws of the guide for each datum."""

_PRIOR_DRAWS = 4000


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One unit of a latent, named as ``z[3]``: its activity A_u, its KL_u in nats, and, of a discrete one,
    E_x H(q(z_u | x)) in nats.

    ``kl`` is None for an unnormalised pair, which has no prior at hand; its activity is in units of the variance over
    data and draws. ``entropy`` is None where it has no closed form.
    """

    name: str
    site: str
    index: int
    activity: Real
    kl: float | None = None
    entropy: float | None = None


def units_of(case: Case) -> list[Unit]:
    """Every unit of the latents that belong to a datum, in the guide's order.

    Raises:
        UsageError: guide and model disagree.
    """
    prior = prior_latents(case.pair, case.batch, _PRIOR_DRAWS, seed=case.seed) if case.pair.has_prior else {}
    return [unit for name in case.local_latents for unit in _units(case, name, prior.get(name))]


def by_units(site: Site, values: Tensor) -> Tensor:
    """Values of a site's draws, (..., F) side by side, unit by unit: (..., U, C), C > 1 where a unit has classes."""
    core = core_of(site["fn"])
    if core.support.is_discrete and core.event_dim == 1:
        return values.reshape(*values.shape[:-1], -1, core.event_shape[0])
    if isinstance(core, dist.Categorical):  # whose values are names, and no numbers
        return one_hot(values.long(), core.logits.shape[-1]).to(torch.get_default_dtype())
    return values.unsqueeze(-1)


def _units(case: Case, name: str, prior: Tensor | None) -> list[Unit]:
    """The units of one site; ``prior``, (num, F), are draws of it."""
    parts = read_particles(case.pair, case.batch, _DRAWS, lambda p: _read(p, name), progress=case.progress)
    z, kl, entropy = (_joined(blocks) for blocks in zip(*map(_transposed, parts), strict=True))
    assert z is not None
    site = case.one.guide_sites[name]
    activity = _activity(by_units(site, z).double(), None if prior is None else by_units(site, prior).double())
    if prior is None:
        kl = None
    elif kl is None:
        kl = moment_kl(z, prior[:, None])[None, None]
    return [
        Unit(
            name=f"{name}[{index}]",
            site=name,
            index=index,
            activity=float(value),
            kl=_mean_of(kl, index),
            entropy=_mean_of(entropy, index),
        )
        for index, value in enumerate(activity)
    ]


def _activity(z: Tensor, prior: Tensor | None) -> Tensor:
    """A_u of draws (K, B, U, C) against draws of the prior (num, U, C), or against all of z: (U,)."""
    explained = z.mean(0).var(0) - z.var(0).mean(0) / len(z)  # (U, C)
    whole = (z.flatten(0, 1) if prior is None else prior).var(0)
    activity: Tensor = explained.sum(-1) / whole.sum(-1).clamp_min(1e-12)
    return activity


def _read(particles: Particles, name: str) -> tuple[Tensor | None, ...]:
    """Of one site: values (K, B, F), KL and entropy (K, B, U) where it has them."""
    site = particles.guide_sites[name]
    values = per_datum(site, particles.plate, site["value"])
    entropy = unit_entropy(particles, name) if site["fn"].support.is_discrete else None
    return values, unit_kl(particles, name), entropy


def _transposed(blocks: list[tuple[Tensor | None, ...]]) -> tuple[Tensor | None, ...]:
    """Blocks of particles of some data, joined along particles."""
    return tuple(None if part[0] is None else torch.cat(part) for part in zip(*blocks, strict=True))


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    """Some data after the others, along the data."""
    return None if parts[0] is None else torch.cat(parts, 1)  # type: ignore[arg-type]


def _mean_of(numbers: Tensor | None, index: int) -> float | None:
    return None if numbers is None else float(numbers[..., index].double().mean())
