"""Walks along latents: one dimension of a latent moved, and the way between two data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ppgen.distributions.wrappers import core_of
from ppgen.errors import UsageError, shown
from ppgen.pairs.divergence import moment_kl
from ppgen.pairs.latents import numbered
from ppgen.pairs.looking import looking
from ppgen.pairs.pair import Pair, check_prior
from ppgen.pairs.places import ready
from ppgen.pairs.plates import plate_of
from ppgen.pairs.rows import in_turn, num_rows, take_rows
from ppgen.pairs.sampling import drawn_latents, global_draws, mean_at, unconditioned
from ppgen.pairs.sites import Site, is_latent
from ppgen.pairs.traces import sites_of
from ppgen.pairs.tracing import Batch, Program, run_particles

__all__ = ["Interpolation", "Traversal", "has_paths", "interpolation", "latent_traversal"]

_PARTICLES = 64
"""Draws for each datum from which a traversal takes the moments of guide and prior."""

_PRIOR_DRAWS = 1000
"""Draws from the prior whose quantiles a traversal walks along."""


@dataclass(frozen=True)
class Traversal:
    """One datum with its latents moved, one dimension a row, along quantiles of the prior.

    ``means`` (rows, columns, D) of p(x | z); ``labels`` of the rows, such as ``z[3]``; ``kl`` (rows,) in nats,
    falling; ``quantiles`` (columns,), probabilities.

    >>> import ppgen
    >>> pair = ppgen.models.VAE(ppgen.DataSpec("bits", 4, "binary"), latent_dim=2, hidden=(3,))
    >>> walk = latent_traversal(pair, (torch.ones(5, 4),), columns=3)
    >>> walk.means.shape, sorted(walk.labels), walk.quantiles.tolist()
    (torch.Size([2, 3, 4]), ['z[0]', 'z[1]'], [0.02, 0.5, 0.98])
    """

    means: Tensor
    labels: tuple[str, ...]
    kl: Tensor
    quantiles: Tensor


@dataclass(frozen=True)
class Interpolation:
    """Data made along paths between two draws of the prior: ``means`` (rows, columns, D) of p(x | z).

    ``label`` is the latent's name; ``rotated`` says whether the path turns from one draw to the other (see
    :func:`interpolation`) or is straight.

    >>> import ppgen
    >>> pair = ppgen.models.VAE(ppgen.DataSpec("bits", 4, "binary"), latent_dim=2, hidden=(3,))
    >>> path = interpolation(pair, (torch.ones(1, 4),), rows=2, columns=3)
    >>> path.means.shape, path.label, path.rotated
    (torch.Size([2, 3, 4]), 'z', True)
    """

    means: Tensor
    label: str
    rotated: bool


def latent_traversal(pair: Any, batch: Batch, *, rows: int = 8, columns: int = 9, seed: int = 0) -> Traversal:
    """The first datum of ``batch``, made again with one latent dimension at a time moved along the prior's quantiles.

    The rows are the dimensions of most use over ``batch``: those of largest KL(q(z_d | x) || p(z_d)), taken between
    Gaussians with the moments of draws (exact up to Monte Carlo error where both are Gaussian). Latents that the
    model draws before the moved one keep their values; those it draws after it follow, with the same random numbers.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``, trained or not.
        batch: the data over which the KL is averaged; a hundred are plenty.
        rows: at most so many dimensions.
        columns: so many quantiles, from 0.02 to 0.98.
        seed: seeds the draws.

    Raises:
        UsageError: no latent belongs to a datum, no observed site has the shape of x, or the latents have no prior to
            walk along, as those of an energy-based pair.
    """
    quantiles = torch.linspace(0.02, 0.98, columns, dtype=torch.float64)
    pair, batch = ready(pair, batch)
    check_prior(pair)
    one = take_rows(batch, slice(1))
    with looking(pair, seed):
        shared = global_draws(pair, batch)
        ranked = _ranked_dimensions(pair, batch, shared)[:rows]
        if not ranked:
            raise UsageError("no latent vector stands in the data plate alone: there is nothing to traverse.")
        guide = {name: site for name, site in sites_of(pair.guide, *one).items() if is_latent(site)}
        base = {name: site["value"] for name, site in guide.items() if name not in shared}
        many = tuple(part.expand(_PRIOR_DRAWS, *part.shape[1:]) for part in one)
        prior = {name: site["value"] for name, site in unconditioned(pair.model, many, shared).items()}
        means = []
        for _, name, dim in ranked:
            for value in _quantiles(prior[name].reshape(_PRIOR_DRAWS, -1)[:, dim], quantiles):
                held = shared | _moved(base, list(prior), name, dim, value)
                means.append(mean_at(pair, one, held, seed))
    labels = tuple(numbered(name, base[name].numel())[dim] for _, name, dim in ranked)
    shape = (len(ranked), columns, *batch[0].shape[1:])
    return Traversal(torch.cat(means).view(shape), labels, torch.tensor([kl for kl, *_ in ranked]), quantiles)


def interpolation(pair: Any, batch: Batch, *, rows: int = 4, columns: int = 9, seed: int = 0) -> Interpolation:
    """Data along ``rows`` paths from one draw of the prior, a, to another, b, in ``columns`` steps t = 0..1.

    Of a normal prior of mean m the path is z(t) = m + cos(pi t / 2) (a - m) + sin(pi t / 2) (b - m): every point of it
    is itself distributed as the prior, while the middle of a straight line is nearer to m than draws are (White 2016).
    Of any other prior it is the line from a to b, which stays within a convex support.

    The latent moved is the first that the model draws for a datum; those below it follow, under the same random
    numbers at every step.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``, trained or not.
        batch: what the data set yields. Of x only the shape is used; the rest (labels) is gone through in turn.
        rows: paths.
        columns: points of each.
        seed: seeds the draws.

    Raises:
        UsageError: no latent belongs to a datum, the first is discrete, no observed site has the shape of x, or the
            latents have no prior to draw from, as those of an energy-based pair.
    """
    pair, batch = ready(pair, batch)
    check_prior(pair)
    wanted = in_turn(batch, rows)
    with looking(pair, seed):
        shared = global_draws(pair, batch)
        starts, ends = (unconditioned(pair.model, wanted, shared) for _ in range(2))
        name = next(iter(drawn_latents(starts, plate_of(pair, starts))), None)
        if name is None or starts[name]["fn"].support.is_discrete:
            found = "none" if name is None else f"{shown(name)}, which is discrete"
            raise UsageError(f"expected a continuous first latent in the data plate to move along, found {found}.")
        a, b, prior = starts[name]["value"], ends[name]["value"], core_of(starts[name]["fn"])
        rotated = isinstance(prior, dist.Normal | dist.MultivariateNormal)
        means = []
        for t in torch.linspace(0, 1, columns).tolist():
            z = _turned(prior.mean, a, b, t) if rotated else torch.lerp(a, b, t)
            means.append(mean_at(pair, wanted, shared | {name: z}, seed))
    return Interpolation(torch.stack(means, 1), name, rotated)


def has_paths(pair: Any, batch: Batch) -> bool:
    """Whether the first latent that the model draws for a datum is continuous, so that :func:`interpolation` has a way.

    False for an energy-based pair, whose latents have no prior to draw from.
    """
    pair, batch = ready(pair, batch)
    if not pair.has_prior:
        return False
    with looking(pair, seed=0):
        sites = unconditioned(pair.model, batch)
        name = next(iter(drawn_latents(sites, plate_of(pair, sites))), None)
        return name is not None and not sites[name]["fn"].support.is_discrete


def _turned(mean: Tensor, a: Tensor, b: Tensor, t: float) -> Tensor:
    """The point at t of the path from a to b by rotation about the mean."""
    angle = 0.5 * math.pi * t
    return mean + math.cos(angle) * (a - mean) + math.sin(angle) * (b - mean)


def _ranked_dimensions(pair: Pair, batch: Batch, shared: Mapping[str, Tensor]) -> list[tuple[float, str, int]]:
    """(KL in nats, site, dimension) for every dimension of the latents of a datum, the largest KL first."""
    size = (_PARTICLES, num_rows(batch))
    guide = run_particles(Program(pair.model, pair.guide), batch, _PARTICLES).guide_sites
    model = unconditioned(pair.model, take_rows(batch, torch.arange(num_rows(batch)).repeat(_PARTICLES)), shared)
    ranked = []
    for name, site in guide.items():
        if is_latent(site) and name not in shared and _plates(site) == size:
            kl = moment_kl(site["value"].reshape(*size, -1), model[name]["value"].reshape(*size, -1))
            ranked += [(value, name, dim) for dim, value in enumerate(kl.tolist())]
    return sorted(ranked, key=lambda entry: -entry[0])


def _plates(site: Site) -> tuple[int, ...]:
    """The sizes of the plates around a site's value."""
    return tuple(site["value"].shape[: site["value"].dim() - site["fn"].event_dim])


def _moved(base: Mapping[str, Tensor], order: list[str], name: str, dim: int, value: Tensor) -> dict[str, Tensor]:
    """The latents of ``base`` up to ``name`` in ``order``, with one number of ``name`` replaced."""
    flat = base[name].reshape(1, -1).clone()
    flat[:, dim] = value
    earlier = {other: base[other] for other in order[: order.index(name)] if other in base}
    return earlier | {name: flat.view_as(base[name])}


def _quantiles(values: Tensor, probabilities: Tensor) -> Tensor:
    """Order statistics: values that were drawn, of whatever type."""
    places = (probabilities * (len(values) - 1)).round().long()
    return values.sort().values[places.to(values.device)]
