"""Objectives that hold several estimators of one bound, of which one is played and the training measures which."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BeforeValidator
from torch import nn

from ppgen.arguments import Words
from ppgen.errors import UsageError
from ppgen.objectives.bounds import Bound, Reduction
from ppgen.objectives.named import label_of, reader_of
from ppgen.objectives.objective import Objective, capability
from ppgen.objectives.turns import Outcome, Player, State
from ppgen.pairs.tracing import Batch, Program

__all__ = ["Choosing", "EstimatorName"]

EstimatorName: TypeAlias = Annotated[
    str | Bound, BeforeValidator(reader_of(Bound, "estimator of a bound")), Words("an estimator such as 'vimco'")
]
"""An estimator of a bound's gradient, or its registered name."""


def _all(name: str) -> Any:
    return capability(lambda self: all(getattr(rule, name) for rule in self.rules))


def _any(name: str) -> Any:
    return capability(lambda self: any(getattr(rule, name) for rule in self.rules))


class Choosing(Objective):
    """One of several estimators of one bound at a time; each keeps what it carries of its own.

    A training holds ``chosen`` at what it has found best (:mod:`ppgen.training.chooser`); where nothing chooses, as in
    Pyro's loops, the first is played. One that is not played learns nothing of its own either (baselines).
    """

    chosen: ClassVar[int] = 0
    """The number of the one that is played, on an instance; a graph is made for each."""

    every: int
    """Steps from one measurement to the next."""
    draws: int
    """Gradients of each at a measurement."""
    hysteresis: float
    """The share of its work that another must save to be taken."""

    @property
    @abstractmethod
    def rules(self) -> tuple[Bound, ...]:
        """The estimators."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """What they are called, each differently."""

    @property
    def now(self) -> Bound:
        """The one that is played."""
        return self.rules[self.chosen]

    def __post_init__(self) -> None:
        super().__post_init__()
        who, rules = type(self).__name__, self.rules
        if scheduled := [name for rule in rules for name in rule.schedules(0)]:
            raise UsageError(f"an estimator of {who} has a schedule for {scheduled[0]}: give it a number.")
        if twice := next((name for name in self.names if self.names.count(name) > 1), None):
            raise UsageError(f"{who} has {twice} twice: name each estimator once.")
        bounds = {name: _bound_of(rule) for name, rule in zip(self.names, rules, strict=True)}
        for name, bound in bounds.items():
            if bound is None:
                raise UsageError(
                    f"{who} holds estimators of a function of the guide's log-weights, and {name} is that of none: "
                    "drop it."
                )
        first, *others = bounds
        for name in others:
            if bounds[name] != bounds[first]:
                raise UsageError(
                    f"{who} holds estimators of one bound, got {first} of {label_of(bounds[first])} and {name} "
                    f"of {label_of(bounds[name])}: give both the same bound and num_particles, or compare them apart."
                )

    @property
    def target(self) -> Reduction | None:
        found: Reduction | None = self.rules[0].target
        return found

    @property
    def total_particles(self) -> int:
        return self.now.total_particles

    def particles_at(self, program: Program, batch: Batch) -> int:
        return self.now.particles_at(self._program(program, self.chosen), batch)

    def players(self) -> tuple[Player, ...]:
        return (Player("all"),)

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        return nn.ModuleList([rule.parameters(pair, batch) for rule in self.rules])

    def initial_state(self, program: Program, batch: Batch) -> State:
        states = (rule.initial_state(self._program(program, i), batch) for i, rule in enumerate(self.rules))
        return {f"{i}.{name}": value for i, state in enumerate(states) for name, value in state.items()}

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        prefix = f"{self.chosen}."
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        outcome = self.now.play(player, self._program(program, self.chosen), batch, own)
        moved = {f"{prefix}{name}": value for name, value in outcome.state.items()}
        return replace(outcome, state={**state, **moved})

    def _program(self, program: Program, number: int) -> Program:
        own: Any = program.own
        return program if own is None else replace(program, own=own[number])

    def _look(self, program: Program, batch: Batch) -> None:
        for name, rule in zip(self.names, self.rules, strict=True):
            if (why := rule.refuses(program, batch)) is not None:
                raise UsageError(f"{type(self).__name__} holds {name}, and {why}")

    @capability
    def is_bound(self) -> bool:
        """That of the bound."""
        return self.rules[0].is_bound

    @capability
    def why_eager(self) -> str:
        return next((rule.why_eager for rule in self.rules if rule.why_eager), "")

    unbiased_gradient = _all("unbiased_gradient")
    splits_data = _all("splits_data")
    needs_density = _any("needs_density")
    needs_rsample = _any("needs_rsample")
    needs_discrete = _any("needs_discrete")
    needs_binary = _any("needs_binary")
    needs_states = _any("needs_states")
    per_datum = _any("per_datum")


def _bound_of(rule: Bound) -> Any:
    """The bound as its expectation knows it: a mean of log-weights has the same at any number of particles."""
    bound = rule.target
    return bound.holding({"num_particles": 1}) if bound is not None and bound.is_mean else bound
