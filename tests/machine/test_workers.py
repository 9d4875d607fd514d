"""Worker processes: what comes back from them, and what becomes of the others when one is killed."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ppgen.errors import DivergedError, LostWorkerError, UsageError
from ppgen.machine.engines import engine_of
from ppgen.machine.workers import Answer, Engine, Here, Processes, answered, check_portable, each
from tests.marks import thorough
from tests.processes import carried


def work(what: Any) -> Any:
    """One job: what it is told."""
    match what:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "diverge":
            raise DivergedError("no longer finite.")
        case "crash":
            raise ZeroDivisionError("of the user's own")
        case "warn":
            warnings.warn("mind the gap", stacklevel=1)
        case "threads":
            return torch.get_num_threads()
        case "where":
            return os.getpid()
        case "sleep":
            time.sleep(60)
    return what


def answer_to(what: Any) -> Answer:
    found: Answer = carried(answered(work, what))
    return found


def test_a_result_and_what_was_warned_of_come_back() -> None:
    assert answer_to("warn") == Answer("warn", None, ("mind the gap",))


def test_an_error_comes_back_as_its_kind_or_as_its_sentence_with_the_line() -> None:
    assert isinstance(answer_to("diverge").error, DivergedError)
    error = answer_to("crash").error
    assert type(error) is UsageError
    assert str(error).startswith(f"{__file__}:")
    assert str(error).endswith("raised ZeroDivisionError: of the user's own.")
    assert "ZeroDivisionError" in error.__notes__[0]


def test_what_cannot_be_pickled_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be given to a worker process"):
        check_portable(lambda: None, ())


def test_jobs_are_taken_when_there_is_room_and_an_error_stops_no_other() -> None:
    taken = []

    def jobs() -> Iterator[str]:
        for job in ("a", "crash", "b"):
            taken.append(job)
            yield job

    seen = []
    for job, answer in each(Here(), work, jobs()):
        assert taken[-1] == job
        seen.append((job, answer.result, type(answer.error)))
    assert seen == [("a", "a", type(None)), ("crash", None, ZeroDivisionError), ("b", "b", type(None))]


def test_one_worker_is_this_process_and_more_are_others() -> None:
    assert isinstance(engine_of(), Here)
    with engine_of("local", 3) as engine:
        assert isinstance(engine, Processes)
        assert (engine.workers, engine.threads) == (3, 1)
    with engine_of("local", 1, 2) as engine:
        assert isinstance(engine, Processes)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_a_cluster_without_ray_is_refused() -> None:
    with pytest.raises(UsageError, match="which is not installed: pip install"):
        engine_of("ray")


def check_engine(engine: Engine) -> None:
    """A worker that is killed loses its job and no other; each has one thread, and gives back what a job gives."""
    with engine, pytest.warns(UserWarning, match="mind the gap"):
        found = dict(each(engine, work, ["die", "where", "threads", "crash", "warn", "diverge"]))
    assert isinstance(found["die"].error, LostWorkerError)
    assert found["where"].result != os.getpid()
    assert found["threads"].result == 1
    assert "of the user's own" in str(found["crash"].error)
    assert isinstance(found["diverge"].error, DivergedError)


@pytest.mark.thorough
def test_a_process_that_is_killed_loses_its_job_and_no_other() -> None:
    check_engine(engine_of("local", 2))


@pytest.mark.slow
def test_a_worker_of_a_cluster_that_is_killed_loses_its_job_and_no_other() -> None:
    pytest.importorskip("ray")
    check_engine(engine_of("ray", 2))


SCRIPT = """
import signal

from ppgen.machine.engines import engine_of
from ppgen.machine.workers import each
from tests.machine.test_workers import work

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background, it is ignored
    with engine_of("local", 2) as engine:
        for job, answer in each(engine, work, ["where", "sleep"]):
            print(answer.result, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", [*thorough([signal.SIGINT]), signal.SIGKILL], ids=lambda end: end.name)
def test_no_worker_outlives_its_parent(tmp_path: Path, end: signal.Signals) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.send_signal(end)
        assert parent.wait(120) != 0
    deadline = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
