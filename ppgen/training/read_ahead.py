"""Minibatches of data that stay in their files: what the disk has to fetch is read while others are trained on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from ppgen.data import DiskRows

__all__ = ["ReadAhead"]


class ReadAhead:
    """Rows on disk, of which those of a minibatch are read before they are asked for.

    What the system has in memory is read at once: a thread would be in the way of the step's own. What it has not is
    waited for in a thread. A batch is known by the numbers of its rows alone: one that nobody expected is read when it
    is asked for, and is the same.

    Args:
        rows: of files.
    """

    device = torch.device("cpu")
    """Where the numbers of rows are looked for; the rows are brought to the device of those on disk."""

    def __init__(self, rows: DiskRows) -> None:
        self._rows = rows
        self._thread = ThreadPoolExecutor(1, "read-ahead")
        self._read: dict[bytes, Callable[[], Tensor]] = {}

    def expect(self, rows: Tensor, most: int) -> None:
        """Have these rows, (B,), read meanwhile; of what was expected, ``most`` batches at a time are kept.

        Raises:
            UsageError: as :meth:`index_select`.
        """
        key = _key(rows)
        if key not in self._read:
            reading = self._rows.begun(rows)
            self._read[key] = self._thread.submit(reading.ended).result if reading.waits else reading.ended
        while len(self._read) > most:
            self._read.pop(next(iter(self._read)))

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """Rows (B,) as a tensor on the device; ``dim`` is 0, as tensors have it.

        Raises:
            UsageError: a file has changed since it was opened first, or is gone; it is named.
        """
        ended = self._read.pop(_key(rows), None)
        return self._rows.brought(self._rows.read(rows) if ended is None else ended())


def _key(rows: Tensor) -> bytes:
    return rows.numpy().tobytes()
