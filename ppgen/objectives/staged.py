"""Objectives that follow one another in one training: greedy pretraining, then fine-tuning.

Each stage begins with the parameters that the one before it has left in the pair, and with all else new: optimizers,
the learning rate's schedule, persistent chains, the objective's own parameters.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from torch import Tensor, nn

from ppgen.arguments import Positive
from ppgen.errors import UsageError, shown
from ppgen.objectives.objective import Objective, Outcome, Player, Stage, State
from ppgen.pairs.parameters import owner
from ppgen.pairs.tracing import Batch, Program

__all__ = ["InStages", "Staged"]


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
