"""What the verdict of ``compare`` is worth: estimators with a mistake, and those without it, on enumerable pairs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import torch

import ppgen
from tests.inference.discrete.discrete_mutants import MUTANTS, Mutant

__all__ = ["verdicts"]

_DATA, _DRAWS = 200, 256


def verdicts(seed: int, runs: int, done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of each mutant that is not there yet: how often it was called biased in so many runs, and its original.

    Both are compared with the exact gradient, 256 draws of 200 data each, at the stated false-alarm rate of 0.001.
    """
    there = {(row["sound"], row["wrong"]) for row in done}
    for mutant in MUTANTS:
        *_, mistake = str(mutant).split("-")
        sound = f"{type(mutant.sound).__name__.lower()}, {mutant.bound}"
        if (sound, mistake) in there:
            continue
        calls = [
            (_biased(mutant, seed + run, wrong=True), _biased(mutant, seed + run, wrong=False)) for run in range(runs)
        ]
        found, alarms = (sum(each) for each in zip(*calls, strict=True))
        yield {"sound": sound, "wrong": mistake, "runs": runs, "found": found, "alarms": alarms}


def _biased(mutant: Mutant, seed: int, *, wrong: bool) -> bool:
    torch.manual_seed(seed)
    pair = mutant.double()
    batch = (mutant.double.datum.double().expand(_DATA, -1).contiguous(),)
    with patch(mutant.part, mutant.by) if wrong and mutant.part else nullcontext():
        objective = mutant.wrong if wrong else mutant.sound
        found = ppgen.compare(pair, batch, [objective], draws=_DRAWS, eager=True, seed=seed, progress=False)
    return found.points[0].objectives[0].verdict == "biased"
