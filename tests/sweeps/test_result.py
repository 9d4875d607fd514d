"""Which cell of a sweep is best, and which are not told from it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ppgen.sweeps.result import Cell, Sweep, SweepRun, _p_value


def cell(lr: float, *values: float | None, status: str = "diverged") -> Cell:
    runs = [
        SweepRun(seed, f"lr={lr}/seed-{seed}", "done", value, 0.1, "Valid log-likelihood", 2.0, 5)
        if value is not None
        else SweepRun(seed, f"lr={lr}/seed-{seed}", status, sentence="it went wrong.")  # type: ignore[arg-type]  # text
        for seed, value in enumerate(values)
    ]
    return Cell({"lr": lr}, tuple(runs))


def sweep(*cells: Cell) -> Sweep:
    return Sweep(cells, {"model": "vae", "data": "digits", "grid": {"lr": []}, "seeds": 3}, Path("s"))


def test_an_interval_is_students() -> None:
    values = (-3.0, -1.0, -2.5)
    found = cell(0.1, *values).likelihood
    assert found is not None
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), low, high), rel=1e-9)


def test_an_interval_of_one_seed_is_the_whole_line() -> None:
    found = cell(0.1, -1.0).likelihood
    assert found is not None
    assert (found.value, found.low, found.high) == (-1.0, -math.inf, math.inf)


def test_the_p_value_is_that_of_welch() -> None:
    values, best = (-3.0, -2.0, -2.5, -2.7), (-1.0, -1.9, -1.2)
    expected = stats.ttest_ind(values, best, equal_var=False, alternative="less").pvalue
    assert _p_value(values, best) == pytest.approx(expected, rel=1e-9)


def test_the_best_has_the_largest_mean_and_cells_within_chance_are_named_with_it() -> None:
    found = sweep(cell(0.1, -5.0, -5.1, -4.9), cell(0.2, -1.0, -1.2, -1.1), cell(0.3, -1.1, -1.3, -1.1))
    assert found.best is found.cells[1]
    assert found.as_good == (found.cells[2],)
    assert "Best: lr=0.2. Valid log-likelihood −1.10 nats per datum, −1.35 to −0.85 at 95% over 3" in found.words()
    assert "Not told from it: lr=0.3." in found.words()


def test_equal_numbers_without_spread_are_told_apart_by_their_value_alone() -> None:
    found = sweep(cell(0.1, -2.0, -2.0), cell(0.2, -1.0, -1.0), cell(0.3, -1.0, -1.0))
    assert found.best is found.cells[1]
    assert found.as_good == (found.cells[2],)


def test_a_cell_of_which_a_run_diverged_stands_behind_those_without() -> None:
    found = sweep(cell(0.1, -1.0, None), cell(0.2, -2.0, -2.1), cell(0.3, None, None))
    assert [one.options["lr"] for one in found.ranked] == [0.2, 0.1, 0.3]
    assert found.missing == ["3 of 6 runs failed. The first of them is lr=0.1, seed 1: it went wrong."]


def test_a_killed_run_takes_nothing_from_its_cell() -> None:
    assert sweep(cell(0.2, -2.0, -2.1), cell(0.1, -1.0, None, status="failed")).best == cell(
        0.1, -1.0, None, status="failed"
    )


def test_one_seed_says_nothing_of_chance() -> None:
    found = sweep(cell(0.1, -1.0), cell(0.2, -9.0))
    assert "What chance does is not known from one seed" in found.words()
    assert found.as_good == (found.cells[1],)


def test_nothing_done_is_said_and_has_no_best() -> None:
    found = sweep(cell(0.1, None), cell(0.2, None, status="left"))
    assert found.best is None
    assert found.words().startswith("No run is done. 1 of 2 runs failed.")
    assert found.missing[-1] == "1 of 2 runs are left: go on with resume=True."


def test_a_sweep_is_short_in_a_console_flat_in_rows_and_plain_in_json() -> None:
    found = sweep(cell(0.1, -1.0), cell(0.2, -9.0))
    assert repr(found).splitlines()[0] == "Sweep of 2 runs in s: 2 done, best lr=0.1"
    assert found.rows()[1] == {
        "lr": 0.2,
        "seed": 0,
        "folder": "lr=0.2/seed-0",
        "status": "done",
        "log_likelihood": -9.0,
        "standard_error": 0.1,
        "measured": "Valid log-likelihood",
        "seconds": 2.0,
        "steps": 5,
        "sentence": "",
        "effective_chains": None,
    }
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["best"] == {"lr": 0.1}
    assert document["cells"][0]["likelihood"] == {"value": -1.0, "low": None, "high": None}


def test_the_truly_best_cell_is_left_out_no_more_often_than_is_said() -> None:
    """Of 8 cells that are all alike and have 3 seeds, the first is left out with probability 0.05 at most.

    Among 100 sweeps more than 12 would be left out with probability 0.002 (binomial).
    """
    draw = np.random.default_rng(0).normal(size=(100, 8, 3))
    left_out = 0
    for values in draw:
        found = sweep(*(cell(float(index), *row) for index, row in enumerate(values.tolist())))
        left_out += found.cells[0] not in (found.best, *found.as_good)
    assert left_out <= 12
