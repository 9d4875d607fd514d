"""Plates of a run: which one holds the data, and the sizes of those that were opened without one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.poutine.util import site_is_subsample

from ppgen.errors import UsageError, shown
from ppgen.pairs.sites import PARTICLES, Site, data_frame, is_computed, is_latent

__all__ = ["DataPlate", "data_plate", "in_same_plate", "plate_of", "with_sizes"]


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
            f"data_plate is {shown(preferred)}, and no site of the model stands in a plate of that name (its plates "
            f"are {_names(every)}): name one of them, or leave data_plate out."
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
                f"site {shown(name)} stands in the data plate {shown(plate)} in the {inside} and outside it in the "
                f"{outside}: draw it under the same plates in both."
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


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
