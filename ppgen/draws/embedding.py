"""Where the guide puts a datum: the mean of every latent under q(z | x).

    E_q[z_l | x] = E over z_{<l} of E_q[z_l | z_{<l}, x]

The inner mean is the distribution's own: loc of a normal, the probability of a bit or of each class, a hidden unit's
given x; of a distribution that knows none (a flow) it is the draw. The outer one is over K draws of the guide, and one
draw is exact where a single latent is drawn whose mean is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ppgen.arguments import at_least
from ppgen.distributions.wrappers import core_of, mean_of
from ppgen.errors import UsageError
from ppgen.machine.entry import entry_point
from ppgen.pairs.latents import numbered
from ppgen.pairs.log_weights import read_particles
from ppgen.pairs.looking import few_of, looked_at, seeded
from ppgen.pairs.pair import check_explicit
from ppgen.pairs.places import ready
from ppgen.pairs.sites import Site, per_datum
from ppgen.pairs.tracing import Batch, Particles

__all__ = ["Embedding", "embedding"]


@dataclass(frozen=True, eq=False)
class Embedding:
    """Of B data: ``values`` (B, F), one column for each of ``names``: ``z[0]``, ``z[1]``; of classes one each."""

    values: Tensor
    names: tuple[str, ...]


@entry_point
def embedding(pair: Any, batch: Batch, *, num_particles: int = 100, seed: int = 0, progress: bool = False) -> Embedding:
    """The mean of the latents of each datum under the guide.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``, trained or not; it is left as it was.
        batch: what the data set yields, ``(x,)`` or ``(x, y)``.
        num_particles: K, where a mean is not known at once.
        seed: seeds the draws; the global random state is left as it was.
        progress: show a progress bar.

    Raises:
        UsageError: the pair is implicit, or has no latents of a datum; K < 1.

    >>> import ppgen
    >>> pair = ppgen.make_pair("linear_gaussian", ppgen.DataSpec("numbers", 3, "real"), latent_dim=2)
    >>> found = embedding(pair, (torch.zeros(4, 3),))
    >>> type(found).__name__, found.values.shape, found.names
    ('Embedding', torch.Size([4, 2]), ('z[0]', 'z[1]'))
    """
    at_least("num_particles", num_particles, 1)
    pair, batch = ready(pair, batch)
    check_explicit(pair, "an embedding")
    one = looked_at(pair, few_of(pair, batch))
    if not one.latents:
        raise UsageError(
            f"{type(pair).__name__} draws no latent for a datum, and puts it nowhere: there is nothing to embed."
        )
    draws = 1 if len(one.latents) == 1 and not one.global_latents and _knows(one) else num_particles
    with seeded(seed):
        blocks = read_particles(pair, batch, draws, _sums, progress=progress)
        values = torch.cat([torch.stack(block).sum(0) / draws for block in blocks])  # (B, F)
    return Embedding(values, tuple(_names(one)))


def _sums(particles: Particles) -> Tensor:
    """The inner means of all latents side by side, summed over particles, (B, F)."""
    return torch.cat([_means(particles, name).sum(0) for name in particles.latents], -1)


def _means(particles: Particles, name: str) -> Tensor:
    """Of one site, (K, B, F)."""
    site = particles.guide_sites[name]
    columns = [per_datum(site, particles.plate, part) for part in _inner(site)]
    return torch.stack(columns, -1).flatten(-2)


def _inner(site: Site) -> Iterator[Tensor]:
    """The mean in the shape of the site's value; of a name among classes the probability of each."""
    core, value = core_of(site["fn"]), site["value"]
    if isinstance(core, dist.Categorical):
        yield from core.probs.expand(*value.shape, -1).unbind(-1)
    else:
        yield value if (mean := _mean(site)) is None else mean.expand(value.shape)


def _mean(site: Site) -> Tensor | None:
    mean = mean_of(site["fn"])
    return mean if mean is not None and bool(mean.isfinite().all()) else None


def _knows(particles: Particles) -> bool:
    sites = (particles.guide_sites[name] for name in particles.latents)
    return all(isinstance(core_of(site["fn"]), dist.Categorical) or _mean(site) is not None for site in sites)


def _names(particles: Particles) -> Iterator[str]:
    for name in particles.latents:
        yield from numbered(name, _means(particles, name).shape[-1])
