"""Storing patterns in an associative memory: parameters that are set, and no gradient.

Patterns s_1, s_2, ... in {-1, 1}^D, as they are shown, are added one batch after another to a matrix M (D, D), of which
W is all but the diagonal. What M is, is the rule's.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from ppgen.arguments import Count
from ppgen.chains.recall import all_at_once, memory_of
from ppgen.errors import UsageError
from ppgen.objectives.energies import EnergyObjective
from ppgen.objectives.objective import Stage
from ppgen.objectives.turns import AVERAGED, Outcome, Player, State
from ppgen.pairs.tracing import Batch, Program

__all__ = ["Storing"]

_ROUNDING = 1e-12


class Storing(EnergyObjective):
    """A rule by which patterns are stored; subclasses declare ``num_patterns``.

    The data that the first epoch shows are stored, each once: the first ``num_patterns`` of them, or all. The value is
    the free energy of the data, in nats.

    State: ``memory``, M (D, D), float64; ``num_stored``, (). Metrics: ``free_energy``, the data's, and ``stable``, the
    share of their bits that one update leaves.

    Its gradient moves nothing here. Under Pyro's own ``SVI`` it is what moves the weights: a step of Hebb's rule.

    To add one: 1. a file in ``inference/energy/`` with a frozen dataclass; 2. write :meth:`added`; 3. register it.
    """

    measures_fit = False
    needs_memory = True
    whole_epochs = True
    shards = AVERAGED  # every rank stores the whole batch

    num_patterns: Count | None

    @abstractmethod
    def added(self, memory: Tensor, s: Tensor) -> Tensor:
        """M with patterns (B, D) in {-1, 1} more; rows of zeros are none. (D, D)."""

    def couplings(self, x: Tensor) -> Tensor:
        """W of patterns x, (P, D), binary, all stored at once, (D, D), float64."""
        size = x.shape[-1]
        return _off_diagonal(self.added(x.new_zeros(size, size, dtype=torch.float64), 2 * x.double() - 1))

    def check_stored(self, state: State) -> None:
        """Look at what has been stored, at the end.

        Raises:
            UsageError: less than was asked for.
        """
        stored = int(state["num_stored"])
        if self.num_patterns is not None and stored < self.num_patterns:
            raise UsageError(
                f"num_patterns = {self.num_patterns} of {type(self).__name__}, and training has shown {stored} "
                "patterns: train for an epoch, of as many data."
            )

    def players(self) -> tuple[Player, ...]:
        return (Player("all", owns=()),)

    def stages(self, pair: nn.Module) -> tuple[Stage, ...]:
        return (Stage(type(self).__name__, self, at_end=self.check_stored),)

    def initial_state(self, program: Program, batch: Batch) -> State:
        x = self.seen(program, batch)[1]
        zeros = x.new_zeros(x.shape[-1], x.shape[-1], dtype=torch.float64)
        return {"memory": zeros, "num_stored": zeros.new_zeros(())}

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        pair, x = memory_of(program.model, type(self).__name__), self.seen(program, batch)[1]
        with torch.no_grad():
            room = self._room(len(x), state["num_stored"], pair.data_size or program.data_size)
            memory = self.added(state["memory"], room[:, None] * (2 * x.double() - 1))
            following = {"memory": memory, "num_stored": state["num_stored"] + room.sum()}
            weight = _off_diagonal(memory).to(x)
            stable = (all_at_once(x, weight, pair.fields()[1]) == x).to(x).mean()
        energies, num_data = pair.free_energy(x).mean(), float(pair.data_size or len(x))
        metrics = {"free_energy": energies.detach(), "stable": stable}
        return Outcome(energies * num_data, num_data, metrics, following, pair.coupled(weight))

    def _room(self, size: int, stored: Tensor, data_size: int | None) -> Tensor:
        """1 for each of ``size`` patterns that is stored, and 0 for the others, (size,)."""
        most = self.num_patterns or data_size
        shown = stored + torch.arange(size, device=stored.device)
        return torch.ones_like(shown) if most is None else (shown < most).to(stored)

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        size = memory_of(program.model, type(self).__name__).data_size or program.data_size
        if size is not None and (self.num_patterns or 0) > size:
            raise UsageError(
                f"num_patterns = {self.num_patterns} of {type(self).__name__}, and there are {size} data to store: "
                "lower it, or leave it out to store them all."
            )


def _off_diagonal(memory: Tensor) -> Tensor:
    """W of M; what is rounding of float64 is zero, so that a unit that no other tells of stays as it is."""
    return torch.where(memory.abs() < _ROUNDING, 0.0, memory - memory.diagonal().diag())
