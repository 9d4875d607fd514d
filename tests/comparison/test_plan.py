"""A plan: what its file holds is checked, and no Python file is run because a plan names it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from pyro.infer import TraceGraph_ELBO

from ppgen.comparison.curves import Curves
from ppgen.comparison.labels import named
from ppgen.comparison.listing import Listed
from ppgen.comparison.plan import Plan
from ppgen.errors import LostWorkerError, UsageError
from ppgen.inference import ELBO, IWELBO
from ppgen.machine.workers import Answer, Here, answered
from ppgen.pages.charts import STYLES, Curve, plot_curves
from ppgen.training.options import TrainingOptions
from tests.processes import carried

CONFIG: dict[str, Any] = {
    "kind": "comparison",
    "model": {"name": "vae", "options": {"latent_dim": 2}},
    "data": {"name": "digits", "options": {}, "sha256": None},
    "objectives": [{"name": "elbo", "options": {}}, {"name": "dreg", "options": {"bound": "iwelbo"}}],
    "comparison": {"draws": 32},
    "training": {"steps": 3},
    "trained_by": None,
    "seeds": 0,
    "minutes": None,
    "device": "cpu",
}


def file_of(folder: Path, *path: str, value: Any = None) -> Path:
    """The config with another value at the end of the path of keys."""
    config = copy.deepcopy(CONFIG)
    place: Any = config
    for key in path[:-1]:
        place = place[int(key)] if isinstance(place, list) else place[key]
    if path:
        place[path[-1]] = value
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "config.json"


def test_a_plan_is_read_and_its_objectives_made(tmp_path: Path) -> None:
    assert list(Plan.read(file_of(tmp_path)).made) == ["elbo", "dreg"]


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("model", "name"), 5, "model must be text, got 5"),
        (("model", "options"), [1], "model_options must be a mapping of names to values, got [1]"),
        (("objectives", "0", "name"), ["elbo"], "name of a listed objective must be text, got ['elbo']"),
        (("objectives", "0", "options"), 3, "options of a listed objective must be a mapping"),
        (("objectives",), {"name": "elbo"}, "is not what a comparison writes"),
        (("comparison", "draws"), "many", "draws must be a whole number of at least 32, got 'many'"),
        (("comparison", "at"), [[]], "at must be a list of"),
        (("comparison", "nope"), 1, "nope"),
        (("training", "steps"), 1.5, "steps must be a whole number of at least 1, got 1.5"),
        (("training", "seed"), 2**70, "which has more than 64 bits"),
        (("seeds",), "three", "seeds must be a whole number of at least 0, got 'three'"),
        (("minutes",), -1, "minutes must be a number above 0, got -1"),
        (("device",), True, "device must be text, got True"),
        (("kind",), "run", "is not what a comparison writes"),
    ],
)
def test_a_plan_with_a_wrong_value_names_the_file_and_the_key(
    tmp_path: Path, path: tuple[str, ...], value: Any, sentence: str
) -> None:
    file = file_of(tmp_path, *path, value=value)
    with pytest.raises(UsageError) as refused:
        Plan.read(file)
    assert str(refused.value).startswith(f"{file} is not what a comparison writes (")
    assert sentence in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 50_000, '{"kind": "comparison"}'])
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match="is not what a comparison writes"):
        Plan.read(tmp_path / "config.json")


def test_a_python_file_is_run_only_if_the_user_names_it(tmp_path: Path) -> None:
    file = file_of(tmp_path, "model", "name", value="theirs.py:Pair")
    with pytest.raises(UsageError, match=r"names the model 'theirs.py:Pair', .* before --repeat, as in ppgen compare"):
        Plan.read(file)
    assert Plan.read(file, model="mine.py:Pair").model == "mine.py:Pair"
    with pytest.raises(UsageError, match="model was given too"):
        Plan.read(file_of(tmp_path), model="mine.py:Pair")


def test_objectives_are_text_in_python_as_on_the_command_line() -> None:
    found = named(["elbo, iwelbo(num_particles=3)", "pyro.TraceGraph_ELBO"])
    assert [*found.values()][:2] == [ELBO(), IWELBO(num_particles=3)]
    assert isinstance([*found.values()][2], TraceGraph_ELBO)
    assert named({"mine": "iwelbo(num_particles=3)"}) == {"mine": IWELBO(num_particles=3)}


class Packed(Here):
    """Another process in all but its memory: what is given and what comes back goes through bytes."""

    def submit(self, function: Callable[..., Any], *given: Any) -> Future[Answer]:
        future: Future[Answer] = Future()
        future.set_result(carried(answered(*carried((function, *given)))))
        return future


class Loses(Packed):
    """A worker that is lost with its second job."""

    jobs = 0

    def submit(self, function: Callable[..., Any], *given: Any) -> Future[Answer]:
        self.jobs += 1
        if self.jobs == 3:  # the first tells how long trainings are
            future: Future[Answer] = Future()
            future.set_result(Answer(error=LostWorkerError("its worker process was killed.")))
            return future
        return super().submit(function, *given)


def test_trainings_elsewhere_are_those_that_are_trained_here_and_a_lost_one_is_a_failure() -> None:
    plan = Plan(
        model="vae",
        data="digits",
        objectives=(Listed("iwelbo"),),
        model_options={"latent_dim": 2, "hidden": [4]},
        training=TrainingOptions(steps=2, eager=True),
        seeds=2,
    )
    (here,), (elsewhere,), (lost,) = plan.train(), plan.train(engine=Packed()), plan.train(engine=Loses())
    assert (elsewhere.bounds, elsewhere.likelihoods) == (here.bounds, here.likelihoods)
    assert lost.likelihoods == here.likelihoods[:1]
    assert lost.failures == ("its worker process was killed.",)


def test_an_objective_without_a_bound_has_rows_with_empty_cells() -> None:
    curves = Curves("mcem", None, (1, 2), ((0.1, 0.2), (0.1, 0.3)), (), (), (-1.0, -2.0), 10)
    rows = list(curves.rows())
    assert [(row["seed"], row["step"], row["seconds"]) for row in rows] == [
        (0, 1, 0.1),
        (0, 2, 0.2),
        (1, 1, 0.1),
        (1, 2, 0.3),
    ]
    assert {(row["train_bound"], row["valid_bound"]) for row in rows} == {(None, None)}


def test_no_curve_is_left_out_of_a_chart() -> None:
    curves = [Curve(f"curve {i}", (0.0, 1.0), (0.0, float(i))) for i in range(len(STYLES) + 1)]
    (axes,) = plot_curves(curves, x_label="x", y_label="y").figure.axes
    assert [line.get_label() for line in axes.get_lines()] == [curve.label for curve in curves]
