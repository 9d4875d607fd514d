"""Pyro's trace sites: what kind a site is, where its plates are, and the sentences for what goes wrong at one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import pyro.distributions as dist
import torch
from pyro.distributions.hmm import HiddenMarkovModel
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppgen.distributions.wrappers import core_of, family_name, is_made_masked
from ppgen.errors import LatentsError, UsageError, is_out_of_memory, shown, summary

__all__ = [
    "PARTICLES",
    "Site",
    "check_given",
    "check_log_prob",
    "check_observed",
    "check_plates",
    "check_reparameterized",
    "check_same_latents",
    "check_scored",
    "check_unscaled",
    "check_whole",
    "data_frame",
    "drawn_site",
    "is_computed",
    "is_factor",
    "is_latent",
    "is_masked",
    "is_point",
    "is_summed",
    "own_dims",
    "per_datum",
    "raw_log_prob",
    "side_axis",
    "unscaled",
]

Site: TypeAlias = Any
"""One node of a Pyro trace (``pyro.poutine.runtime.Message``)."""


PARTICLES = "particles"
"""Name of the plate of particles, to the left of all others."""


def is_latent(site: Site) -> bool:
    """Whether the site is an unobserved random variable of the pair (not a subsample, not auxiliary)."""
    return not (site["is_observed"] or site_is_subsample(site) or site["infer"].get("is_auxiliary", False))


def is_chosen(site: Site) -> bool:
    """Whether the site is a latent, or what latents are functions of: an autoguide's auxiliary site, not masked."""
    return is_latent(site) or bool(site["infer"].get("is_auxiliary") and site["mask"] is not False)


def is_summed(site: Site) -> bool:
    """Whether the site was enumerated: its value is every state of it, along a dim of its own."""
    return site["infer"].get("_enumerate_dim") is not None


def is_computed(site: Site) -> bool:
    """Whether it is a ``pyro.deterministic``."""
    return bool(site["infer"].get("_deterministic"))


def is_factor(site: Site) -> bool:
    """Whether it is a ``pyro.factor``: a term of the log-density without a value."""
    return isinstance(_core(site), dist.Unit)


def is_point(site: Site) -> bool:
    """Whether the site is drawn from a point mass (AutoDelta's)."""
    return isinstance(_core(site), dist.Delta)


def _core(site: Site) -> Any:
    """The distribution within events, masks and plates; of one of the particles, where they were run one by one."""
    return core_of((site["parts"][0] if "parts" in site else site)["fn"])


def own_dims(site: Site) -> int:
    """A site's event dims; of a ``pyro.deterministic`` that names none, which takes all of its value's, those right of
    the plates."""
    if "parts" in site:
        return own_dims(site["parts"][0])
    event_dim: int = site["fn"].event_dim
    if is_computed(site) and event_dim == site["value"].dim():
        return max(0, event_dim + min((f.dim for f in site["cond_indep_stack"] if f.vectorized), default=0))
    return event_dim


def raw_log_prob(site: Site) -> Tensor:
    """The log-probability of a site's value as its distribution gives it, without scale and mask, in nats.

    Raises:
        UsageError: the distribution does not take values of this type, such as whole numbers to a Bernoulli.
    """
    value = site["value"]
    try:
        log_prob: Tensor = site["fn"].log_prob(value, *site["args"], **site["kwargs"])
    except (RuntimeError, TypeError) as error:
        if value.is_floating_point() or is_out_of_memory(error):
            raise
        raise UsageError(
            f"site {site['name']!r}: {family_name(site['fn'])} takes no values of {value.dtype} "
            f"({summary(error)}): give it floating-point ones, such as obs=y.to(x.dtype)."
        ) from error
    return log_prob


def unscaled(site: Site, plate: str | None) -> Site:
    """The site with the scale of the data plate alone."""
    frame = data_frame(site, plate)
    return {**site, "scale": 1.0 if frame is None else frame.full_size / frame.size}


def is_masked(site: Site) -> bool:
    """Whether some of the site's log-probabilities are left out, by ``poutine.mask`` or ``.mask``."""
    return site["mask"] is not None or is_made_masked(site["fn"])


def data_frame(site: Site, plate: str | None) -> Any | None:
    """The frame of the data plate around the site, or None outside it."""
    return next((f for f in site["cond_indep_stack"] if f.name == plate and f.vectorized), None)


def per_datum(site: Site, plate: str | None, numbers: Tensor, event_dim: int | None = None) -> Tensor:
    """Numbers of the shape of a site's value, those of a datum side by side: (K, B, F); B = 1 without a data plate.

    ``event_dim`` is how many dims stand to the right of the plates; None: as many as in the site's value.
    """
    axis = side_axis(site, plate, numbers, event_dim)
    if axis is None:
        return numbers.reshape(len(numbers), 1, -1)
    ordered = numbers.movedim(axis, 1)
    return ordered.reshape(*ordered.shape[:2], -1)


def side_axis(site: Site, plate: str | None, numbers: Tensor, event_dim: int | None = None) -> int | None:
    """Which axis of numbers of the shape of a site's value is the data's; None: the site stands outside their plate."""
    frame = data_frame(site, plate)
    own = site["fn"].event_dim if event_dim is None else event_dim
    return None if frame is None else int(numbers.dim() - own + frame.dim)


