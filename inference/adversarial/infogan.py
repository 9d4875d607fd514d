"""InfoGAN: a game whose generator also makes draws that tell what they were made of.

    critic:     that of the game
    generator:  L_g - weight L_I,        L_I = H(c) + E log q(c | x'),        c ~ p(c),  x' = G(z, c)        (nats)

q is the pair's guide, c its latents. Since I(c; x') = L_I + E KL(p(c | x') || q(c | x')), L_I is a lower bound of the
mutual information of latents and draws, tight where the guide is the posterior (Barber and Agakov 2003): both generator
and guide climb it, by paths through x'. Codes may be discrete, where their prior is fixed: they are drawn from the
model, whose draws they never depend on.

A latent that the guide cannot know, noise, it draws from the prior, as guides of implicit pairs do; then H(z) + E log
q(z) = 0 at every draw, and it needs no name. ``weight`` (lambda) is 1 in the paper for discrete codes, and smaller
where densities of continuous codes should not outweigh the game. The critic and the guide share no layers here.

InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial Nets, Chen, Duan,
Houthooft, Schulman, Sutskever and Abbeel, NeurIPS 2016, eq. 5 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppgen.arguments import NonNegative
from ppgen.objectives.games import OfGame
from ppgen.objectives.objective import Outcome, State
from ppgen.pairs.joint import drawn_jointly, information
from ppgen.pairs.pair import check_states_latents
from ppgen.pairs.parameters import owner
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["InfoGAN"]


@register_objective(
    "infogan",
    summary="adversarial: a game, and codes that the guide can tell from draws",
    reference="Chen et al., InfoGAN",
    year=2016,
    link="https://arxiv.org/abs/1606.03657",
    tags=("adversarial", "biased"),
    tiny=lambda: InfoGAN(game=OBJECTIVES["nonsaturating"].cls(hidden=(4,))),
)
@dataclass(frozen=True, kw_only=True)
class InfoGAN(OfGame):
    """``game``: whose losses; ``weight``: lambda.

    Metrics of the generator: ``information``, L_I in nats per datum.

    >>> import ppgen
    >>> objective = ppgen.make_objective("infogan(game=least_squares(unroll=1), weight=0.5)")
    >>> objective.rules.unroll, [player.name for player in objective.players()]
    (1, ['critic', 'generator'])
    """

    weight: NonNegative = 1.0

    def _look(self, program: Program, batch: Batch) -> None:
        check_states_latents(owner(program.guide), type(self).__name__)
        super()._look(program, batch)

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        if player != "generator":
            return self.rules.play(player, program, batch, state)
        drawn = drawn_jointly(program, batch)
        turn = self.rules.generator_turn(program, batch, drawn.x, state)
        told = information(program, batch, drawn).mean()
        return Outcome(
            turn.loss - self.weight * turn.num_data * told,
            turn.num_data,
            {**turn.metrics, "information": told},
            turn.state,
        )
