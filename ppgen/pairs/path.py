"""A path of distributions from one whose log Z is known to another: what annealing walks along."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

__all__ = ["Path"]


class Path(Protocol):
    """Unnormalised distributions p~_b of a state s, (..., S), from b = 0; every energy-based pair is one, to b = 1."""

    def base_sample(self, num: int, /) -> Tensor:
        """``num`` independent draws of states from p~_0, (num, S)."""

    def base_log_z(self) -> Tensor:
        """log of the integral of p~_0, a scalar, in nats."""

    def log_tempered(self, s: Tensor, b: Tensor, /) -> Tensor:
        """log p~_b of a state, (..., S) -> (...,), in nats; b broadcasts with the leading dims."""

    def tempered_sweep(self, s: Tensor, b: Tensor, /) -> Tensor:
        """One sweep that leaves p~_b invariant, (..., S) -> (..., S)."""
