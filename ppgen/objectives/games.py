"""Objectives that are a game with a part for the guide: the game's losses are the hyper-parameter ``game``."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, TypeAlias

from pydantic import BeforeValidator
from torch import Tensor, nn

from ppgen.arguments import Words
from ppgen.errors import UsageError
from ppgen.objectives.adversarial import Adversarial, GivenCritic
from ppgen.objectives.named import reader_of
from ppgen.objectives.objective import Objective, Stage, capability
from ppgen.objectives.turns import Player, State
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import OBJECTIVES

__all__ = ["GameName", "JointCritic", "OfGame"]

GameName: TypeAlias = Annotated[
    str | Adversarial,
    BeforeValidator(reader_of(Adversarial, "game")),
    Words("a game such as 'nonsaturating' or 'wasserstein_gp'"),
]
"""An adversarial objective, or its registered name."""


@dataclass(frozen=True, kw_only=True)
class OfGame(Objective, ABC):
    """The players of a game, its critic and its losses; subclasses say what else the second player minimises.

    ``game``: an :class:`~ppgen.objectives.adversarial.Adversarial`, or its registered name, which has its defaults:
    ``game=WassersteinGP(hidden=(64, 64))``, ``-O "game=wasserstein_gp(hidden=[64, 64])"``.
    """

    is_bound: ClassVar[bool] = False
    unbiased_gradient: ClassVar[bool] = False
    needs_samples: ClassVar[bool] = True
    needs_inference: ClassVar[bool] = True

    game: GameName = "nonsaturating"

    @property
    def rules(self) -> Adversarial:
        """The game."""
        found: Adversarial = OBJECTIVES[self.game].cls() if isinstance(self.game, str) else self.game
        return found

    @capability
    def unit(self) -> str:
        """That of the game."""
        return self.rules.unit

    @capability
    def shards(self) -> Mapping[str, int] | None:
        """Those of the game."""
        return self.rules.shards

    def __post_init__(self) -> None:
        super().__post_init__()
        if scheduled := list(self.rules.schedules(0)):
            raise UsageError(
                f"the game of {type(self).__name__} has a schedule for {', '.join(scheduled)}, and is played as it "
                "stands: give it numbers."
            )

    def stages(self, pair: nn.Module) -> tuple[Stage, ...]:
        return tuple(replace(stage, name=type(self).__name__, objective=self) for stage in self.rules.stages(pair))

    def players(self) -> tuple[Player, ...]:
        return self.rules.players()

    def initial_state(self, program: Program, batch: Batch) -> State:
        return self.rules.initial_state(program, batch)

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        return self.rules.parameters(pair, batch)


@dataclass(frozen=True)
class JointCritic(GivenCritic):
    """The critic as a function of x and latents side by side, (M, D + F): it is called with x and latents (M, F)."""

    def shown(self, x: Tensor) -> tuple[Tensor, ...]:
        shape = self.batch[0].shape[1:]
        data, latents = x.tensor_split([math.prod(shape)], -1)
        return data.reshape(len(x), *shape), latents
