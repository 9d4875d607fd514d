"""Rules of how an objective is made: registered, frozen, pure, three methods that agree, schedules."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
from typing import Any

import torch
from torch import Tensor

from ppgen.arguments import kinds_of
from ppgen.errors import UsageError
from ppgen.machine.seeds import manual_seed
from ppgen.objectives.objective import Objective
from ppgen.objectives.staged import InStages
from ppgen.objectives.turns import Outcome, Player, State
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Batch
from ppgen.registry import OBJECTIVES
from ppgen.schedules import stepwise
from ppgen.testing.agreement import or_zeros
from ppgen.testing.checks import CheckFailed, NotApplicable, objective_check
from ppgen.testing.sandbox import SEED, program_of
from ppgen.testing.yardsticks import (
    BernoulliYardstick,
    BitsYardstick,
    DirectedYardstick,
    EnergyYardstick,
    GaussianYardstick,
    ImplicitYardstick,
    Yardstick,
)
from ppgen.training.learner import Learner

__all__ = [
    "check_at_a_step",
    "check_frozen",
    "check_losses_agree",
    "check_min_particles",
    "check_pure",
    "check_registered",
    "fields_of",
    "in_pyro",
    "learner_of",
    "outcomes",
    "seeded",
    "yardstick",
]


def yardstick(objective: Objective, data_size: int | None = None) -> Yardstick:
    """The known pair that the objective can be judged on.

    Raises:
        NotApplicable: it has several players that do not read draws, and wants a pair made for it.
    """
    if isinstance(objective, InStages):
        raise NotApplicable("it is trained in stages, each an objective that is judged by its own tests")
    if len(objective.players()) > 1:
        if objective.needs_samples:
            return ImplicitYardstick(data_size, infers=objective.needs_inference, sources=objective.needs_source)
        raise NotApplicable("it has several players, and is judged by its own tests")
    if objective.needs_memory:
        raise NotApplicable("it stores patterns in a memory, and is judged by its own tests")
    if objective.needs_closed_form or objective.needs_conjugate:
        raise NotApplicable("it takes both of its steps in closed form, and is judged by its own tests")
    if objective.needs_conditionals:
        raise NotApplicable("it draws by the conditionals of a pair, and is judged by its own tests")
    if objective.needs_labels:
        raise NotApplicable("it reads labels, and is judged by its own tests")
    if objective.needs_layers:
        return DirectedYardstick(data_size)
    if objective.needs_energy:
        return (BitsYardstick if objective.needs_observation == "binary" else EnergyYardstick)(data_size)
    return (BernoulliYardstick if objective.needs_discrete else GaussianYardstick)(data_size)


def in_pyro(objective: Objective) -> Yardstick:
    """The known pair on which Pyro's own loops can be tried.

    Raises:
        NotApplicable: it has several players, which they do not know.
    """
    pair = yardstick(objective)
    if len(objective.players()) > 1:
        raise NotApplicable("it has several players, and Pyro's own loops know one")
    return pair


def learner_of(objective: Objective, pair: Pair, batch: Batch) -> Learner:
    """The pair, and the objective's own module in the precision of the data."""
    return Learner(pair, objective.parameters(pair, batch).to(batch[0]))


def outcomes(
    objective: Objective, pair: Yardstick, size: int, seed: int = SEED, players: tuple[Player, ...] = ()
) -> list[Outcome]:
    """Of each of the players, or of all, its loss on ``size`` data under a seed; a single one as in Pyro's loops."""
    batch = pair.batch(size)
    manual_seed(SEED)
    program = learner_of(objective, pair, batch).program if len(objective.players()) > 1 else program_of(pair)
    manual_seed(seed)
    state = objective.initial_state(program, batch)
    return [objective.play(player.name, program, batch, state) for player in players or objective.players()]


def seeded(method: Any, pair: Yardstick) -> Any:
    """One of the objective's three losses, on six data of the pair, under a seed."""
    manual_seed(SEED)
    return method(pair.model, pair.guide, *pair.batch(6))


def fields_of(objective: Objective) -> dict[str, Any]:
    """The hyper-parameters by name."""
    return {field.name: getattr(objective, field.name) for field in _fields(objective)}


@objective_check("its registry entry is complete: summary, reference, year, and a tiny case of its class")
def check_registered(objective: Objective) -> None:
    """What tables, the command line and the conformance suite read."""
    spec = next((spec for spec in OBJECTIVES.values() if spec.cls is type(objective)), None)
    if spec is None:
        raise NotApplicable("its class is not registered")
    wrong = {
        "summary": not spec.summary,
        "reference": not spec.reference,
        "year": not 1900 < spec.year < 2100,
        "tiny": spec.tiny is None or type(spec.tiny()) is not type(objective),
    }
    for name in (name for name, is_wrong in wrong.items() if is_wrong):
        raise CheckFailed(
            f"{name} is {getattr(spec, name)!r}",
            where=f"the registry entry {spec.name!r}",
            advice=f"give @register_objective a {name}" + (" that makes this class" if name == "tiny" else ""),
        )


@objective_check("it is a frozen keyword-only dataclass, made without arguments", gate=True)
def check_frozen(objective: Objective) -> None:
    """Hyper-parameters are its fields; each has a default and none can be set or given by position."""
    name, advice = type(objective).__name__, "decorate the class with @dataclass(frozen=True, kw_only=True)"
    if not getattr(getattr(objective, "__dataclass_params__", None), "frozen", False):
        raise CheckFailed("it is no frozen dataclass", where=name, advice=advice)
    for parameter in inspect.signature(type(objective)).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            raise CheckFailed("it can be given by position", where=f"argument {parameter.name!r}", advice=advice)
        if parameter.default is parameter.empty:
            raise CheckFailed(
                "it has no default", where=f"argument {parameter.name!r}", advice="give it the literature's value"
            )


