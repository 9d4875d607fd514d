"""Adversarially learned inference (BiGAN): a game between data with inferred latents and draws with their own.

    (x, z),   x ~ p_data, z ~ q(z | x)       against       (x', z') ~ p(x, z)

    critic:             min_f      L_c(f(x, z), f(x', z')) + R
    model and guide:    min_{G,q}  L_c with the labels exchanged,        the critic as it stands

f sees data and latents side by side. With the cross-entropy the optimal critic is q(x, z) / (q(x, z) + p(x, z)), q(x,
z) = p_data(x) q(z | x), and the value 2 JS(q, p) - log 4: where the two joints agree, the model's x has the
distribution of data, q(z | x) is the posterior p(z | x), and the critic is constant. Nothing but draws of both is read:
neither needs a density, and an encoder that is a point (Donahue et al.) is the inverse of the generator at the optimum.

For ``minimax`` model and guide minimise the value itself, -L_c; for the others L_c with data's and draws' parts
exchanged, so that neither gradient vanishes (Dumoulin et al., section 2.1). Both gradients are pathwise: what the guide
learns to draw must have a reparameterized sample.

Dumoulin, Belghazi, Poole, Mastropietro, Lamb, Arjovsky and Courville: Adversarially Learned Inference, ICLR 2017;
Donahue, Kraehenbuehl and Darrell: Adversarial Feature Learning, ICLR 2017.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from ppgen.objectives.games import JointCritic, OfGame
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.joint import Joint, check_infers, drawn_jointly, inferred_jointly
from ppgen.pairs.looking import looking
from ppgen.pairs.sites import check_reparameterized
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["ALI"]


@register_objective(
    "ali",
    summary="adversarial: data with inferred latents against draws with their own (BiGAN)",
    reference="Dumoulin et al., Adversarially learned inference",
    year=2017,
    link="https://arxiv.org/abs/1606.00704",
    tags=("adversarial", "biased"),
    tiny=lambda: ALI(game=OBJECTIVES["nonsaturating"].cls(hidden=(4,))),
)
@dataclass(frozen=True, kw_only=True)
class ALI(OfGame):
    """``game``: whose losses; its critic is called with x, every number of the latents of a datum, (B, F), in the
    model's order, and what else a batch holds: ``critic(x, z)``, ``critic(x, z, y)``.

    Metrics of the critic: those of the game, ``real`` being of data with inferred latents.

    >>> import ppgen
    >>> pair, x = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"), 2), torch.zeros(4, 3)
    >>> critic = ALI().parameters(pair, (x,))
    >>> critic(x, torch.zeros(4, 2)).shape, critic.network.layers[0].in_features
    (torch.Size([4]), 5)
    """

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        with looking(pair, seed=0):
            _, drawn = _joints(Program(pair.model, pair.guide), batch)  # type: ignore[arg-type]  # a pair's methods
        return self.rules.parameters(pair, (batch[0], drawn.numbers, *batch[1:]))

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        game = self.rules
        with nullcontext() if player == "generator" else torch.no_grad():
            inferred, drawn = (joint.side_by_side for joint in _joints(program, batch))  # (B, D + F) each
        critic = JointCritic.of(program, batch, game.read)
        if player == "generator":
            inferred, drawn = game.noised(inferred), game.noised(drawn)
            answer = game.answer(critic, inferred, drawn)
            loss = game.exchanged_loss(answer(inferred), answer(drawn))
            return game.outcome(player, program, batch, loss, {}, state)
        loss, metrics = game.critic_turn(critic, inferred, drawn)
        return game.outcome(player, program, batch, loss, metrics, state)

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        check_reparameterized(check_infers(program, batch, type(self).__name__), type(self).__name__)


def _joints(program: Program, batch: Batch) -> tuple[Joint, Joint]:
    """The data with inferred latents, and draws with their own."""
    drawn = drawn_jointly(program, batch)
    return inferred_jointly(program, batch, drawn), drawn
