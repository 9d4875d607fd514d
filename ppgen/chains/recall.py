"""Associative memory: patterns that are stored in an energy, and recalled by going down in it.

    E(s) = -s' W s / 2 - b s,        s = 2 x - 1 in {-1, 1}^D,  W symmetric with a zero diagonal

    asynchronous    s_i <- sign((W s + b)_i), one unit after another: E never rises, and comes to rest
    synchronous     all units at once: the two-step energy  L(s, s') = -s' W s / 2 - b (s + s') / 2  of a state and the
                    next never rises, and the end is a fixed point, L = E, or a cycle of two states

A unit whose field is 0 stays as it is.

Hopfield: Neural networks and physical systems with emergent collective computational abilities, PNAS 79, 1982 (E).
Goles-Chacc, Fogelman-Soulié, Pellegrin: Decreasing energy functions as a tool for studying threshold networks,
Discrete Applied Mathematics 12, 1985 (L, and cycles of two).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppgen.arguments import Count, checked
from ppgen.chains.gibbs import descent
from ppgen.data import DataSpec
from ppgen.data.validate import check_kind
from ppgen.errors import UsageError
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.parameters import owner_of_kind

__all__ = ["AssociativeMemory", "Recall", "all_at_once", "energy", "memory_of", "recall", "two_step_energy"]


@dataclass(frozen=True)
class Recall:
    """The way from where a recall began.

    Args:
        states: the start and the state after each sweep, (num_sweeps + 1, ..., D).
        energies: what never rises along it: E of each state, (num_sweeps + 1, ...); of a synchronous recall L of each
            state and the next, (num_sweeps, ...).
    """

    states: Tensor
    energies: Tensor

    @property
    def end(self) -> Tensor:
        """Where it came to, (..., D)."""
        return self.states[-1]


class AssociativeMemory(EnergyPair):
    """An energy-based pair of binary data that patterns are stored in.

    To add one: 1. an energy-based pair; 2. the two methods below; 3. train it with ``"hebb"`` or ``"pseudo_inverse"``.
    """

    @abstractmethod
    def fields(self) -> tuple[Tensor, Tensor]:
        """W, (D, D), and b, (D,)."""

    @abstractmethod
    def coupled(self, weight: Tensor) -> Mapping[str, Tensor]:
        """By the names of its parameters, the values at which :meth:`fields` gives ``weight``, (D, D), as W."""

    def energy(self, x: Tensor) -> Tensor:
        """E, (..., D) -> (...,), without the temperature."""
        return energy(x, *self.fields())

    @torch.no_grad()
    def remembers(self, x: Tensor) -> Tensor:
        """Whether an update leaves x as it is, (..., D) -> (...,), of bool."""
        return (all_at_once(x, *self.fields()) == x).all(-1)

    @torch.no_grad()
    def recall(self, x: Tensor, num_sweeps: Count = 20, *, synchronous: bool = False) -> Recall:
        """What is remembered at x, (..., D), binary: see the module.

        Args:
            x: where it begins.
            num_sweeps: each of which updates every unit once.
            synchronous: all units at once, and not one after another.

        Raises:
            UsageError: x is not binary, or of another size; there are no sweeps.
        """
        weight, bias = self.fields()
        if x.shape[-1] != len(bias):
            raise UsageError(
                f"{type(self).__name__} recalls patterns of {len(bias)} bits, got x of shape {tuple(x.shape)}."
            )
        check_kind("what is recalled", x.reshape(-1, x.shape[-1]), DataSpec("patterns", len(bias), "binary"))
        return recall(x.to(weight), weight, bias, num_sweeps, synchronous=synchronous)


def energy(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """E of a state, (..., D) -> (...,)."""
    return two_step_energy(x, x, weight, bias)


def two_step_energy(x: Tensor, following: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """L of a state and the next, (..., D) each -> (...,)."""
    s, after = 2 * x - 1, 2 * following - 1
    return -0.5 * ((s @ weight * after).sum(-1) + (s + after) @ bias)


@checked
def recall(x: Tensor, weight: Tensor, bias: Tensor, num_sweeps: Count = 20, *, synchronous: bool = False) -> Recall:
    """Go down in E from x, (..., D), binary; W (D, D), b (D,)."""
    states, update = [x], all_at_once if synchronous else _one_by_one
    while len(states) <= num_sweeps:
        states.append(update(states[-1], weight, bias))
        if torch.equal(states[-1], states[-2]):  # it has come to rest
            states += states[-1:] * (num_sweeps + 1 - len(states))
    way = torch.stack(states)
    return Recall(way, two_step_energy(way[:-1], way[1:], weight, bias) if synchronous else energy(way, weight, bias))


def _one_by_one(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """In x the field is 2 W x - W 1 + b."""
    return descent(x, 2 * weight, bias - weight.sum(-1))


def all_at_once(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The state after one synchronous update of x, (..., D)."""
    field = (2 * x - 1) @ weight + bias
    return torch.where(field == 0, x, (field > 0).to(x))


def memory_of(model: Callable[..., Any], needed_by: str) -> AssociativeMemory:
    """The associative memory that a program's model belongs to, or that is given itself.

    Raises:
        UsageError: it belongs to none.
    """
    return owner_of_kind(
        model,
        AssociativeMemory,  # type: ignore[type-abstract]
        f"{needed_by} stores patterns in an associative memory of visible units",
        "choose another objective, or the model 'hopfield' (your own: derive it from "
        "ppgen.chains.recall.AssociativeMemory)",
    )
