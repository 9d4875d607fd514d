"""Where gradients of a bound come from: our objectives by the step that trains, Pyro's by their ``loss_and_grads``.

A draw is one turn of the objective, every player's step once, at the pair as it is: no parameter of the pair moves.
What an objective carries of its own (baselines, moving averages, control variates) is settled first and moves on with
the draws, as in training. Gradients are of the loss per datum by the pair's parameters, added up over players.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from ppgen.comparison.labels import label_of
from ppgen.errors import UsageError, is_out_of_memory, shown
from ppgen.objectives.bounds import Reduction, target_of
from ppgen.objectives.objective import Objective, Player, State
from ppgen.pairs.looking import looked_at
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import empty_store, isolated, swapped
from ppgen.pairs.rows import first_data
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import OBJECTIVES
from ppgen.training.learner import Learner, fixed_and_moving
from ppgen.training.steps import StepFunction, compiled, player_step

__all__ = ["Draw", "Source", "at_hand", "in_a_sentence", "source_of"]


@dataclass(frozen=True)
class Draw:
    """One gradient by every trainable parameter of the pair, by name, the bound per datum in nats, and its seconds."""

    gradients: Mapping[str, Tensor]
    bound: float
    seconds: float


class Source(ABC):
    """One objective at one pair and batch."""

    target: Reduction | None
    """The bound whose gradient it estimates, where that is a function of log-weights."""
    unbiased: bool
    """Whether it says that its gradient is that of its value's expectation."""
    is_compiled: bool = False
    can_be_reference: bool = False
    """Whether its draws may be what the bias of others is measured from."""
    state: State = MappingProxyType({})
    """What a draw hands to the next."""

    @abstractmethod
    def draw(self) -> Draw:
        """The next gradient."""

    @abstractmethod
    def settle(self, num: int) -> None:
        """Let what the objective carries of its own find its level, in so many steps."""

    @abstractmethod
    def compile(self) -> None:
        """Have the following draws come from compiled steps, where the pair can be traced and the source allows it."""


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
    kinds: dict[type, Callable[[], Source]] = {
        Objective: lambda: _Ours(pair, objective, batch, step),
        pyro.infer.ELBO: lambda: _Pyros(pair, objective, batch),
    }
    make = next((make for kind, make in kinds.items() if isinstance(objective, kind)), None)
    if make is None:
        raise UsageError(f"expected an objective, its registered name, or a pyro.infer.ELBO, got {shown(objective)}.")
    with in_a_sentence(label_of(objective)):
        made = make()
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


class _Ours(Source):
    def __init__(self, pair: Pair, objective: Objective, batch: Batch, step: int) -> None:
        like = next(part for part in (*batch, *pair.parameters()) if torch.is_floating_point(part)).detach()
        objective.check(Program(pair.model, pair.guide), batch)
        own = objective.parameters(pair, batch).to(device=like.device, dtype=like.dtype)
        self.learner, self.batch = Learner(pair, own), batch
        self.players = objective.players()
        fixed, moving = fixed_and_moving(objective.schedules(step))
        self.values = {name: like.new_tensor(value) for name, value in moving.items()}
        self.target = target_of(objective.at(step))
        self.unbiased = objective.unbiased_gradient
        self.can_be_reference = self.unbiased
        with isolated():
            self.state = objective.at(step).initial_state(self.learner.program, batch)
        self._steps: dict[str, StepFunction] = {
            player.name: player_step(self.learner, objective.holding(fixed), player) for player in self.players
        }

    def draw(self) -> Draw:
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


class _Pyros(Source):
    """An ELBO of Pyro's. It writes to ``.grad`` and to the param store; :func:`at_hand` keeps the user's of both."""

    def __init__(self, pair: Pair, elbo: Any, batch: Batch) -> None:
        self.pair, self.elbo, self.batch = pair, elbo, batch
        self.target = _target_of(elbo)
        self.unbiased = self.target is not None
        run = looked_at(pair, batch)
        self.num_data = run.scale * run.log_w.shape[1]

    def draw(self) -> Draw:
        parameters = {name: p for name, p in self.pair.named_parameters() if p.requires_grad}
        for p in parameters.values():
            p.grad = None
        start = _now(self.batch)
        loss = self.elbo.loss_and_grads(self.pair.model, self.pair.guide, *self.batch)
        seconds = _now(self.batch) - start
        gradients = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in parameters.items()}
        loss = loss[0] if isinstance(loss, tuple) else loss  # ReweightedWakeSleep: of the model, of the guide
        scaled = {name: gradient / self.num_data for name, gradient in gradients.items()}
        return Draw(scaled, -float(loss) / self.num_data, seconds)

    def settle(self, num: int) -> None:
        for _ in range(num):
            self.draw()

    def compile(self) -> None:
        """Pyro's objectives run as they are."""


def _target_of(elbo: pyro.infer.ELBO) -> Reduction | None:
    """The bound that one of Pyro's objectives estimates, where that is a function of log-weights."""
    makers = (_PYROS[kind] for kind in type(elbo).__mro__ if kind in _PYROS)
    return next((make(elbo) for make in makers), None)


def _elbo(elbo: Any) -> Any:
    return OBJECTIVES["elbo"].cls(num_particles=elbo.num_particles)


def _renyi(elbo: Any) -> Any:
    if elbo.alpha == 0:
        return OBJECTIVES["iwelbo"].cls(num_particles=elbo.num_particles)
    return OBJECTIVES["renyi"].cls(num_particles=elbo.num_particles, alpha=elbo.alpha)


_PYROS: dict[type, Callable[[Any], Any]] = {
    pyro.infer.Trace_ELBO: _elbo,
    pyro.infer.TraceGraph_ELBO: _elbo,
    pyro.infer.TraceEnum_ELBO: _elbo,
    pyro.infer.RenyiELBO: _renyi,
}
"""The bounds of Pyro's objectives and their subclasses; others have a value and a gradient and no known target."""


def _of_pair(gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("pair."): value for name, value in gradients.items() if name.startswith("pair.")}


def _now(batch: Batch) -> float:
    if (x := first_data(batch)) is not None and x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter()
