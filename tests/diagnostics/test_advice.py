"""Advice names objectives that train the pair at hand, and no others."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ppgen.data.given import as_dataset
from ppgen.diagnostics import advice
from ppgen.diagnostics.advice import advised, filled
from ppgen.evaluation.case import Case
from ppgen.factory import make_objective
from ppgen.pairs.tracing import Program
from ppgen.registry import MODELS, OBJECTIVES
from tests.marks import sampled

QUESTIONS = Path(advice.__file__).parent / "questions"
NAMES = re.compile(r"\{([^{}]*)\}")
QUOTED = re.compile(r"'(\w+)'(?: with ([\w.=, ]+))?")


def texts() -> list[str]:
    """Every text of the questions, those written in several pieces as one."""
    found = []
    for file in sorted(QUESTIONS.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found += [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    return found


def named(text: str) -> set[str]:
    """The objectives that a text asks about."""
    return {name.split()[0] for names in NAMES.findall(text) for name in names.split(",") if name.strip()}


ADVICE = [text for text in texts() if "[" in text and named(text) & set(OBJECTIVES)]


def test_a_clause_without_an_objective_that_trains_is_left_out() -> None:
    text = "Take a richer guide[, or an objective ({elbo, vimco, rws sleep=1})][; {cd} mixes]."
    assert filled(text, lambda name: False) == "Take a richer guide."
    assert filled(text, {"vimco"}.__contains__) == "Take a richer guide, or an objective ('vimco')."
    every = "Take a richer guide, or an objective ('elbo', 'vimco' or 'rws' with sleep=1); 'cd' mixes."
    assert filled(text, lambda name: True) == every


def test_no_question_names_an_objective_but_by_asking_the_pair() -> None:
    plain = {name for text in texts() for name, _ in QUOTED.findall(NAMES.sub("", text))}
    assert not plain & set(OBJECTIVES)
    assert len(ADVICE) >= 10


@pytest.mark.parametrize("name", sampled(MODELS, 4))
def test_an_objective_that_advice_names_does_not_refuse_the_pair(name: str) -> None:
    made: Any = MODELS[name].tiny
    pair, batch = made()
    case = Case(pair, as_dataset(batch), "train", batch, num_particles=2, seed=0, progress=False)
    program = Program(pair.model, pair.guide)
    said = advised(case, " ".join(ADVICE))
    assert not set("[]{}") & set(said)
    for objective, options in set(QUOTED.findall(said)):
        given = {key: json.loads(value) for key, value in re.findall(r"(\w+)=(\d+(?:\.\d+)?)", options)}
        assert make_objective(objective, **given).refuses(program, batch) is None, objective


def test_a_boltzmann_machine_is_not_told_to_weigh_a_bound() -> None:
    made: Any = MODELS["rbm"].tiny
    pair, batch = made()
    case = Case(pair, as_dataset(batch), "train", batch, num_particles=2, seed=0, progress=False)
    said = advised(case, " ".join(ADVICE))
    assert "iwelbo" not in said
    assert "'pcd'" in said
