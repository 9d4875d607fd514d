"""Pyro's trace sites: what kind a site is, where its plates are, and the sentences for what goes wrong at one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyro.distributions as dist
import torch
from pyro.distributions.hmm import HiddenMarkovModel
from pyro.distributions.torch_distribution import ExpandedDistribution, MaskedDistribution
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppgen.errors import UsageError

__all__ = [
    "PARTICLES",
    "DataPlate",
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
    "data_plate",
    "drawn_site",
    "in_same_plate",
    "is_computed",
    "is_factor",
    "is_latent",
    "is_masked",
    "is_point",
    "is_summed",
    "own_dims",
    "per_datum",
    "plate_of",
    "raw_log_prob",
    "unscaled",
    "with_sizes",
]

Site: TypeAlias = Any
"""One node of a Pyro trace (``pyro.poutine.runtime.Message``)."""


PARTICLES = "particles"
"""Name of the plate of particles, to the left of all others."""


def is_latent(site: Site) -> bool:
    """Whether the site is an unobserved random variable of the pair (not a subsample, not auxiliary)."""
    return not (site["is_observed"] or site_is_subsample(site) or site["infer"].get("is_auxiliary", False))


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
    fn = (site["parts"][0] if "parts" in site else site)["fn"]
    while isinstance(fn, dist.Independent | ExpandedDistribution | MaskedDistribution):
        fn = fn.base_dist
    return fn


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
    """The log-probability of a site's value as its distribution gives it, without scale and mask, in nats."""
    log_prob: Tensor = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    return log_prob


def unscaled(site: Site, plate: str | None) -> Site:
    """The site with the scale of the data plate alone."""
    frame = data_frame(site, plate)
    return {**site, "scale": 1.0 if frame is None else frame.full_size / frame.size}


def is_masked(site: Site) -> bool:
    """Whether some of the site's log-probabilities are left out, by ``poutine.mask`` or ``.mask``."""
    fn = site["fn"]
    while isinstance(fn, dist.Independent | ExpandedDistribution):
        fn = fn.base_dist
    return site["mask"] is not None or isinstance(fn, MaskedDistribution)


def data_frame(site: Site, plate: str | None) -> Any | None:
    """The frame of the data plate around the site, or None outside it."""
    return next((f for f in site["cond_indep_stack"] if f.name == plate and f.vectorized), None)


@dataclass(frozen=True)
class DataPlate:
    """The plate whose elements are the data; ``name`` is None where there is none, and ``why`` says why."""

    name: str | None
    why: str = ""


def data_plate(sites: Mapping[str, Site], preferred: str = "data", *, required: bool = False) -> DataPlate:
    """The data plate of a model: the one outermost vectorized plate that holds its observed sites, whatever its name.

    Args:
        sites: of one run of the model; where nothing is observed, all of them count.
        preferred: a plate of this name is the one, if it holds an observed site, however it is nested; an empty name:
            there is none, and all data together are one datum.
        required: whether there must be a plate of that name.

    Raises:
        UsageError: it is required, and no site stands in such a plate.
    """
    if not preferred:
        return DataPlate(None)
    seen = (site for site in sites.values() if site["is_observed"] or site["infer"].get("was_observed"))
    observed = [site for site in seen if not site_is_subsample(site)] or list(sites.values())
    stacks = [names for site in observed if not is_computed(site) and (names := _plates(site))]
    every = list(dict.fromkeys(name for site in sites.values() for name in _plates(site)))
    if any(preferred in names for names in stacks) or (required and preferred in every):
        return DataPlate(preferred)
    if required:
        raise UsageError(
            f"data_plate is {preferred!r}, and no site of the model stands in a plate of that name (its plates are "
            f"{_names(every)}): name one of them, or leave data_plate out."
        )
    outermost = list(dict.fromkeys(names[0] for names in stacks))
    if len(outermost) == 1:
        return DataPlate(outermost[0])
    if outermost:
        return DataPlate(None, f"its observed sites stand in several outermost plates ({_names(outermost)})")
    return DataPlate(None, "no plate holds its observed sites")


def plate_of(pair: Any, sites: Mapping[str, Site]) -> str | None:
    """Name of the data plate of a pair in a run of its model, with the data observed or drawn; None without one."""
    return data_plate(sites, pair.plate_name, required=pair.plate_required).name


def _plates(site: Site) -> list[str]:
    """Names of the vectorized plates around the site, the outermost first, without that of particles."""
    return [f.name for f in site["cond_indep_stack"] if f.vectorized and f.name != PARTICLES]


def in_same_plate(guide_sites: dict[str, Site], model_sites: Mapping[str, Site], plate: str | None) -> dict[str, Site]:
    """The guide's sites, each latent in the data plate where it is in it in the model, by whatever name.

    Raises:
        UsageError: a latent is inside the data plate in one of the two and outside it in the other.
    """
    found = dict(guide_sites)
    for name, site in guide_sites.items():
        if name not in model_sites or not is_latent(site):
            continue
        ours, theirs = data_frame(model_sites[name], plate), data_frame(site, plate)
        if (ours is None) == (theirs is None):
            continue
        stack = site["cond_indep_stack"]
        if theirs is not None and theirs.size == 1:  # of a plate opened without a size, in which it was drawn once
            found[name] = {**site, "cond_indep_stack": tuple(frame for frame in stack if frame is not theirs)}
            continue
        place = [i for i, f in enumerate(stack) if ours is not None and (f.dim, f.size) == (ours.dim, ours.size)]
        if not place:
            inside, outside = ("model", "guide") if theirs is None else ("guide", "model")
            raise UsageError(
                f"site {name!r} stands in the data plate {plate!r} in the {inside} and outside it in the {outside}: "
                "draw it under the same plates in both."
            )
        renamed = (*stack[: place[0]], ours, *stack[place[0] + 1 :])
        found[name] = {**site, "cond_indep_stack": renamed}
    return found


