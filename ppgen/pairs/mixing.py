"""Log-weights of a guide with mixing sites: its density is averaged over further draws of them.

A guide that draws noise e ~ q(e | x) at a mixing site (:attr:`ppgen.pairs.tracing.Particles.mixing`) and then
z ~ q(z | x, e) is a mixture. With J draws e_1, ..., e_J ~ q(e | x) beside the e_0 that z was made of,

    log w = log p(x, z) - log (1/(J+1)) sum_{j=0}^J q(z | x, e_j).                                                 (1)

By symmetry z might have been made of any of the J + 1, so E[w] = p(x) at every J: what is a bound, or a consistent
estimate, of the weights at e_0 alone (J = 0) is one of these too, and they vary less.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ppgen.pairs.plates import in_same_plate
from ppgen.pairs.sites import is_latent, is_point
from ppgen.pairs.structure import runner_of
from ppgen.pairs.tracing import Particles

__all__ = ["EXTRA", "log_q_given_others", "mixture_log_w", "settled_log_w"]

EXTRA = 50
"""J where nobody says how many: in :func:`ppgen.log_weights`, evaluation and diagnostics."""


def mixture_log_w(particles: Particles, num_extra: int) -> Tensor:
    """log w of (1), (K, B), in nats; the plain one of a guide without a mixing site."""
    if not (particles.mixing and num_extra):
        return particles.log_w
    return _averaged(particles, [log_q_given_others(particles, num_extra)])


def settled_log_w(particles: Particles) -> Tensor:
    """log w of (1) at J = ``EXTRA``, (K, B), one further draw at a time, in the memory of one run of the guide.

    A latent that is a point given its mixing site has no density, and its weight stays the plain one.
    """
    if not particles.mixing or any(is_point(particles.guide_sites[name]) for name in particles.latents):
        return particles.log_w
    return _averaged(particles, [log_q_given_others(particles, 1) for _ in range(EXTRA)])


def log_q_given_others(particles: Particles, num: int) -> Tensor:
    """log q(z | x, e_j) at mixing draws of their own, (J, K, B), in nats."""
    runner = runner_of(particles.program, particles.batch, num * particles.num_particles)
    values = {name: site["value"] for name, site in particles.guide_sites.items() if is_latent(site)}
    sites, _ = runner.guide({n: v.repeat(num, *(1,) * (v.dim() - 1)) for n, v in values.items()})
    sites = in_same_plate(sites, particles.model_sites, particles.plate)
    log_q: Tensor = replace(particles, runner=runner, guide_sites=sites).log_q.unflatten(0, (num, -1))
    return log_q


def _averaged(particles: Particles, others: list[Tensor]) -> Tensor:
    log_q = torch.cat([particles.log_q[None], *others])  # (J + 1, K, B)
    return particles.log_p - log_q.logsumexp(0) + math.log(len(log_q))
