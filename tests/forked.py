"""Ranks as forks of the test's own process, which has imported everything: seconds, not half a minute."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from ppgen.cli import main

__all__ = ["Ended", "Started", "by_ranks", "commanded", "start"]

_TIMEOUT = 120.0


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (minus the signal that killed it), and what it wrote."""

    code: int
    out: str
    err: str


class Started:
    """Ranks that are running.

    Args:
        processes: their ids, in order.
        folder: where what they write is kept.
    """

    def __init__(self, processes: Sequence[int], folder: Path) -> None:
        self.processes, self.folder = processes, folder

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to one of them."""
        os.kill(self.processes[rank], number)

    def until_there_is(self, file: Path) -> None:
        """Wait for a file of theirs."""
        deadline = time.monotonic() + _TIMEOUT
        while not file.exists():
            assert time.monotonic() < deadline, f"no {file}"
            time.sleep(0.01)

    def ended(self) -> list[Ended]:
        """Wait until all have ended."""
        deadline = time.monotonic() + _TIMEOUT
        return [self._ended(rank, process, deadline) for rank, process in enumerate(self.processes)]

    def _ended(self, rank: int, process: int, deadline: float) -> Ended:
        status = None
        while status is None:
            found, code = os.waitpid(process, os.WNOHANG)
            status = code if found else None
            if status is None and time.monotonic() > deadline:
                os.kill(process, signal.SIGKILL)
            time.sleep(0.01)
        return Ended(
            os.waitstatus_to_exitcode(status), *((self.folder / f"{name}{rank}").read_text() for name in NAMES)
        )


NAMES = ("out", "err")


def start(function: Callable[[int], int], folder: Path, size: int = 2) -> Started:
    """Ranks that run ``function(rank)``, whose value is their exit code.

    Args:
        function: run by each.
        folder: where what they write to standard output and error goes.
        size: how many.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sys.stdout.flush()
    sys.stderr.flush()
    folder.mkdir(parents=True, exist_ok=True)
    place = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = []
    for rank in range(size):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, where there are threads
            process = os.fork()
        if not process:
            _run(function, folder, {**place, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        processes.append(process)
    return Started(processes, folder)


def by_ranks(function: Callable[[int], int], folder: Path, size: int = 2) -> list[Ended]:
    """How ranks that run ``function(rank)`` end."""
    return start(function, folder, size).ended()


def commanded(*arguments: str) -> Callable[[int], int]:
    """The command line, with these arguments in every rank."""
    return lambda rank: main(arguments)


def _run(function: Callable[[int], int], folder: Path, place: dict[str, str]) -> NoReturn:
    os.environ.update(place)
    rank, code = int(place["RANK"]), 1
    for number, name in enumerate(NAMES, start=1):
        file = os.open(folder / f"{name}{rank}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, number)
        setattr(sys, f"std{name}", TextIOWrapper(os.fdopen(number, "wb", closefd=False), write_through=True))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = function(rank)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    os._exit(code)
