"""The measuring of one case: all peers alive at once, in turn for several rounds, to share its noise."""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from contests import Case
from workers import PeerError, Worker

__all__ = ["Row", "Say", "cache_folder", "check_case", "measure_case"]

TURN_SECONDS = 0.3
CHECK_STEPS, CHECK_TAIL = 300, 50

Say = Callable[[str], None]


@dataclass
class Row:
    """What one peer gave in one case; `error` says why it gave nothing.

    Attributes:
        peer: its name.
        function: where it is, as ``module:function``.
        turns: milliseconds a step, one value a round.
        ratio: our time over this peer's, the median over rounds (both ran in the same few seconds).
        peak_memory: largest resident set of its process, MiB.
        first_step: seconds to the end of the first step with empty caches on disk.
        first_step_again: the same in a second process, which finds what the first left in its cache.
        loss: nats per datum, the mean of the last steps of a check.
    """

    peer: str
    function: str
    case: Case
    turns: list[float] = field(default_factory=list)
    ratio: float | None = None
    peak_memory: float | None = None
    first_step: float | None = None
    first_step_again: float | None = None
    loss: float | None = None
    error: str | None = None

    @property
    def median(self) -> float | None:
        """Median milliseconds a step."""
        return statistics.median(self.turns) if self.turns else None

    @property
    def best(self) -> float | None:
        """The fastest turn: what the peer does when the machine leaves it alone."""
        return min(self.turns, default=None)


def measure_case(peers: Mapping[str, str], case: Case, rounds: int, say: Say, *, again: bool = True) -> list[Row]:
    """Start every peer, then give each a turn a round, in an order that is reversed every other round."""
    rows = {peer: Row(peer, function, case) for peer, function in peers.items()}
    workers: dict[str, Worker] = {}
    with ExitStack() as stack:
        for peer, row in rows.items():
            say(f"{peer}: first steps")
            with blamed(row):
                workers[peer] = start(row, stack, again)
        for index in range(rounds):
            say(f"round {index + 1} of {rounds}")
            for peer in list(workers)[:: -1 if index % 2 else 1]:
                take_turn(rows[peer], workers[peer])
    compare(rows)
    return list(rows.values())


@contextmanager
def blamed(row: Row) -> Iterator[None]:
    """Write a failure of the peer into its row and go on with the others."""
    try:
        yield
    except PeerError as error:
        row.error = str(error)


def take_turn(row: Row, worker: Worker) -> None:
    """One turn, unless the peer failed before; its peak memory so far."""
    if not row.error:
        with blamed(row):
            row.turns.append(worker.turn(TURN_SECONDS))
            row.peak_memory = worker.peak_memory()


def cache_folder() -> "tempfile.TemporaryDirectory[str]":
    """An empty folder for a compiler's cache, removed at the end."""
    return tempfile.TemporaryDirectory(prefix="step-time-", ignore_cleanup_errors=True)


def start(row: Row, stack: ExitStack, again: bool) -> Worker:
    """A worker past its first step; started ``again`` when that step left files in its compiler's cache."""
    cache = stack.enter_context(cache_folder())
    with ExitStack() as cold:
        worker = cold.enter_context(closing(Worker(row.function, row.case, cache)))
        row.first_step = worker.first_step()
        if not again:
            stack.push(cold.pop_all())
            return worker
        row.first_step_again = row.first_step
        if not any(Path(cache).iterdir()):
            stack.push(cold.pop_all())
            return worker
    worker = stack.enter_context(closing(Worker(row.function, row.case, cache)))
    row.first_step_again = worker.first_step()
    return worker


def compare(rows: dict[str, Row]) -> None:
    """Fill in the ratios ours / peer, round by round, where both went through all rounds."""
    ours = rows.get("ours")
    for row in rows.values():
        if ours and ours.turns and not ours.error and not row.error:
            row.ratio = statistics.median(a / b for a, b in zip(ours.turns, row.turns, strict=True))


def check_case(peers: Mapping[str, str], case: Case, say: Say) -> list[Row]:
    """Train every peer alone for 300 steps of the same batches from the same first values."""
    rows = []
    for peer, function in peers.items():
        say(f"{peer}: {CHECK_STEPS} steps")
        row = Row(peer, function, case)
        with blamed(row), cache_folder() as cache, closing(Worker(function, case, cache)) as worker:
            row.loss = worker.train(CHECK_STEPS, CHECK_TAIL)
        rows.append(row)
    return rows
