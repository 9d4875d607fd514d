"""Minibatches of data that fit in memory: a permutation an epoch, indexed by a cursor."""

from __future__ import annotations

import torch
from torch import Tensor

from ppgen.data import Split
from ppgen.tracing import Batch

__all__ = ["Batches"]


class Batches:
    """The n-th minibatch of a data set, a function of ``(seed, n)`` alone.

    Each epoch is a fresh permutation; its last rows that do not fill a batch are left to other epochs, so that all
    batches have one shape. The position is a number: nothing else needs to be saved to go on from it.

    Args:
        data: tensors of N rows each, or sparse rows, on the device where they are used; the batches are dense.
        batch_size: B; N when larger than N.
        seed: of the permutations.
    """

    def __init__(self, data: Split, batch_size: int, seed: int) -> None:
        self.data = data
        self.device: torch.device = data[0].device
        self.num_data = len(data[0])
        self.batch_size = min(batch_size, self.num_data)
        self.per_epoch = self.num_data // self.batch_size
        self._seed = seed
        self._epoch, self._order = -1, torch.empty(0)

    def __getitem__(self, cursor: int) -> Batch:
        epoch, place = divmod(cursor, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._permutation(epoch)
        rows = self._order[place * self.batch_size : (place + 1) * self.batch_size]
        return tuple(part.index_select(0, rows) for part in self.data)

    def _permutation(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(hash((self._seed, epoch)) & (2**63 - 1))
        return torch.randperm(self.num_data, generator=generator).to(self.device)
