"""The contract of energy-based pairs: an unnormalised density, its free energy, and Markov chains that leave it alone.

    log p(v, h) = log p~(v, h) - log Z,        F(v) = -log sum_h exp log p~(v, h)        (nats)

The pair's model states log p~ and its guide is the exact p(h | v), so that every log-weight is -F(v), without
variance. What training lacks of a likelihood is log Z, whose gradient is an expectation under the pair's own
distribution: a *negative phase*, read off chains. What evaluation lacks is its value, estimated along the path of
tempered distributions p~_b from a factorised one (b = 0) to the pair's own (b = 1).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from ppgen.errors import UsageError
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import owner

__all__ = ["EnergyPair", "energy_pair"]


class EnergyPair(Pair):
    """A pair whose model is known up to its normalising constant; v is one datum, (..., D).

    All methods take any number of leading dims. Those that draw use torch's global random numbers and tensor
    operations alone: they can be traced into a compiled step.

    To add one: 1. write ``model`` with the latents drawn in the data plate and one ``pyro.factor`` there, and the
    exact ``guide``; 2. write the methods below, of which ``log_tempered`` at b = 1 is minus ``free_energy``;
    3. register it as any pair; objectives with ``needs_energy`` train it.
    """

    normalised: ClassVar[bool] = False
    exact_guide: ClassVar[bool] = True

    @abstractmethod
    def free_energy(self, v: Tensor) -> Tensor:
        """F(v) = -log sum_h p~(v, h), (..., D) -> (...,), in nats."""

    @abstractmethod
    def sweep(self, v: Tensor) -> Tensor:
        """One sweep of block Gibbs sampling, v -> h -> v', (..., D) -> (..., D)."""

    @abstractmethod
    def log_tempered(self, v: Tensor, b: Tensor | float) -> Tensor:
        """log p~_b(v), (..., D) -> (...,), in nats; b in [0, 1], of a shape that broadcasts with v's leading dims."""

    @abstractmethod
    def tempered_sweep(self, v: Tensor, b: Tensor | float) -> Tensor:
        """One sweep that leaves p~_b invariant, (..., D) -> (..., D)."""

    @abstractmethod
    def base_sample(self, num: int) -> Tensor:
        """``num`` independent draws from p~_0, (num, D)."""

    @abstractmethod
    def base_log_z(self) -> Tensor:
        """log of the integral of p~_0, a scalar, in nats."""

    def check_one_log_z(self, v: Tensor) -> None:
        """Whether the data v, (B, D), all have the log Z of the methods here; they do unless a pair says otherwise.

        Raises:
            UsageError: some have another one, such as documents of another length.
        """

    @abstractmethod
    def exact_log_z(self) -> Tensor:
        """log Z by enumeration, a scalar, in nats.

        Raises:
            UsageError: there are more than 2**22 states to sum over.
        """


def energy_pair(model: Callable[..., Any], needed_by: str) -> EnergyPair:
    """The energy-based pair that a program's model belongs to.

    Raises:
        UsageError: it belongs to none.
    """
    pair = owner(model)
    if isinstance(pair, EnergyPair):
        return pair
    what = type(pair).__name__ if pair is not None else "a function"
    raise UsageError(
        f"{needed_by} needs an energy-based pair, one with free_energy(v) and sweep(v), got {what}: choose another "
        "objective, or a model such as 'rbm' (your own: subclass ppgen.pairs.EnergyPair)."
    )
