"""Pairs in the idioms of public Pyro code: every law for every case."""

import re
from pathlib import Path

import pytest

from tests.public import cases, laws_of_numbers, laws_of_use
from tests.public.case import Case
from tests.public.laws import LAWS, Law, NotApplicable, judge

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bring-your-own.md"


COSTLY = {"same_mean", "inference_data", "fit_bound", "weights"}
"""Laws that take half a second or more for a case: all but every tenth case are thorough; of others every second."""


def marks(law: Law, place: int) -> list[pytest.MarkDecorator]:
    thorough = law.thorough or place % (10 if law.name in COSTLY else 2) > 0
    return [mark for mark, wanted in ((pytest.mark.slow, law.slow), (pytest.mark.thorough, thorough)) if wanted]


EVERY = [
    pytest.param(case, law, id=f"{case.name}-{law.name}", marks=marks(law, place))
    for place, case in enumerate(cases.CASES.values())
    for law in LAWS.values()
]


@pytest.mark.parametrize(("case", "law"), EVERY)
def test_a_public_idiom_is_as_good_here_as_in_pyro(case: Case, law: Law) -> None:
    try:
        judge(case, law)
    except NotApplicable as reason:
        pytest.skip(str(reason))


def test_names_are_unique_and_every_case_names_its_public_example() -> None:
    every = [case for kind in cases.KINDS for case in kind.CASES]
    assert len(cases.CASES) == len(every)
    assert all(":" in case.idiom and len(case.idiom) > 20 for case in every)


def test_the_page_of_idioms_has_every_case() -> None:
    rows = PAGE.read_text(encoding="utf-8").splitlines()
    named = [match[1] for row in rows if (match := re.search(r"\| `(\w+)` \|$", row))]
    assert sorted(named) == sorted(cases.CASES)


def test_refusals_and_broken_rules_name_laws_and_rules() -> None:
    assert {laws_of_numbers.__name__, laws_of_use.__name__} == {law.function.__module__ for law in LAWS.values()}
    assert all(case.refused.keys() <= LAWS.keys() for case in cases.CASES.values())
