"""The run: tests are collected once, and each mutant is a fork in which the functions of one file have other code."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import resource
import select
import signal
import sys
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

from tests.mutation.operators import Mutant, codes, mutants_of, sample

__all__ = ["Plan", "Verdict", "main", "patch", "stale"]

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ["-pno:terminal", "-pno:cacheprovider", "-oaddopts=", "--doctest-modules", "--import-mode=importlib"]
LIMIT = 300.0
"""Seconds for which a file of tests is measured: what comes later in it is not used."""
MEMORY = 8 * 2**30
"""Bytes that a mutant may hold: some allocate without end."""


@dataclass(frozen=True)
class Group:
    """Files that are mutated, how many mutants each gives, and the tests that see them."""

    name: str
    files: Sequence[str]
    share: int
    tests: Sequence[str]
    left_out: Sequence[str] = ()

    def sources(self, root: Path) -> list[str]:
        """The files, relative to the root."""
        return [str(path.relative_to(root)) for pattern in self.files for path in sorted(root.glob(pattern))]

    def mutants(self, root: Path, listed: Container[str], only: Sequence[str] = ()) -> list[Mutant]:
        """The sample of every file, and the listed ones whether drawn or not."""
        result = []
        for file in self.sources(root):
            if not only or file in only:
                found = mutants_of(file, (root / file).read_text())
                drawn = sample(found, self.share)
                result += drawn + [m for m in found if m.name in listed and m not in drawn]
        return result


@dataclass(frozen=True)
class Plan:
    """``mutants.toml``: what is mutated, the seconds of tests a mutant must survive, and what changes nothing."""

    seconds: float
    group: Sequence[Group]
    equivalent: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Plan:
        read = tomllib.loads(path.read_text())
        return cls(read["seconds"], [Group(**group) for group in read["group"]], read["equivalent"])


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: ``killer``, the test that noticed it, "time" where it did not end, or none."""

    mutant: Mutant
    killer: str | None
    tests: int
    seconds: float


def stale(plan: Plan, verdicts: Sequence[Verdict], only: Sequence[str] = ()) -> list[str]:
    """Entries of the list that are not true, each with what is wrong."""
    killers = {v.mutant.name: v.killer for v in verdicts}
    listed = [name for name in plan.equivalent if not only or name.split(" ")[0] in only]
    gone = [f"fits no mutant: {name}" for name in listed if name not in killers]
    return gone + [f"killed by {killers[name]}: {name}" for name in listed if killers.get(name)]


def patch(functions: Mapping[tuple[str, int], Sequence[FunctionType]], code: CodeType) -> None:
    """Put a module's code into its functions."""
    for each in codes(code):
        for function in functions.get((each.co_qualname, each.co_firstlineno), ()):
            function.__code__ = each


def functions_of(files: Sequence[str], root: Path) -> dict[str, dict[tuple[str, int], list[FunctionType]]]:
    """The imported functions of each file, by name and line."""
    wanted = {str((root / file).resolve()): file for file in files}
    result: dict[str, dict[tuple[str, int], list[FunctionType]]] = {file: defaultdict(list) for file in files}
    gc.unfreeze()  # an earlier group's, which are not among its objects else
    for function in gc.get_objects():
        if type(function) is FunctionType:  # isinstance would ask proxies of torch for their class, and they warn
            code = function.__code__
            if file := wanted.get(os.path.realpath(code.co_filename)):
                result[file][code.co_qualname, code.co_firstlineno].append(function)
    return result


