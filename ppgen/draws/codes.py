"""Traversal of codes: one draw of the model made again with one latent number, or category, changed at a time.

A pair that states how x is drawn and no more, whose latents nothing need infer, has no KL by which its latents could be
ranked (:func:`ppgen.draws.paths.latent_traversal`). Here they are ranked by what they do: by how far the ends of their
path are apart in x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
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
from ppgen.pairs.rows import in_turn, take_rows
from ppgen.pairs.sampling import drawn_latents, global_draws, mean_at, unconditioned
from ppgen.pairs.sites import Site
from ppgen.pairs.tracing import Batch

__all__ = ["CodeTraversal", "code_traversal", "has_codes"]

_PRIOR_DRAWS = 1000
"""Draws from the prior whose quantiles numbers are moved along."""

_NUMBERS = 64
"""Numbers of a latent that are tried, at most: its first ones."""


@dataclass(frozen=True, eq=False)
class CodeTraversal:
    """Paths by latent: ``means`` of p(x | z), each (columns, D), ``labels`` such as ``u[1]``, and ``reach``, the
    distance in x between the ends of each path, falling among numbers.

    >>> import ppgen
    >>> pair = ppgen.models.InfoGAN(ppgen.DataSpec("ring", 2, "real"), 3, num_categories=8, num_uniform=1, hidden=(4,))
    >>> walk = code_traversal(pair, (torch.zeros(1, 2),), rows=2, columns=5)
    >>> walk.labels[0], [path.shape for path in walk.means]
    ('c', [torch.Size([8, 2]), torch.Size([5, 2])])
    """

    means: tuple[Tensor, ...]
    labels: tuple[str, ...]
    reach: tuple[float, ...]


def code_traversal(pair: Any, batch: Batch, *, rows: int = 8, columns: int = 9, seed: int = 0) -> CodeTraversal:
    """One draw of the model with one latent at a time changed, the others held: categorical ones first.

    A one-hot latent goes through its categories, every other number of a latent along ``columns`` quantiles of the
    prior, from 0.02 to 0.98. Latents that the model draws after the moved one are held too.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``, trained or not.
        batch: what the data set yields. Of x only the shape is used; the draw has the first label.
        rows: at most so many paths.
        columns: so many quantiles.
        seed: seeds the draws.

    Raises:
        UsageError: no latent of a datum is drawn, rather than given, no observed site has the shape of x, or the
            latents have no prior.
    """
    at_least("rows", rows, 1)
    pair, batch = ready(pair, batch)
    check_prior(pair)
    with looking(pair, seed):
        shared = global_draws(pair, batch)
        prior = unconditioned(pair.model, in_turn(batch, _PRIOR_DRAWS), shared)
        names = drawn_latents(prior, plate_of(pair, prior))
        base = {name: prior[name]["value"][:1] for name in names}
        quantiles = torch.linspace(0.02, 0.98, columns, dtype=torch.float64)
        paths = {label: path for name in names for label, path in _paths(name, prior[name], base[name], quantiles)}
        made = {label: _along(pair, batch, shared, {**base, **path}, seed) for label, path in paths.items()}
    if not made:
        raise UsageError("no latent of a datum is drawn: there is nothing to traverse.")
    reach = {label: float((x[-1] - x[0]).norm()) for label, x in made.items()}
    numbers = {label for name in names if not _is_category(prior[name]) for label in numbered(name, base[name].numel())}
    order = sorted(made, key=lambda label: (label in numbers, -reach[label]))[:rows]
    return CodeTraversal(tuple(made[one] for one in order), tuple(order), tuple(reach[one] for one in order))


def has_codes(pair: Any, batch: Batch) -> bool:
    """Whether a latent of a datum is drawn, so that :func:`code_traversal` has a path; not of an energy-based pair."""
    pair, batch = ready(pair, batch)
    if not pair.has_prior:
        return False
    with looking(pair, seed=0):
        sites = unconditioned(pair.model, batch)
        return bool(drawn_latents(sites, plate_of(pair, sites)))


def _is_category(site: Site) -> bool:
    """Whether the latent is one category, one-hot."""
    return isinstance(core_of(site["fn"]), dist.OneHotCategorical) and site["value"].dim() == 2


def _paths(name: str, site: Site, base: Tensor, quantiles: Tensor) -> list[tuple[str, dict[str, Tensor]]]:
    """By label, the latent's values along a path, (columns, ...)."""
    if _is_category(site):
        return [(name, {name: torch.eye(base.shape[-1]).to(base)})]
    values = site["value"].reshape(len(site["value"]), -1).sort(0).values  # (n, numbers)
    places = (quantiles * (len(values) - 1)).round().long().to(values.device)
    found = []
    for dim, label in list(enumerate(numbered(name, values.shape[1])))[:_NUMBERS]:
        path = base.reshape(1, -1).repeat(len(places), 1)
        path[:, dim] = values[places, dim]
        found.append((label, {name: path.reshape(len(places), *base.shape[1:])}))
    return found


def _along(pair: Pair, batch: Batch, shared: Mapping[str, Tensor], latents: Mapping[str, Tensor], seed: int) -> Tensor:
    """The means of p(x | z) along a path, (columns, D), of as many data alike; a latent with one row is held."""
    columns = max(len(value) for value in latents.values())
    wanted = take_rows(batch, torch.zeros(columns, dtype=torch.long, device=batch[0].device))
    held = {name: value.expand(columns, *value.shape[1:]) for name, value in latents.items()}
    return mean_at(pair, wanted, {**shared, **held}, seed)
