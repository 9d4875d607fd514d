"""Draws of x from a model that gradients flow through: what objectives read that need no density.

    x' = G(z),  z ~ p(z)        a run of ``poutine.uncondition(model)``, read at the site where x is observed

The gradient in the model's parameters is pathwise: it exists where x', and every latent whose distribution depends on a
parameter, has a reparameterized sample. A latent with a fixed prior may be discrete.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ppgen.errors import UsageError, shown
from ppgen.memories import Forgetting
from ppgen.pair import Pair
from ppgen.parameters import isolated, owner
from ppgen.rows import num_rows, x_of
from ppgen.sites import Site, drawn_site, is_latent
from ppgen.tracing import Batch, Program

__all__ = ["check_generates", "data_size", "generated", "unconditioned"]


def generated(program: Program, batch: Batch) -> Tensor:
    """x' ~ p(x), one for each datum of the batch: (B, ...), the shape of x. Of x only its shape is used."""
    x: Tensor = drawn_site(unconditioned(program.model, batch), x_of(batch, "the objective"))["value"]
    return x


def data_size(program: Program, batch: Batch) -> float:
    """N, or B where the model does not know its data set's size: how many data a mean over the batch stands for."""
    return float(getattr(owner(program.model), "data_size", None) or num_rows(batch))


def check_generates(program: Program, batch: Batch, needed_by: str) -> None:
    """The model's draws of x have a gradient in its parameters.

    Raises:
        UsageError: it is unnormalised, so that it has no direct draws; x, or a latent whose distribution depends on
            parameters, is not reparameterizable (the site is named).
    """
    pair = owner(program.model)
    if isinstance(pair, Pair) and not pair.normalised:
        raise UsageError(
            f"{needed_by} reads direct draws of the model, and {type(pair).__name__} is unnormalised and has none: "
            "choose an objective for energy-based pairs, 'pcd'."
        )
    with torch.enable_grad(), isolated():
        sites = unconditioned(program.model, batch)
        x = drawn_site(sites, x_of(batch, needed_by))
        for site in sites.values():
            if site is x or (is_latent(site) and _depends_on_parameters(site)):
                _check_pathwise(site, needed_by)


def unconditioned(model: Callable[..., Any], batch: Batch) -> dict[str, Site]:
    """The sample sites of a run of the model with nothing observed, in its order."""
    with Forgetting(model), poutine.trace() as tracer:
        poutine.uncondition(model)(*batch)
    nodes: dict[str, Site] = tracer.trace.nodes
    return {name: site for name, site in nodes.items() if site["type"] == "sample"}


def _depends_on_parameters(site: Site) -> bool:
    """Whether a parameter has a part in the distribution of the site's value, as it was drawn."""
    log_prob: Tensor = site["fn"].log_prob(site["value"].detach())
    return log_prob.requires_grad


def _check_pathwise(site: Site, needed_by: str) -> None:
    if not site["fn"].has_rsample:
        raise UsageError(
            f"site {shown(site['name'])} of the model is not reparameterized, and {needed_by} trains the model "
            "through its draws, whose gradient there would silently be zero: choose a model with continuous x, or an "
            "objective that reads densities, 'elbo'."
        )
