"""Objectives that follow one another in one training: greedy pretraining, then fine-tuning.

Each stage begins with the parameters that the one before it has left in the pair, and with all else new: optimizers,
the learning rate's schedule, persistent chains, the objective's own parameters.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import pyro
from pyro.poutine.util import is_validation_enabled
from torch import Tensor, nn

from ppgen.arguments import Positive
from ppgen.errors import UsageError, shown
from ppgen.objectives.objective import Objective, Stage, capability
from ppgen.objectives.turns import Outcome, Player, State
from ppgen.pairs.looking import looking
from ppgen.pairs.parameters import owner
from ppgen.pairs.stack import PartByPart, part_by_part
from ppgen.pairs.tracing import Batch, Program

__all__ = ["InStages", "OfPart", "Staged"]


class InStages(Objective):
    """An objective that is played stage by stage, and never itself."""

    @abstractmethod
    def stages(self, pair: nn.Module) -> tuple[Stage, ...]: ...

    def players(self) -> tuple[Player, ...]:
        self._refuse()

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        self._refuse()

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *batch: Any, **options: Any
    ) -> Tensor:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UsageError(
            f"{self} is trained in stages, each with a loss of its own, and has none itself: train with ppgen.fit or "
            "`ppgen train`, or take one of its stages."
        )

    def _look(self, program: Program, batch: Batch) -> None:
        pair = owner(program.model)
        if pair is None:
            raise UsageError(f"{type(self).__name__} trains the parts of a pair, got a function: give it a pair.")
        for stage in self.stages(pair):
            stage.objective.check(program, batch)


@dataclass(frozen=True, kw_only=True)
class Staged(InStages):
    """Objectives in the order in which they train a pair: ``"greedy, up_down"``, or a list of them.

    Args:
        objectives: two or more.
        shares: of the turns, one number for each; None: equal ones.
        rates: the learning rate of each over that of the run; None: 1.

    >>> import ppgen
    >>> staged = ppgen.make_objective("elbo, iwelbo(num_particles=8)", shares=(3, 1))
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"))
    >>> [(stage.objective.num_particles, stage.share) for stage in staged.stages(pair)]
    [(1, 0.75), (8, 0.25)]
    """

    objectives: tuple[Objective, ...]
    shares: tuple[Positive, ...] | None = None
    rates: tuple[Positive, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, given in (("shares", self.shares), ("rates", self.rates)):
            if given is not None and len(given) != len(self.objectives):
                raise UsageError(
                    f"{name} has one number for each of {len(self.objectives)} stages, got {shown(given)}."
                )

    def stages(self, pair: nn.Module) -> tuple[Stage, ...]:
        """The stages of each objective, which share its turns among them."""
        ones = (1.0,) * len(self.objectives)
        shares, found = self.shares or ones, []
        for objective, share, rate in zip(self.objectives, shares, self.rates or ones, strict=True):
            inner = objective.stages(pair)
            scale = share / sum(shares) / sum(stage.share for stage in inner)
            found += [replace(stage, share=scale * stage.share, rate=rate * stage.rate) for stage in inner]
        return tuple(found)

    def __str__(self) -> str:
        return ", ".join(map(str, self.objectives))


@dataclass(frozen=True, kw_only=True)
class OfPart(Objective):
    """The stage of one part of a pair: an objective that is played with the part, whose parameters alone move.

    ``number``: of the part; ``objective``: of the part as a pair; ``owns``: the part's parameters, by their names in
    the pair; ``sample``: it is shown draws of what is inferred, or else means. What of the objective's own is trained
    (a critic) is made for the part and what it is shown.
    """

    is_bound = False
    unbiased_gradient = False
    measures_fit = False

    number: int
    objective: Objective
    owns: tuple[str, ...]
    sample: bool = True

    @classmethod
    def of(cls, pair: PartByPart, number: int, objective: Objective, *, sample: bool = True) -> OfPart:
        """That of part ``number`` of the pair."""
        names = {id(parameter): name for name, parameter in pair.named_parameters()}
        owns = tuple(f"pair.{names[id(parameter)]}" for parameter in pair.machines[number].parameters())
        return cls(number=number, objective=objective, owns=owns, sample=sample)

    @capability
    def shards(self) -> Mapping[str, int] | None:
        return self.objective.shards

    @capability
    def unit(self) -> str:
        return self.objective.unit

    def players(self) -> tuple[Player, ...]:
        """Those of the objective: who moves the pair moves the part."""
        return tuple(replace(p, owns=self.owns) if "pair.".startswith(p.owns) else p for p in self.objective.players())

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        parts = part_by_part(pair, str(self.objective))
        with looking(pair, seed=0):  # its draws are an example, and no draws of the run
            example = self._shown_of(parts, batch)
        return self.objective.parameters(parts.machines[self.number], example)

    def initial_state(self, program: Program, batch: Batch) -> State:
        with self._shown():
            return self.objective.initial_state(*self._below(program, batch))

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        with self._shown():
            return self.objective.play(player, *self._below(program, batch), state)

    def _below(self, program: Program, batch: Batch) -> tuple[Program, Batch]:
        """The part as a pair, and what it is shown."""
        parts = part_by_part(program.model, str(self.objective))
        part: Any = parts.machines[self.number]
        return replace(program, model=part.model, guide=part.guide), self._shown_of(parts, batch)

    def _shown_of(self, parts: PartByPart, batch: Batch) -> Batch:
        return parts.shown_to(self.number, batch, sample=self.sample)

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        with self._shown():
            self.objective.check(*self._below(program, batch))

    def _shown(self) -> AbstractContextManager[None]:
        """Within it a part takes what it is shown: means of binary units are no states of theirs."""
        context: AbstractContextManager[None] = pyro.validation_enabled(self.sample and is_validation_enabled())
        return context
