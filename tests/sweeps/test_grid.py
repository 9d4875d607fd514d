"""A grid as text, its cells, and the folders of these."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import strategies as st

from ppgen.errors import UsageError
from ppgen.sweeps.grid import cells_of, folder_name, parse_grid
from tests.generated import generated, made_or_refused


def test_values_are_literals_and_text_otherwise_and_commas_in_brackets_belong_to_a_value() -> None:
    given = ["lr=1e-3, -1", "D.binarize=none", "M.hidden=(4,),[5, 6]", "O.beta=linear(0, 1, 9),None", "eager=True"]
    assert parse_grid(given) == {
        "lr": (1e-3, -1),
        "D.binarize": ("none",),
        "M.hidden": ((4,), [5, 6]),
        "O.beta": ("linear(0, 1, 9)", None),
        "eager": (True,),
    }


@pytest.mark.parametrize("text", ["lr", "lr=", "lr=1,,2", "lr=(1", "lr=1]+[2", "", "\udcff=\udcff", "lr=" + "[" * 300])
def test_what_is_no_grid_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--grid expects an option and its values with commas between"):
        parse_grid([text])


def test_an_option_that_comes_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="--grid 'lr' is given twice"):
        parse_grid(["lr=1", "lr=2"])


def test_cells_are_all_combinations() -> None:
    assert [tuple(cell.values()) for cell in cells_of({"a": (1, 2), "b": "xyz"})] == list(product((1, 2), "xyz"))
    assert list(cells_of({})) == [{}]


@generated(st.lists(st.dictionaries(st.sampled_from(["lr", "M.x"]), st.text(max_size=300)), min_size=2, max_size=2))
def test_another_cell_has_another_folder_that_any_file_system_takes(cells: list[dict[str, Any]]) -> None:
    names = [folder_name(cell) for cell in cells]
    assert all(len(name) <= 100 and "/" not in name and name.isascii() for name in names)
    assert (names[0] == names[1]) == (list(cells[0].items()) == list(cells[1].items()))


@generated(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    made_or_refused(lambda: parse_grid([text]))
