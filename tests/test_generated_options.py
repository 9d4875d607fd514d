"""Whatever options are given, a model, an objective or a data set is made, or one sentence says why not."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import example
from hypothesis import strategies as st

from ppgen.arguments import as_typed
from ppgen.cli.options import settings as options_of
from ppgen.comparison.listing import parse_objectives, with_options
from ppgen.comparison.options import ComparisonOptions
from ppgen.data import DataSpec, load_data
from ppgen.factory import make_objective, make_pair
from ppgen.pairs.pair import Pair
from ppgen.registry import DATA, MODELS, OBJECTIVES
from ppgen.schedules import parse_schedule
from ppgen.training.options import TrainingOptions
from tests.generated import generated, made_or_refused

EMBEDDED = [*sorted(name for name, spec in DATA.items() if "synthetic" in spec.tags), "digits", "documents"]

SMALL = st.integers(-2, 6)
"""What may be made is small; what is huge must be refused before it is made."""
HUGE = st.sampled_from([2**45, 2**63, 2**64, -(2**70), 10**5000, 10**400])
NUMBERS = SMALL | HUGE | st.floats(-2, 6) | st.sampled_from([math.nan, math.inf, -math.inf, 1e-300, 1e300, True, False])
TEXTS = st.sampled_from(
    ["", "no", "true", "none", "mlp", "conv", "elbo", "iwelbo", "full", "x" * 10_000, "-" * 10_000, "(" * 5000, "a\0b"]
) | st.text(max_size=8)
SCHEDULES = st.builds(
    "{}({})".format,
    st.sampled_from(["linear", "exponential", "cyclical", "stepwise", "liner"]),
    st.sampled_from(["0, 1, 10", "0, 1, 0", "1, 5, 10", "(0, 5), (1, 2)", "(5,), (1,)", "'a', 1, 2", "1e999, 1, 2"]),
)
NESTED = st.builds(
    lambda name, options: {"name": name, "options": options},
    st.sampled_from(["elbo", "iwelbo", "dreg", "nope", 5, None]),
    st.dictionaries(st.sampled_from(["num_particles", "bound", "alpha"]), SMALL | SCHEDULES) | st.just([1]),
)


def deep(levels: int = 2000) -> list[Any]:
    """A list in a list in a list ..."""
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


LEAVES = NUMBERS | TEXTS | SCHEDULES | st.none()
VALUES = (
    LEAVES
    | NESTED
    | st.builds(deep)
    | st.just(make_objective("elbo"))
    | st.lists(SMALL, max_size=3)
    | st.lists(LEAVES, max_size=2)
    | st.tuples(SMALL, SMALL)
    | st.sets(SMALL, max_size=2)
    | st.dictionaries(TEXTS, LEAVES, max_size=2)
)


def options(names: Iterable[str]) -> st.SearchStrategy[dict[str, Any]]:
    """A few of the options, and sometimes one that there is not."""
    known = [*names]
    return st.dictionaries(st.sampled_from([*known, *known, "nope", "x" * 10_000]), VALUES, min_size=1, max_size=3)


@functools.cache
def spec_for(name: str) -> DataSpec:
    """What the model's own tiny pair was made for."""
    tiny = MODELS[name].tiny
    assert tiny is not None
    pair, _ = tiny()
    assert isinstance(pair, Pair)
    return next(value for value in pair.arguments.values() if isinstance(value, DataSpec))


@pytest.mark.parametrize("name", MODELS)
@generated(st.data())
def test_a_model_is_made_or_refused(name: str, data: st.DataObject) -> None:
    small = {"iwae": {}, "rbm": {"hidden": 4}}.get(name, {"hidden": (4,)})
    chosen = data.draw(options(MODELS[name].options))
    pair = made_or_refused(lambda: make_pair(name, spec_for(name), **{**small, **chosen}))
    assert pair is None or isinstance(pair, Pair)


@pytest.mark.parametrize("name", OBJECTIVES)
@generated(st.data())
def test_an_objective_is_made_or_refused_and_has_values_at_every_step(name: str, data: st.DataObject) -> None:
    chosen = data.draw(options(OBJECTIVES[name].options))
    objective = made_or_refused(lambda: make_objective(name, **chosen))
    for step in (0, 1, 7) if objective is not None else ():
        values = objective.schedules(step).values()
        assert all(math.isfinite(value) for value in values)


@pytest.mark.parametrize("name", EMBEDDED)
@generated(st.data())
def test_a_data_set_is_loaded_or_refused(name: str, data: st.DataObject) -> None:
    small = {"num_data": 20} if "num_data" in DATA[name].options else {}
    chosen = data.draw(options(DATA[name].options))
    made_or_refused(lambda: load_data(name, **small | chosen))


@pytest.mark.parametrize("kind", [TrainingOptions, ComparisonOptions])
@generated(st.data())
def test_options_of_training_and_of_comparisons_are_taken_or_refused(kind: Any, data: st.DataObject) -> None:
    names = [field.name for field in fields(kind)]
    chosen = data.draw(st.dictionaries(st.sampled_from(names), VALUES, min_size=1, max_size=3))
    made = made_or_refused(lambda: kind(**chosen))
    if made is not None:
        torch.Generator().manual_seed(made.seed)


@generated(TEXTS | SCHEDULES)
def test_a_schedules_text_is_read_or_refused(text: str) -> None:
    made_or_refused(lambda: parse_schedule(text))


LISTS = st.lists(
    st.builds(
        lambda name, key, value: f"{name}({key}={value})",
        st.sampled_from(["elbo", "vimco", "dreg", "pyro.Trace_ELBO", "pyro.RenyiELBO", "nope", "1", "a.b"]),
        st.sampled_from(["num_particles", "bound", "centred", "alpha", "max_plate_nesting"]),
        st.sampled_from(["5", "-1", "no", "{1: 2}", "{1, 2}", "elbo(num_particles=2)", "linear(0, 1, 0)", "1e999"]),
    ),
    max_size=3,
).map(", ".join)


@generated(LISTS | TEXTS, st.dictionaries(st.sampled_from(["num_particles", "centred"]), VALUES, max_size=1))
@example("[" * 5000, {})
@example("-" * 100_000, {})
@example("a" + ".a" * 5000, {})
@example("dreg(bound=" * 150 + "elbo" + ")" * 150, {})
def test_a_list_of_objectives_is_read_or_refused(text: str, shared: dict[str, Any]) -> None:
    made_or_refused(lambda: [one.make() for one in with_options(parse_objectives(text), shared)])


@generated(
    st.lists(st.builds("{}={}".format, st.sampled_from(["hidden", "latent_dim", "1", ""]), TEXTS | LISTS), max_size=2)
)
def test_settings_of_the_command_line_are_read_or_refused(texts: list[str]) -> None:
    made_or_refused(lambda: as_typed(make_pair, options_of("-M", texts)))
