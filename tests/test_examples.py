"""Every public class shows how it is used; ``--doctest-modules`` runs what it shows."""

import doctest
import importlib
import inspect
import re
import sys
from typing import Any

import pytest

MODULES = (
    "ppgen",
    "ppgen.comparison",
    "ppgen.data",
    "ppgen.diagnostics",
    "ppgen.distributions",
    "ppgen.draws",
    "ppgen.evaluation",
    "ppgen.inference",
    "ppgen.models",
    "ppgen.pairs",
    "ppgen.runs",
    "ppgen.schedules",
    "ppgen.testing",
    "ppgen.training.options",
)


def exported(module: str) -> list[Any]:
    """The project's own classes and functions that a module gives to its users."""
    found = importlib.import_module(module)
    values = [getattr(found, name) for name in found.__all__]
    return [one for one in values if inspect.isroutine(one) or (inspect.isclass(one) and "ppgen" in one.__module__)]


def examples(value: Any) -> list[doctest.Example]:
    """Those of a function, or of a class and its methods."""
    found = doctest.DocTestFinder().find(value, value.__name__, module=sys.modules[value.__module__])
    return [example for test in found for example in test.examples]


@pytest.mark.parametrize("module", MODULES)
def test_every_public_class_has_an_example_or_stands_in_that_of_what_makes_it(module: str) -> None:
    values = exported(module)
    shown = " ".join(example.source + example.want for value in values for example in examples(value))
    named = set(re.findall(r"\w+", shown))
    classes = [value for value in values if inspect.isclass(value)]
    assert not [cls.__name__ for cls in classes if not examples(cls) and cls.__name__ not in named]
