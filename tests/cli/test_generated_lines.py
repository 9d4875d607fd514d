"""Whatever line is given, whatever was done to a run: one sentence or the work, and nothing half-written."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import typer
from hypothesis import strategies as st

from ppgen.cli import app
from ppgen.registry import DATA, MODELS, OBJECTIVES
from tests.cli_cases import BRIEF, RECIPE, USER_FILE, check_line, copied
from tests.generated import generated
from tests.test_generated_options import EMBEDDED, LISTS, SCHEDULES, TEXTS

Capture: TypeAlias = pytest.CaptureFixture[str]

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group

NUMBERS = st.integers(-2, 6).map(str) | st.sampled_from(
    ["0.5", "nan", "inf", "-inf", "1e-300", "1e400", "9" * 30, "-" + "9" * 30, "9" * 5000, "½", "٣", "", "0x10", "five"]
)
WORDS = st.sampled_from(["", "-", "--", "x" * 10_000, "é", "\udcff", "a b", "[" * 300, "{", "a,b", ",", "-1", "none"])
PLACES = ["r", "new", "file.txt", "file.txt/new", ".", "..", "", "x" * 300, "new.csv", "new.png", "r/config.json"]
KEYS = sorted({key for one in (MODELS, OBJECTIVES, DATA) for spec in one.values() for key in spec.options})
SETTINGS = (
    st.builds("{}={}".format, st.sampled_from([*KEYS, "nope", "", "1"]), NUMBERS | WORDS | TEXTS | SCHEDULES | LISTS)
    | WORDS
)
SHORT = st.sampled_from(["0.0001", "-1", "0", "nan", "inf", "x"])
"""Of lengths: work is not asked for."""
MEANT: dict[str, st.SearchStrategy[str]] = {
    "run": st.sampled_from(PLACES),
    "out": st.sampled_from(PLACES),
    "repeat": st.sampled_from([*PLACES, "r/config.json"]),
    "config": st.sampled_from([*PLACES, "mine.toml"]),
    "name": st.sampled_from([*PLACES, "mine.toml", "nope"]),
    "model": st.sampled_from([*MODELS, "my.py:Mine", "my.py:NoSite", "my.py:", ":A", "none.py:A"]),
    "data": st.sampled_from(EMBEDDED),
    "objective": st.sampled_from(list(OBJECTIVES)),
    "objectives": LISTS,
    "trained_by": LISTS,
    "model_options": SETTINGS,
    "objective_options": SETTINGS,
    "data_options": SETTINGS,
    "split": st.sampled_from(["train", "valid", "test"]),
    "device": st.sampled_from(["auto", "cpu", "tpu", "cpu:1", "meta"]),
    "schedule": st.sampled_from(
        ["constant", "cosine", "linear(1, 0, 5)", "StepLR(step_size=2)", "StepLR(2)", "OneCycleLR"]
    ),
    "optimizer": st.sampled_from(
        ["Adam", "SGD(momentum=0.9)", "Adagrad(lr_decay=-1)", "AdamW(betas=(0.5, 2))", "LBFGS"]
    ),
    "at": st.sampled_from(["init", "trained", "1", "init,1", "0,1,2"]),
    "blocks": st.sampled_from(["model", "guide", "model,guide"]),
    "ask": st.sampled_from(["importance", "calibration", "predictive", "nope"]),
    "kind": st.sampled_from(["models", "objectives", "data"]),
    "grid": SETTINGS | st.sampled_from(["lr=0.1,1e-3", "O.num_particles=1,2", "objective=elbo,iwelbo", "M.x=1", "lr="]),
    "budget": SHORT | st.sampled_from(["1s", "2m", "1x"]),
    "workers": st.sampled_from(["1", "0", "-1", "x"]),
    "threads": st.sampled_from(["0", "-1", "x"]),
    "engine": st.sampled_from(["local", "lcoal"]),
    "minutes": SHORT,
    "seconds": SHORT,
    "precision": SHORT,
    "particles": NUMBERS | st.sampled_from(["1,2", "1,,2", "2,x"]),
}
"""What each argument might be given, by its name; any other is given numbers."""


def words_of(parameter: Any) -> st.SearchStrategy[list[str]]:
    """An argument or an option, as words of a line."""
    if getattr(parameter, "is_flag", False):
        return st.just([parameter.opts[-1]])
    meant = MEANT.get(parameter.name, NUMBERS)
    value = st.one_of(meant, meant, meant, WORDS)
    before = [] if parameter.param_type_name == "argument" else [parameter.opts[-1]]
    return value.map(lambda word: [*before, word])


def lines_of(name: str) -> st.SearchStrategy[list[str]]:
    """A brief command, with another first argument now and then, and further options."""
    arguments, options = (
        [p for p in COMMANDS[name].params if (p.param_type_name == "argument") == first] for first in (True, False)
    )
    first = st.one_of(*(words_of(p) for p in arguments), *([st.just(BRIEF[name][1:2])] * 2))
    more = st.lists(st.sampled_from(options).flatmap(words_of), max_size=3)
    return st.builds(lambda word, rest: [name, *word, *BRIEF[name][2:], *chain(*rest)], first, more)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "check"])
@generated(st.data(), examples=6)
def test_a_line_does_its_work_or_leaves_all_as_it_was(
    capsys: Capture, judged: Path, name: str, data: st.DataObject
) -> None:
    line = data.draw(lines_of(name))
    with copied(judged):
        Path("my.py").write_text(USER_FILE)
        Path("mine.toml").write_text(RECIPE)
        check_line(capsys, *line)


@pytest.mark.slow
@generated(lines_of("check"), examples=2, seconds=200)
def test_a_check_does_its_work_or_says_why_not(capsys: Capture, judged: Path, line: list[str]) -> None:
    """It compiles a step, which takes half a minute."""
    with copied(judged):
        Path("my.py").write_text(USER_FILE)
        check_line(capsys, *line)
