"""Errors of recall against the number of stored patterns."""

import pytest

from ppgen.errors import UsageError
from ppgen.evaluation import Capacity, capacity_curve
from ppgen.inference import Hebb, PseudoInverse


def test_hebbs_rule_breaks_between_a_tenth_and_a_fifth_of_the_units() -> None:
    """Far from the break: below it 0.1 % of the bits are wrong at this size, beyond it more than 10 %."""
    found = capacity_curve(Hebb(), (50, 95), num_units=500)
    assert found.loads == (0.1, 0.19)
    assert found.errors[0] < 0.01
    assert found.errors[1] > 0.1
    assert 0.1 < (found.breaks_at or 0) < 0.19


def test_the_pseudo_inverse_has_no_errors_up_to_linear_independence() -> None:
    found = capacity_curve(PseudoInverse(), (20, 190), num_units=200)
    assert found.errors == (0.0, 0.0)
    assert found.breaks_at is None


def test_patterns_are_recalled_from_corrupted_ones() -> None:
    few, many = capacity_curve(PseudoInverse(), (10, 120), num_units=200, flipped=0.1).errors
    assert few < 0.001
    assert many > 0.05


def test_the_seed_fixes_the_curve() -> None:
    first, again, other = (capacity_curve(Hebb(), (20,), 60, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_the_break_is_on_the_line_between_two_points() -> None:
    assert Capacity(100, (10, 20), (0.0, 0.1)).breaks_at == pytest.approx(0.15)
    assert Capacity(100, (10, 20), (0.0, 0.01)).breaks_at is None


@pytest.mark.parametrize(("nums", "units"), [((0,), 10), ((3,), 0)])
def test_no_patterns_and_no_units_are_refused(nums: tuple[int, ...], units: int) -> None:
    with pytest.raises(UsageError, match="must be"):
        capacity_curve(Hebb(), nums, units)
