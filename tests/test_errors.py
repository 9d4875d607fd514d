"""Whose line an error came from."""

from __future__ import annotations

import ast
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppgen.cli import app
from ppgen.errors import UsageError, blame, nearest, users_line
from ppgen.registry import OBJECTIVES
from ppgen.schedules import parse_schedule

HERE = Path(__file__)


def test_the_line_of_an_error_is_the_users_innermost_however_deep_a_library_raised_it() -> None:
    with pytest.raises(ValueError, match="axes") as caught:
        np.transpose(np.zeros(2), (0, 1))  # the line to be named
    line = next(n for n, text in enumerate(HERE.read_text().splitlines(), 1) if text.endswith("# the line to be named"))
    assert users_line(caught.value) == f"{HERE}:{line}"
    assert blame(caught.value).startswith(f"{HERE.name}:{line}, `np.transpose(")


def test_an_error_that_no_users_line_took_part_in_has_none() -> None:
    with pytest.raises(UsageError) as caught:
        parse_schedule("liner(0, 1, 2)")
    error = caught.value
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # without this file's own frame
    assert users_line(error) == ""
    assert blame(error, "nowhere") == "nowhere"


def test_the_standard_library_is_not_the_users() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    assert users_line(caught.value).startswith(f"{HERE}:")


def test_a_name_that_is_nested_too_deep_to_be_written_has_no_near_one() -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert nearest(deep, ["Adam"]) == ": Known names: Adam."


def refusals() -> Iterator[tuple[Path, str]]:
    """The texts of every UsageError that is raised by name, as the sources have them."""
    for folder in ("ppgen", "models", "inference"):
        for file in sorted((HERE.parents[1] / folder).glob("**/*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("UsageError", "DivergedError"):
                    parts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                    yield file, " ".join(part for part in parts if isinstance(part, str))


def found(name: str) -> bool:
    """Whether a dotted name is a module or what one holds."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_a_refusal_points_to_words_that_exist() -> None:
    """Functions and modules, commands, objectives beside which `such as` stands; not what only a class declares."""
    texts = list(refusals())
    assert len(texts) > 200
    names = {name.rstrip(".") for _, text in texts for name in re.findall(r"\bppgen(?:\.\w+)+", text)}
    assert {name for name in names if not found(name)} == set()
    commands = {one for _, text in texts for one in re.findall(r"`ppgen (\w+)", text)}
    assert commands <= {command.name for command in app.registered_commands}
    assert [(file.name, text) for file, text in texts if re.search(r"\bneeds_\w+", text)] == []
    such = {one for _, text in texts for one in re.findall(r"objective[\w -]*, such as '(\w+)'", text)}
    assert such
    assert such <= set(OBJECTIVES)
