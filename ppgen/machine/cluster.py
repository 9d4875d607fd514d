"""Jobs on a Ray cluster: the one that ``RAY_ADDRESS`` names or that runs on this machine, else a new one here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ppgen.errors import LostWorkerError, UsageError
from ppgen.machine.workers import GRACE, Answer, Engine, answered, check_portable

__all__ = ["Cluster"]

_LOST = "its worker was lost, killed or with its machine or its memory: try it again."


class Cluster(Engine):
    """Ray's workers; they find files where this process does, in a folder that all machines share.

    Args:
        workers: jobs at a time; None: as many as the cluster has cores for.
        threads: of each, which is what it is counted for.
        gpus: whether each is to have a GPU to itself, where the cluster has some.

    Raises:
        UsageError: Ray is not installed, or no cluster can be had.
    """

    def __init__(self, workers: int | None, threads: int, *, gpus: bool) -> None:
        try:
            import ray
        except ImportError as error:
            raise UsageError("--engine ray needs Ray, which is not installed: pip install 'ppgen[ray]'.") from error
        self._ray, self.threads = ray, threads
        try:
            ray.init(ignore_reinit_error=True, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
        except Exception as error:  # whatever Ray raises of a cluster that is not there
            raise UsageError(f"no Ray cluster can be had: {error}.") from error
        has = ray.cluster_resources()
        super().__init__(workers or max(1, int(has.get("CPU", 1)) // threads))
        needs = {"num_cpus": threads, "num_gpus": float(gpus and has.get("GPU", 0) > 0)}
        self._begin = ray.remote(**needs, max_retries=0)(_in_folder).remote
        self._running: set[Any] = set()

    def submit(self, function: Callable[..., Any], *given: Any) -> Future[Answer]:
        """Begin a job as soon as the cluster has room for it."""
        future: Future[Answer] = Future()
        environment = {name: value for name, value in os.environ.items() if name.startswith("PPGEN_")}
        check_portable(function, given)
        begun = self._begin(Path.cwd(), environment, self.threads, function, *given)
        self._running.add(begun)
        begun.future().add_done_callback(partial(self._end, begun, future))
        return future

    def __exit__(self, *error: object) -> None:
        """Jobs that run are stopped as by Ctrl-C; then this process leaves the cluster."""
        running = list(self._running)
        for begun in running:
            self._ray.cancel(begun)
        if running:
            self._ray.wait(running, num_returns=len(running), timeout=GRACE)
        self._ray.shutdown()

    def _end(self, begun: Any, future: Future[Answer], ended: Future[Answer]) -> None:
        self._running.discard(begun)
        error = ended.exception()
        future.set_result(ended.result() if error is None else Answer(error=LostWorkerError(_LOST)))


def _in_folder(
    folder: Path, environment: dict[str, str], threads: int, function: Callable[..., Any], *given: Any
) -> Answer:
    """In a worker: the answer to a call that is made where the driver stands."""
    torch.set_num_threads(threads)
    os.environ.update(environment)
    with contextlib.chdir(folder):
        return answered(function, *given)
