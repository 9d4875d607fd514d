"""What the verdict of ``compare`` is worth: estimators with a mistake, and those without it, on enumerable pairs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import torch

import ppgen
from tests.inference.discrete.discrete_mutants import MUTANTS
from tests.inference.discrete.mutant import Mutant

__all__ = ["verdicts"]

_DATA, _DRAWS = 200, 256


def verdicts(seed: int, runs: int, done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of each mutant that is not there yet: how often it was called biased in so many runs, and its original.

    Both are compared with the exact gradient, 256 draws of 200 data each, at its stated rate of 0.001; where
    there is none, as of a pair with a continuous latent, a run counts as none.
    """
    there = {(row["sound"], row["wrong"]) for row in done}
    for mutant in MUTANTS:
        *_, mistake = str(mutant).split("-")
        sound = f"{type(mutant.sound).__name__.lower()}, {mutant.bound}"
        if (sound, mistake) in there:
            continue
        called = [[_verdict(mutant, seed + run, wrong=wrong) for run in range(runs)] for wrong in (True, False)]
        found, alarms = (one.count("biased") for one in called)
        tested = sum("not tested" not in both for both in zip(*called, strict=True))
        yield {"sound": sound, "wrong": mistake, "runs": tested, "found": found, "alarms": alarms}


def _verdict(mutant: Mutant, seed: int, *, wrong: bool) -> str:
    torch.manual_seed(seed)
    pair = mutant.double()
    batch = (mutant.double.datum.double().expand(_DATA, -1).contiguous(),)
    with patch(mutant.part, mutant.by) if wrong and mutant.part else nullcontext():
        objective = mutant.wrong if wrong else mutant.sound
        found = ppgen.compare(pair, batch, [objective], draws=_DRAWS, eager=True, seed=seed, progress=False)
    return found.points[0].objectives[0].verdict
