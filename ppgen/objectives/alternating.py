"""Two steps in turn, each in closed form: expectations of the latents of data, then the parameters that maximise.

    S       = sum_n E s(x_n, z),                  sums over data, of batches of any size
    theta'  = argmax of a function of S,          when all N data have been seen: an epoch is one step of both

so that whatever the batches are, the value never falls from one epoch to the next. Online, with ``decay`` = a, an
average of statistics follows the batches, and each is followed by a second step,

    s_t = s_{t-1} + t^-a (s(batch) - s_{t-1}),        1/2 < a <= 1,        S = N s_t,

which converges to a stationary point where batches are drawn at random, and may lower the value.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import AVERAGED, Outcome, Player, State
from ppgen.pairs.tracing import Batch, Program

__all__ = ["Alternating"]


class Alternating(Objective):
    """An objective of two steps in closed form; subclasses declare ``decay``, None or a.

    State: the statistics so far, by the pair's names for them, and online ``steps``, t.

    To add one: 1. a file in ``inference/em/`` with a frozen dataclass; 2. write :meth:`pair_of`, :meth:`expected` and
    :meth:`valued`; 3. register it.
    """

    whole_epochs = True
    shards = AVERAGED  # every rank sums over the whole batch

    decay: float | None

    @abstractmethod
    def pair_of(self, program: Program) -> Any:
        """The pair, which has both steps: ``maximised(statistics)`` is the second."""

    @abstractmethod
    def expected(self, pair: Any, batch: Batch) -> dict[str, Tensor]:
        """S of the batch, by name; ``count``, (), is how many data these are of."""

    @abstractmethod
    def valued(self, pair: Any, batch: Batch, num_data: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, of all N = ``num_data`` data by those of a batch, and metrics, per datum."""

    def players(self) -> tuple[Player, ...]:
        return (Player("all", owns=()),)

    def initial_state(self, program: Program, batch: Batch) -> State:
        nothing = {name: torch.zeros_like(value) for name, value in self._found(program, batch).items()}
        return nothing if self.decay is None else {**nothing, "steps": nothing["count"].clone()}

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        pair = self.pair_of(program)
        num_data = float(pair.data_size or program.data_size or len(batch[0]))
        whole, following = None, state
        if getattr(pair, "training", True):  # held-out data have no part in the statistics
            whole, following = self._whole(self._found(program, batch), state, num_data)
        with torch.no_grad():
            assigned = {} if whole is None else pair.maximised(whole)
        loss, metrics = self.valued(pair, batch, num_data)
        return Outcome(loss, num_data, metrics, following, assigned)

    def _found(self, program: Program, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            return self.expected(self.pair_of(program), batch)

    def _whole(self, found: State, state: State, num_data: float) -> tuple[Mapping[str, Tensor] | None, State]:
        """S of all data, where it is known now, and the state that the next batch gets."""
        if self.decay is None:
            sums = {name: state[name] + value for name, value in found.items()}
            if round(float(sums["count"])) < num_data:
                return None, sums
            return sums, {name: torch.zeros_like(value) for name, value in sums.items()}
        steps = state["steps"] + 1
        share, count = steps**-self.decay, found["count"]
        averages = {name: state[name] + share * (value / count - state[name]) for name, value in found.items()}
        return {name: num_data * value for name, value in averages.items()}, {**averages, "steps": steps}
