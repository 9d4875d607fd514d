"""The manifold that a latent of two numbers is a chart of: what the model makes at a grid of its values.

    x_ij = E[x | z = (F_1^-1(u_j), F_2^-1(u_i))],        u_i = (i + 1/2) / n,   i, j = 0..n-1

with F_1 and F_2 the distribution functions of the two numbers under the prior, so that as many draws of a number lie
about each of its values.

Auto-Encoding Variational Bayes, Kingma and Welling, 2014, appendix A and figure 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppgen.arguments import at_least
from ppgen.distributions.wrappers import core_of
from ppgen.errors import UsageError
from ppgen.pairs.latents import numbered
from ppgen.pairs.looking import looking
from ppgen.pairs.pair import Pair, check_prior
from ppgen.pairs.places import ready
from ppgen.pairs.plates import plate_of
from ppgen.pairs.rows import take_rows
from ppgen.pairs.sampling import drawn_latents, global_draws, mean_at, unconditioned
from ppgen.pairs.sites import Site
from ppgen.pairs.tracing import Batch

__all__ = ["LatentManifold", "has_manifold", "latent_manifold"]

_PRIOR_DRAWS = 10_000
"""Whose order statistics stand for the quantiles of a prior that has no inverse distribution function."""


@dataclass(frozen=True, eq=False)
class LatentManifold:
    """``means`` of p(x | z) on a grid (n, n, D): rows by the second number of z, columns by the first, both rising;
    ``values`` z there (n, n, 2), and the ``labels`` of its two numbers.

    >>> import ppgen
    >>> pair = ppgen.models.VAE(ppgen.DataSpec("bits", 4, "binary"), latent_dim=2, hidden=(3,))
    >>> plane = latent_manifold(pair, (torch.ones(1, 4),), side=3)
    >>> plane.means.shape, plane.labels, plane.values[0, :, 0]
    (torch.Size([3, 3, 4]), ('z[0]', 'z[1]'), tensor([-0.9674,  0.0000,  0.9674]))
    """

    means: Tensor
    values: Tensor
    labels: tuple[str, str]


def latent_manifold(pair: Any, batch: Batch, *, side: int = 15, seed: int = 0) -> LatentManifold:
    """What the model makes at ``side`` by ``side`` quantiles of the prior of its first latent; see the module.

    Latents that the model draws after it are drawn by the random numbers of the seed.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``, trained or not.
        batch: what the data set yields. Of x only the shape is used; the rest (labels) is that of the first datum.
        side: n.
        seed: seeds the draws.

    Raises:
        UsageError: the first latent that the model draws for a datum is not two continuous numbers, no observed site
            has the shape of x, or the latents have no prior.
    """
    at_least("side", side, 1)
    pair, batch = ready(pair, batch)
    check_prior(pair)
    wanted = take_rows(batch, torch.zeros(side * side, dtype=torch.long, device=batch[0].device))
    with looking(pair, seed):
        shared = global_draws(pair, batch)
        sites = unconditioned(pair.model, wanted, shared)
        name = _plane(pair, sites)
        if name is None:
            raise UsageError(
                "expected a first latent in the data plate of two continuous numbers, whose plane is to be drawn: "
                "train with latent_dim=2, or look at latent_traversal."
            )
        u = (torch.arange(side).to(sites[name]["value"]) + 0.5) / side
        z = _quantiles(sites[name], torch.cartesian_prod(u, u).flip(-1))  # (side^2, 2)
        means = mean_at(pair, wanted, {**shared, name: z.view_as(sites[name]["value"])}, seed)
    first, second = numbered(name, 2)
    return LatentManifold(means.view(side, side, -1), z.view(side, side, 2), (first, second))


def has_manifold(pair: Any, batch: Batch) -> bool:
    """Whether the first latent that the model draws for a datum is two continuous numbers."""
    pair, batch = ready(pair, batch)
    if not pair.has_prior:
        return False
    with looking(pair, seed=0):
        return _plane(pair, unconditioned(pair.model, batch)) is not None


def _plane(pair: Pair, sites: dict[str, Site]) -> str | None:
    name = next(iter(drawn_latents(sites, plate_of(pair, sites))), None)
    if name is None or sites[name]["fn"].support.is_discrete:
        return None
    return name if sites[name]["value"][0].numel() == 2 and sites[name]["fn"].event_shape.numel() == 2 else None


def _quantiles(site: Site, u: Tensor) -> Tensor:
    """F^-1(u) of each number, (n, 2): exact, or where the prior tells none order statistics of draws."""
    core = core_of(site["fn"])
    try:
        z: Tensor = core.icdf(u.view_as(site["value"]))
    except NotImplementedError:  # of torch, where a family has no quantiles
        draws = site["fn"].sample((-(-_PRIOR_DRAWS // len(u)),)).reshape(-1, 2).sort(0).values
        z = draws.gather(0, (u * (len(draws) - 1)).round().long())
    return z.reshape(-1, 2)
