"""How turns of the loop are taken, and what is kept of them: step by step, where the host can look at each.

What a turn does is :meth:`ppgen.training.trainer.Trainer.play` of its moves, everywhere the same.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppgen.objectives.turns import Player

__all__ = ["Books", "Given", "HostBooks", "Move", "NotFiniteError", "Plan", "Play"]


class NotFiniteError(ArithmeticError):
    """A move's loss or gradient is not finite: that of so many moves after the beginning of the turn at hand."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


@dataclass(frozen=True)
class Move:
    """One step of a turn, as the host knows it beforehand.

    Args:
        player: who moves.
        part: which data set its batch is of.
        rows: (B,) of that data set, on its device; of data on disk, on the host.
        share: of a full batch, by which the gradient counts.
        fixed: schedules of whole numbers, by their values.
        moving: the other schedules.
        rate: the learning rate.
        weight: of the rows among those of the batch, of which other ranks have the rest.
    """

    player: Player
    part: int
    rows: Tensor
    share: float
    fixed: Mapping[str, int]
    moving: Mapping[str, float]
    rate: float
    weight: float = 1.0

    @property
    def kind(self) -> tuple[Any, ...]:
        """What a captured move cannot change."""
        return self.player.name, self.part, len(self.rows), self.share, *self.fixed.items(), *self.moving


@dataclass(frozen=True)
class Given:
    """The numbers of one move, each a tensor on a GPU."""

    rows: Tensor
    moving: Mapping[str, Tensor]
    rate: float | Tensor


Play = Callable[[Move, Given], None]
Plan = Callable[[int], Sequence[Move]]
Captures = Callable[[Move], bool]
Changed = Callable[[], list[Tensor]]


class Books(ABC):
    """Takes turns, and keeps the sums of what they report.

    Args:
        plan: the moves of the n-th turn from now.
        play: makes one move, and says so to :meth:`judge` and :meth:`keep`.
        like: a tensor whose type and place schedules' values have.
    """

    def __init__(self, plan: Plan, play: Play, like: Tensor) -> None:
        self.plan, self.play, self.like = plan, play, like

    def given(self, move: Move) -> Given:
        """The numbers of a move, from the host."""
        moving = {name: self.like.new_tensor(value) for name, value in move.moving.items()}
        return Given(move.rows, moving, move.rate)

    @abstractmethod
    def take_turn(self) -> None:
        """All moves of the next turn.

        Raises:
            NotFiniteError: a number was not finite; on a GPU, in some turn before.
        """

    @abstractmethod
    def settle(self) -> None:
        """See to it that all turns were good.

        Raises:
            NotFiniteError: one was not.
        """

    @abstractmethod
    def take_back(self) -> None:
        """Put the random numbers back to before the move at hand, which has changed nothing else so far."""

    @abstractmethod
    def judge(self, report: Mapping[str, Tensor], deciding: Sequence[str], share: float) -> None:
        """Add to the sums what a move reports, if it is good: if the ``deciding`` numbers of it are finite."""

    @abstractmethod
    def keep(self, old: Tensor, new: Tensor) -> Tensor:
        """What holds ``new`` from now on, in place of ``old``, if the move was good."""

    @abstractmethod
    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimizer's step, if the move was good."""

    @property
    @abstractmethod
    def sums(self) -> dict[str, float]:
        """Of each reported number the sum, and under ``name/count`` that of the shares."""

    @sums.setter
    @abstractmethod
    def sums(self, sums: Mapping[str, float]) -> None: ...


class HostBooks(Books):
    """Every move is looked at when it is made."""

    def __init__(self, plan: Plan, play: Play, like: Tensor) -> None:
        super().__init__(plan, play, like)
        self._sums: dict[str, float] = {}
        self._made = 0  # moves of the turn at hand that were good
        self._random = torch.get_rng_state()  # before the last move

    def take_turn(self) -> None:
        self._made = 0
        for move in self.plan(0):
            self._random = torch.get_rng_state()
            self.play(move, self.given(move))
            self._made += 1

    def settle(self) -> None:
        pass

    def take_back(self) -> None:
        torch.set_rng_state(self._random)

    def judge(self, report: Mapping[str, Tensor], deciding: Sequence[str], share: float) -> None:
        numbers = {name: float(value) for name, value in report.items()}
        if not all(math.isfinite(numbers[name]) for name in deciding):
            self.take_back()
            raise NotFiniteError(self._made)
        for name, value in numbers.items():
            self._sums[name] = self._sums.get(name, 0.0) + share * value
            self._sums[f"{name}/count"] = self._sums.get(f"{name}/count", 0.0) + share

    def keep(self, old: Tensor, new: Tensor) -> Tensor:
        return new

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        optimizer.step()

    @property
    def sums(self) -> dict[str, float]:
        return dict(self._sums)

    @sums.setter
    def sums(self, sums: Mapping[str, float]) -> None:
        self._sums = dict(sums)
