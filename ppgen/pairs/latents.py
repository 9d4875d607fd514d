"""The latents of a datum as one array: all their numbers side by side, and a name for each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ppgen.pairs.sites import per_datum, side_axis
from ppgen.pairs.tracing import Particles

__all__ = ["latent_names", "numbered", "set_apart", "side_by_side"]


def side_by_side(particles: Particles, values: Mapping[str, Tensor] | None = None) -> Tensor:
    """Every number of the latents of a datum, (K, B, F); of latents outside the data plate, (K, 1, F).

    Args:
        particles: whose sites have the shapes; those counted are taken, in the guide's order.
        values: other values of some of the sites, by name; None: the particles' own.
    """
    sites, plate = particles.guide_sites, particles.plate
    given = {name: sites[name]["value"] for name in particles.latents} if values is None else values
    return torch.cat([per_datum(sites[n], plate, v, _event_dim(particles, v)) for n, v in given.items()], -1)


def set_apart(particles: Particles, numbers: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`side_by_side`: (K, B, F) to values by name, in the shapes of ``like`` but for K."""
    sites, plate, found, start = particles.guide_sites, particles.plate, {}, 0
    for name, value in like.items():
        axis = side_axis(sites[name], plate, value, _event_dim(particles, value))
        ordered = value.unsqueeze(1) if axis is None else value.movedim(axis, 1)  # (K, B, ...)
        width = ordered.shape[2:].numel()
        own = numbers[..., start : start + width].reshape(-1, *ordered.shape[1:])
        found[name] = own.squeeze(1) if axis is None else own.movedim(1, axis)
        start += width
    return found


def _event_dim(particles: Particles, value: Tensor) -> int:
    """Dims to the right of the plates, which unconstrained coordinates may have more or fewer of."""
    return value.dim() + particles.particle_dim


def latent_names(particles: Particles) -> list[str]:
    """What the last dim of :func:`side_by_side` holds: ``z[0]``, ``z[1]``, ..., or ``z`` where there is but one."""
    names = []
    for name in particles.latents:
        site = particles.guide_sites[name]
        names += numbered(name, per_datum(site, particles.plate, site["value"]).shape[-1])
    return names


def numbered(name: str, size: int) -> list[str]:
    """A name for each of a latent's numbers.

    >>> numbered("z", 2), numbered("scale", 1)
    (['z[0]', 'z[1]'], ['scale'])
    """
    return [f"{name}[{index}]" for index in range(size)] if size > 1 else [name]