def with_sizes(sites: dict[str, Site]) -> dict[str, Site]:
    """The sites with the sizes of plates that were opened without one: the largest batch size of their sites there.

    A site of size 1 where others of the plate have more was drawn once for all of them: it stands outside the plate.
    """
    open_plates: dict[str, int] = {}
    for name, size in _open_sizes(sites.values()):
        open_plates[name] = max(size, open_plates.get(name, 1))
    if not open_plates:
        return sites
    return {name: {**site, "cond_indep_stack": _sized(site, open_plates)} for name, site in sites.items()}


def _open_sizes(sites: Iterable[Site]) -> Iterator[tuple[str, int]]:
    for site in sites:
        for frame in site["cond_indep_stack"]:
            if frame.vectorized and frame.size == -1:
                yield frame.name, _batch_size(site, frame.dim)


def _sized(site: Site, sizes: Mapping[str, int]) -> tuple[Any, ...]:
    frames = []
    for frame in site["cond_indep_stack"]:
        if not (frame.vectorized and frame.size == -1):
            frames.append(frame)
        elif _batch_size(site, frame.dim) == sizes[frame.name]:
            frames.append(frame._replace(size=sizes[frame.name], full_size=sizes[frame.name]))
    return tuple(frames)


def _batch_size(site: Site, dim: int) -> int:
    """The size of a site along a batch dim, of its distribution or of its value."""
    fn, value = site["fn"], site["value"]
    shapes = [tuple(fn.batch_shape)]
    if torch.is_tensor(value):
        shapes.append(tuple(value.shape[: value.dim() - fn.event_dim]))
    return max((shape[dim] for shape in shapes if len(shape) >= -dim), default=1)


def per_datum(site: Site, plate: str | None, numbers: Tensor, event_dim: int | None = None) -> Tensor:
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
    """The guide has exactly the model's latents, but those that are summed out; it is no matter what it observes."""
    model = {name: site for name, site in model_sites.items() if is_latent(site) and not is_summed(site)}
    guide = {name: site for name, site in guide_sites.items() if is_latent(site)}
    for name in model.keys() - guide.keys():
        raise UsageError(
            f"site {name!r} is latent in the model and missing in the guide (which has {_names(guide)}): "
            f"add pyro.sample({name!r}, ...) to the guide, observe it in the model, or have it summed out "
            "(a discrete one, by infer=dict(enumerate='parallel') in the model)."
        )
    for name in guide.keys() - model.keys():
        what = "observed" if name in model_sites else "absent"
        raise UsageError(
            f"site {name!r} is in the guide and {what} in the model (whose latents are {_names(model)}): "
            "remove it from the guide, or rename it to the model's site."
        )


def check_given(site: Site, value: Tensor, shape: tuple[int, ...] | None) -> None:
    """A latent's value, drawn by the guide or given, has the shape of the site it is scored at (None: any)."""
    if shape is not None and value.shape != shape:
        raise UsageError(
            f"site {site['name']!r} is given values of shape {tuple(value.shape)}, and its distribution has shape "
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
    for name, site in guide_sites.items():
        if is_latent(site) and not site["fn"].has_rsample:
            raise UsageError(
                f"site {name!r} of the guide is drawn from {_base_name(site['fn'])}, which has no reparameterized "
                f"sample: under {objective} its gradient would silently be zero; use an objective with "
                "needs_rsample = False (`ppgen list objectives`), or a reparameterizable distribution."
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
        raise UsageError(
            f"{objective} is for discrete latents, and those of the guide ({_names(latents)}) all have reparameterized "
            "samples, whose pathwise gradient has less noise: use 'elbo', 'iwelbo' or 'dreg', or make one discrete."
        )
    for name in sorted({*outside} & {*discrete}):
        raise UsageError(
            f"site {name!r} of the guide is discrete and stands outside the data plate, where {objective} has no "
            "gradient for it: move it inside, or make it continuous."
        )


def check_unscaled(site: Site, needed_by: str) -> None:
    """The site's log-probability is scaled by its plates alone: its gradient is that of what draws follow."""
    by_plates = math.prod(frame.full_size / frame.size for frame in site["cond_indep_stack"])
    if torch.is_tensor(site["scale"]) or not math.isclose(site["scale"], by_plates):
        raise UsageError(
            f"site {site['name']!r} of the guide is scaled by other than its plates' N / B, and {needed_by} needs the "
            "probability of its draws as it is: take poutine.scale off it, or choose an objective that reads log q "
            "alone ('reinforce', 'vimco', 'enumerate')."
        )


def check_whole(sites: Mapping[str, Site], plate: str | None, needed_by: str) -> None:
    """No plate but that of the data is subsampled: its scale would stand inside the bound's logarithm."""
    for site in sites.values():
        for frame in site["cond_indep_stack"]:
            if frame.name != plate and frame.full_size not in (None, frame.size) and not site_is_subsample(site):
                raise UsageError(
                    f"site {site['name']!r} stands in plate {frame.name!r}, of which {frame.size} of {frame.full_size} "
                    f"are shown, and {needed_by} is a bound only where none but the data plate ({plate!r}) is "
                    "subsampled: show all of it, or train with ELBO, which is a mean."
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
    distribution = distribution.fns[0] if hasattr(distribution, "fns") else distribution
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    return type(distribution).__name__


def _names(sites: Iterable[str]) -> str:
    return ", ".join(map(repr, sites)) or "none"
