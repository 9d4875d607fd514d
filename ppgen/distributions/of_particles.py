"""Latents of all the data as each of K particles has them, beside the data."""

from __future__ import annotations

from torch import Tensor

__all__ = ["of_particles"]


def of_particles(values: Tensor) -> Tensor:
    """(K, 1, C, D) to (K, C, D), of components whose own dim stands where the data's would; (C, D) stays.

    >>> import torch
    >>> of_particles(torch.zeros(5, 1, 3, 2)).shape, of_particles(torch.zeros(3, 2)).shape
    (torch.Size([5, 3, 2]), torch.Size([3, 2]))
    """
    return values.flatten(end_dim=-3) if values.dim() > 2 else values
