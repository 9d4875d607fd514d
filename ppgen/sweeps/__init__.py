"""Sweeps: a run for each cell of a grid and each seed, some at a time, and which cell is best."""

from ppgen.sweeps.core import sweep
from ppgen.sweeps.result import Cell, Sweep, SweepRun

__all__ = ["Cell", "Sweep", "SweepRun", "sweep"]
