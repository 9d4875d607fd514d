"""A game for each level of a pyramid of pictures, one after another, each by itself.

    stage k:    data       (r_k, u(c_{k-1}))              residuals of data, with what they are the residuals of
                draws      (G_k(z_k, u(c_{k-1})), u(c_{k-1})),    z_k ~ p(z_k)

The first stage is a game of the coarsest pictures c_1. The critic of a level sees the residual beside the picture below
it, which is data's on both sides: a draw that would do by itself and does not fit what is below is told. Each level
learns p(r_k | c_{k-1}) where c_{k-1} is data, and no stage waits for another; drawn from the coarsest on, levels are
shown what those below made.

The losses are those of any adversarial objective, one for all levels or one for each, and no number is one of the
whole pair's. With one level it would be that objective itself.

Denton, Chintala, Szlam and Fergus: Deep Generative Image Models using a Laplacian Pyramid of Adversarial Networks,
NeurIPS 2015, section 2.2 and algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Len
from pydantic import BeforeValidator
from torch import nn

from ppgen.arguments import Positive, Words
from ppgen.errors import UsageError
from ppgen.objectives.adversarial import Adversarial
from ppgen.objectives.games import GameName
from ppgen.objectives.named import listed
from ppgen.objectives.objective import Stage
from ppgen.objectives.staged import InStages, OfPart
from ppgen.pairs.stack import pyramid_of
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["LevelByLevel"]


@register_objective(
    "level_by_level",
    summary="adversarial: a game for each level of a pyramid of pictures, one after another",
    reference="Denton, Chintala, Szlam and Fergus, Deep generative image models using a Laplacian pyramid",
    year=2015,
    link="https://arxiv.org/abs/1506.05751",
    tags=("adversarial", "biased", "stages"),
    tiny=lambda: LevelByLevel(games=(OBJECTIVES["nonsaturating"].cls(hidden=(4,)),)),
)
@dataclass(frozen=True, kw_only=True)
class LevelByLevel(InStages):
    """One stage for each level of a pyramid (:class:`ppgen.pairs.stack.Pyramid`), the coarsest first.

    Args:
        games: of all levels, or one for each, as a list or as text: ``-O "games=hinge(hidden=[64]), wasserstein_gp"``.
        shares: of the turns, one number for each level; None: equal ones.
        rates: the learning rate of each level over that of the run; None: 1.

    >>> import ppgen
    >>> spec = ppgen.DataSpec("pictures", 64, "quantised", image_shape=(8, 8), levels=17)
    >>> pair = ppgen.models.LAPGAN(spec, channels=(4, 2))
    >>> stages = LevelByLevel(games=("minimax", "hinge"), shares=(1, 3)).stages(pair)
    >>> [(stage.name, stage.share, type(stage.objective.objective).__name__) for stage in stages]
    [('Level 1', 1, 'Minimax'), ('Level 2', 3, 'Hinge')]
    """

    is_bound = False
    unbiased_gradient = False
    measures_fit = False

    games: Annotated[
        tuple[GameName, ...], BeforeValidator(listed), Words("games such as ('wasserstein_gp', 'hinge')"), Len(1)
    ] = ("nonsaturating",)
    shares: tuple[Positive, ...] | None = None
    rates: tuple[Positive, ...] | None = None

    def stages(self, pair: nn.Module) -> tuple[Stage, ...]:
        pyramid = pyramid_of(pair, type(self).__name__)
        num = len(pyramid.machines)
        games = self._rules * (num if len(self.games) == 1 else 1)
        for name, given in (("games", games), ("shares", self.shares), ("rates", self.rates)):
            if given is not None and len(given) != num:
                raise UsageError(
                    f"{name} of LevelByLevel has one for each of {num} levels, or none is given, got {len(given)}: "
                    f"give {num}."
                )
        ones = (1.0,) * num
        found = []
        for number, (share, rate) in enumerate(zip(self.shares or ones, self.rates or ones, strict=True)):
            level, game = pyramid.machines[number], games[number]
            (stage,) = game.stages(level)
            part = OfPart.of(pyramid, number, game)
            found.append(replace(stage, name=f"Level {number + 1}", objective=part, share=share, rate=rate))
        return tuple(found)

    @property
    def _rules(self) -> tuple[Adversarial, ...]:
        return tuple(OBJECTIVES[game].cls() if isinstance(game, str) else game for game in self.games)

    def _look(self, program: Program, batch: Batch) -> None:
        pyramid_of(program.model, type(self).__name__)
        super()._look(program, batch)
