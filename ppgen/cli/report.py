"""``ppgen report``: a run as one page."""

from __future__ import annotations

from ppgen.cli.options import DataMoved, Device, ModelAgain, RunFolder
from ppgen.runs.load import load

__all__ = ["report"]


def report(run: RunFolder, model: ModelAgain = None, data: DataMoved = None, device: Device = "auto") -> None:
    """Write report.html into a run: one self-contained page.

    It shows the training curves, the likelihood, reconstructions and samples.
    """
    print(load(run, pair=model, data=data, device=device).report())
