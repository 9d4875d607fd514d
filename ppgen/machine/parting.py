"""How ranks part when one of them stops: each leaves a note in their store, and all read the same verdict off them."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from torch.distributed.distributed_c10d import Store

from ppgen.errors import UsageError, first_sentence, option, users_line

__all__ = ["DONE", "LostError", "Verdict", "roll_call", "said_of", "undisturbed"]

_PATIENCE = 10.0
"""Seconds in which a rank that lives sees that the group is closed, and leaves its note."""

DONE = json.dumps({})
"""The note of a rank that came to its end as it should."""

_LOST = "lost the others"


class LostError(Exception):
    """An exchange with the other ranks failed: what is behind it, their notes tell."""


@dataclass(frozen=True)
class Verdict:
    """Why the ranks stopped.

    Args:
        sentence: for the user.
        speaker: the rank that tells the user.
        whose: the rank whose own error it is; None: that of no rank, or of all alike.
    """

    sentence: str
    speaker: int
    whose: int | None = None


def said_of(error: BaseException) -> str:
    """What a rank writes on its note."""
    if isinstance(error, LostError):
        return _LOST
    if isinstance(error, UsageError):
        return str(error)
    line = users_line(error)
    what = f"{type(error).__name__}: {first_sentence(error)}" if str(error) else type(error).__name__
    return f"{line} raised {what}." if line else f"{what}."


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within it SIGTERM, by which torchrun ends the ranks that are left, changes nothing: it takes seconds."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def roll_call(store: Store, place: str, rank: int, size: int, said: str) -> Verdict:
    """Leave this rank's note, read those of the others, and judge; all that leave one come to the same verdict."""
    try:
        store.set(f"{place}/{rank}", json.dumps({"said": said}))
        notes = _read(store, place, size)
        verdict = _judged(notes, size)
        _wait_for_readers(store, place, rank, notes)
    except (RuntimeError, ValueError):
        return Verdict(
            "rank 0, or what started the ranks, has ended without a word; the last checkpoint is whole.", rank
        )
    return verdict


def _read(store: Store, place: str, size: int) -> dict[int, dict[str, Any]]:
    deadline = time.monotonic() + _PATIENCE
    missing = list(range(size))
    while missing and time.monotonic() < deadline:
        missing = [rank for rank in missing if not store.check([f"{place}/{rank}"])]
        time.sleep(0.02 if missing else 0)
    return {rank: json.loads(store.get(f"{place}/{rank}")) for rank in range(size) if rank not in missing}


def _judged(notes: Mapping[int, Mapping[str, Any]], size: int) -> Verdict:
    said = {rank: note["said"] for rank, note in notes.items() if "said" in note}
    own = {rank: text for rank, text in said.items() if text != _LOST}
    silent = [rank for rank in range(size) if rank not in notes]
    speaker = min(said)
    if own:
        whose = min(own)
        alike = len(own) == size and len(set(own.values())) == 1
        return Verdict(own[whose], speaker) if alike else Verdict(f"rank {whose}: {own[whose]}", speaker, whose)
    if silent:
        return Verdict(
            f"{_named(silent)} ended without a word (killed, out of memory, or cut off), and the others stopped; the "
            f"last checkpoint is whole: go on with {option('resume', True)}.",
            speaker,
        )
    return Verdict("the ranks lost the connection to each other; the last checkpoint is whole.", speaker)


def _named(ranks: Sequence[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


def _wait_for_readers(store: Store, place: str, rank: int, notes: Mapping[int, Any]) -> None:
    """Rank 0, which may hold the store, stays until the others have read it."""
    store.set(f"{place}/{rank} has read", "")
    deadline = time.monotonic() + _PATIENCE
    others = [f"{place}/{other} has read" for other, note in notes.items() if "said" in note]
    with suppress(RuntimeError):
        while rank == 0 and not store.check(others) and time.monotonic() < deadline:
            time.sleep(0.02)
