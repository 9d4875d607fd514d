"""Where gradients of a bound come from: the step that trains, of our objectives and of Pyro's alike.

A draw is one turn of the objective, every player's step once, at the pair as it is: no parameter of the pair moves.
What an objective carries of its own (baselines, moving averages, control variates) is settled first and moves on with
the draws, as in training. Gradients are of the loss per datum by the pair's parameters, added up over players.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ppgen.comparison.labels import label_of
from ppgen.errors import UsageError, is_out_of_memory
from ppgen.factory import as_objective
from ppgen.measuring.repeats import Draw
from ppgen.objectives.bounds import Reduction, target_of
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Player, State
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import empty_store, isolated, swapped
from ppgen.pairs.rows import first_data
from ppgen.pairs.tracing import Batch, Program
from ppgen.training.learner import Learner, fixed_and_moving
from ppgen.training.steps import StepFunction, compiled, player_step

__all__ = ["Source", "at_hand", "in_a_sentence", "source_of"]


class Source:
    """One objective at one pair and batch.

    Args:
        pair: within :func:`at_hand`.
        objective: whose gradients.
        batch: of the dtype of the pair's parameters.
        step: where schedules stand.

    Attributes:
        target: the bound whose gradient it estimates, where that is a function of log-weights.
        unbiased: whether it says that its gradient is that of its value's expectation.
        is_compiled: whether its steps are.
        can_be_reference: whether its draws may be what the bias of others is measured from.
        state: what a draw hands to the next.
    """

    is_compiled = False
    state: State = MappingProxyType({})

    def __init__(self, pair: Pair, objective: Objective, batch: Batch, step: int) -> None:
        like = next(part for part in (*batch, *pair.parameters()) if torch.is_floating_point(part)).detach()
        objective.check(Program(pair.model, pair.guide), batch)
        own = objective.parameters(pair, batch).to(device=like.device, dtype=like.dtype)
        self.learner, self.batch = Learner(pair, own), batch
        self.players = objective.players()
        fixed, moving = fixed_and_moving(objective.schedules(step))
        self.values = {name: like.new_tensor(value) for name, value in moving.items()}
        self.target: Reduction | None = target_of(objective.at(step))
        self.unbiased = objective.unbiased_gradient
        self.can_be_compiled = not objective.why_eager
        self.can_be_reference = self.unbiased and self.can_be_compiled
        with isolated():
            self.state = objective.at(step).initial_state(self.learner.program, batch)
        self._steps: dict[str, StepFunction] = {
            player.name: player_step(self.learner, objective.holding(fixed), player) for player in self.players
        }

    def draw(self) -> Draw:
        """The next gradient."""
        total: dict[str, Tensor] = {}
        seconds, bounds = 0.0, []
        for player in self.players:
            gradients, report, elapsed = self._move(player)
            seconds += player.steps * elapsed
            bounds.append(report.get("bound", -report["loss"]))
            for name, gradient in gradients.items():
                total[name] = total[name] + gradient if name in total else gradient
        return Draw(_of_pair(total), float(bounds[0]), seconds)

    def settle(self, num: int) -> None:
        """Let what the objective carries of its own find its level, in so many steps."""
        own = dict(self.learner.objective.named_parameters(prefix="objective"))
        if not own and not self.state:
            return
        optimizer = torch.optim.Adam(own.values(), lr=1e-3) if own else None
        for _ in range(num):
            for player in self.players:
                gradients, _, _ = self._move(player)
                for name in own.keys() & gradients.keys():
                    own[name].grad = gradients[name]
                if optimizer is not None:
                    optimizer.step()
                    optimizer.zero_grad()

    def compile(self) -> None:
        """Have the following draws come from compiled steps, where pair and objective allow it."""
        if not self.can_be_compiled:
            return
        try:
            self._steps = {
                player.name: compiled(self._steps[player.name], *self._arguments(player)) for player in self.players
            }
        except Exception:  # whatever tracing raised: the eager steps stay, and the result says so
            return
        self.is_compiled = True

    def _move(self, player: Player) -> tuple[dict[str, Tensor], Mapping[str, Tensor], float]:
        arguments = self._arguments(player)
        start = _now(self.batch)
        gradients, report, state, _ = self._steps[player.name](*arguments)
        seconds = _now(self.batch) - start
        self.state = state
        return dict(zip(arguments[0], gradients, strict=True)), report, seconds

    def _arguments(self, player: Player) -> Any:
        return *self.learner.arguments(player), self.state, self.values, self.batch


@contextmanager
def at_hand(pair: Pair, dtype: torch.dtype) -> Iterator[None]:
    """Within it the pair holds copies of its parameters and buffers, in ``dtype``, and the param store is empty."""
    copies: dict[str, Tensor] = {
        name: nn.Parameter(p.detach().to(dtype).clone(), p.requires_grad) for name, p in pair.named_parameters()
    }
    buffers = {name: b.to(dtype) if b.is_floating_point() else b for name, b in pair.named_buffers()}
    with swapped(pair, {**copies, **{name: b.clone() for name, b in buffers.items()}}), empty_store():
        yield


def source_of(objective: Any, pair: Pair, batch: Batch, *, step: int = 0) -> Source:
    """The gradients of an objective, which were drawn twice to see that it can do this pair.

    Args:
        objective: ours, or any ``pyro.infer.ELBO``.
        pair: within :func:`at_hand`.
        batch: of the dtype of the pair's parameters.
        step: where schedules stand.

    Raises:
        UsageError: it cannot; or it is neither ours nor Pyro's.
    """
    with in_a_sentence(label_of(objective)):
        made = Source(pair, as_objective(objective), batch, step)
        state = made.state
        with torch.random.fork_rng():
            for _ in range(2):
                made.draw()
        made.state = state
        return made


@contextmanager
def in_a_sentence(who: str) -> Iterator[None]:
    """Within it whatever the pair raises of its own becomes one sentence.

    Raises:
        UsageError: that sentence; one that was raised within passes, and so does what is beyond memory.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UsageError) or is_out_of_memory(error):
            raise
        what = (str(error).strip().splitlines() or ["no message"])[0]
        raise UsageError(
            f"{who} fails on this pair with {type(error).__name__}: {what.rstrip('.')}; "
            "`ppgen.check_pair(pair, batch)` says which rule the pair breaks."
        ) from error


def _of_pair(gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("pair."): value for name, value in gradients.items() if name.startswith("pair.")}


def _now(batch: Batch) -> float:
    if (x := first_data(batch)) is not None and x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter()
