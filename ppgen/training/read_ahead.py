"""Minibatches of data that stay in their files: what the disk has to fetch is read while others are trained on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from ppgen.data import DiskRows
from ppgen.data.disk_rows import Reading

__all__ = ["ReadAhead"]


class ReadAhead:
    """Rows on disk, of which those of a minibatch are read before they are asked for.

    What the system has in memory is read at once: a thread would be in the way of the step's own. Once some of a batch
    has to come from the disk, a thread reads it and those after it, until one is in memory again. A batch is known by
    the numbers of its rows alone: one that nobody expected is read when it is asked for, and is the same.

    Args:
        rows: of files.
    """

    device = torch.device("cpu")
    """Where the numbers of rows are looked for; the rows are brought to the device of those on disk."""

    def __init__(self, rows: DiskRows) -> None:
        self._rows = rows
        self._thread = ThreadPoolExecutor(1, "read-ahead")
        self._read: dict[bytes, Callable[[], Tensor]] = {}
        self._waits = False  # whether some of the last batch had to come from the disk

    def expect(self, rows: Tensor, most: int) -> None:
        """Have these rows, (B,), read meanwhile; of what was expected, ``most`` batches at a time are kept.

        Raises:
            UsageError: as :meth:`index_select`.
        """
        key = _key(rows)
        if key not in self._read:
            self._read[key] = self._reading(rows)
        while len(self._read) > most:
            self._read.pop(next(iter(self._read)))

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """Rows (B,) as a tensor on the device; ``dim`` is 0, as tensors have it.

        Raises:
            UsageError: a file has changed since it was opened first, or is gone; it is named.
        """
        ended = self._read.pop(_key(rows), None)
        return self._rows.brought(self._rows.read(rows) if ended is None else ended())

    def _reading(self, rows: Tensor) -> Callable[[], Tensor]:
        """What gives the rows, (B,), and waits for them if it must."""
        if self._waits:
            return self._thread.submit(lambda: self._begun(rows).ended()).result
        begun = self._begun(rows)
        return self._thread.submit(begun.ended).result if begun.waits else begun.ended

    def _begun(self, rows: Tensor) -> Reading:
        begun = self._rows.begun(rows)
        self._waits = begun.waits
        return begun


def _key(rows: Tensor) -> bytes:
    return rows.numpy().tobytes()
