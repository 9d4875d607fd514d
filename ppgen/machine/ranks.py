"""The processes that train one pair together, each a rank of them; a plain process is the only one there is.

``torchrun`` starts them and says which is which by ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR`` and
``MASTER_PORT`` in the environment, as anything else may do. What is on a CPU goes by gloo, what is on a GPU by NCCL.
Among one rank nothing is exchanged, and whatever is asked for is what was given.

Every rank asks for the same things in the same order. What is exchanged besides tensors is JSON.
"""

from __future__ import annotations

import atexit
import functools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store

from ppgen.errors import UsageError, first_sentence, shown
from ppgen.machine.parting import DONE, LostError, roll_call, said_of, undisturbed

__all__ = ["Ranks", "joined", "launched", "local_rank", "speaks", "stopping_together"]

P = ParamSpec("P")
T = TypeVar("T")


def launched() -> bool:
    """Whether this process was started as a rank, be it the only one."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def local_rank() -> int | None:
    """Which of the ranks on its machine this process is; None: it is no rank, or nobody said so."""
    return _whole_number("LOCAL_RANK") if launched() and "LOCAL_RANK" in os.environ else None


def speaks() -> bool:
    """Whether what there is to say to the user is for this process to say: one rank alone does."""
    if _JOINED:
        return _JOINED[0].speaks
    return not launched() or os.environ["RANK"] == "0"


class Ranks:
    """This process among those that train together.

    Args:
        rank: its number, from 0.
        size: how many there are.
        store: where they leave notes for each other; None among one.
    """

    def __init__(self, rank: int = 0, size: int = 1, store: Store | None = None) -> None:
        self.rank, self.size, self.store = rank, size, store
        self.speaks = self.first
        self._rounds, self._is_together = 0, False
        self._vote: tuple[Any, Tensor] | None = None

    @property
    def first(self) -> bool:
        """Whether it is rank 0, which alone writes files."""
        return self.rank == 0

    def span(self, num: int) -> tuple[int, int]:
        """Where this rank's part of ``num`` things in a row begins and ends; the parts differ by at most one.

        >>> [Ranks(rank, 3).span(8) for rank in range(3)]
        [(0, 2), (2, 5), (5, 8)]
        """
        return num * self.rank // self.size, num * (self.rank + 1) // self.size

    def shard(self, whole: Tensor, axis: int = 0) -> Tensor:
        """This rank's part of a tensor along an axis: a view."""
        if self.size == 1:
            return whole
        start, end = self.span(whole.shape[axis])
        return whole.narrow(axis, start, end - start)

    def joint(self, part: Tensor, num: int, axis: int = 0) -> Tensor:
        """All that :meth:`shard` divided, ``num`` along the axis, on every rank."""
        if self.size == 1:
            return part
        whole = part.new_zeros([num if at == axis else size for at, size in enumerate(part.shape)])
        self.shard(whole, axis).copy_(part)
        self._call(dist.all_reduce, whole.view(torch.uint8))  # every byte is one rank's, and the others add zero
        return whole

    def mean(self, tensors: Sequence[Tensor], weight: float) -> list[Tensor]:
        """The sum over ranks of weight times tensor, in one exchange of one flat buffer.

        Args:
            tensors: of the same shapes and types on all ranks; the mean of whole numbers is of the others' type.
            weight: this rank's; all weights add up to 1.
        """
        if self.size == 1 or not tensors:
            return list(tensors)
        widest = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
        flat = torch.cat([tensor.detach().reshape(-1).to(widest) for tensor in tensors]).mul_(weight)
        self._call(dist.all_reduce, flat)
        pieces = flat.split([tensor.numel() for tensor in tensors])
        kinds = [tensor.dtype if tensor.is_floating_point() else widest for tensor in tensors]
        shaped = zip(pieces, tensors, kinds, strict=True)
        return [piece.view(tensor.shape).to(kind) for piece, tensor, kind in shaped]

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors, the same number of the same sizes on all ranks, by those of rank 0, bit for bit."""
        for tensor in (tensor for tensor in tensors if self.size > 1 and tensor.numel()):
            bits = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
            self._call(dist.broadcast, bits, 0)
            if not self.first:
                tensor.detach().copy_(bits.view(tensor.dtype).view(tensor.shape))

    def of_first(self, tensors: Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
        """Rank 0's tensors by name, on every rank; None where it has none."""
        if self.size == 1:
            return None if tensors is None else dict(tensors)
        own = None if tensors is None else {name: _kind(tensor) for name, tensor in tensors.items()}
        kinds = self.gathered(own)[0]
        if kinds is None:
            return None
        made = {
            name: torch.empty(shape, dtype=getattr(torch, kind), device="cpu") for name, (shape, kind) in kinds.items()
        }
        found = dict(tensors or {}) if self.first else made
        self.spread(found.values())
        return found

    def gathered(self, document: T) -> list[T]:
        """What every rank gives, JSON, in their order."""
        if self.size == 1:
            return [document]
        text = json.dumps(document).encode()
        sizes = torch.zeros(self.size, dtype=torch.long, device="cpu")
        sizes[self.rank] = len(text)
        self._call(dist.all_reduce, sizes)
        rows = torch.zeros(self.size, int(sizes.max()), dtype=torch.uint8, device="cpu")
        rows[self.rank, : len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        self._call(dist.all_reduce, rows)
        return [json.loads(row[:size].numpy().tobytes()) for row, size in zip(rows, sizes.tolist(), strict=True)]

    def sums(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """The sums over ranks, by name; a rank may lack some."""
        rows = self.gathered(dict(numbers))
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: math.fsum(row[name] for row in rows if name in row) for name in names}

    def each(self, tensor: Tensor) -> list[Tensor]:
        """The tensor of every rank, all of one shape, in their order."""
        found = [torch.empty_like(tensor) for _ in range(self.size)] if self.size > 1 else [tensor]
        if self.size > 1:
            self._call(dist.all_gather, found, tensor)
        return found

    def agree(self, asked: bool) -> bool:
        """Whether any rank asked when this was last called; all get the same answer. Among one: whether it asks now.

        It is called once a turn, and its exchange goes on while the next turn is taken.
        """
        if self.size == 1:
            return asked
        before, own = self._vote, torch.tensor(int(asked), device="cpu")
        if before is not None:
            self._call(before[0].wait)
        self._vote = self._call(dist.all_reduce, own, async_op=True), own
        return before is not None and bool(before[1])

    def check_alike(self, facts: Mapping[str, Any]) -> None:
        """See to it that all ranks have the same facts.

        Raises:
            UsageError: two have not; the first that differs is named, and the ranks.
        """
        first, *others = self.gathered(dict(facts))
        for rank, other in enumerate(others, start=1):
            for name in [*first, *(name for name in other if name not in first)]:
                if first.get(name) != other.get(name):
                    raise UsageError(
                        f"rank {rank} was started with {name} = {shown(other.get(name))}, rank 0 with "
                        f"{shown(first.get(name))}: start all ranks with the same code, data and options."
                    )

    @contextmanager
    def together(self) -> Iterator[Ranks]:
        """Within it what stops one rank stops all, and all know which one it was and why.

        The group is closed then, so that whoever waits for this rank hears of it; each leaves a note, and a rank that
        leaves none within ten seconds has ended without a word.

        Raises:
            UsageError: another rank has stopped, or ended; this rank's own errors are raised as they are.
        """
        if self.store is None or self._is_together:
            yield self
            return
        notes, self._is_together, self._vote = f"together {self._rounds}", True, None
        self._rounds += 1
        try:
            try:
                yield self
            except BaseException as error:
                with undisturbed():
                    self._part()
                    found = roll_call(self.store, notes, self.rank, self.size, said_of(error))
                self.speaks = found.speaker == self.rank
                if isinstance(error, LostError) or found.whose not in (None, self.rank):
                    raise UsageError(found.sentence) from error
                raise
            with suppress(RuntimeError):  # nobody is left to read it
                self.store.set(f"{notes}/{self.rank}", DONE)
        finally:
            self._is_together = False

    def _part(self) -> None:
        """Close the group; whoever waits for this rank hears of it."""
        self._vote = None
        if dist.is_initialized():
            dist.destroy_process_group()

    def _call(self, operation: Callable[..., T], *args: Any, **options: Any) -> T:
        """An exchange with the others.

        Raises:
            LostError: it failed.
        """
        try:
            return operation(*args, **options)
        except (RuntimeError, ValueError) as error:  # the latter: the group is closed
            raise LostError(first_sentence(error)) from error


def _kind(tensor: Tensor) -> tuple[list[int], str]:
    """Shape and type of a tensor, as JSON has them."""
    return list(tensor.shape), str(tensor.dtype).removeprefix("torch.")


_JOINED: list[Ranks] = []


def joined() -> Ranks:
    """The ranks that this process was started among, joined at the first call and left when the process ends.

    Raises:
        UsageError: the environment names no ranks that there can be, or the others do not come.
    """
    if not launched():
        return Ranks()
    if not _JOINED:
        _JOINED.append(_join())
    return _JOINED[0]


def stopping_together(function: Callable[P, T]) -> Callable[P, T]:
    """The function, :meth:`Ranks.together` with the other processes that were started to run it."""

    @functools.wraps(function)
    def entered(*args: P.args, **kwargs: P.kwargs) -> T:
        with joined().together():
            return function(*args, **kwargs)

    return entered


def _join() -> Ranks:
    if _whole_number("WORLD_SIZE") == 1:
        return Ranks()
    local = local_rank()
    on_gpus = torch.cuda.is_available()
    if on_gpus and local is not None and local < torch.cuda.device_count():
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        rank, size = _whole_number("RANK"), _whole_number("WORLD_SIZE")
        try:
            dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo")
        except (RuntimeError, ValueError) as error:
            raise UsageError(
                f"rank {rank} of {size} finds no way to the others ({first_sentence(error)}): start all of them with "
                "torchrun, or with MASTER_ADDR and MASTER_PORT of rank 0 in the environment."
            ) from error
        atexit.register(lambda: dist.is_initialized() and dist.destroy_process_group())
    return Ranks(dist.get_rank(), dist.get_world_size(), dist.distributed_c10d._get_default_store())


def _whole_number(name: str) -> int:
    text = os.environ[name]
    if not text.isdecimal():
        raise UsageError(f"{name} in the environment must be a whole number, got {shown(text)}: start with torchrun.")
    return int(text)