@objective_check("fewer particles than it needs are refused, with a sentence")
def check_min_particles(objective: Objective) -> None:
    """``num_particles = min_particles - 1`` raises UsageError when the objective is made."""
    if "num_particles" not in fields_of(objective):
        raise NotApplicable("it has no num_particles")
    too_few = objective.min_particles - 1
    try:
        dataclasses.replace(objective, num_particles=too_few)  # type: ignore[type-var]
    except UsageError:
        return
    raise CheckFailed(
        f"{too_few} is accepted, and min_particles is {objective.min_particles}",
        where="num_particles",
        advice="call super().__post_init__() in __post_init__, or at_least(self, 'num_particles', self.min_particles)",
    )


@objective_check("loss, differentiable_loss and loss_and_grads agree")
def check_losses_agree(objective: Objective) -> None:
    """One number and one gradient from one seed."""
    pair = in_pyro(objective)
    parameters = list(pair.parameters())
    differentiable = seeded(objective.differentiable_loss, pair)
    expected, of_loss = torch.autograd.grad(differentiable, parameters, allow_unused=True), differentiable.item()
    values = {
        "loss": seeded(objective.loss, pair),
        "loss_and_grads": seeded(objective.loss_and_grads, pair),
    }
    for name, value in values.items():
        if not math.isclose(value, of_loss, rel_tol=1e-9, abs_tol=1e-9):
            raise CheckFailed(
                f"it gives {value:.6g}, and differentiable_loss {of_loss:.6g} with the same seed",
                where=name,
                advice="override play() only, and derive nothing from whether gradients are on",
            )
    for parameter, gradient in zip(parameters, expected, strict=True):
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if not torch.allclose(found, or_zeros(gradient, parameter)):
            raise CheckFailed(
                "its gradient is not that of differentiable_loss",
                where="loss_and_grads",
                advice="override play() only",
            )


@objective_check("a step is pure: the same seed gives the same outcome, and nothing is changed")
def check_pure(objective: Objective) -> None:
    """Two plays agree to the bit; parameters, batch, state and hyper-parameters are what they were."""
    pair = yardstick(objective)
    batch = pair.batch(6)
    learner = learner_of(objective, pair, batch)
    before = {name: value.detach().clone() for name, value in learner.state_dict().items()}
    plain, kept = objective.at(0), batch[0].clone()
    state, options = plain.initial_state(learner.program, batch), fields_of(plain)
    state_before = copy.deepcopy(dict(state))
    names = [player.name for player in plain.players()]
    first, second = ([_gradients(plain, name, learner, batch, state) for name in names] for _ in range(2))
    changed = {
        "the parameters": not _equal(before, learner.state_dict()),
        "the batch": not torch.equal(kept, batch[0]),
        "the state": not _equal(state_before, state),
        "the hyper-parameters": options != fields_of(plain),
    }
    for what in (what for what, is_changed in changed.items() if is_changed):
        raise CheckFailed(
            "a step changes it in place", where=what, advice="return what comes next in Outcome.state; assign nothing"
        )
    for name, *both in zip(names, first, second, strict=True):
        if not all(torch.equal(one, other) for one, other in zip(*both, strict=True)):
            raise CheckFailed(
                "two steps from one seed give different gradients",
                where=f"player {name!r}",
                advice="draw with torch's global generator, and carry what changes in Outcome.state",
            )


@objective_check("a schedule may stand for a number, and a tensor for its value at a step")
def check_at_a_step(objective: Objective) -> None:
    """``at`` puts values for schedules, ``holding`` leaves the original alone, 0-dim tensors give the same loss."""
    pair = yardstick(objective)
    kinds = kinds_of(type(objective))
    scheduled = [name for name in fields_of(objective) if name in kinds and kinds[name].takes_schedules]
    if not scheduled:
        raise NotApplicable("none of its hyper-parameters takes a schedule")
    plain = objective.at(0)
    expected = outcomes(plain, pair, 6)
    for name in scheduled:
        value = getattr(plain, name)
        later = value + 1 if isinstance(value, int) else value / 2
        following = dataclasses.replace(objective, **{name: stepwise((0, 2), (value, later))})  # type: ignore[type-var]
        versions = {"at(0)": following.at(0)}
        if not isinstance(value, int):  # whole numbers are counts, and stay outside of graphs
            versions["holding a tensor"] = following.holding({name: torch.tensor(value, dtype=torch.float64)})
        wrong = [how for how, made in versions.items() if not _same_losses(outcomes(made, pair, 6), expected)]
        if getattr(following.at(2), name) != later:
            wrong.append("at(2)")
        if wrong or not callable(getattr(following, name)):
            raise CheckFailed(
                f"{wrong[0] if wrong else 'at()'} does not hold the schedule's value",
                where=f"hyper-parameter {name!r}",
                advice="read it as self.<name> when the bound is taken, a number or 0-dim tensor; never branch on it",
            )


def _fields(objective: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(objective)


def _same_losses(found: list[Outcome], expected: list[Outcome]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(bool(torch.isclose(one.loss, other.loss, rtol=1e-9)) for one, other in pairs)


def _gradients(
    objective: Objective, player: str, learner: Learner, batch: tuple[Tensor, ...], state: State
) -> list[Tensor]:
    parameters = list(learner.parameters())
    manual_seed(SEED)
    loss = objective.play(player, learner.program, batch, state).loss
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [or_zeros(gradient, parameter) for gradient, parameter in zip(found, parameters, strict=True)]


def _equal(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
