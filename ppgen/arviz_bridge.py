"""The one module that touches ArviZ, 0.23."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

__all__ = ["pareto_k_of"]


def pareto_k_of(log_w: Tensor) -> Tensor:
    """The Pareto k-hat of the log-weights of each datum, (K, B) to (B,), float64, by ArviZ's ``psislw``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="\\s*ArviZ is undergoing a major refactor", category=FutureWarning)
        import arviz
    _, k = arviz.psislw(log_w.detach().cpu().double().T.numpy())  # type: ignore[no-untyped-call]
    return torch.as_tensor(k, dtype=torch.float64, device=log_w.device)
