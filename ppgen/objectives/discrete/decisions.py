"""Discrete units as binary decisions, each made by a number of noise of its own.

A unit of C classes is a walk down a binary tree whose C leaves are the classes. At node n it goes right, b_n = 1, with
probability sigmoid(a_n), a_n the log-odds of the classes on the right of n against those on its left:

    a_n = logsumexp_{c right of n} l_c - logsumexp_{c left of n} l_c,        b_n = 1[u_n > sigmoid(-a_n)],

so that class c has the probability exp(l_c) / sum exp(l) that it should, whatever the tree. All C - 1 nodes are drawn,
and those off the walk have no part in the unit: a unit is a function of C - 1 independent bits of logits a, and what
holds for bits holds for it. Two trees (Dong, Mnih, Tucker 2021):

    sticks        node c: is it class c (0), or a later one (1)? The stick of probability is broken from its end.
    balanced      each node parts its classes in two halves: a walk has ceil(log2 C) steps at most.

A binary unit is one bit with a = l.

Dong, Mnih, Tucker: Coupled Gradient Estimators for Discrete Latent Variables, NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ppgen.objectives.discrete.coupled_draws import States
from ppgen.pairs.discrete_families import DiscreteFamily, family_of
from ppgen.pairs.sites import per_datum
from ppgen.pairs.tracing import Particles

__all__ = ["Decided", "Tree", "balanced", "log_odds", "nodes", "paths", "sticks"]

Tree: TypeAlias = Callable[[int], int]
"""How many of the C > 1 classes that a node parts are on its left."""


def sticks(num_classes: int) -> int:
    """The tree that takes the classes in their order.

    >>> paths(sticks, 3)
    tensor([[-1.,  1.,  1.],
            [ 0., -1.,  1.]])
    """
    return 1


def balanced(num_classes: int) -> int:
    """The tree that parts classes in halves.

    >>> paths(balanced, 4)
    tensor([[-1., -1.,  1.,  1.],
            [-1.,  1.,  0.,  0.],
            [ 0.,  0., -1.,  1.]])
    """
    return num_classes // 2


@cache
def nodes(tree: Tree, num_classes: int) -> tuple[tuple[int, int, int], ...]:
    """The C - 1 nodes, each before those below it: classes from the first number on to the second are on its left, and
    from the second on to the third on its right."""
    found, parts = [], [(0, num_classes)]
    while parts:
        start, end = parts.pop()
        if end - start > 1:
            middle = start + tree(end - start)
            found.append((start, middle, end))
            parts += [(middle, end), (start, middle)]
    return tuple(found)


def paths(tree: Tree, num_classes: int) -> Tensor:
    """The paths to the leaves, (C - 1, C): at each node 1 or -1 for the classes on its right and left, else 0."""
    found = torch.zeros(num_classes - 1, num_classes)
    for row, (start, middle, end) in zip(found, nodes(tree, num_classes), strict=True):
        row[start:middle], row[middle:end] = -1, 1
    return found


def log_odds(tree: Tree, logits: Tensor) -> Tensor:
    """a of every node, (..., C - 1), from the leaves up: log-odds and log-masses are sums of two."""
    num_classes = logits.shape[-1]
    mass = {(c, c + 1): of_class for c, of_class in enumerate(logits.unbind(-1))}
    found = []
    for start, middle, end in reversed(nodes(tree, num_classes)):
        left, right = mass[start, middle], mass[middle, end]
        found.append(right - left)
        mass[start, end] = torch.logaddexp(left, right)
    return torch.stack(found[::-1], -1) if found else logits[..., 1:]


@dataclass(frozen=True)
class Decided(States):
    """Draws states by decisions, and keeps their noise: u, (..., D), or (..., C - 1) for units of C classes."""

    tree: Tree = sticks

    def uniforms(self, family: DiscreteFamily, fn: Any) -> Tensor:
        noise = family.uniforms(fn)
        return noise if family.binary else noise[..., 1:]

    def state(self, family: DiscreteFamily, fn: Any, noise: Tensor) -> Tensor:
        bits = (noise > (-self.odds(family, fn)).sigmoid()).to(noise)
        if family.binary:
            return bits
        to_leaves = self._paths(family, fn)
        return ((2 * bits - 1) @ to_leaves == to_leaves.abs().sum(0)).to(noise)

    def odds(self, family: DiscreteFamily, fn: Any) -> Tensor:
        """a, of the noise's shape."""
        logits = family.logits(fn)
        if family.binary:
            return logits
        return log_odds(self.tree, logits.clamp_min(torch.finfo(logits.dtype).min))

    def steps(self, particles: Particles, name: str, value: Tensor | None = None) -> Tensor:
        """Which way each decision went to make the states, 1 or -1, and 0 off the walk; (K, B, F).

        ``value``: other states of the site, of the shape of its value.
        """
        site = particles.guide_sites[name]
        family, state = family_of(site, self.needed_by), site["value"] if value is None else value
        steps = 2 * state - 1 if family.binary else state @ self._paths(family, site["fn"]).mT
        return per_datum(site, particles.plate, steps)

    def logits(self, particles: Particles, name: str) -> Tensor:
        site = particles.guide_sites[name]
        return per_datum(site, particles.plate, self.odds(family_of(site, self.needed_by), site["fn"]))

    def _paths(self, family: DiscreteFamily, fn: Any) -> Tensor:
        logits = family.logits(fn)
        return paths(self.tree, logits.shape[-1]).to(logits)
