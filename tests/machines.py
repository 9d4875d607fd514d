"""Tiny energy-based machines of every kind of visible layer, float64, and all that can be enumerated of them."""

import itertools
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from ppgen.data import DataSpec
from ppgen.models import RBM

FALSE_ALARM = 1e-3
"""Of every chi-square and Kolmogorov-Smirnov test."""

COUNT, TERMS = 4, 3
"""Words and terms of a document."""


@dataclass(frozen=True)
class Machine:
    """A pair, and all the data it can produce (S, D); of real data there are too many, and states is empty."""

    pair: RBM
    states: Tensor

    def probabilities(self, b: float | None = None) -> Tensor:
        """p(v) of every state, or p_b(v), (S,), exact."""
        with torch.no_grad():
            log_p = -self.pair.free_energy(self.states) if b is None else self.pair.log_tempered(self.states, b)
        return log_p.softmax(0)

    def draw(self, num: int, b: float | None = None) -> Tensor:
        """Independent draws of p, or of p_b, (num, D)."""
        return self.states[torch.multinomial(self.probabilities(b), num, replacement=True)]

    def index(self, v: Tensor) -> Tensor:
        """Which state each datum is, (M, D) -> (M,)."""
        return (v[:, None] - self.states).abs().sum(-1).argmin(1)


def bernoulli(hidden: int = 3, features: int = 4, scale: float = 0.7) -> Machine:
    states = _product([0.0, 1.0], features)
    return _machine(DataSpec("bits", features, "binary"), states, hidden, scale=scale)


def categorical() -> Machine:
    return _machine(DataSpec("grey", 2, "quantised", levels=3), _product([0.0, 0.5, 1.0], 2), 3)


def counts() -> Machine:
    every = _product([float(n) for n in range(COUNT + 1)], TERMS)
    states = every[every.sum(1) == COUNT]
    return _machine(DataSpec("words", TERMS, "counts"), states, 3, length=COUNT)


def gaussian() -> Machine:
    return _machine(DataSpec("real", 1, "real"), torch.empty(0, 1, dtype=torch.float64), 3)


KINDS = {"bernoulli": bernoulli, "categorical": categorical, "counts": counts, "gaussian": gaussian}
DISCRETE = {name: make for name, make in KINDS.items() if name != "gaussian"}


def every_hidden(num: int) -> Tensor:
    """All states of ``num`` hidden units, (2**num, num)."""
    return _product([0.0, 1.0], num)


def p_value(found: Tensor, expected: Tensor) -> float:
    """Of a chi-square test of state numbers (M,) against probabilities (S,); rare states are taken together."""
    seen = torch.bincount(found, minlength=len(expected)).double()
    wanted = expected * len(found)
    rare = wanted < 5
    seen = torch.cat([seen[~rare], seen[rare].sum()[None]]) if rare.any() else seen
    wanted = torch.cat([wanted[~rare], wanted[rare].sum()[None]]) if rare.any() else wanted
    return float(stats.chisquare(seen.numpy(), wanted.numpy()).pvalue)


def _machine(spec: DataSpec, states: Tensor, hidden: int, scale: float = 0.7, **options: object) -> Machine:
    torch.manual_seed(3)
    pair = RBM(spec, hidden, **options).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.normal_(0.0, scale)
        pair.base_bias.normal_(0.0, scale)
    return Machine(pair, states)


def _product(values: list[float], repeat: int) -> Tensor:
    return torch.tensor(list(itertools.product(values, repeat=repeat)), dtype=torch.float64)
