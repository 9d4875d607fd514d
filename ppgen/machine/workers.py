"""Jobs somewhere else, so many at a time: in worker processes, or here where one at a time is enough.

A worker is a process of its own, a pool of ``concurrent.futures`` with this one process, started afresh (spawn) and
given one job after another. Where it is killed, the pool is broken, and with it no job but the one it had. It has its
own number of threads, its own device where there are several GPUs, and prints to standard error. The pool carries jobs
and answers between the processes that it started; what a job warns of, and the sentence of an error, come back with it.

Ctrl-C reaches the parent alone, which hands it to the jobs that run; a worker whose parent has died ends at once.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, Self, TypeVar

import torch

from ppgen.errors import LostWorkerError, UsageError, first_sentence, in_a_sentence

__all__ = ["GRACE", "Answer", "Engine", "Here", "Processes", "answered", "check_portable", "each"]

J = TypeVar("J")

GRACE = 30.0
"""Seconds that a worker has to end its job after Ctrl-C."""

_LOST = (
    "its worker process was killed, by hand (kill -9) or by the system when memory ran short: try it again, with fewer "
    "--workers if it was memory."
)


@dataclass(frozen=True)
class Answer:
    """What a job gave: its result, or the error that ended it; and what it warned of elsewhere."""

    result: Any = None
    error: BaseException | None = None
    warnings: tuple[str, ...] = ()

    def take(self) -> Any:
        """The result; the error is raised."""
        if self.error is not None:
            raise self.error
        return self.result


class Engine(ABC):
    """Where jobs run. Within its context they do; an error within, as Ctrl-C is one, ends those that run.

    Args:
        workers: jobs at a time.

    To add one: 1. run :func:`answered` in its processes; 2. answer with a :class:`LostWorkerError` for a process that
    was lost; 3. enter it in :func:`ppgen.machine.engines.engine_of`.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @abstractmethod
    def submit(self, function: Callable[..., Any], *given: Any) -> Future[Answer]:
        """Begin a job."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Whatever runs is ended."""
        return


def each(engine: Engine, function: Callable[[J], Any], jobs: Iterable[J]) -> Iterator[tuple[J, Answer]]:
    """The jobs as they end, with their answers; each is taken from ``jobs`` when there is a worker for it.

    Raises:
        KeyboardInterrupt: a job was stopped by Ctrl-C.
    """
    waiting, running = iter(jobs), dict[Future[Answer], J]()
    while True:
        for job in islice(waiting, engine.workers - len(running)):
            running[engine.submit(function, job)] = job
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            answer = future.result()
            for text in answer.warnings:
                warnings.warn(text, stacklevel=2)
            if isinstance(answer.error, KeyboardInterrupt):
                raise answer.error
            yield running.pop(future), answer


class Here(Engine):
    """This process, one job after another."""

    def __init__(self) -> None:
        super().__init__(1)

    def submit(self, function: Callable[..., Any], *given: Any) -> Future[Answer]:
        """Do a job."""
        future: Future[Answer] = Future()
        try:
            future.set_result(Answer(function(*given)))
        except Exception as error:
            future.set_result(Answer(error=error))
        return future


class Processes(Engine):
    """Worker processes of this machine.

    Args:
        workers: how many.
        threads: of each.
    """

    def __init__(self, workers: int, threads: int) -> None:
        super().__init__(workers)
        self.threads = threads
        self._context = multiprocessing.get_context("spawn")
        self._stop, self._kept_open = self._context.Pipe(duplex=False)
        self._pools: list[ProcessPoolExecutor] = []
        self._idle: list[ProcessPoolExecutor] = []

    def submit(self, function: Callable[..., Any], *given: Any) -> Future[Answer]:
        """Begin a job in a worker that has none, or in a new one."""
        future: Future[Answer] = Future()
        check_portable(function, given)
        pool = self._idle.pop() if self._idle else self._new()
        with _signals_held():  # a process inherits them, until it can do without a traceback
            begun = pool.submit(_done, function, *given)
        begun.add_done_callback(partial(self._end, pool, future))
        return future

    def __exit__(self, *error: object) -> None:
        """Jobs that run are stopped as by Ctrl-C, and have half a minute to end."""
        self._kept_open.close()
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)
        self._stop.close()

    def _new(self) -> ProcessPoolExecutor:
        given = (self._stop, self.threads, len(self._pools))
        pool = ProcessPoolExecutor(1, mp_context=self._context, initializer=_begin, initargs=given)
        self._pools.append(pool)
        return pool

    def _end(self, pool: ProcessPoolExecutor, future: Future[Answer], begun: Future[Answer]) -> None:
        error = begun.exception()
        if error is None:
            self._idle.append(pool)
            future.set_result(begun.result())
        else:
            lost = isinstance(error, BrokenProcessPool)
            future.set_result(Answer(error=LostWorkerError(_LOST) if lost else error))


@contextmanager
def _signals_held() -> Iterator[None]:
    """Within it Ctrl-C waits, also in a process that is started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_portable(function: Callable[..., Any], given: tuple[Any, ...]) -> None:
    """Check that a call can be given to another process.

    Raises:
        UsageError: it holds what cannot be pickled.
    """
    try:
        pickle.dumps((function, given))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"this cannot be given to a worker process ({first_sentence(error)}): give functions and classes that a "
            "module defines at its top, or do without workers."
        ) from error


def answered(function: Callable[..., Any], *given: Any) -> Answer:
    """In a worker: what came of a call, in a form that another process can read."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        result: Any = None
        error: BaseException | None = None
        try:
            result = function(*given)
        except KeyboardInterrupt:
            error = KeyboardInterrupt()
        except (Exception, SystemExit) as raised:
            error = _portable(raised)
    return Answer(result, error, tuple(dict.fromkeys(str(one.message) for one in caught)))


def _portable(error: BaseException) -> BaseException:
    """An error that another process can read, which has not loaded the user's files; a note has its traceback."""
    sentence, mendable = in_a_sentence(error)
    if isinstance(error, UsageError):
        kind = type(error) if type(error).__module__ == UsageError.__module__ else UsageError
        found: Exception = kind(str(error))
    else:
        found = UsageError(sentence) if mendable else RuntimeError(f"{type(error).__name__}: {first_sentence(error)}")
    found.add_note("".join(traceback.format_exception(error)))
    return found


_stop: Connection | None = None


def _begin(stop: Connection, threads: int, index: int) -> None:
    """A worker's first act.

    Args:
        stop: at its end when the jobs are to stop, or the parent has died.
        threads: of the worker.
        index: its number.
    """
    global _stop
    _stop = stop
    os.setsid()  # the terminal's Ctrl-C is the parent's alone
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.dup2(2, 1)
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(index % torch.cuda.device_count())
    threading.Thread(target=_watch, args=(stop,), daemon=True).start()


def _watch(stop: Connection) -> None:
    """Hands on Ctrl-C, and ends this worker when it is not heeded, or the parent has died."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    multiprocessing.connection.wait([stop, parent.sentinel])
    if parent.is_alive():
        os.kill(os.getpid(), signal.SIGINT)
        parent.join(GRACE)
    os._exit(1)


def _done(function: Callable[..., Any], *given: Any) -> Answer:
    """The answer of a worker; Ctrl-C stops the job, and nothing between two jobs."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if _stop is not None and _stop.poll():
            raise KeyboardInterrupt
        return answered(function, *given)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
