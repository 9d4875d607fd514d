"""Pyro's trace sites: what kind a site is, where its plates are, and the sentences for what goes wrong at one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppgen.errors import UsageError

__all__ = ["Site", "check_reparameterized", "check_same_latents", "check_site", "data_frame", "is_latent"]

Site = dict[str, Any]
"""One node of a Pyro trace (``pyro.poutine.runtime.Message``)."""


def is_latent(site: Site) -> bool:
    """Whether the site is an unobserved random variable of the pair (not a subsample, not auxiliary)."""
    return not (site["is_observed"] or site_is_subsample(site) or site["infer"].get("is_auxiliary", False))


def data_frame(site: Site, plate: str) -> Any | None:
    """The frame of the data plate around the site, or None outside it."""
    return next((f for f in site["cond_indep_stack"] if f.name == plate and f.vectorized), None)


def check_same_latents(model_sites: Mapping[str, Site], guide_sites: Mapping[str, Site]) -> None:
    """The guide has exactly the model's latents, each with the same shape."""
    model = {name: site for name, site in model_sites.items() if is_latent(site)}
    guide = {name: site for name, site in guide_sites.items() if is_latent(site)}
    for name in model.keys() - guide.keys():
        raise UsageError(
            f"site {name!r} is latent in the model and missing in the guide (which has {_names(guide)}): "
            f"add pyro.sample({name!r}, ...) to the guide, or observe it in the model."
        )
    for name in guide.keys() - model.keys():
        what = "observed" if name in model_sites else "absent"
        raise UsageError(
            f"site {name!r} is in the guide and {what} in the model (whose latents are {_names(model)}): "
            "remove it from the guide, or rename it to the model's site."
        )
    for name, site in model.items():
        expected, got = site["fn"].shape(), guide[name]["fn"].shape()
        if expected != got:
            raise UsageError(
                f"site {name!r} has shape {tuple(got)} in the guide and {tuple(expected)} in the model "
                "(particles first, then plates, then event): give both the same plates and .to_event()."
            )


def check_site(site: Site, log_prob: Tensor, particle_dim: int, num_particles: int) -> None:
    """A site's log-probability varies over its plates and over nothing else: no silent broadcasting."""
    sizes = {frame.dim: frame.size for frame in site["cond_indep_stack"] if frame.vectorized}
    for dim in range(-log_prob.dim(), 0):
        if log_prob.shape[dim] not in (1, sizes.get(dim, 1)):
            raise _shape_error(site, f"its log_prob has shape {tuple(log_prob.shape)}", sizes)
    event_dim = site["fn"].event_dim
    if site["is_observed"] and torch.is_tensor(site["value"]) and site["value"].dim() > event_dim:
        batch_shape = site["value"].shape[: site["value"].dim() - event_dim]
        for dim, size in sizes.items():
            if -dim <= len(batch_shape) and dim != particle_dim and batch_shape[dim] != size:
                raise _shape_error(site, f"its observed value has shape {tuple(site['value'].shape)}", sizes)
        if len(batch_shape) > -particle_dim or (
            len(batch_shape) == -particle_dim and batch_shape[0] not in (1, num_particles)
        ):
            raise _shape_error(site, f"its observed value has shape {tuple(site['value'].shape)}", sizes)


def check_reparameterized(guide_sites: Mapping[str, Site], objective: str) -> None:
    """Every latent of the guide has a pathwise gradient: without one it would silently be zero."""
    for name, site in guide_sites.items():
        if is_latent(site) and not site["fn"].has_rsample:
            raise UsageError(
                f"site {name!r} of the guide is drawn from {_base_name(site['fn'])}, which has no reparameterized "
                f"sample: under {objective} its gradient would silently be zero; use an objective with "
                "needs_rsample = False (`ppgen list objectives`), or a reparameterizable distribution."
            )


def _shape_error(site: Site, what: str, sizes: Mapping[int, int]) -> UsageError:
    plates = {f.name: f"size {f.size} at dim {f.dim}" for f in site["cond_indep_stack"] if f.vectorized}
    fn = site["fn"]
    return UsageError(
        f"site {site['name']!r}: {what}, which does not fit its plates {plates} and its distribution's batch shape "
        f"{tuple(fn.batch_shape)} and event shape {tuple(fn.event_shape)}: declare event dims with .to_event(), and "
        "give observations the distribution's shape (a (N,) against (N, 1) would broadcast to (N, N))."
    )


def _base_name(distribution: Any) -> str:
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    return type(distribution).__name__


def _names(sites: Mapping[str, Site]) -> str:
    return ", ".join(map(repr, sites)) or "none"
