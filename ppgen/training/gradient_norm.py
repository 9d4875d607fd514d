"""The Euclidean norm of a step's gradient, which may be too large for its own square."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["gradient_norm"]


def gradient_norm(gradients: Sequence[Tensor], clipped: bool) -> Tensor:
    """The norm of all of them as one vector; infinite where a square overflows, unless it is to be clipped.

    Optimizers keep averages of squares, and one that is infinite stays so: its parameter would never move again. A
    gradient that is clipped first may be as large as its type holds; its squares are summed in float64.
    """
    if not clipped:
        return nn.utils.get_total_norm(gradients)
    norms = torch._foreach_norm(list(gradients), 2, dtype=torch.float64)
    first = norms[0]
    norm: Tensor = torch.linalg.vector_norm(torch.stack([norm.to(first.device) for norm in norms]))
    return norm.to(gradients[0].dtype)
