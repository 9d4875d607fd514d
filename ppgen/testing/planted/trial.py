"""One planted fault diagnosed: how large it is, and what each question says of it."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Iterator, Sequence
from zlib import crc32

from ppgen.diagnostics import QUESTIONS, diagnose
from ppgen.diagnostics.proof import Trial
from ppgen.testing.planted.fault import FAULTS, Fault

__all__ = ["FIRST_SEED", "trials", "try_one"]

FIRST_SEED = 1_000_000_000
"""Seeds below it are for choosing thresholds, those from it on for judging them."""

_APART, _PLACES = 1000, 100_000
"""Faults have seeds of their own, so far apart, at as many places."""


def try_one(fault: Fault, seed: int, questions: Sequence[str] | None = None) -> Trial:
    """Plant a fault and diagnose the pair.

    Args:
        fault: one of :data:`ppgen.testing.planted.FAULTS`.
        seed: of the pair, its data, the strength of the fault and the diagnosis.
        questions: those to ask; None: all that arise.
    """
    begin, case = time.process_time(), fault.at(seed)
    found = diagnose(case.pair, case.data, questions=questions, seed=seed + 1, progress=False)
    return Trial(
        family=fault.family,
        fault=fault.name,
        kind=fault.kind if fault.kind != "sound" or case.cost <= 1 else "guide",  # one trained may end unsound
        seed=seed,
        nats=case.nats,
        deviations=case.deviations,
        cost=case.cost,
        answers={finding.question: finding.status for finding in found},
        seconds=round(time.process_time() - begin, 1),
    )


def trials(
    seeds: Iterable[int],
    faults: Sequence[Fault] | None = None,
    *,
    left_out: Sequence[str] = (),
    done: Container[tuple[str, str, int]] = (),
) -> Iterator[Trial]:
    """Of each seed every fault, with a sound pair of its family for each: as many of these as of those.

    Args:
        seeds: of runs; each fault makes one of its own of each.
        faults: of which to plant; None: all.
        left_out: questions that are not asked.
        done: families, faults and seeds that are passed over.
    """
    chosen = [*FAULTS.values()] if faults is None else faults
    asked = [question.name for question in QUESTIONS if question.name not in left_out]
    wrong = [fault for fault in chosen if fault.kind != "sound"]
    for seed in seeds:
        for fault in wrong:
            own = seed + _APART * (crc32(f"{fault.family}: {fault.name}".encode()) % _PLACES)
            for one in (fault, FAULTS[fault.family, "sound"]):
                if (one.family, one.name, own) not in done:
                    yield try_one(one, own, asked)
