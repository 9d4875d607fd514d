"""Discrete units as binary decisions, each made by a number of noise of its own.

A unit of C classes is a walk down a binary tree whose C leaves are the classes. At node n it goes right, b_n = 1, with
probability sigmoid(a_n), a_n the log-odds of the classes on the right of n against those on its left:

    a_n = logsumexp_{c right of n} l_c - logsumexp_{c left of n} l_c,        b_n = 1[u_n > sigmoid(-a_n)],

so that class c has the probability exp(l_c) / sum exp(l) that it should, whatever the tree. All C - 1 nodes are drawn,
and those off the walk have no part in the unit: a unit is a function of C - 1 independent bits of logits a, and what
holds for bits holds for it. Two trees (Dong, Mnih, Tucker 2021):

    sticks        node c: is it class c (0), or a later one (1)? The stick of probability is broken from its end.
    balanced      neighbours are joined, and those again: a walk has ceil(log2 C) steps at most.

A binary unit is one bit with a = l.

Dong, Mnih, Tucker: Coupled Gradient Estimators for Discrete Latent Variables, NeurIPS 2021.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ppgen.objectives.discrete.coupled_draws import States
from ppgen.pairs.discrete_families import DiscreteFamily, family_of
from ppgen.pairs.sites import per_datum
from ppgen.pairs.tracing import Particles

__all__ = ["Balanced", "Decided", "Sticks", "Tree"]


class Tree(ABC):
    """How the classes of a unit are parted, node by node."""

    @abstractmethod
    def paths(self, num_classes: int) -> Tensor:
        """The paths to the leaves, (C - 1, C): at each node 1 or -1 for the classes on its right and left, else 0."""

    @abstractmethod
    def log_odds(self, logits: Tensor) -> Tensor:
        """a of every node, (..., C - 1), by finite l, (..., C)."""


class Sticks(Tree):
    """The tree that takes the classes in their order.

    >>> Sticks().paths(3)
    tensor([[-1.,  1.,  1.],
            [ 0., -1.,  1.]])
    """

    def paths(self, num_classes: int) -> Tensor:
        every = torch.ones(num_classes, num_classes)
        return (every.triu(1) - every.diag().diag())[:-1]

    def log_odds(self, logits: Tensor) -> Tensor:
        from_each_on = logits.flip(-1).logcumsumexp(-1).flip(-1)
        return from_each_on[..., 1:] - logits[..., :-1]


class Balanced(Tree):
    """The tree that joins neighbours, a level at a time from the classes up; a last one without a neighbour waits.

    >>> Balanced().paths(4)
    tensor([[-1.,  1.,  0.,  0.],
            [ 0.,  0., -1.,  1.],
            [-1., -1.,  1.,  1.]])
    """

    def paths(self, num_classes: int) -> Tensor:
        return self._joined(torch.eye(num_classes), torch.add).mT

    def log_odds(self, logits: Tensor) -> Tensor:
        return self._joined(logits, torch.logaddexp)

    def _joined(self, parts: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Right less left of every node, (..., C - 1), of what each class has, (..., C)."""
        found = [parts[..., :0]]
        while (num := parts.shape[-1]) > 1:
            even = num // 2 * 2
            left, right = parts[..., 0:even:2], parts[..., 1:even:2]
            found.append(right - left)
            parts = torch.cat([join(left, right), parts[..., even:]], -1)
        return torch.cat(found, -1)


@dataclass(frozen=True)
class Decided(States):
    """Draws states by decisions, and keeps their noise: u, (..., D), or (..., C - 1) for units of C classes."""

    tree: Tree = field(default_factory=Sticks)

    def uniforms(self, family: DiscreteFamily, fn: Any) -> Tensor:
        noise = family.uniforms(fn)
        return noise if family.binary else noise[..., 1:]

    def state(self, family: DiscreteFamily, fn: Any, noise: Tensor) -> Tensor:
        bits = (noise > (-self.odds(family, fn)).sigmoid()).to(noise)
        if family.binary:
            return bits
        paths = self._paths(family, fn)
        return ((2 * bits - 1) @ paths == paths.abs().sum(0)).to(noise)

    def odds(self, family: DiscreteFamily, fn: Any) -> Tensor:
        """a, of the noise's shape."""
        logits = family.logits(fn)
        if family.binary:
            return logits
        return self.tree.log_odds(logits.clamp_min(torch.finfo(logits.dtype).min))

    def steps(self, particles: Particles, name: str) -> Tensor:
        """Which way each decision went to make the states, 1 or -1, and 0 off the walk; (K, B, F)."""
        site = particles.guide_sites[name]
        family, state = family_of(site, self.needed_by), site["value"]
        steps = 2 * state - 1 if family.binary else state @ self._paths(family, site["fn"]).mT
        return per_datum(site, particles.plate, steps)

    def logits(self, particles: Particles, name: str) -> Tensor:
        site = particles.guide_sites[name]
        return per_datum(site, particles.plate, self.odds(family_of(site, self.needed_by), site["fn"]))

    def _paths(self, family: DiscreteFamily, fn: Any) -> Tensor:
        logits = family.logits(fn)
        return self.tree.paths(logits.shape[-1]).to(logits)