def forked(work: Callable[[Callable[[Any], None]], None], seconds: float) -> tuple[list[Any], bool]:
    """What ``work`` says in a fork of this process, and whether it came to its end in that many seconds of CPU."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(reading)
        out = os.fdopen(writing, "w", buffering=1)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (ceil(seconds), ceil(seconds)))
        try:
            work(lambda said: print(json.dumps(said), file=out))
        except BaseException as error:
            print(json.dumps({"broken": repr(error)}), file=out)
            os._exit(1)
        os._exit(0)
    os.close(writing)
    end, text, closed = time.monotonic() + 10 * seconds, b"", False  # for one that waits and does not work
    while not closed and (left := end - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            text, closed = text + (piece := os.read(reading, 2**16)), not piece
    if not closed:
        os.killpg(pid, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    lines = [json.loads(line) for line in text.decode().split("\n")[:-1]]
    return lines, closed and status == 0


@dataclass(eq=False)  # pytest keeps plugins in sets
class Mutation:
    """The pytest plugin: in the place of running the tests, they are run in forks."""

    plan: Plan
    group: Group
    mutants: Sequence[Mutant]
    verdicts: list[Verdict] = field(default_factory=list)
    failed: bool = False
    cache: str = str(ROOT / ".pytest_cache")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed |= report.failed

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if not item.get_closest_marker("slow") and not self._left_out(item.path)]

    def _left_out(self, path: Path) -> bool:
        return any(path.match(pattern) for pattern in self.group.left_out)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        files, known = self.group.sources(ROOT), self._measured(session)
        functions, kills = functions_of(files, ROOT), Counter[tuple[str, str]]()
        items = {item.nodeid: item for item in session.items}
        gc.freeze()  # a fork would copy all that its collections touch
        for number, mutant in enumerate(self.mutants, 1):
            tests = [name for name in items if _reaches(known.get(name, {}), mutant)]
            tests.sort(key=lambda name: (known[name]["seconds"] + 0.02) / (1 + 3 * kills[mutant.file, name]))
            verdict = self._try(mutant, functions[mutant.file], [items[name] for name in self._within(tests, known)])
            kills[mutant.file, verdict.killer or ""] += 1
            self.verdicts.append(verdict)
            took = f"{_word(verdict)} {verdict.seconds:.1f} s, {verdict.tests} tests"
            say(f"{number}/{len(self.mutants)} {took}: {mutant}")
        return True

    def _within(self, tests: Sequence[str], known: Mapping[str, Any]) -> Iterator[str]:
        """Tests, one after another, as long as the seconds suffice."""
        spent = 0.0
        for name in tests:
            spent += known[name]["seconds"]
            if spent > self.plan.seconds:
                return
            yield name

    def _try(
        self, mutant: Mutant, functions: Mapping[tuple[str, int], Sequence[FunctionType]], items: Sequence[pytest.Item]
    ) -> Verdict:
        def work(tell: Callable[[Any], None]) -> None:
            code = mutant.code()
            assert code is not None
            patch(functions, code)
            for item, following in zip(items, [*items[1:], None], strict=False):
                self._run(item, following)
                if self.failed:
                    tell(item.nodeid)
                    return

        begin = time.monotonic()
        said, ended = forked(work, 3 * self.plan.seconds)
        killer = said[0] if said and isinstance(said[0], str) else None if ended else "time"
        return Verdict(mutant, killer, len(items), time.monotonic() - begin)

    def _run(self, item: pytest.Item, following: pytest.Item | None) -> None:
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)

    def _measured(self, session: pytest.Session) -> dict[str, Any]:
        """Seconds, and the lines of each file that are reached, of each test that passes; remembered between runs."""
        cache = Path(self.cache, f"mutation-{self.group.name}.json")
        past = json.loads(cache.read_text()) if cache.is_file() else {}
        sources = {str((ROOT / file).resolve()): file for file in self.group.sources(ROOT)}
        state = _digest(*sources)
        by_file: dict[Path, list[pytest.Item]] = defaultdict(list)
        for item in session.items:
            by_file[item.path].append(item)
        present = {}
        for path, items in by_file.items():
            key = f"{path.relative_to(ROOT)} {_digest(str(path))} {state}"
            if key not in past:
                past[key] = measured(partial(self._measure, items, sources))
                say(f"{path.relative_to(ROOT)}: {len(past[key])} of {len(items)} tests, {_total(past[key]):.0f} s")
            present[key] = past[key]
            cache.parent.mkdir(exist_ok=True)
            cache.write_text(json.dumps(past))
        cache.write_text(json.dumps(present))
        return {name: one for tests in present.values() for name, one in tests.items()}

    def _measure(self, items: Sequence[pytest.Item], sources: Mapping[str, str], tell: Callable[[Any], None]) -> None:
        named: dict[str, str | None] = {}

        def file_of(code: CodeType) -> str | None:
            if code.co_filename not in named:
                named[code.co_filename] = sources.get(os.path.realpath(code.co_filename))
            return named[code.co_filename]

        for item, following in zip(items, [*items[1:], None], strict=False):
            reached: dict[str, set[int]] = defaultdict(set)

            def lines(frame: FrameType, event: str, argument: object, reached: Any = reached) -> Any:
                reached[file_of(frame.f_code)].add(frame.f_lineno)
                return lines

            def calls(frame: FrameType, event: str, argument: object, lines: Any = lines) -> Any:
                return lines if file_of(frame.f_code) else None

            self.failed, begin = False, cpu()
            sys.settrace(calls)
            try:
                self._run(item, following)
            finally:
                sys.settrace(None)
            seconds = round(cpu() - begin, 3)
            if not self.failed:
                tell({"name": item.nodeid, "seconds": seconds, "lines": {f: sorted(n) for f, n in reached.items()}})


def measured(work: Callable[[Callable[[Any], None]], None]) -> dict[str, Any]:
    """What ``work`` says of tests, by name, in a fork that may run out of time.

    Raises:
        RuntimeError: it broke, so that no mutant could be noticed.
    """
    said, _ = forked(work, LIMIT)
    if broken := next((one["broken"] for one in said if "broken" in one), None):
        raise RuntimeError(f"tests could not be measured: {broken}")
    return {one["name"]: one for one in said}


def cpu() -> float:
    """Seconds of CPU that this process has used, and those that it waited for."""
    return sum(os.times()[:4])


def say(text: str) -> None:
    print(text, file=sys.__stdout__, flush=True)


def _reaches(test: Mapping[str, Any], mutant: Mutant) -> bool:
    return not set(mutant.lines).isdisjoint(test.get("lines", {}).get(mutant.file, ()))


def _digest(*paths: str) -> str:
    return hashlib.sha256(b"".join(Path(path).read_bytes() for path in sorted(paths))).hexdigest()[:16]


def _total(tests: Mapping[str, Any]) -> float:
    return float(sum(test["seconds"] for test in tests.values()))


def _word(verdict: Verdict) -> str:
    return {None: "SURVIVES", "time": "timed out"}.get(verdict.killer, f"killed by {verdict.killer}")


def report(plan: Plan, verdicts: Sequence[Verdict], only: Sequence[str]) -> int:
    """Print the figures, the survivors and what is wrong with the list; the exit code."""
    alive = [v for v in verdicts if v.killer is None]
    survivors = [v.mutant for v in alive if v.mutant.name not in plan.equivalent]
    wrong = stale(plan, verdicts, only)
    timed_out = sum(v.killer == "time" for v in verdicts)
    say("\nby kind: " + ", ".join(f"{kind} {n}" for kind, n in Counter(v.mutant.kind for v in verdicts).most_common()))
    say("by file: " + ", ".join(f"{file} {n}" for file, n in Counter(v.mutant.file for v in verdicts).items()))
    for mutant in survivors:
        say(f"\nsurvives: {mutant}\n    {mutant.name}")
    for sentence in wrong:
        say(f"\nmutants.toml {sentence}")
    say(
        f"\n{len(verdicts)} mutants: {len(verdicts) - len(alive) - timed_out} killed, {timed_out} timed out, "
        f"{len(alive) - len(survivors)} equivalent, {len(survivors)} survive."
    )
    return int(bool(survivors or wrong))


def main(only: Sequence[str]) -> int:
    """Run the mutants of ``only`` these files, or of all; the exit code."""
    plan, begin = Plan.read(Path(__file__).with_name("mutants.toml")), time.monotonic()
    os.chdir(ROOT)
    verdicts: list[Verdict] = []
    for group in plan.group:
        if mutants := group.mutants(ROOT, plan.equivalent, only):
            mutation = Mutation(plan, group, mutants)
            code = pytest.main([*OPTIONS, *group.tests], plugins=[mutation])
            if len(mutation.verdicts) < len(mutants):
                say(f"The mutants of {group.name} were not all tried; pytest ended with {code!r}.")
                return 2
            verdicts += mutation.verdicts
    say(f"{(time.monotonic() - begin) / 60:.0f} minutes.")
    return report(plan, verdicts, only)
