"""Schedules: values, text form, and sentences for what cannot be read."""

import pytest

from ppgen.errors import UsageError
from ppgen.factory import make_objective
from ppgen.schedules import Schedule, cyclical, exponential, linear, parse_schedule, stepwise

ALL = [linear(0.5, 1.0, 10), exponential(1.0, 0.01, 4), cyclical(0.0, 1.0, 6), stepwise((0, 100), (1, 5))]


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (linear(0.5, 1.0, 10), {0: 0.5, 5: 0.75, 10: 1.0, 99: 1.0}),
        (linear(2.0, 0.0, 4), {0: 2.0, 1: 1.5, 4: 0.0, 5: 0.0}),
        (exponential(1.0, 0.01, 4), {0: 1.0, 2: 0.1, 4: 0.01, 9: 0.01}),
        (exponential(2.0, 0.5, 2), {0: 2.0, 1: 1.0, 2: 0.5}),
        (cyclical(0.5, 2.0, 4), {0: 0.5, 1: 1.25, 2: 2.0, 3: 2.0, 4: 0.5}),
        (cyclical(0.0, 1.0, 6), {0: 0.0, 3: 1.0, 5: 1.0, 6: 0.0, 9: 1.0}),
        (stepwise((0, 100), (1, 5)), {0: 1, 99: 1, 100: 5, 1000: 5}),
        (stepwise((0, 10, 20), (8, 4, 2)), {0: 8, 10: 4, 25: 2}),
    ],
    ids=str,
)
def test_a_schedule_has_its_values(schedule: Schedule, values: dict[int, float]) -> None:
    assert {step: schedule(step) for step in values} == pytest.approx(values)


@pytest.mark.parametrize(
    "schedule", [*ALL, linear(3.0, 1.0, 7), cyclical(0.5, 2.0, 4), exponential(2.0, 0.5, 3)], ids=str
)
def test_extremes_are_the_least_and_the_largest_value(schedule: Schedule) -> None:
    values = [schedule(step) for step in range(150)]
    assert [min(schedule.extremes()), max(schedule.extremes())] == pytest.approx([min(values), max(values)])


def test_steps_of_whole_numbers_stay_whole() -> None:
    assert isinstance(stepwise((0, 100), (1, 5))(3), int)


@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_a_schedule_is_read_back_from_its_text(schedule: Schedule) -> None:
    assert parse_schedule(str(schedule)) == schedule


@pytest.mark.parametrize("value", [1.0, "binary", "2", None, (0, 1), "a schedule (sort of)!"])
def test_what_has_not_the_form_of_a_schedule_is_left_alone(value: object) -> None:
    assert parse_schedule(value) is value


def test_an_unknown_schedule_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'linear'"):
        parse_schedule("liner(0, 1, 10)")


@pytest.mark.parametrize("text", ["linear(0, 1)", "linear(0, 1, 2, 3)", "linear(0, x, 3)", "linear(0 1)"])
def test_arguments_that_do_not_fit_are_a_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be read .*: write numbers, as in linear"):
        parse_schedule(text)


def test_no_code_is_run_from_the_text() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        parse_schedule("linear(__import__('os').getpid(), 1, 10)")


def test_every_value_of_a_schedule_is_checked_and_the_first_of_a_function() -> None:
    assert make_objective("renyi", alpha=lambda step: 0.5).at(3) == make_objective("renyi", alpha=0.5)
    for none in (stepwise((0, 10), (2, 0)), lambda step: 0):
        with pytest.raises(UsageError, match=r"gives 0, and its values must each be"):
            make_objective("renyi", num_particles=none)
