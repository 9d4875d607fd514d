"""Everything that is registered keeps the contract: each (element, check) is a test, and needs no line here."""

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pyro import poutine

from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.tracing import Program
from ppgen.registry import MODELS, OBJECTIVES, Registry, Spec
from ppgen.testing import OBJECTIVE_CHECKS, PAIR_CHECKS, Check, NotApplicable
from ppgen.training.learner import Learner
from ppgen.training.steps import player_step
from tests.marks import thorough
from tests.traced import as_graphs

ROOT = Path(__file__).resolve().parents[1]


DEAR = ("check_unbiased_gradient", "check_reparameterization", "check_bound", "check_traceable")
"""Of the checks of objectives, nine tenths of their time: each objective has one of the first two and of the last."""


def cases(registry: Registry, checks: dict[str, Check]) -> list[Any]:
    """Every entry with every check; a slow check is quick on the first entry, thorough from the fourth on.

    The second and the third are traced, and not compiled.
    """

    def rests(check: Check, number: int) -> bool:
        return (check.slow and number > 2) or (check.name in DEAR and (number + DEAR.index(check.name)) % 2 == 1)

    return [
        pytest.param(
            spec,
            replace(check, function=as_graphs()(check.function)) if check.slow and number in (1, 2) else check,
            id=f"{name}-{check.name}",
            marks=pytest.mark.thorough if rests(check, number) else (),
        )
        for number, (name, spec) in enumerate(registry.items())
        for check in checks.values()
    ]


def tiny(spec: Spec) -> Any:
    assert spec.tiny is not None, f"{spec.name} is registered without a tiny case"
    return spec.tiny()


def judge(function: Callable[..., None], *subject: Any) -> None:
    """Run a check; a rule that does not apply is skipped, with its reason."""
    try:
        function(*subject)
    except NotApplicable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize(("spec", "check"), cases(MODELS, PAIR_CHECKS))
def test_a_registered_pair_keeps_the_rule(spec: Spec, check: Check) -> None:
    judge(check.function, *tiny(spec))


@pytest.mark.parametrize(("spec", "check"), cases(OBJECTIVES, OBJECTIVE_CHECKS))
def test_a_registered_objective_keeps_the_rule(spec: Spec, check: Check) -> None:
    judge(check.function, tiny(spec))


@pytest.mark.parametrize("spec", list(MODELS.values()), ids=lambda spec: spec.name)
def test_the_registry_entry_of_a_model_is_complete(spec: Spec) -> None:
    pair, _ = tiny(spec)
    assert type(pair) is spec.cls
    assert spec.summary
    assert spec.reference
    assert spec.link.startswith("https://")
    assert 1900 < spec.year < 2100
    assert spec.tags


@pytest.mark.parametrize("spec", list(MODELS.values()), ids=lambda spec: spec.name)
def test_the_docstring_of_a_model_lists_its_sites(spec: Spec) -> None:
    pair, batch = tiny(spec)
    with isolated(), poutine.trace() as tracer:
        pair.model(*batch)
    drawn = {name for name, site in tracer.trace.nodes.items() if site["type"] == "sample"} - {pair.plate_name}
    block = re.search(r"^Sites:\n((?:    .*\n?)+)", inspect.getdoc(spec.cls) or "", re.MULTILINE)
    assert block is not None, f"{spec.name} has no block 'Sites:' in its docstring"
    assert set(re.findall(r"^    (\w+):", block[1], re.MULTILINE)) == drawn


@pytest.mark.parametrize(
    ("package", "registry"), [("ppgen.models", MODELS), ("ppgen.inference", OBJECTIVES)], ids=["models", "inference"]
)
def test_every_file_registers_a_class_and_the_package_exports_it(package: str, registry: Registry) -> None:
    folder = ROOT / package.rpartition(".")[2]
    files = {file.relative_to(folder).with_suffix("") for file in folder.rglob("*.py") if file.name != "__init__.py"}
    modules = {".".join((package, *file.parts)) for file in files}
    assert {spec.cls.__module__ for spec in registry.values()} == modules
    exported = importlib.import_module(package)
    assert set(exported.__all__) == {spec.cls.__name__ for spec in registry.values()}
    assert all(getattr(exported, spec.cls.__name__) is spec.cls for spec in registry.values())


def one_step(pair: Pair, objective: Objective, batch: Any) -> None:
    """A step of every player: all of its gradients are finite, and one is not zero, or it assigns what it owns not; one
    that does neither looks for the next, who does.

    Where steps are taken by epochs, the batch stands for as many of its size as make one.
    """
    batches = -(-(pair.data_size or 1) // len(batch[0])) if objective.whole_epochs else 1
    learner = Learner(pair, objective.parameters(pair, batch))
    with isolated():
        state = objective.initial_state(learner.program, batch)
    for player in objective.players():
        owned, others = learner.arguments(player)
        step = player_step(learner, objective.at(0), player)
        for _ in range(batches):
            gradients, report, state, written = step(owned, others, state, {}, batch)
        assert torch.isfinite(report["loss"])
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        moved = gradients or [value != others[name] for name, value in written.items()]
        moves = any(difference.any() for difference in moved)
        assert moves or not player.owns
    assert moves


def board() -> list[Any]:
    """Every model with every objective, eleven squares of twelve thorough: every one meets a twelfth of the others."""
    squares = [(i + j, (model, one)) for i, model in enumerate(MODELS) for j, one in enumerate(OBJECTIVES)]
    return [names if place % 12 == 0 else thorough([names])[0] for place, names in squares]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "objective"), board())
def test_an_objective_takes_a_step_on_a_pair_or_refuses_it_by_capability(model: str, objective: str) -> None:
    (pair, batch), objective_ = tiny(MODELS[model]), tiny(OBJECTIVES[objective])
    why = objective_.refuses(Program(pair.model, pair.guide), batch)
    if why is None:
        for stage in objective_.stages(pair):
            one_step(pair, stage.objective, batch)
    else:
        assert type(objective_).__name__ in why
        assert re.search(rf"sites? '\w+'|latents|outside the data plate|{type(pair).__name__}", why)


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("elbo", {"vae", "gmm"}, {"sbn", "rbm", "gan"}),
        ("iwelbo", {"vae"}, {"gmm", "sbn", "rbm", "gan"}),
        ("vimco", {"sbn", "discrete_vae"}, {"vae", "gmm", "rbm", "gan"}),
        ("arm", {"sbn"}, {"discrete_vae", "vae", "gmm", "rbm", "gan"}),
        ("disarm", {"sbn", "discrete_vae"}, {"vae", "gmm", "rbm", "gan"}),
        ("mcem", {"vae", "sbn"}, {"gmm", "rbm", "gan"}),
        ("pcd", {"rbm"}, {"vae", "gmm", "sbn", "gan"}),
        ("nonsaturating", {"gan", "linear_gaussian"}, {"vae", "sbn", "rbm"}),
    ],
)
def test_an_objective_takes_the_models_that_have_what_it_needs(name: str, taken: set[str], refused: set[str]) -> None:
    found = {True: set[str](), False: set[str]()}
    for model in taken | refused:
        pair, batch = tiny(MODELS[model])
        found[tiny(OBJECTIVES[name]).refuses(Program(pair.model, pair.guide), batch) is None].add(model)
    assert found == {True: taken, False: refused}
