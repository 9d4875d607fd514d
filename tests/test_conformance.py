"""Everything that is registered keeps the contract: each (element, check) is a test, and needs no line here."""

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample

from ppgen.errors import UsageError
from ppgen.objectives.objective import Objective
from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated, owner
from ppgen.pairs.sites import is_latent
from ppgen.pairs.tracing import Particles, Program, run_particles
from ppgen.registry import MODELS, OBJECTIVES, Registry, Spec
from ppgen.testing import OBJECTIVE_CHECKS, PAIR_CHECKS, Check, NotApplicable
from ppgen.training.learner import Learner
from ppgen.training.steps import player_step

ROOT = Path(__file__).resolve().parents[1]


def cases(registry: Registry, checks: dict[str, Check]) -> list[Any]:
    """Every entry with every check; a slow check is quick on the first entry, slow on two, thorough on the others."""
    marks = [[], [pytest.mark.slow], [pytest.mark.slow], [pytest.mark.thorough]]
    return [
        pytest.param(spec, check, id=f"{name}-{check.name}", marks=marks[min(number, 3)] if check.slow else [])
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


def refusal(objective: Objective, run: Particles) -> str | None:
    """Why the objective must refuse the pair, by what it declares; None where it must take it."""
    latents = [site for site in run.guide_sites.values() if is_latent(site)]
    if objective.needs_energy and not isinstance(owner(run.program.model), EnergyPair):
        return "energy-based pair"
    if objective.needs_density and getattr(owner(run.program.model), "implicit", False):
        return "implicit"
    if (objective.needs_density or objective.needs_samples) and not getattr(
        owner(run.program.model), "normalised", True
    ):
        return "unnormalised"
    if objective.needs_samples and not all(site["fn"].has_rsample for site in run.model_sites.values() if is_x(site)):
        return "not reparameterized"
    if objective.needs_rsample and not all(site["fn"].has_rsample for site in latents):
        return "reparameterized"
    if objective.per_datum and run.outside is not None:
        return "outside the data plate"
    if objective.needs_discrete and not run.scored:
        return "discrete"
    if objective.needs_binary and not all(is_binary(site) for site in latents if not site["fn"].has_rsample):
        return "Bernoulli"
    if objective.needs_states and not all(has_states(site) for site in latents if not site["fn"].has_rsample):
        return "discrete distributions"
    return None


def is_binary(site: Any) -> bool:
    return has_states(site) and family_of(site, "this test").binary


def has_states(site: Any) -> bool:
    try:
        return bool(family_of(site, "this test"))
    except UsageError:
        return False


def is_x(site: Any) -> bool:
    return bool(site["is_observed"]) and not site_is_subsample(site)


def one_step(pair: Pair, objective: Objective, batch: Any) -> None:
    """A step of every player: all of its gradients are finite, one is not zero, and its parameters move."""
    learner = Learner(pair, objective.parameters(pair, batch))
    with isolated():
        state = objective.initial_state(learner.program, batch)
    for player in objective.players():
        owned, others = learner.arguments(player)
        step = player_step(learner, objective.at(0), player)
        gradients, report, state, _ = step(owned, others, state, {}, batch)
        assert torch.isfinite(report["loss"])
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        assert any(gradient.any() for gradient in gradients)


@pytest.mark.slow
@pytest.mark.parametrize("objective", list(OBJECTIVES.values()), ids=lambda spec: spec.name)
@pytest.mark.parametrize("model", list(MODELS.values()), ids=lambda spec: spec.name)
def test_an_objective_takes_a_step_on_a_pair_or_refuses_it_by_capability(model: Spec, objective: Spec) -> None:
    (pair, batch), objective_ = tiny(model), tiny(objective)
    with isolated(), pyro.validation_enabled(False):
        run = run_particles(Program(pair.model, pair.guide), batch, 2)
    reason = refusal(objective_, run)
    if reason is None:
        one_step(pair, objective_, batch)
    else:
        with pytest.raises(UsageError, match=reason):
            one_step(pair, objective_, batch)
