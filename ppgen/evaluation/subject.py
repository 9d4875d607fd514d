"""What a measure may look at: a pair, the data it is held against, and how much is to be spent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ppgen.data import Dataset
from ppgen.draws.samples import prior_samples
from ppgen.evaluation.bounds import bounds
from ppgen.machine.progress import track
from ppgen.machine.seeds import derived
from ppgen.pairs.pair import Pair
from ppgen.pairs.rows import num_rows, take_rows
from ppgen.pairs.tracing import Batch

__all__ = ["Subject"]

_CHUNK = 500
"""Draws made at a time."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A pair under evaluation.

    Args:
        pair: trained or not, on the data's device.
        data: whose ``split`` is looked at.
        split: its name.
        batch: that split, or as many of its first data as were asked for, as one batch; drawn once where it is dynamic.
        particles: K of whatever is a function of log-weights.
        seed: seeds all draws.
        progress: show progress bars.
        num_samples: draws of the model to be made for the measures that read them; 0: such measures do not apply.
    """

    pair: Pair
    data: Dataset
    split: str
    batch: Batch
    particles: int
    seed: int
    progress: bool
    num_samples: int = 0

    @cached_property
    def bounds(self) -> dict[int, Tensor]:
        """The bound of every datum by the number of particles (:func:`ppgen.evaluation.bounds.bounds`), made once."""
        return bounds(self.pair, self.batch, self.particles, progress=self.progress)

    def some_data(self, num: int) -> Tensor:
        """x of at most ``num`` data of the batch, chosen at random."""
        x: Tensor = self.batch[0]
        return x[torch.randperm(len(x))[:num].to(x.device)]

    @cached_property
    def samples(self) -> Tensor:
        """Draws of the model, (num_samples, D), made once; where there are labels, at those of the batch in turn."""
        draws = []
        for start in track(range(0, self.num_samples, _CHUNK), "samples", self.progress):
            rows = torch.arange(start, min(start + _CHUNK, self.num_samples), device=self.batch[0].device)
            batch = take_rows(self.batch, rows % num_rows(self.batch))
            draws.append(prior_samples(self.pair, batch, len(rows), seed=derived(self.seed, start)).x)
        return torch.cat(draws)
