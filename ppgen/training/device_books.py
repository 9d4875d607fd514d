"""The books of turns on a GPU, where a look at a number costs more than a step, so that the device keeps them itself.

A flag stays once a number was not finite, and from then on nothing changes any more; beside it stand how many moves
were made and the sums of what they reported. The rows, schedules and learning rates of the next turns lie in tables on
the device, and a whole turn, optimizers included, is captured once as a CUDA graph and replayed. Before that it is
rehearsed, which compiles and makes what is made once; then all is put back, so that every turn is taken by the graph,
in a run that is resumed as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ppgen.errors import first_sentence
from ppgen.machine.memory import is_pinned_for
from ppgen.training.books import Books, Given, HostBooks, Move, NotFiniteError, Plan, Play
from ppgen.training.optimizers import slots_of

__all__ = ["DeviceBooks", "books_of"]

Captures = Callable[[Move], bool]
Changed = Callable[[], list[Tensor]]

_AHEAD = 1000
"""Turns after which the device's flag is read, and at most as many whose inputs are laid out at a time."""

_ROWS = 2**22
"""Rows in a table, at most."""

_MOST_GRAPHS = 16


@dataclass
class _Kind:
    """Turns of the same moves: their tables, and their graph once there is one.

    ``done`` is how many of the tables' moves the device has made; ``turn`` and ``length`` are the host's turns, done
    and in the tables; ``offsets`` are the random numbers that a turn has used before each of its moves.
    """

    rows: list[Tensor]
    moving: Tensor
    rates: Tensor
    done: Tensor
    turn: int = 0
    length: int = 0
    graph: torch.cuda.CUDAGraph | None = None
    offsets: list[int] = field(default_factory=list)


