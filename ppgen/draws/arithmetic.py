"""Latent arithmetic by group means: what becomes of data when the difference of two groups is added to their latents.

    z' = z_c + mean(z_a) - mean(z_b),        x' = mean of p(x | z')

over the latents of three groups, told apart by what a classifier sees: of a pair whose guide infers latents those of
data, by the guide, and of an implicit one those that its own draws were made of, which are known. Each latent of the
third group is moved by itself, so that there is a share of those whose class changes as meant, and its error. Where the
third group is the second, c = b, what is meant is a.

Means and sums are taken where a latent is unconstrained, u = T^-1(z) (of a normal one z itself; of a uniform one on
(-1, 1) a logit), so that z' is a latent too.

Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks, Radford, Metz and
Chintala, 2016, section 6.3.2 (means of three latents).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ppgen.arguments import at_least
from ppgen.chains.unconstrained import unconstraining
from ppgen.errors import UsageError, shown
from ppgen.pairs.looking import looking
from ppgen.pairs.pair import Pair, check_prior
from ppgen.pairs.places import ready
from ppgen.pairs.plates import plate_of
from ppgen.pairs.rows import in_turn, take_rows
from ppgen.pairs.sampling import global_draws, local_latents, mean_at, unconditioned
from ppgen.pairs.sites import Site
from ppgen.pairs.traces import sites_of
from ppgen.pairs.tracing import Batch

__all__ = ["Arithmetic", "latent_arithmetic"]


@dataclass(frozen=True, eq=False)
class Arithmetic:
    """Data of one class before, ``before`` (n, D), and after, ``after`` (n, D), and the classes seen after, (n,).

    ``meant`` is the class that they should have then; ``group_sizes`` are those of a, b and c.
    """

    before: Tensor
    after: Tensor
    classes: Tensor
    meant: int
    group_sizes: tuple[int, int, int]

    @property
    def share(self) -> float:
        """Of those whose class is the meant one."""
        return float((self.classes == self.meant).double().mean())

    @property
    def standard_error(self) -> float:
        """Of the share, over the data that were moved."""
        return math.sqrt(self.share * (1 - self.share) / len(self.classes))


def latent_arithmetic(
    pair: Any,
    batch: Batch,
    classify: Callable[[Tensor], Tensor],
    *,
    plus: int,
    minus: int,
    to: int | None = None,
    meant: int | None = None,
    num: int = 1000,
    seed: int = 0,
) -> Arithmetic:
    """The data of class ``to`` with mean(``plus``) - mean(``minus``) added to their latents.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``, trained or not.
        batch: of a pair whose guide infers latents the data of the groups; of an implicit one only their shape is used,
            and what stands beside x (labels) is gone through in turn.
        classify: the class of each datum, (n, D) to (n,) of whole numbers: ``ppgen.evaluation.judge(...).classes``, or
            one's own.
        plus: class of the group a.
        minus: class of the group b.
        to: class of the group c, which is moved; None: ``minus``.
        meant: what it is to become; None: ``plus``, where ``to`` is ``minus``.
        num: draws of an implicit pair, of which the groups are made.
        seed: seeds the draws.

    Raises:
        UsageError: a group is empty, no latent of a datum is continuous, or one is on a support to which torch has no
            bijection from the reals; ``meant`` is not given where it is not known, or the latents have no prior, as
            those of an energy-based pair.

    >>> import ppgen, torch
    >>> pair = ppgen.models.GAN(ppgen.DataSpec("plane", 2, "real"), 2, hidden=())
    >>> found = latent_arithmetic(pair, (torch.zeros(1, 2),), lambda x: (x[:, 0] > 0).long(), plus=1, minus=0)
    >>> type(found).__name__, found.meant, found.share > 0.6
    ('Arithmetic', 1, True)
    """
    at_least("num", num, 2)
    pair, batch = ready(pair, batch)
    check_prior(pair)
    to, meant = _goal(plus, minus, to, meant)
    with looking(pair, seed):
        known = _known(pair, in_turn(batch, num) if pair.implicit else batch, seed)
        seen = classify(known.x if pair.implicit else batch[0]).to(known.x.device)
        a, b, c = (_group(seen, label) for label in (plus, minus, to))
        moved = {name: u[c] + u[a].mean(0) - u[b].mean(0) for name, u in known.free.items()}
        after = known.made(pair, c, moved, seed)
    return Arithmetic(known.x[c], after, classify(after).to(after.device), meant, (len(a), len(b), len(c)))


@dataclass(frozen=True, eq=False)
class _Known:
    """Data whose latents are known: x, (n, D), the mean at them; T, and ``free``, u = T^-1(z), (n, ...), by site."""

    batch: Batch
    shared: Mapping[str, Tensor]
    coordinates: Mapping[str, Any]
    free: Mapping[str, Tensor]
    x: Tensor

    def made(self, pair: Pair, rows: Tensor, free: Mapping[str, Tensor], seed: int) -> Tensor:
        """x' = mean of p(x | T(u)) for u in the place of those of these data, (rows, D)."""
        latents = {name: self.coordinates[name](u) for name, u in free.items()}
        return mean_at(pair, take_rows(self.batch, rows), {**self.shared, **latents}, seed)


def _known(pair: Pair, batch: Batch, seed: int) -> _Known:
    """The latents of a batch, and what they make: the guide's draw of them, or the model's own."""
    shared = global_draws(pair, batch)
    sites = _latent_sites(pair, batch, shared)
    latents = {name: site["value"] for name, site in sites.items()}
    coordinates = {name: unconstraining(site, "Arithmetic") for name, site in sites.items()}
    free = {name: to_support.inv(latents[name]) for name, to_support in coordinates.items()}
    return _Known(batch, shared, coordinates, free, mean_at(pair, batch, {**shared, **latents}, seed))


def _goal(plus: int, minus: int, to: int | None, meant: int | None) -> tuple[int, int]:
    to = minus if to is None else to
    if meant is None and to != minus:
        raise UsageError(
            f"data of class {to} with the difference of {plus} and {minus} are of no class that is known by itself: "
            "say what is meant, meant=."
        )
    return to, plus if meant is None else meant


def _group(seen: Tensor, label: int) -> Tensor:
    """The rows of a class."""
    rows = (seen == label).nonzero().flatten()
    if not len(rows):
        raise UsageError(
            f"none of {len(seen)} data is of class {label}, by the classifier: give more, num= or a larger batch, or "
            "choose another class."
        )
    return rows


def _latent_sites(pair: Pair, batch: Batch, shared: Mapping[str, Tensor]) -> dict[str, Site]:
    """The continuous latents of each datum: by the guide, or where it infers none by the model."""
    sites = unconditioned(pair.model, batch, shared)
    names = local_latents(sites, plate_of(pair, sites))
    found = sites if pair.implicit else sites_of(pair.guide, *batch)
    kept = {name: found[name] for name in names if name in found and not found[name]["fn"].support.is_discrete}
    if not kept:
        raise UsageError(
            f"expected a continuous latent in the data plate to add to, found {shown(names) if names else 'none'}."
        )
    return kept
