"""The mutation run itself: what is mutated, how a mutant is put in place, and what makes the list untrue."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from tests.mutation.operators import Mutant, codes, mutants_of, sample
from tests.mutation.run import ROOT, Plan, Verdict, forked, functions_of, measured, patch, stale

TOY = '''
import math

def area(radius: float) -> float:
    """pi r^2, of a positive radius."""
    if radius < 0:
        raise ValueError(f"expected a radius of at least {0 - 1 + 1}, got {radius}.")
    return math.pi * radius**2

def largest(values, bound=2 * 3):
    return max(value for value in values if value <= bound or value <= bound)
'''


def toy() -> list[Mutant]:
    return mutants_of("toy.py", TOY)


def run_with(mutant: Mutant | None) -> dict[str, Any]:
    """The toy's functions, as a module that was imported before the mutant came."""
    module: dict[str, Any] = {}
    code = compile(TOY, "toy.py", "exec")
    exec(code, module)
    functions = [f for f in module.values() if isinstance(f, FunctionType)]
    mutated = code if mutant is None else mutant.code()
    assert mutated is not None
    patch({(f.__code__.co_qualname, f.__code__.co_firstlineno): [f] for f in functions}, mutated)
    return module


def one(text: str) -> Mutant:
    return next(mutant for mutant in toy() if mutant.name.endswith(text))


def test_a_planted_mistake_is_seen_and_the_sound_function_is_not() -> None:
    assert run_with(None)["area"](3.0) == pytest.approx(28.274, abs=1e-3)
    assert run_with(one("radius ** 2 -> radius"))["area"](3.0) == pytest.approx(9.425, abs=1e-3)


def test_an_equivalent_mutant_gives_the_same() -> None:
    mutant = one("value <= bound or value <= bound -> value <= bound and value <= bound")
    assert run_with(mutant)["largest"]([1, 6, 7]) == run_with(None)["largest"]([1, 6, 7]) == 6


def test_defaults_errors_and_docstrings_are_left_alone() -> None:
    assert {mutant.before for mutant in toy()} == {
        "math.pi * radius ** 2",
        "radius ** 2",
        "max((value for value in values if value <= bound or value <= bound))",
        "value <= bound or value <= bound",
        "value <= bound",
    }


def test_equal_changes_of_one_function_have_names_of_their_own() -> None:
    assert [name for name, times in Counter(mutant.name for mutant in toy()).items() if times > 1] == []
    assert one("value <= bound -> value < bound (no. 1)").number == 1


def test_a_sample_takes_the_kinds_in_turn_and_is_always_the_same() -> None:
    drawn = sample(toy(), 4)
    assert len({mutant.kind for mutant in drawn}) == 4
    assert [m.name for m in drawn] == [m.name for m in sample(toy()[::-1], 4)]


def test_a_mutant_that_closes_over_other_variables_is_left_out() -> None:
    source = "def outer(a):\n    def inner(b):\n        return a + b\n    return inner\n"
    assert {m.after: m.code() is not None for m in mutants_of("toy.py", source)} == {
        "a - b": True,
        "a": True,
        "b": False,
    }


def test_every_function_of_a_module_has_its_code() -> None:
    assert [code.co_name for code in codes(compile(TOY, "toy.py", "exec"))] == [
        "<module>",
        "area",
        "largest",
        "<genexpr>",
    ]


@pytest.mark.parametrize(("killer", "said"), [(None, []), ("a test", ["killed by a test: "])])
def test_an_entry_of_the_list_that_a_test_notices_is_an_error(killer: str | None, said: list[str]) -> None:
    mutant = one("radius ** 2 -> radius")
    plan = Plan(1.0, [], {mutant.name: "a reason"})
    assert stale(plan, [Verdict(mutant, killer, 1, 0.0)]) == [start + mutant.name for start in said]


def test_an_entry_of_the_list_that_fits_no_mutant_is_an_error() -> None:
    plan = Plan(1.0, [], {"toy.py area: pi -> e": "a reason"})
    assert stale(plan, []) == ["fits no mutant: toy.py area: pi -> e"]
    assert stale(plan, [], only=["other.py"]) == []


def test_every_entry_of_our_list_fits_a_mutant_of_its_file() -> None:
    plan = Plan.read(Path(__file__).with_name("mutants.toml"))
    files = {file for group in plan.group for file in group.sources(ROOT)}
    found = {mutant.name for file in files for mutant in mutants_of(file, (ROOT / file).read_text())}
    assert set(plan.equivalent) <= found


@pytest.mark.thorough
def test_functions_are_found_though_an_earlier_group_froze_them() -> None:
    gc.freeze()
    found = functions_of(["tests/mutation/operators.py"], ROOT)["tests/mutation/operators.py"]
    assert [function for (name, _), functions in found.items() if name == "sample" for function in functions] == [
        sample
    ]


def speaks(tell: Callable[[Any], None]) -> None:
    tell("first")


def waits(tell: Callable[[Any], None]) -> None:
    tell("first")
    time.sleep(60)


def hangs(tell: Callable[[Any], None]) -> None:
    tell("first")
    while True:
        pass


def breaks(tell: Callable[[Any], None]) -> None:
    raise MemoryError("too much")


@pytest.mark.parametrize(
    ("work", "said", "ended"),
    [
        (speaks, ["first"], True),
        (hangs, ["first"], False),
        (waits, ["first"], False),
        (breaks, [{"broken": "MemoryError('too much')"}], False),
    ],
)
def test_a_fork_says_what_it_did_and_whether_it_ended(work: Any, said: list[Any], ended: bool) -> None:
    assert forked(work, seconds=0.3) == (said, ended)


def test_a_measurement_that_broke_is_an_error() -> None:
    def broken(tell: Callable[[Any], None]) -> None:
        raise TypeError("unhashable")

    with pytest.raises(RuntimeError, match=r"tests could not be measured: TypeError\('unhashable'\)"):
        measured(broken)


WHOLE = """
import sys
from tests.mutation.run import OPTIONS, Group, Mutation, Plan, pytest, ROOT
group = Group("one", ["inference/bounds/cubo.py"], 2, ["tests/inference/bounds/test_cubo.py"])
run = Mutation(Plan(20.0, [group], {}), group, group.mutants(ROOT, {}))
run.cache = sys.argv[1]
pytest.main([*OPTIONS, *group.tests], plugins=[run])
for verdict in run.verdicts:
    print(verdict.killer)
"""


@pytest.mark.slow
def test_a_whole_run_notices_its_mutants(tmp_path: Path) -> None:
    """Of tests in folders below others, where pytest looks plugins up otherwise."""
    done = subprocess.run(
        [sys.executable, "-c", WHOLE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.search(r"test_cubo.py: ([1-9]\d*) of \1 tests", done.stdout)
    killers = done.stdout.splitlines()[-2:]
    assert all(killer.startswith("tests/inference/bounds/test_cubo.py::") for killer in killers)
