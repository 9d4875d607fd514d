"""The page of the benchmarks is what its results say, and its statistics are right."""

from __future__ import annotations

import importlib
import random
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def page() -> Iterator[ModuleType]:
    """``benchmarks/page.py``, whose folder is no package."""
    names = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("page")
    for name in {"page", "contests", "estimators"} - names:
        sys.modules.pop(name, None)


def test_the_page_is_what_the_results_say(page: ModuleType) -> None:
    assert page.main(["--check"]) == 0


def test_the_table_of_estimators_is_what_was_kept(page: ModuleType) -> None:
    assert importlib.import_module("estimators").main(["--check"]) == 0


def test_every_peer_is_a_function_of_a_file_or_a_method_of_an_estimator_in_it(page: ModuleType) -> None:
    for contest in importlib.import_module("contests").CONTESTS.values():
        for where in contest.peers.values():
            module, _, function = where.partition(":")
            name, _, method = function.partition(".")
            if method:
                estimator = importlib.import_module("peers.common").Estimator
                found = getattr(importlib.import_module(module), name)
                assert isinstance(found, estimator)
                assert callable(getattr(found, method))
            else:  # of libraries that need not be there
                source = (FOLDER / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")
                assert f"def {name}(" in source


def test_an_interval_covers_the_median_as_often_as_it_says(page: ModuleType) -> None:
    draw = random.Random(0).gauss
    covered = 0
    for _ in range(2_000):
        low, high = page.interval([draw(0.0, 1.0) for _ in range(9)])
        covered += low <= 0.0 <= high
    # The order statistics 2 and 8 of nine cover at 96.1 %: 2,000 draws have a standard error of 0.44 %.
    assert covered / 2_000 == pytest.approx(0.961, abs=4 * 0.0044)


def test_an_interval_of_few_values_is_all_of_them(page: ModuleType) -> None:
    assert page.interval([3.0, 1.0, 2.0]) == (1.0, 3.0)


@pytest.mark.parametrize("power", [0.8, 1.0, 1.3])
def test_the_exponent_beyond_a_fixed_part_is_found(page: ModuleType, power: float) -> None:
    sizes = [20, 64, 256, 1024, 4096]
    fixed, found = page.exponent(sizes, [1.5 + 0.02 * size**power for size in sizes])
    assert found == pytest.approx(power, abs=1e-3)
    assert fixed == pytest.approx(1.5, rel=1e-2)


def test_a_table_gives_medians_ratios_and_who_could_not_run(page: ModuleType) -> None:
    row = {"turns": [2.0, 3.0, 4.0], "first_step": 9.0, "first_step_again": 3.0, "peak_memory": 700.0}
    entry = {
        "contest": "vae",
        "batch_size": 20,
        "num_particles": 1,
        "rounds": 3,
        "date": "2026-01-01",
        "load": [0.1, 2.0],
        "peers": {
            "ours": row,
            "handwritten": {**row, "turns": [4.0, 4.0, 4.0]},
            "stock_pyro": {"turns": [], "error": "ImportError: no pyro\nmore"},
        },
    }
    text = page.steps({"contests": {"vae (20, 1)": entry}})
    assert "| 20 | 1 | `handwritten` | 4 | 0.75 (0.50 to 1.00) | 700 | 9.0 | 3.0 |" in text
    assert "Not run: `stock_pyro`: ImportError: no pyro." in text
    assert "2026-01-01, 3 rounds, load 0.1 to 2.0." in text
    assert statistics.median(page.ratios(entry["peers"], "handwritten")) == 0.75
