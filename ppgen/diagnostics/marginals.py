"""Marginals of latents, as weighted samples, and how far those of two samples are apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.diagnostics.distances import interval_distance, wasserstein_1, weighted_quantiles

__all__ = ["PROBABILITIES", "Marginals", "interval_errors", "marginal_errors"]

PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the quantiles that are told."""


@dataclass(frozen=True, eq=False)
class Marginals:
    """A weighted sample of the latents of B data: ``values`` (N, B, F), float64, ``weight`` (N, B), sums to one."""

    values: Tensor
    weight: Tensor

    def halves(self) -> tuple[Marginals, Marginals]:
        """The first half of the sample and the second, each with weights that sum to one."""
        values, weight = self.values.chunk(2), self.weight.chunk(2)
        one, other = (Marginals(v, w / w.sum(0)) for v, w in zip(values, weight, strict=True))
        return one, other

    def quantiles(self) -> Tensor:
        """(5, B, F): at 0.05, 0.25, 0.5, 0.75, 0.95."""
        return weighted_quantiles(self.values, torch.tensor(PROBABILITIES), self.weight[..., None])

    def sd(self) -> Tensor:
        """Standard deviations, (B, F)."""
        weight = self.weight[..., None]
        mean = (weight * self.values).sum(0)
        return (weight * (self.values - mean).square()).sum(0).sqrt()


def interval_errors(one: Marginals, other: Marginals) -> Tensor:
    """V of every marginal, (B, F)."""
    return interval_distance(one.values, other.values, one.weight[..., None], other.weight[..., None])


def marginal_errors(one: Marginals, other: Marginals) -> Tensor:
    """W1 of every marginal, (B, F)."""
    return wasserstein_1(one.values, other.values, one.weight[..., None], other.weight[..., None])
