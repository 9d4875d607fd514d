"""Generated inputs: how many are tried, and what holds for each of them, whatever it is.

A test under :func:`generated` tries a few inputs, the same ones each time. ``make fuzz`` tries the same tests with
``PPGEN_EXAMPLES`` times as many, drawn by ``--hypothesis-seed``; an input that breaks a law is printed, and the same
seed finds it again.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppgen.errors import UsageError

__all__ = ["MORE", "SECONDS", "TRIED", "generated", "made_or_refused"]

MORE = int(os.environ.get("PPGEN_EXAMPLES", "1"))
"""How many times as many inputs are tried as by ``make test``."""

SECONDS, MEMORY = 20, 4 * 2**30
"""What an input may take at most, in bytes beside what the process has already."""

TRIED: dict[str, int] = {}
"""How many inputs each test has tried."""

Test = Callable[..., None]


def generated(
    *strategies: st.SearchStrategy[Any], examples: int = 20, seconds: int = SECONDS
) -> Callable[[Test], Test]:
    """A test of inputs drawn from ``strategies`` or, by the test itself, from ``st.data()``.

    Each ends within so many seconds, and within :data:`MEMORY`: what is beyond is refused as by a machine that has no
    more. Inputs that ask for work may take longer than :data:`SECONDS`.
    """

    def decorate(test: Test) -> Test:
        @wraps(test)
        def law(*arguments: Any, **fixtures: Any) -> None:
            TRIED[test.__name__] = TRIED.get(test.__name__, 0) + 1
            with within_seconds(seconds), within_memory():
                test(*arguments, **fixtures)

        options = settings(
            max_examples=examples * MORE,
            derandomize=MORE == 1,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        return options(given(*strategies)(law))

    return decorate


def made_or_refused(make: Callable[[], Any]) -> Any:
    """What is made; None where one short line says why it is not. Any other error fails the test."""
    try:
        return make()
    except UsageError as error:
        sentence = str(error)
    assert len(sentence) < 1000, sentence[:2000]
    assert "\n" not in sentence, sentence
    return None


@contextmanager
def within_seconds(seconds: int) -> Iterator[None]:
    """Within it, a test that takes longer fails; what pytest-timeout had set goes on afterwards."""

    def late(*_: Any) -> None:
        pytest.fail(f"it takes more than {seconds} seconds")

    handler = signal.signal(signal.SIGALRM, late)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        taken = seconds - signal.setitimer(signal.ITIMER_REAL, 0)[0]
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, max(left - taken, 1e-3) if left else 0)


@contextmanager
def within_memory() -> Iterator[None]:
    """Within it, no more memory is to be had than :data:`MEMORY`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note how many inputs a test has tried; ``-p tests.generated`` makes this module a plugin of pytest's."""
    before = sum(TRIED.values())
    try:
        return (yield)
    finally:
        item.user_properties.append(("tried", sum(TRIED.values()) - before))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many inputs each test has tried, over all that it is tried with."""
    reports = [one for key in ("passed", "failed") for one in terminalreporter.stats.get(key, ()) if one.when == "call"]
    tried: dict[str, int] = {}
    for one in reports:
        name = one.location[2].partition("[")[0]
        tried[name] = tried.get(name, 0) + dict(one.user_properties).get("tried", 0)
    terminalreporter.section("inputs tried")
    for name, number in tried.items():
        terminalreporter.line(f"{number:>7,} {name}")
    terminalreporter.line(f"{sum(tried.values()):>7,} in all")
