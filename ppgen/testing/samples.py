"""Rules of draws: from the prior, and from the guide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ppgen.distributions.wrappers import core_of
from ppgen.machine.seeds import manual_seed
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.rows import num_rows
from ppgen.pairs.sites import Site, data_frame, is_latent
from ppgen.pairs.stacking import alone
from ppgen.pairs.traces import sites_of, unobserved
from ppgen.pairs.tracing import Batch
from ppgen.testing.agreement import apart, coarsest
from ppgen.testing.checks import CheckFailed, NotApplicable, pair_check
from ppgen.testing.contract import inside
from ppgen.testing.sandbox import SEED, particles, random_sites, rows, unlike

__all__ = ["check_posterior_samples", "check_prior_samples", "prior_sites"]


def prior_sites(pair: Pair, batch: Batch) -> dict[str, Site]:
    """The sites of one run of the model with nothing observed."""
    manual_seed(SEED)
    with isolated():
        return random_sites(sites_of(unobserved(pair.model), *batch))


@pair_check("the prior can be drawn from, and its draws look like data")
def check_prior_samples(pair: Pair, batch: Batch) -> None:
    """With nothing observed every site, observed ones too, has the shape it has on data."""
    with isolated():
        on_data = random_sites(sites_of(pair.model, *batch))
    if any(isinstance(site["fn"], dist.Unit) for site in on_data.values()):
        raise NotApplicable("the model has factor statements: its density is not normalised, and has no direct draws")
    for name, site in prior_sites(pair, batch).items():
        expected, got = on_data[name]["value"].shape, site["value"].shape
        if got != expected:
            raise CheckFailed(
                f"a draw has shape {tuple(got)}, and on data it has {tuple(expected)}",
                where=f"site {name!r} of the model",
                advice="give the distribution the shape of the data: .expand() or .to_event(), under the data plate",
            )
        if not inside(site["fn"], site["value"]):
            raise CheckFailed(
                "a draw is outside its own distribution's support",
                where=f"site {name!r} of the model",
                advice="mend the distribution's parameters (NaN?), its sample(), or its support",
            )


@pair_check("the guide draws one latent for each particle and datum")
def check_posterior_samples(pair: Pair, batch: Batch) -> None:
    """A continuous latent differs between particles, and in the data plate between data too (copies of one datum)."""
    copies = rows(batch, torch.zeros(num_rows(batch), dtype=torch.long))
    run = particles(pair, copies, unlike(num_rows(batch)))
    for name, site in run.guide_sites.items():
        if not is_latent(site) or not _is_spread(alone(site)["fn"]):
            continue
        frame, event = data_frame(site, run.plate), site["fn"].event_dim
        dims = {"particles": run.particle_dim} | ({} if frame is None else {run.plate: frame.dim})
        for plate, dim in dims.items():
            if _is_constant(site["value"], dim - event, [*pair.parameters(), *pair.buffers(), *batch]):
                raise CheckFailed(
                    f"its draws are the same all along plate {plate!r}",
                    where=f"site {name!r} of the guide",
                    advice="let pyro.sample draw it under its plates, and expand no draw by hand",
                )


def _is_spread(distribution: Any) -> bool:
    """Whether two draws of the distribution differ with probability one."""
    core = core_of(distribution)
    return not isinstance(core, dist.Delta) and not core.support.is_discrete


def _is_constant(value: Tensor, dim: int, given: Iterable[Any]) -> bool:
    """Whether draws are one draw along a dimension: to eight roundings, as copies of a datum get means that differ."""
    first, rounding = value.narrow(dim, 0, 1), coarsest([value, *given])
    return value.shape[dim] > 1 and apart(value, first) <= 8 * rounding * float(value.detach().abs().max())
