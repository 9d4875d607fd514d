"""A peer in its own process, kept alive between its turns: no two peers share memory, threads or caches.

The parent asks, the child answers; the parent imports none of the peers' libraries. An exception of the child
arrives as `PeerError`: a peer that is missing or cannot run on a device costs one row, not the run.
"""

import importlib
import multiprocessing
import operator
import os
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from contests import Case

__all__ = ["PeerError", "Worker"]

WARM_UP = 5  # steps after the first one, which set the length of the first turn
PROFILED = 2.0  # seconds of steps in a profile
SETTLE = 1  # untimed step at the start of every turn: the caches held another peer's data


class PeerError(RuntimeError):
    """A peer that could not be imported or failed while it ran; the message is its own."""


class Worker:
    """The parent's end: `first_step` once, then `turn` or `train` as often as wanted, then `close`.

    Args:
        peer: its function, as ``module:function``.
        case: the shape to run.
        cache: folder for what torch's compiler keeps on disk.
    """

    def __init__(self, peer: str, case: Case, cache: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, child = context.Pipe()
        self.process = context.Process(target=serve, args=(child, peer, case, cache), daemon=True)
        self.process.start()
        child.close()

    def ask(self, verb: str, *args: Any) -> Any:
        """Send one request and wait for its answer; raises `PeerError` with the child's own message."""
        try:
            self.connection.send((verb, args))
            fine, answer = self.connection.recv()
        except (EOFError, ConnectionError) as error:
            self.process.join()
            raise PeerError(f"its process ended with exit code {self.process.exitcode}") from error
        if not fine:
            raise PeerError(answer)
        return answer

    def first_step(self) -> float:
        """Seconds from `make_step` to the end of the first step: reading the data, tracing, compiling."""
        return float(self.ask("first_step"))

    def turn(self, seconds: float) -> float:
        """Milliseconds a step, over about this many seconds of steps."""
        return float(self.ask("turn", seconds))

    def train(self, num_steps: int, tail: int) -> float:
        """Mean loss (nats per datum) of the last `tail` of `num_steps` steps from the beginning."""
        return float(self.ask("train", num_steps, tail))

    def peak_memory(self) -> float:
        """Largest resident set so far, MiB."""
        return float(self.ask("peak_memory"))

    def close(self) -> None:
        """End the child and wait for it."""
        self.connection.close()
        self.process.join()


class Server:
    """The child's end: one method a request."""

    def __init__(self, peer: str, case: Case) -> None:
        module, _, function = peer.partition(":")
        make_step = operator.attrgetter(function)(importlib.import_module(module))
        start = time.perf_counter()
        self.step = make_step(*case)
        self.build_seconds = time.perf_counter() - start
        self.step_seconds = 0.0

    def first_step(self) -> float:
        """Trace, compile and run once, with what the peer did while it was built; then warm up and learn the pace."""
        first = self.seconds(1)
        self.step_seconds = self.seconds(WARM_UP) / (WARM_UP * self.step.per_call)
        return self.build_seconds + first

    def turn(self, seconds: float) -> float:
        """Steps for about `seconds`, at the pace of the turn before."""
        self.seconds(SETTLE)
        calls = max(3, round(seconds / (self.step_seconds * self.step.per_call)))
        self.step_seconds = self.seconds(calls) / (calls * self.step.per_call)
        return float(self.step_seconds * 1e3)

    def train(self, num_steps: int, tail: int) -> float:
        """Mean loss of the last steps."""
        losses = []
        for _ in range(round(num_steps / self.step.per_call)):
            self.step()
            losses.append(self.step.loss())
        last = losses[-max(1, round(tail / self.step.per_call)) :]
        return sum(last) / len(last)

    def profile(self) -> dict[str, float]:
        """Shares of a step's time by kind."""
        profiled = importlib.import_module("shares").profiled
        calls = min(200, max(10, round(PROFILED / (self.step_seconds * self.step.per_call))))
        return profiled(self.step, calls)  # type: ignore[no-any-return]  # imported where it is run

    def peak_memory(self) -> float:
        """The kernel's own record: KiB on Linux, bytes on macOS."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)

    def seconds(self, count: int) -> float:
        """Wall time of `count` calls, the device's work included."""
        start = time.perf_counter()
        for _ in range(count):
            self.step()
        self.step.loss()
        return time.perf_counter() - start


def serve(connection: Connection, peer: str, case: Case, cache: str) -> None:
    """Answer requests until the parent hangs up."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
    server: Server | None = None
    while True:
        try:
            verb, args = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            server = server or Server(peer, case)
            answer: Callable[..., float] = getattr(server, verb)
            connection.send((True, answer(*args)))
        except Exception as error:
            connection.send((False, f"{type(error).__name__}: {error}"))
