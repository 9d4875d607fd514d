"""What a pair makes: draws from its prior, reconstructions of data, walks along its latents; as tensors.

Of a normalised pair everything is read off traces of the pair's own model and guide: sampling is
``poutine.uncondition(pair.model)``, a reconstruction replays the guide's trace in the model, a traversal conditions the
model on moved latents. So every pair has them, whatever its sites are called. An energy-based pair is drawn from by its
Markov chains, and reconstructs by a sweep. The pair, its training mode and the random state are left as they were.

Latents outside the data plate belong to the whole data set; wherever they are needed, the guide draws them, once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppgen.arguments import at_least
from ppgen.data import Dataset
from ppgen.pairs.tracing import Batch

if TYPE_CHECKING:
    pass


from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pyro import poutine

from ppgen.chains.sweeps import chain_states
from ppgen.machine.entry import entry_point
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import in_evaluation, isolated
from ppgen.pairs.places import brought_to
from ppgen.pairs.plates import plate_of, with_sizes
from ppgen.pairs.rows import in_turn, num_rows
from ppgen.pairs.sites import Site, data_frame, drawn_site, is_latent, per_datum
from ppgen.pairs.stacking import alone
from ppgen.pairs.tracing import Program, run_particles

__all__ = ["Draws", "conditions", "has_walk", "prior_latents", "prior_samples", "reconstructions"]

PARTICLES = 64
"""Draws for each datum from which a traversal takes the moments of guide and prior."""

PRIOR_DRAWS = 1000
"""Draws from the prior whose quantiles a traversal walks along."""


@dataclass(frozen=True)
class Draws:
    """Data made by a model, (B, D): ``x`` drawn from p(x | z), and p(x | z)'s ``mean`` (x where it has none)."""

    x: Tensor
    mean: Tensor


@entry_point
def prior_samples(pair: Any, batch: Batch, num: int, *, start: Tensor | None = None, seed: int = 0) -> Draws:
    """``num`` data from the model: z ~ p(z), x ~ p(x | z); of an energy-based pair by 1,000 sweeps of as many chains.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``, trained or not.
        batch: what the data set yields. Of x only the shape is used; the rest (labels) is gone through in turn.
        num: how many.
        start: where the chains of an energy-based pair begin, (M, D); None: at its base distribution.
        seed: of the draws.

    Raises:
        UsageError: num < 1, or no observed site has the shape of x.
    """
    at_least("the number of samples", num, 1)
    if isinstance(pair, EnergyPair):
        x = chain_states(pair, num, start=brought_to(pair, start), seed=seed)[-1]
        return Draws(x, x)
    batch = brought_to(pair, batch)
    wanted = in_turn(batch, num)
    with looking(pair, batch, seed) as pair:
        return draws_of(generate(pair, wanted, global_latents(pair, batch)), wanted[0])


@entry_point
def prior_latents(pair: Any, batch: Batch, num: int, *, seed: int = 0) -> dict[str, Tensor]:
    """``num`` draws of the latents of a datum from the prior of a normalised pair, by site name, each (num, F).

    Args:
        pair: a pair, or any module with ``model`` and ``guide``, trained or not.
        batch: what the data set yields. Of x only the shape is used; the rest (labels) is gone through in turn.
        num: how many.
        seed: of the draws.
    """
    batch = brought_to(pair, batch)
    wanted = in_turn(batch, num)
    with looking(pair, batch, seed) as pair:
        sites = generate(pair, wanted, global_latents(pair, batch))
    plate = plate_of(pair, sites)
    locals_ = {name: s for name, s in sites.items() if data_frame(s, plate) is not None and is_latent(s)}
    return {
        name: per_datum(site, plate, site["value"][None])[0]  # (num, F)
        for name, site in locals_.items()
        if not site["infer"].get("was_observed")
    }


@entry_point
def reconstructions(pair: Any, batch: Batch, *, seed: int = 0) -> Draws:
    """Every datum of ``batch`` made again: one z ~ q(z | x), then x' ~ p(x' | z).

    Raises:
        UsageError: no observed site has the shape of x.
    """
    batch = brought_to(pair, batch)
    if isinstance(pair, EnergyPair):
        x = chain_states(pair, num_rows(batch), start=batch[0], after=(1,), seed=seed)[-1]
        return Draws(x, x)
    with looking(pair, batch, seed) as pair:
        one = run_particles(Program(pair.model, pair.guide), batch, 1)
        latents = {name: site["value"] for name, site in one.guide_sites.items() if is_latent(site)}
        given = {**latents, **(one.runner.summed_given(latents) if one.summed else {})}  # (1, ...)
        sites = one.runner.at(poutine.uncondition(pair.model), given)
        return draws_of({name: alone(site) for name, site in sites.items()}, batch[0])


def has_walk(pair: Any, batch: Batch) -> bool:
    """Whether the guide draws a latent for each datum, that :func:`latent_traversal` can move."""
    batch = brought_to(pair, batch)
    with looking(pair, batch, 0) as pair:
        return bool(run_particles(Program(pair.model, pair.guide), batch, 1).latents)


@contextmanager
def looking(pair: Any, batch: Batch, seed: int) -> Iterator[Pair]:
    """The pair without gradients, seeded, in evaluation mode; all of it is put back."""
    pair = as_pair(pair)
    pair.prepare(*batch)
    with torch.no_grad(), isolated(), torch.random.fork_rng(), in_evaluation(pair):
        torch.manual_seed(seed)
        yield pair


def sites_of(function: Callable[..., Any], batch: Batch) -> dict[str, Site]:
    nodes: Mapping[str, Any] = poutine.trace(function).get_trace(*batch).nodes
    return with_sizes({name: site for name, site in nodes.items() if site["type"] == "sample"})


def generate(pair: Pair, batch: Batch, given: Mapping[str, Tensor]) -> dict[str, Site]:
    """The model's sites, in its order, with nothing observed; the latents ``given`` are held."""
    return sites_of(poutine.condition(poutine.uncondition(pair.model), data=dict(given)), batch)


def draws_of(sites: Mapping[str, Site], x: Tensor) -> Draws:
    """What a run of the unconditioned model gave at the site where x is observed."""
    site = drawn_site(sites, x)
    try:
        mean = site["fn"].mean.expand(x.shape)
    except NotImplementedError:
        mean = site["value"]
    return Draws(site["value"], mean)


def global_latents(pair: Pair, batch: Batch) -> dict[str, Tensor]:
    """The guide's draw of the latents outside the data plate; none for a pair without such a plate."""
    sites = sites_of(pair.model, batch)
    plate = plate_of(pair, sites)
    inside = {name for name, site in sites.items() if data_frame(site, plate) is not None}
    outside = {name for name, site in sites.items() if is_latent(site)} - inside
    if not inside or not outside:
        return {}
    return {name: site["value"] for name, site in sites_of(pair.guide, batch).items() if name in outside}


def conditions(data: Dataset, num: int) -> Batch:
    """A batch of ``num`` to sample at: test data (or what there is) in turn, their labels every class in turn."""
    shown = data.shown
    rows = torch.arange(num, device=shown[0].device)
    batch = tuple(part[rows % len(part)] for part in shown)
    classes = data.spec.num_classes
    return batch if classes is None else (batch[0], rows % classes, *batch[2:])