class DeviceBooks(Books):
    """The device keeps the books, and the host reads them every thousand turns, or when it is asked.

    Args:
        plan, play, like: see :class:`Books`.
        captures: whether a move can be captured: its step is compiled, or is to be, and its rows are on the device.
        changed: what moves change, beside the books: parameters, buffers, state; and what an optimizer keeps, which it
            makes at its first step, as zeros.
    """

    def __init__(
        self,
        plan: Plan,
        play: Play,
        like: Tensor,
        captures: Captures,
        changed: Changed,
    ) -> None:
        super().__init__(plan, play, like)
        self.captures, self.changed = captures, changed
        self.device = like.device
        on_gpu = self.device.type == "cuda"
        self._generator: Any = torch.cuda.default_generators[self.device.index or 0] if on_gpu else None
        self.bad = torch.zeros((), device=self.device)
        """1 once a number was not finite; the ``found_inf`` by which torch's fused optimizers skip their update."""
        self.moves = torch.zeros((), dtype=torch.long, device=self.device)
        """Good moves since :meth:`settle` last read it."""
        self._kinds: dict[Any, _Kind] = {}
        self._at_hand: _Kind | None = None
        self._can_capture = True
        self._pool: Any = None
        self._account: Callable[..., None] = torch.compile(_account, dynamic=False) if on_gpu else _account
        self._done = torch.zeros((), dtype=torch.long, device=self.device)
        self._vectors: dict[tuple[str, ...], Tensor] = {}  # sums, by their names
        self._carried: dict[str, float] = {}
        self._before = 0, torch.get_rng_state()  # the random numbers of both devices, before the move at hand
        self._offsets: list[tuple[int, _Kind]] = []  # where the random numbers of each turn since then begin

    def take_turn(self) -> None:
        kind = self._at_hand
        if kind is None or kind.turn == kind.length:  # the next ones are laid out while the device is at those before
            kind = self._at_hand = self._filled()
        if len(self._offsets) >= _AHEAD:
            self.settle()
        self._offsets.append((self._offset(), kind))
        if kind.graph is None:
            self._prepare(kind, self.plan(0))
        if kind.graph is not None:
            kind.graph.replay()
        else:
            self._run(kind, self.plan(0))
        kind.turn += 1

    def settle(self) -> None:
        """See to it that all turns were good; else the random numbers are put back to before the move that was not.

        Raises:
            NotFiniteError: one was not.
        """
        if bool(self.bad):
            made, per_turn = int(self.moves), len(self._offsets[0][1].rows)
            turn, within = divmod(made, per_turn)
            start, kind = self._offsets[turn]
            self._go_back(start + kind.offsets[within])
            raise NotFiniteError(made - per_turn * len(self._offsets))
        self.moves.zero_()
        self._offsets.clear()

    def take_back(self) -> None:
        offset, random = self._before
        self._go_back(offset)
        torch.set_rng_state(random)

    def judge(self, report: Mapping[str, Tensor], deciding: Sequence[str], share: float) -> None:
        names = (*report, *(f"{name}/count" for name in report))
        if names not in self._vectors:
            before = [self._carried.pop(name, 0.0) for name in names]
            self._vectors[names] = torch.tensor(before, dtype=torch.float64, device=self.device)
        places = [list(report).index(name) for name in deciding]
        counts = self.bad, self.moves, self._done, self._vectors[names]
        self._account(list(report.values()), places, share, *counts)

    def keep(self, old: Tensor, new: Tensor) -> Tensor:
        return old.copy_(torch.where(self.bad.bool().to(old.device), old, new))

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        if getattr(optimizer, "_step_supports_amp_scaling", False):  # as torch's own scaler asks it
            vars(optimizer)["found_inf"] = self.bad
            optimizer.step()
            return
        (group,) = optimizer.param_groups
        before = [(tensor, tensor.detach().clone()) for tensor in (*group["params"], *slots_of(optimizer).values())]
        optimizer.step()
        with torch.no_grad():
            for tensor, old in before:
                tensor.copy_(self.keep(old, tensor))

    @property
    def sums(self) -> dict[str, float]:
        found = dict(self._carried)
        for names, vector in self._vectors.items():
            for name, value in zip(names, vector.tolist(), strict=True):
                found[name] = found.get(name, 0.0) + value
        return {name: value for name, value in found.items() if found[f"{name.removesuffix('/count')}/count"]}

    @sums.setter
    def sums(self, sums: Mapping[str, float]) -> None:
        self._carried = dict(sums)
        for vector in self._vectors.values():
            vector.zero_()

    def _offset(self) -> int:
        """How many random numbers the device has drawn."""
        return self._generator.get_offset() if self._generator is not None else 0

    def _go_back(self, offset: int) -> None:
        if self._generator is not None:
            self._generator.set_offset(offset)

    def _filled(self) -> _Kind:
        """The tables for the next turn, and for those after it that are like it."""
        moves = self.plan(0)
        key = tuple(move.kind for move in moves)
        most = max(1, min(_AHEAD, _ROWS // sum(len(move.rows) for move in moves)))
        turns = [moves]
        while len(turns) < most:
            following = self.plan(len(turns))
            if tuple(move.kind for move in following) != key:
                break
            turns.append(following)
        if key not in self._kinds:
            self._kinds[key] = _Kind(
                [move.rows.new_zeros(most, len(move.rows)) for move in moves],
                self.like.new_zeros(most, len(moves[0].moving)),
                torch.zeros(most, len(moves), device=self.device),
                torch.zeros((), dtype=torch.long, device=self.device),
            )
        kind, num = self._kinds[key], len(turns)
        for place, table in enumerate(kind.rows):
            table[:num] = torch.stack([moves[place].rows for moves in turns])
        self._bring([list(moves[0].moving.values()) for moves in turns], kind.moving)
        self._bring([[move.rate for move in moves] for moves in turns], kind.rates)
        kind.done.zero_()
        kind.turn, kind.length = 0, num
        return kind

    def _bring(self, rows: list[list[float]], table: Tensor) -> None:
        """Lay them out from the top of a table, when the device comes to it: the host does not wait."""
        values = torch.tensor(rows, dtype=table.dtype, pin_memory=is_pinned_for(self.device))
        table[: len(rows)].copy_(values, non_blocking=True)

    def _prepare(self, kind: _Kind, moves: Sequence[Move]) -> None:
        """Capture the turn, where it can be."""
        if self._can_capture and all(map(self.captures, moves)):
            self._rehearse(kind, moves)
        if self._can_capture and all(map(self.captures, moves)):
            self._capture(kind, moves)

    def _rehearse(self, kind: _Kind, moves: Sequence[Move]) -> None:
        """Take the turn, and put everything back."""
        before = {id(tensor): (tensor, tensor.clone()) for tensor in (*self.changed(), *self._own(kind))}
        offset, random, sums = self._offset(), torch.get_rng_state(), self.sums
        self._run(kind, moves)
        for tensor in (*self.changed(), *self._own(kind)):
            with torch.no_grad():
                tensor.copy_(before[id(tensor)][1]) if id(tensor) in before else tensor.zero_()
        for names, vector in self._vectors.items():  # a graph writes to them where they are
            vector.copy_(torch.tensor([sums.pop(name, 0.0) for name in names], dtype=torch.float64))
        self._carried = sums
        torch.set_rng_state(random)
        self._go_back(offset)

    def _own(self, kind: _Kind) -> list[Tensor]:
        return [self.bad, self.moves, kind.done]

    def _run(self, kind: _Kind, moves: Sequence[Move]) -> None:
        """The moves of one turn, their numbers taken from the tables."""
        self._done = kind.done
        at, offsets = (kind.done if len(moves) == 1 else kind.done // len(moves)).view(1), []
        moving = dict(zip(moves[0].moving, kind.moving.index_select(0, at)[0].unbind(), strict=True))
        rates = kind.rates.index_select(0, at)[0].unbind()
        capturing = self._generator is not None and torch.cuda.is_current_stream_capturing()
        start = 0 if capturing else self._offset()
        for move, table, rate in zip(moves, kind.rows, rates, strict=True):
            offsets.append(0 if capturing else self._offset() - start)
            self._before = start + offsets[-1], torch.get_rng_state()
            rows = table.index_select(0, at)[0] if table.device == at.device else move.rows  # the host's own rows
            self.play(move, Given(rows, moving, rate))
        kind.offsets = kind.offsets if capturing else offsets

    def _capture(self, kind: _Kind, moves: Sequence[Move]) -> None:
        """Capture the turn, which is not taken by it; where that fails, no other is tried."""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device)
        random = self._generator.clone_state()
        torch.cuda.synchronize(self.device)
        try:
            with torch.cuda.graph(graph, pool=self._pool):
                self._run(kind, moves)
        except Exception as error:
            torch.cuda.set_stream(stream)  # a capture that fails leaves its own stream, and its hand on the generator
            self._generator.graphsafe_set_state(random)
            self._can_capture = False
            warnings.warn(
                f"a turn of this training is no CUDA graph, and its steps run one by one: {first_sentence(error)}.",
                stacklevel=2,
            )
            return
        self._pool = graph.pool()
        self._can_capture = len(self._kinds) < _MOST_GRAPHS
        kind.graph = graph


def _account(
    numbers: Sequence[Tensor],
    deciding: Sequence[int],
    share: float,
    bad: Tensor,
    moves: Tensor,
    done: Tensor,
    sums: Tensor,
) -> None:
    """One move in the books; a single kernel where it is compiled."""
    values = torch.stack([number.detach().to(torch.float64) for number in numbers])
    finite = torch.stack([torch.isfinite(values[place]) for place in deciding]).all()
    bad.copy_(torch.where(finite, bad, torch.ones_like(bad)))
    good = bad == 0
    moves.add_(good.to(moves.dtype))
    done.add_(good.to(done.dtype))
    added = torch.cat([values, torch.ones_like(values)]) * share
    sums.add_(torch.where(good, added, torch.zeros_like(added)))


def books_of(plan: Plan, play: Play, like: Tensor, captures: Captures, changed: Changed) -> Books:
    """The books of a training whose tensors are where ``like`` is; see :class:`DeviceBooks`."""
    return DeviceBooks(plan, play, like, captures, changed) if like.is_cuda else HostBooks(plan, play, like)
