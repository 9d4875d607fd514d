"""Where jobs run, by name: on this machine, or on a Ray cluster."""

from __future__ import annotations

from ppgen.arguments import at_least, one_of
from ppgen.machine.cluster import Cluster
from ppgen.machine.workers import Engine, Here, Processes

__all__ = ["ENGINES", "engine_of"]

ENGINES = ("local", "ray")


def engine_of(
    name: str = "local", workers: int | None = None, threads: int | None = None, *, gpus: bool = True
) -> Engine:
    """An engine by its name.

    Args:
        name: ``local`` or ``ray``.
        workers: jobs at a time; None: one here, and of a cluster as many as it has cores for.
        threads: of a worker; None: one, and all of this process where it is the only one.
        gpus: whether each job of a cluster is to have a GPU, where there are some.

    Raises:
        UsageError: no such engine; a number below 1; Ray is not installed.
    """
    one_of("expected the name of an engine, got", name, ENGINES)
    for who, number in (("--workers", workers), ("--threads", threads)):
        at_least(who, 1 if number is None else number, 1)
    if name == "ray":
        return Cluster(workers, threads or 1, gpus=gpus)
    return Here() if (workers or 1) == 1 and threads is None else Processes(workers or 1, threads or 1)
