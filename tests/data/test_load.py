"""Data sets by name: names and options are checked, the record loads the same data, imports stay light."""

from typing import Any

import pytest

from ppgen.data import load_data
from ppgen.errors import UsageError
from ppgen.registry import DATA

LABELLED = [name for name, spec in DATA.items() if "labels" in spec.options]


def test_load_data_suggests_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="'digit': did you mean 'digits'"):
        load_data("digit")


def test_load_data_lists_the_options() -> None:
    with pytest.raises(UsageError, match=r"has no option 'binarise': did you mean 'binarize'\? .*binarize, .*labels"):
        load_data("digits", binarise="none")


@pytest.mark.parametrize("name", sorted(set(DATA) - set(LABELLED)))
def test_labels_of_unlabelled_data_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name!r} has no labels: those that have are .*digits"):
        load_data(name, labels=True)


@pytest.mark.parametrize("name", LABELLED)
def test_labels_must_be_true_or_false(name: str) -> None:
    with pytest.raises(UsageError, match="labels must be True or False, got 'yes'"):
        load_data(name, labels="yes")


@pytest.mark.parametrize("options", [{}, {"binarize": "none", "labels": True}], ids=str)
def test_config_loads_the_same_data_again(options: dict[str, Any]) -> None:
    first = load_data("digits", **options)
    again = load_data(first.config["name"], **first.config["options"])
    assert again.sha256 == first.sha256
    assert again.spec == first.spec
    assert again.config == first.config == {"name": "digits", "options": first.config["options"]}


def test_config_records_the_defaults() -> None:
    few = {"num_labelled": None, "label_seed": 0, "label_copies": 1}
    assert load_data("digits").config["options"] == {"binarize": "dynamic", "labels": False, **few}


def test_import_leaves_heavy_libraries_alone(imported: tuple[set[str], set[str]]) -> None:
    assert not {"sklearn", "scipy", "pooch", "requests", "matplotlib", "pandas", "arviz"} & imported[0]
