"""Samples over training: what a pair made of the same random numbers at a few moments of a run.

The moments are turn 0 and T / 64, T / 32, ..., T / 2, T of a run of T turns: early ones close together, since that is
when samples change. A run that is resumed to twice its length has the moments of the longer one already. Each
snapshot draws under the same seed, so that the i-th sample is made of the same z (of an energy-based pair: by the same
random numbers, from where its persistent chains stand), and none changes the random numbers of training.

``snapshots.safetensors`` in the run holds ``x`` (moments, num, D) and, in its header, ``steps``; it is written whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ppgen.data import Dataset
from ppgen.draws.samples import conditions, prior_samples
from ppgen.errors import UsageError, is_out_of_memory
from ppgen.files.checkpoint import read_checkpoint, write_checkpoint
from ppgen.files.documents import Document, WholeNumber
from ppgen.pages.look import look_of
from ppgen.pairs.pair import Pair

__all__ = ["SNAPSHOTS", "Recorder", "Snapshots", "moments"]

SNAPSHOTS = "snapshots.safetensors"

_HALVINGS = 6


class _Moments(Document):
    steps: tuple[WholeNumber, ...]


@dataclass(frozen=True, eq=False)
class Snapshots:
    """Samples ``x`` (moments, num, D) after ``steps`` turns: means of p(x | z) for pictures, else draws of x."""

    steps: tuple[int, ...]
    x: Tensor

    def upto(self, step: int) -> Snapshots:
        """Those after at most ``step`` turns."""
        kept = [index for index, at in enumerate(self.steps) if at <= step]
        return Snapshots(tuple(self.steps[index] for index in kept), self.x[kept])

    @staticmethod
    def read(folder: Path) -> Snapshots | None:
        """Those of the run in ``folder``, or None where it has none.

        Raises:
            UsageError: the file is truncated or was edited.
        """
        file = folder / SNAPSHOTS
        if not file.is_file():
            return None
        mend = "it holds pictures alone: delete it"
        tensors, facts = read_checkpoint(file, _Moments, mend=mend)
        x = tensors.get("x", torch.empty(0))
        if x.ndim < 2 or len(x) != len(facts.steps):
            raise UsageError(f"{file} has samples {tuple(x.shape)} at {len(facts.steps)} moments; {mend}.")
        return Snapshots(facts.steps, x.clone())  # what is read is mapped to the file


def moments(total: int) -> set[int]:
    """The turns of a run of ``total`` turns after which samples are kept.

    >>> sorted(moments(1000))
    [0, 15, 31, 62, 125, 250, 500, 1000]
    """
    return {0, *(total >> halving for halving in range(_HALVINGS + 1))}


class Recorder:
    """Takes the snapshots of one run, in ``folder``; of a pair that cannot be drawn from it takes none.

    Args:
        folder: of the run; None: nothing is recorded.
        pair: on the device where it is trained.
        data: what it is trained on.
        total: turns of the whole run.
    """

    def __init__(self, folder: Path | None, pair: Pair, data: Dataset, total: int) -> None:
        self.folder, self.pair, self.data, self.moments = folder, pair, data, moments(total)
        self.taken = Snapshots((), torch.empty(0))

    def see(self, turn: int, chains: Tensor | None) -> None:
        """Take a snapshot if this is a moment for one, from ``chains`` where the objective keeps some.

        Raises:
            UsageError: the file cannot be written (a full disk).
        """
        if self.folder is None or turn not in self.moments or turn in self.taken.steps:
            return
        look = look_of(self.data)
        try:
            draws = prior_samples(self.pair, conditions(self.data, look.few), look.few, start=chains)
        except Exception as error:  # it makes no x, for any reason that user's code has: the report says so instead
            if is_out_of_memory(error):
                raise
            self.moments = set()
            return
        x = (draws.mean if look.means else draws.x).detach().cpu()[None]  # (1, num, D)
        earlier = self.taken.x if self.taken.steps else x[:0]
        self.taken = Snapshots((*self.taken.steps, turn), torch.cat([earlier, x]))
        write_checkpoint(self.folder / SNAPSHOTS, {"x": self.taken.x}, {"steps": self.taken.steps})

    def restore(self, turn: int) -> None:
        """Take up those of a run that stopped after ``turn`` turns.

        Raises:
            UsageError: their file is truncated or was edited.
        """
        found = None if self.folder is None else Snapshots.read(self.folder)
        if found is not None:
            self.taken = found.upto(turn)
