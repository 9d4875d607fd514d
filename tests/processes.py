"""Processes of their own that are forks of this one: without the seconds that importing takes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from ppgen.cli import main

__all__ = ["FORK", "carried", "command_line", "started"]

FORK = multiprocessing.get_context("fork")


def carried(value: Any) -> Any:
    """A value as it comes out of the pipe that two processes share.

    Raises:
        Exception: what the pipe's other end raised: it cannot be sent.
    """
    out, into = multiprocessing.Pipe(duplex=False)
    with ThreadPoolExecutor(1) as sender:
        sent = sender.submit(into.send, value)
        while not out.poll(0.01):
            if sent.done():
                sent.result()
        return out.recv()


@contextmanager
def started(function: Callable[..., Any], *arguments: Any) -> Iterator[BaseProcess]:
    """Another process, which calls ``function``; it is killed in the end."""
    process = FORK.Process(target=function, args=arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of other threads, whose locks the function does not need
        process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def command_line(arguments: Sequence[str], said: Path) -> None:
    """What ``python -m ppgen`` does, with its standard error in a file."""
    torch.set_num_threads(1)  # a fork has none of the threads of before
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with said.open("w") as sys.stderr, open(os.devnull, "w") as sys.stdout:
        sys.exit(main(arguments))
