"""What a result shows of itself fits a screen, whatever it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

import ppgen
from ppgen.pages.brief import Brief


@dataclass(repr=False)
class Rows(Brief):
    """So many rows, of cells as long as given."""

    num: int
    length: int = 3

    def brief(self) -> tuple[str, list[tuple[str, ...]]]:
        return "h" * self.length, [(f"row {index}", "<" * self.length) for index in range(self.num)]


@pytest.mark.parametrize(("num", "length"), [(0, 3), (1, 3), (8, 3), (9, 3), (500, 5000)])
def test_a_result_takes_ten_lines_of_120_characters_at_most(num: int, length: int) -> None:
    lines = repr(Rows(num, length)).splitlines()
    assert len(lines) == 1 + min(num, 8) + (num > 8)
    assert max(map(len, lines)) <= 120
    if num > 8:
        assert lines[-1] == f"  and {num - 8} more"


def test_html_has_the_same_rows_escaped() -> None:
    page = Rows(10)._repr_html_()
    assert page.count("<tr>") == 8
    assert "<td>&lt;&lt;&lt;</td>" in page
    assert "<p>  and 2 more</p>" in page


def test_a_run_says_what_was_trained_and_what_was_found_since(judged: Path) -> None:
    run = ppgen.load(judged)
    evaluation, diagnosis = run.evaluation, run.diagnosis
    assert evaluation is not None
    assert diagnosis is not None
    assert repr(run).startswith(f"VAE on digits by {run.objective}\n")
    assert f"{run.metrics[-1]['bound']:.2f}".lstrip("-") in repr(run)
    assert str(judged) in repr(run)
    assert diagnosis.tally in repr(run)
    assert repr(evaluation).startswith(evaluation.sentence)
    assert repr(diagnosis).splitlines()[1].split()[0] == diagnosis.verdict
    assert all(len(repr(found).splitlines()) <= 10 for found in (run, evaluation, diagnosis))
