"""All that the uniform noise of discrete draws can do, so that an expectation over it is a sum."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.discrete_doubles import TinySBN

__all__ = ["cells"]


def cells(num_particles: int) -> tuple[Tensor, Tensor]:
    """All that noise can do to some particles of :class:`TinySBN`: (K, 4^K, 2) uniforms, and their masses (4^K,)."""
    p = TinySBN.parameters_once()
    cut = (-(TinySBN.datum.double() @ p["slope"] + p["offset"])).sigmoid().detach()  # a unit is on above it
    middles, widths = torch.stack([cut / 2, (1 + cut) / 2]), torch.stack([cut, 1 - cut])  # (2, 2)
    chosen = torch.cartesian_prod(*[torch.arange(2)] * 2 * num_particles)  # (4^K, 2 K)
    unit = torch.arange(2).repeat(num_particles)
    uniforms = middles[chosen, unit].reshape(-1, num_particles, 2).transpose(0, 1)
    return uniforms, widths[chosen, unit].prod(1)