def drawn_site(sites: Mapping[str, Site], x: Tensor) -> Site:
    """Of the sites of an unconditioned model's run, the one where x is observed: its value is a draw of x.

    Raises:
        UsageError: no observed site has the shape of x.
    """
    observed = {name: site for name, site in sites.items() if site["infer"].get("was_observed")}
    site = next((site for site in observed.values() if site["value"].shape == x.shape), None)
    if site is None:
        shapes = ", ".join(f"{shown(name)} {tuple(site['value'].shape)}" for name, site in observed.items()) or "none"
        raise UsageError(
            f"expected an observed site of x's shape {tuple(x.shape)} to draw from, found {shapes}: what the model "
            "makes of given data is in the posterior predictive draws of ppgen.to_inference_data(pair, batch)."
        )
    return site


def check_same_latents(model_sites: Mapping[str, Site], guide_sites: Mapping[str, Site]) -> None:
    """The guide has exactly the model's latents, but those that are summed out; it is no matter what it observes."""
    model = {name: site for name, site in model_sites.items() if is_latent(site) and not is_summed(site)}
    guide = {name: site for name, site in guide_sites.items() if is_latent(site)}
    for name in model.keys() - guide.keys():
        raise UsageError(
            f"site {shown(name)} is latent in the model and missing in the guide (which has {_names(guide)}): "
            f"add pyro.sample({shown(name)}, ...) to the guide, observe it in the model, or have it summed out "
            "(a discrete one, by infer=dict(enumerate='parallel') in the model)."
        )
    for name in guide.keys() - model.keys():
        what = "observed" if name in model_sites else "absent"
        raise UsageError(
            f"site {shown(name)} is in the guide and {what} in the model (whose latents are {_names(model)}): "
            "remove it from the guide, or rename it to the model's site."
        )


def check_given(site: Site, value: Tensor, shape: tuple[int, ...] | None) -> None:
    """A latent's value, drawn by the guide or given, has the shape of the site it is scored at (None: any)."""
    if shape is not None and value.shape != shape:
        raise UsageError(
            f"site {shown(site['name'])} is given values of shape {tuple(value.shape)}, and its distribution has shape "
            f"{tuple(shape)} (particles first, then plates, then event): "
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
    scored = {n: s for n, s in guide_sites.items() if is_latent(s) and not s["fn"].has_rsample}
    if scored:
        families = ", ".join(dict.fromkeys(family_name(site["fn"]) for site in scored.values()))
        site, is_, its, it = ("site", "is", "its", "it") if len(scored) == 1 else ("sites", "are", "their", "them")
        raise LatentsError(
            f"{site} {_names(scored)} of the guide {is_} drawn from {families}, "
            f"which {'have' if ', ' in families else 'has'} no reparameterized sample: under {objective} {its} "
            f"gradient would silently be zero; draw {it} from a reparameterizable distribution."
        )


def check_scored(latents: Mapping[str, Site], outside: Iterable[str], objective: str) -> None:
    """Some latent of the guide has no pathwise gradient and needs its score; all such are in the data plate.

    Args:
        latents: the guide's latent sites.
        outside: names of those outside the data plate.
        objective: who needs them, for errors.
    """
    discrete = [name for name, site in latents.items() if not site["fn"].has_rsample]
    if not discrete:
        raise LatentsError(
            f"{objective} is for discrete latents, and those of the guide ({_names(latents)}) all have reparameterized "
            "samples, whose pathwise gradient has less noise: make one discrete."
        )
    for name in sorted({*outside} & {*discrete}):
        raise LatentsError(
            f"site {shown(name)} of the guide has no reparameterized sample and stands outside the data plate, where "
            f"{objective} has no gradient for it: move it inside, or draw it from a reparameterizable distribution."
        )


def check_unscaled(site: Site, needed_by: str) -> None:
    """The site's log-probability is scaled by its plates alone: its gradient is that of what draws follow."""
    by_plates = math.prod(frame.full_size / frame.size for frame in site["cond_indep_stack"])
    if torch.is_tensor(site["scale"]) or not math.isclose(site["scale"], by_plates):
        raise LatentsError(
            f"site {shown(site['name'])} of the guide is scaled by other than its plates' N / B, and {needed_by} "
            "needs the probability of its draws as it is: take poutine.scale off it."
        )


def check_whole(sites: Mapping[str, Site], plate: str | None, needed_by: str) -> None:
    """No plate but that of the data is subsampled: its scale would stand inside the bound's logarithm."""
    for site in sites.values():
        for frame in site["cond_indep_stack"]:
            if frame.name != plate and frame.full_size not in (None, frame.size) and not site_is_subsample(site):
                raise UsageError(
                    f"site {shown(site['name'])} stands in plate {shown(frame.name)}, of which {frame.size} of "
                    f"{frame.full_size} are shown, and {needed_by} is a bound only where none but the data plate "
                    f"({shown(plate)}) is subsampled: show all of it, or train with ELBO, which is a mean."
                )


def _plate_sizes(site: Site) -> dict[int, int]:
    return {frame.dim: frame.size for frame in site["cond_indep_stack"] if frame.vectorized}


def _shape_error(site: Site, what: str) -> UsageError:
    plates = {f.name: f"size {f.size} at dim {f.dim}" for f in site["cond_indep_stack"] if f.vectorized}
    fn = site["fn"]
    return UsageError(
        f"site {shown(site['name'])}: {what}, which does not fit its plates {plates} and its distribution's batch "
        f"shape {tuple(fn.batch_shape)} and event shape {tuple(fn.event_shape)}: declare event dims with .to_event(), "
        "and give observations the distribution's shape (a (N,) against (N, 1) would broadcast to (N, N))."
    )


def _names(sites: Iterable[str]) -> str:
    return ", ".join(map(repr, sites)) or "none"
