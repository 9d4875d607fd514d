"""Translation by pairs (pix2pix): a game of x given its source, and the distance to the x that is paired with it.

    critic:     that of the game, of pairs:  (x, s) against (x', s),        x' = G(s) or G(s, z)
    generator:  L_g + weight E|x' - x|,      |.| the mean over the numbers of x of their absolute values

The critic sees the source, so that a draw that is good but made of another source is told from data. At its optimum the
game's part compares p(x | s) with the pair's, for each s; the distance alone is least at the median of p(x | s), number
by number, which is blurred where several x belong to one s. What is a number of many values must be told by both.

Isola, Zhu, Zhou and Efros: Image-to-Image Translation with Conditional Adversarial Networks, CVPR 2017, eq. 1-4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppgen.arguments import NonNegative
from ppgen.errors import UsageError, shown
from ppgen.objectives.critics import spec_of
from ppgen.objectives.games import OfGame
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.parameters import owner
from ppgen.pairs.rows import x_of
from ppgen.pairs.sampling import generated
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["Paired"]


@register_objective(
    "paired",
    summary="adversarial: a game of x given its source, and the distance to the x that is paired with it (pix2pix)",
    reference="Isola, Zhu, Zhou and Efros, Image-to-image translation with conditional adversarial networks",
    year=2017,
    link="https://arxiv.org/abs/1611.07004",
    tags=("adversarial", "biased"),
    tiny=lambda: Paired(game=OBJECTIVES["nonsaturating"].cls(hidden=(4,)), weight=1.0),
)
@dataclass(frozen=True, kw_only=True)
class Paired(OfGame):
    """``game``: whose losses; its critic sees x and the source, ``critic(x, s)``; ``weight``: of the distance.

    Metrics of the generator: ``distance``, the mean of |x' - x|, in the units of x.

    >>> objective = Paired(game="least_squares", weight=10)
    >>> [player.name for player in objective.players()], objective.needs_source
    (['critic', 'generator'], True)
    """

    needs_inference: ClassVar[bool] = False
    needs_source: ClassVar[bool] = True

    weight: NonNegative = 100.0

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        if player != "generator":
            return self.rules.play(player, program, batch, state)
        made = generated(program, batch)
        turn = self.rules.generator_turn(program, batch, made, state)
        distance = (made - x_of(batch, type(self).__name__)).abs().mean()
        return Outcome(
            turn.loss + self.weight * turn.num_data * distance,
            turn.num_data,
            {**turn.metrics, "distance": distance},
            turn.state,
        )

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        spec = spec_of(pair := owner(program.model))
        if spec is not None and spec.paired is not None and not spec.pairs_in("train"):
            raise UsageError(
                f"Paired of {type(pair).__name__} compares x with what is made of the source in its row, and rows of "
                f"data {shown(spec.name)} to train on are no pairs (paired={shown(spec.paired)}): load them with "
                "paired='all', or choose 'cycle'."
            )
