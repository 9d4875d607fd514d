"""Does an associative memory give its patterns back from corrupted ones?

Remembered are the training data that an update leaves as they are. Of each a tenth of the bits is flipped, and recalled
from there, one unit after another:

    errors = the share of bits that differ from the pattern        0.1 where it began

Hopfield: Neural networks and physical systems with emergent collective computational abilities, PNAS 79, 1982.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ppgen.chains.recall import AssociativeMemory
from ppgen.data import Dataset
from ppgen.diagnostics.advice import advised
from ppgen.diagnostics.finding import Finding, Real, Status
from ppgen.diagnostics.question import asks
from ppgen.evaluation.case import Case
from ppgen.pairs.looking import looking

__all__ = ["Remembered", "recall"]

_PATTERNS, _SHOWN = 200, 10_000
_FLIPPED, _FEW = 0.1, 0.01

_ADVICE = (
    "Store fewer patterns (num_patterns)[, or store them by {pseudo_inverse num_patterns=5}, which holds patterns that "
    "resemble each other]."
)


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """How many training data are remembered, of how many; the share of wrong bits at each, after its recall."""

    num_remembered: int
    num_data: int
    per_pattern: list[Real]


@asks("Are patterns recalled from corrupted ones?")
def recall(case: Case) -> Finding[Remembered] | None:
    """The share of wrong bits after recall, over up to 200 patterns; None for a pair that is no associative memory.

    Green up to 1 %; red above the tenth that were wrong before, or where no pattern is remembered.
    """
    pair = case.pair
    if not isinstance(pair, AssociativeMemory):
        return None
    if isinstance(case.data, Dataset) and case.data.dynamic:
        meaning = "the data are drawn anew each time they are shown, and what was stored is not among them"
        return Finding(status="unknown", meaning=meaning, advice="Load data that stay, as with binarize='threshold'.")
    with looking(pair, case.seed):
        x = pair.datum(case.data.draw(case.data.rows("train", slice(_SHOWN))))
        held = x[pair.remembers(x)]
        patterns = held[:_PATTERNS]
        began = torch.where(torch.rand_like(patterns) < _FLIPPED, 1 - patterns, patterns)
        wrong = (pair.recall(began).end != patterns).to(x).mean(-1) if len(held) else x.new_zeros(0)
    errors = float(wrong.mean()) if len(held) else None
    status: Status = "bad" if errors is None or errors > _FLIPPED else "good" if errors <= _FEW else "warn"
    said = f"{len(held):,} of {len(x):,} training data are remembered: an update leaves them as they are"
    if errors is not None:
        said += f"; share of wrong bits after recall from {len(patterns)} of them, a tenth of whose bits was flipped"
    return Finding(
        status=status,
        number=errors,
        threshold=_FEW,
        direction="at most",
        quantity="errors",
        source="recall by going down in energy (Hopfield 1982); the limits of 1 % and a tenth are ours",
        meaning=said,
        advice="" if status == "good" else advised(case, _ADVICE),
        details=Remembered(num_remembered=len(held), num_data=len(x), per_pattern=wrong.tolist()),
    )
