"""Minibatches of data in memory or in files: a permutation an epoch, indexed by a cursor."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from ppgen.data import Dataset, DiskRows, Split
from ppgen.machine.memory import is_pinned_for
from ppgen.machine.seeds import derived
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Batch
from ppgen.training.read_ahead import ReadAhead

__all__ = ["Batches", "Interleaved", "first_batches", "say_if_brought"]


class Batches:
    """The n-th minibatch of a data set, a function of ``(seed, n)`` alone.

    Each epoch is a fresh permutation, but for a batch of all the data, which has them in their own order: a pair may
    have parameters for each datum. The position is a number: nothing else needs to be saved to go on from it.

    Args:
        data: tensors of N rows each, or sparse rows, on the device where they are used, or rows on disk, which are
            brought there; the batches are dense.
        batch_size: B; N when larger than N.
        seed: seeds the permutations.
        whole: an epoch shows every datum once, in ceil(N / B) batches whose sizes differ by at most one. Else the last
            rows that do not fill a batch are left to other epochs, so that all batches have one shape.
    """

    def __init__(self, data: Split, batch_size: int, seed: int, *, whole: bool = False) -> None:
        self.data = tuple(ReadAhead(part) if isinstance(part, DiskRows) else part for part in data)
        self.device: torch.device = data[0].device
        self.num_data = len(data[0])
        self.batch_size = min(batch_size, self.num_data)
        self.per_epoch = -(-self.num_data // self.batch_size) if whole else self.num_data // self.batch_size
        self._shown = self.num_data if whole else self.per_epoch * self.batch_size
        self._seed = seed
        self._orders: dict[int, Tensor] = {}
        self._whole: tuple[tuple[Tensor, int], ...] = ()

    @property
    def on_disk(self) -> bool:
        """Whether some of the data stay in files; rows are then counted on the host."""
        return any(isinstance(part, ReadAhead) for part in self.data)

    @property
    def largest(self) -> int:
        """Rows of the largest batch."""
        return -(-self._shown // self.per_epoch)

    @property
    def smallest(self) -> int:
        """Rows of the smallest batch."""
        return self._shown // self.per_epoch

    def __getitem__(self, cursor: int) -> Batch:
        return self.take(self.rows(cursor))

    def take(self, rows: Tensor) -> Batch:
        """The data of these rows, (B,); all of them, in their own order, are the same tensors each time."""
        if len(rows) < self.num_data or self.batch_size < self.num_data or self.on_disk:
            return tuple(part.index_select(0, rows.to(part.device)) for part in self.data)
        if any(part._version != version or part.requires_grad for part, version in self._whole):  # written to
            self._whole = ()
        if not self._whole:
            made = (part.index_select(0, rows.to(part.device)) for part in self.data)
            self._whole = tuple((part, part._version) for part in made)
        return tuple(part for part, _ in self._whole)

    def expect(self, rows: Tensor, most: int) -> None:
        """See :meth:`ppgen.training.read_ahead.ReadAhead.expect`; what is in memory needs none."""
        for part in self.data:
            if isinstance(part, ReadAhead):
                part.expect(rows, most)

    def rows(self, cursor: int) -> Tensor:
        """Which rows the batch has, (B,)."""
        epoch, place = divmod(cursor, self.per_epoch)
        start, end = (self._shown * at // self.per_epoch for at in (place, place + 1))
        return self._order(epoch)[start:end]

    def _order(self, epoch: int) -> Tensor:
        """The permutation of an epoch; that of the epoch before is kept where the next one is read ahead."""
        if epoch not in self._orders:
            kept = list(self._orders.items())[-1:] if self.on_disk else []
            self._orders = {**dict(kept), epoch: self._permutation(epoch)}
        return self._orders[epoch]

    def _permutation(self, epoch: int) -> Tensor:
        place = torch.device("cpu") if self.on_disk else self.device
        if self.batch_size == self.num_data:
            return torch.arange(self.num_data, device=place)
        generator = torch.Generator().manual_seed(derived(self._seed, epoch))
        pinned = is_pinned_for(place)
        return torch.randperm(self.num_data, generator=generator, pin_memory=pinned).to(place, non_blocking=pinned)


class Interleaved:
    """The n-th minibatch of several data sets whose batches take turns, a function of ``(seed, n)`` alone.

    An epoch has every batch of every part, n_p of part p, spread evenly: the j-th of them, j = 0..n_p-1, stands at
    (j + 1/2) / n_p of the epoch, the first part first among equals. Of one data set these are its own batches; several
    are shown whole (see :class:`Batches`), since a few labelled data must not be left out.

    Args:
        parts: the training data of each part.
        batch_size: B, the same for all.
        seed: seeds the permutations.
        whole: one data set is shown whole too.
    """

    def __init__(self, parts: Sequence[Split], batch_size: int, seed: int, *, whole: bool = False) -> None:
        several = len(parts) > 1
        self.parts = [
            Batches(part, batch_size, hash((seed, index)) if several else seed, whole=several or whole)
            for index, part in enumerate(parts)
        ]
        places = ((index, place) for index, part in enumerate(self.parts) for place in range(part.per_epoch))
        self._turns = sorted(places, key=lambda turn: (2 * turn[1] + 1) / self.parts[turn[0]].per_epoch)  # stable

    @property
    def per_epoch(self) -> int:
        """Batches of all parts in an epoch."""
        return len(self._turns)

    @property
    def largest(self) -> int:
        """Rows of the largest batch of any part."""
        return max(part.largest for part in self.parts)

    @property
    def on_disk(self) -> bool:
        """Whether some of the data stay in files."""
        return any(part.on_disk for part in self.parts)

    @property
    def smallest(self) -> int:
        """Rows of the smallest batch of any part."""
        return min(part.smallest for part in self.parts)

    @property
    def device(self) -> torch.device:
        """Where the data are."""
        return self.parts[0].device

    def at(self, cursor: int) -> tuple[int, Tensor]:
        """Which part has the turn, and the rows of its batch, (B,)."""
        epoch, turn = divmod(cursor, self.per_epoch)
        index, place = self._turns[turn]
        part = self.parts[index]
        return index, part.rows(epoch * part.per_epoch + place)


def first_batches(pair: Pair, data: Dataset, batch_size: int, seed: int) -> list[Batch]:
    """Those that training begins with, of each part; they tell the sizes of what a pair makes at its first batch."""
    batches = Interleaved([part.train for part in data.parts], batch_size, seed)
    found = [part.draw(batch[0]) for part, batch in zip(data.parts, batches.parts, strict=True)]
    for batch in found:
        pair.prepare(*batch)
    return found


def say_if_brought(batches: Interleaved) -> None:
    """Warn where the host brings the batches to a GPU."""
    if batches.on_disk and batches.device.type == "cuda":
        warnings.warn(
            "data that stay in files are brought by the host, and their turns are no CUDA graphs: steps run one by "
            "one; tensors that fit on the GPU train faster.",
            stacklevel=3,
        )
