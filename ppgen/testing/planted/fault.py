"""A fault of known size, planted in a pair whose truth is known.

A fault is planted at a strength t in (0, 1], which only says how much is put in. How much it *costs* is computed from
the truth, by closed form, enumeration or quadrature, as means over the data x that are diagnosed:

    nats          KL( q(z | x) || p(z | x) )  of a guide,    KL( p*(x) || p(x) )  of a model of data drawn from p*,
                  KL( law of the chain's last states || p )  of a chain
    deviations    W1( q(z_u | x), p(z_u | x) ) in standard deviations of the posterior, of the unit u that is
                  farthest off: root mean squares over data, of distances and of standard deviations

A fault that costs 0.2 nats or 0.3 standard deviations is one that should be found: its ``cost`` is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from ppgen.data import Dataset, DataSpec
from ppgen.data.spec import Observation
from ppgen.errors import UsageError

__all__ = ["DEVIATIONS", "FAULTS", "NATS", "Fault", "Kind", "Planted", "as_data", "plant", "planted"]

NATS, DEVIATIONS = 0.2, 0.3
"""From which a fault matters."""

TRAIN, TEST = 1000, 256
"""Data that a planted pair comes with."""

Kind: TypeAlias = Literal["sound", "guide", "model", "chain"]


@dataclass(frozen=True, eq=False)
class Planted:
    """A pair with data, and what is wrong with it: nats, and standard deviations (0 where no posterior is off)."""

    pair: Any
    data: Dataset
    nats: float
    deviations: float = 0.0

    @property
    def cost(self) -> float:
        """1 from where it matters: the larger of the two sizes, each in units of its limit."""
        return max(self.nats / NATS, self.deviations / DEVIATIONS)


Plant = Callable[[float], Planted]


@dataclass(frozen=True)
class Fault:
    """What is wrong, in which family of pairs, and how it is planted; ``kind``: with what."""

    family: str
    name: str
    kind: Kind
    plant: Plant

    def at(self, seed: int) -> Planted:
        """A pair of that seed, the fault's strength drawn with it; the global random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.plant(float(torch.rand(()).clamp_min(0.02)))


FAULTS: dict[tuple[str, str], Fault] = {}
"""By family and name; of the kind ``sound`` are those with nothing wrong."""


def planted(family: str, name: str = "sound", kind: Kind = "guide") -> Callable[[Plant], Plant]:
    """Makes a fault of the function below it, which is given the strength t and draws the rest by torch's generator."""

    def register(function: Plant) -> Plant:
        if (family, name) in FAULTS:
            raise UsageError(f"fault {name!r} of {family!r} is there already: give it another name.")
        FAULTS[family, name] = Fault(family, name, "sound" if name == "sound" else kind, function)
        return function

    return register


def plant(family: str, name: str, seed: int) -> Planted:
    """The fault of that name, planted.

    Raises:
        UsageError: there is no such fault in that family (those that there are, are named).
    """
    if (family, name) not in FAULTS:
        known = ", ".join(f"{family}: {name}" for family, name in FAULTS)
        raise UsageError(f"expected a family and one of its faults ({known}), got {family!r}, {name!r}.")
    return FAULTS[family, name].at(seed)


def as_data(make: Callable[[int], Tensor], kind: Observation = "real") -> Dataset:
    """Data sets of what ``make(num)`` draws, (num, D): 1,000 to train, and 256 held out."""
    train, test = make(TRAIN), make(TEST)
    return Dataset(DataSpec("planted", train.shape[1], kind), (train,), (test,), (test,))
