"""Pyro's trace sites: what kind a site is, where its plates are, and the sentences for what goes wrong at one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import pyro.distributions as dist
import torch
from pyro.distributions.hmm import HiddenMarkovModel
from pyro.distributions.torch_distribution import ExpandedDistribution, MaskedDistribution
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppgen.errors import UsageError

__all__ = [
    "Site",
    "check_given",
    "check_log_prob",
    "check_observed",
    "check_plates",
    "check_reparameterized",
    "check_same_latents",
    "check_scored",
    "check_unscaled",
    "data_frame",
    "drawn_site",
    "is_latent",
    "is_masked",
    "per_datum",
]

Site: TypeAlias = Any
"""One node of a Pyro trace (``pyro.poutine.runtime.Message``)."""


def is_latent(site: Site) -> bool:
    """Whether the site is an unobserved random variable of the pair (not a subsample, not auxiliary)."""
    return not (site["is_observed"] or site_is_subsample(site) or site["infer"].get("is_auxiliary", False))


def is_masked(site: Site) -> bool:
    """Whether some of the site's log-probabilities are left out, by ``poutine.mask`` or ``.mask``."""
    fn = site["fn"]
    while isinstance(fn, dist.Independent | ExpandedDistribution):
        fn = fn.base_dist
    return site["mask"] is not None or isinstance(fn, MaskedDistribution)


def data_frame(site: Site, plate: str) -> Any | None:
    """The frame of the data plate around the site, or None outside it."""
    return next((f for f in site["cond_indep_stack"] if f.name == plate and f.vectorized), None)


def per_datum(site: Site, plate: str, numbers: Tensor, event_dim: int | None = None) -> Tensor:
    """Numbers of the shape of a site's value, those of a datum side by side: (K, B, F); B = 1 without a data plate.

    ``event_dim`` is how many dims stand to the right of the plates; None: as many as in the site's value.
    """
    frame = data_frame(site, plate)
    if frame is None:
        return numbers.reshape(len(numbers), 1, -1)
    ordered = numbers.movedim(numbers.dim() - (site["fn"].event_dim if event_dim is None else event_dim) + frame.dim, 1)
    return ordered.reshape(*ordered.shape[:2], -1)


def drawn_site(sites: Mapping[str, Site], x: Tensor) -> Site:
    """Of the sites of an unconditioned model's run, the one where x is observed: its value is a draw of x.

    Raises:
        UsageError: no observed site has the shape of x.
    """
    observed = {name: site for name, site in sites.items() if site["infer"].get("was_observed")}
    site = next((site for site in observed.values() if site["value"].shape == x.shape), None)
    if site is None:
        shapes = ", ".join(f"{name!r} {tuple(site['value'].shape)}" for name, site in observed.items()) or "none"
        raise UsageError(f"expected an observed site of x's shape {tuple(x.shape)} to draw from, found {shapes}.")
    return site


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


def check_given(site: Site, value: Tensor) -> None:
    """A latent's value, drawn by the guide or given, has the shape of the site it is scored at."""
    if not site_is_subsample(site) and value.shape != site["fn"].shape():
        raise UsageError(
            f"site {site['name']!r} is given values of shape {tuple(value.shape)}, and its distribution has shape "
            f"{tuple(site['fn'].shape())} (particles first, then plates, then event): "
            "give model and guide the same plates and .to_event()."
        )


def check_plates(site: Site) -> None:
    """Every batch dim of a site's distribution is a plate's; checked before particles are added to the left."""
    batch_shape, sizes = site["fn"].batch_shape, _plate_sizes(site)
    for dim in range(-len(batch_shape), 0):
        if batch_shape[dim] != sizes.get(dim, 1):
            raise _shape_error(
                site, f"dim {dim} of its batch shape, of size {batch_shape[dim]}, is not that of a plate"
            )


def check_observed(site: Site, particle_dim: int) -> None:
    """An observation has its site's event shape, and the sizes of its plates."""
    value, fn, sizes = site["value"], site["fn"], _plate_sizes(site)
    if not (site["is_observed"] and torch.is_tensor(value)) or isinstance(fn, HiddenMarkovModel):
        return  # a hidden Markov model takes series of any length
    batch_dim = max(value.dim() - fn.event_dim, 0)
    fits = [
        size == sizes.get(dim, 1) or (dim == particle_dim and size == 1)
        for dim, size in zip(range(-batch_dim, 0), value.shape[:batch_dim], strict=True)
    ]
    if value.shape[batch_dim:] != fn.event_shape or not all(fits):
        raise _shape_error(site, f"its observed value has shape {tuple(value.shape)}")


def check_log_prob(site: Site, log_prob: Tensor) -> None:
    """A site's log-probability varies over its plates and over nothing else: no silent broadcasting."""
    sizes = _plate_sizes(site)
    for dim in range(-log_prob.dim(), 0):
        if log_prob.shape[dim] not in (1, sizes.get(dim, 1)):
            raise _shape_error(site, f"its log_prob has shape {tuple(log_prob.shape)}")


def check_reparameterized(guide_sites: Mapping[str, Site], objective: str) -> None:
    """Every latent of the guide has a pathwise gradient: without one it would silently be zero."""
    for name, site in guide_sites.items():
        if is_latent(site) and not site["fn"].has_rsample:
            raise UsageError(
                f"site {name!r} of the guide is drawn from {_base_name(site['fn'])}, which has no reparameterized "
                f"sample: under {objective} its gradient would silently be zero; use an objective with "
                "needs_rsample = False (`ppgen list objectives`), or a reparameterizable distribution."
            )


def check_scored(latents: Mapping[str, Site], outside: Iterable[str], objective: str) -> None:
    """Some latent of the guide has no pathwise gradient and needs its score; all such are in the data plate, unscaled.

    Args:
        latents: the guide's latent sites.
        outside: names of those outside the data plate.
        objective: who needs them, for errors.
    """
    discrete = [name for name, site in latents.items() if not site["fn"].has_rsample]
    if not discrete:
        raise UsageError(
            f"{objective} is for discrete latents, and those of the guide ({_names(latents)}) all have reparameterized "
            "samples, whose pathwise gradient has less noise: use 'elbo', 'iwelbo' or 'dreg', or make one discrete."
        )
    for name in sorted({*outside} & {*discrete}):
        raise UsageError(
            f"site {name!r} of the guide is discrete and stands outside the data plate, where {objective} has no "
            "gradient for it: move it inside, or make it continuous."
        )
    for name in discrete:
        check_unscaled(latents[name], objective)


def check_unscaled(site: Site, needed_by: str) -> None:
    """The site's log-probability is scaled by its plates alone, so that it is the logarithm of what draws follow."""
    by_plates = math.prod(frame.full_size / frame.size for frame in site["cond_indep_stack"])
    if torch.is_tensor(site["scale"]) or not math.isclose(site["scale"], by_plates):
        raise UsageError(
            f"site {site['name']!r} of the guide is scaled by other than its plates' N / B, and {needed_by} needs the "
            "probability of its draws as it is: take poutine.scale off it, and weigh terms of the bound in the model."
        )


def _plate_sizes(site: Site) -> dict[int, int]:
    return {frame.dim: frame.size for frame in site["cond_indep_stack"] if frame.vectorized}


def _shape_error(site: Site, what: str) -> UsageError:
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


def _names(sites: Iterable[str]) -> str:
    return ", ".join(map(repr, sites)) or "none"
