"""InfoGAN: a game whose generator also makes draws that tell what they were made of.

    critic:     that of the game
    generator:  L_g - weight L_I,        L_I = H(c) + E log q(c | x'),        c ~ p(c),  x' = G(z, c)        (nats)

q is the pair's guide, c its latents. Since I(c; x') = L_I + E KL(p(c | x') || q(c | x')), L_I is a lower bound of the
mutual information of latents and draws, tight where the guide is the posterior (Barber and Agakov 2003): both generator
and guide climb it, by paths through x'. Codes may be discrete, where their prior is fixed: they are drawn from the
model, whose draws they never depend on.

A latent that the guide cannot know, noise, it draws from the prior, as guides of implicit pairs do; then H(z) + E log
q(z) = 0 at every draw, and it needs no name. ``weight`` (lambda) is 1 in the paper for discrete codes, and smaller
where densities of continuous codes should not outweigh the game.

With ``shared`` the critic reads the last hidden layer h of the guide's own network, f(x) = head(h(x)), as in the paper,
whose critic and Q are one network but for their last layers. That network is then the critic's to move,

    critic:     L_c - weight L_I                             head, and the guide's network
    generator:  L_g - weight L_I                             the rest of the pair

so that what tells data from draws also tells codes, and codes come to stand for what data differ in.

InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial Nets, Chen, Duan,
Houthooft, Schulman, Sutskever and Abbeel, NeurIPS 2016, eq. 5 and 6.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from ppgen.arguments import NonNegative
from ppgen.errors import UsageError, shown
from ppgen.objectives.adversarial import Adversarial
from ppgen.objectives.critics import Featured, GivenCritic
from ppgen.objectives.games import OfGame
from ppgen.objectives.turns import Outcome, Player, State
from ppgen.pairs.joint import Joint, check_infers, drawn_jointly, information
from ppgen.pairs.looking import looking
from ppgen.pairs.parameters import owner
from ppgen.pairs.rows import x_of
from ppgen.pairs.sites import is_point
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["InfoGAN"]


@dataclass(frozen=True)
class _OfFeatures(GivenCritic):
    """The critic as a function of x, which sees of it what ``body`` finds there."""

    body: Featured | None = None

    def shown(self, x: Tensor) -> tuple[Tensor, ...]:
        return (_features(self.body, x),)


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

    ``shared``: the name of the pair's module that the guide reads x with, such as ``encoder``, whose ``features(x)``,
    (B, F), the critic is then a network of: the game's own, of dense layers ``hidden``, none of them for a linear head.
    It sees data and draws apart.

    Metrics of the generator, and of a critic that shares: ``information``, L_I in nats per datum.

    >>> import ppgen
    >>> objective = ppgen.make_objective("infogan(game=least_squares(unroll=1), weight=0.5)")
    >>> objective.rules.unroll, [player.name for player in objective.players()]
    (1, ['critic', 'generator'])
    """

    weight: NonNegative = 1.0
    shared: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shared and (why := _not_of_features(self.rules)):
            raise UsageError(
                f"with shared={shown(self.shared)} the critic of {type(self).__name__} is a dense network of the "
                f"guide's features, and the game {type(self.rules).__name__} has {why}: leave that out, or shared."
            )

    def players(self) -> tuple[Player, ...]:
        critic, generator = super().players()
        if not self.shared:
            return critic, generator
        part = f"pair.{self.shared}."
        return replace(critic, owns=(*critic.owns, part)), replace(generator, but=(part,))

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        if not self.shared:
            return super().parameters(pair, batch)
        with looking(pair):
            _check_tells(pair, self.shared, x_of(batch, type(self).__name__))
            found = _features(_body(pair, self.shared), x_of(batch, type(self).__name__))
        return super().parameters(pair, (found, *batch[1:]))

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        if player != "generator" and not self.shared:
            return self.rules.play(player, program, batch, state)
        with nullcontext() if player == "generator" else torch.no_grad():
            drawn = drawn_jointly(program, batch)
        turn = self._turn(player, program, batch, drawn, state)
        told = information(program, batch, drawn).mean()
        return Outcome(
            turn.loss - self.weight * turn.num_data * told,
            turn.num_data,
            {**turn.metrics, "information": told},
            turn.state,
        )

    def _turn(self, player: str, program: Program, batch: Batch, drawn: Joint, state: State) -> Outcome:
        """The game alone."""
        game = self.rules
        if not self.shared:
            return game.generator_turn(program, batch, drawn.x, state)
        game, real = replace(game, separate=True), x_of(batch, type(self).__name__)
        critic = replace(_OfFeatures.of(program, batch), body=_body(owner(program.guide), self.shared))
        if player == "generator":
            return game.outcome(player, program, batch, game.generator_cost(critic, real, drawn.x), {}, state)
        return game.outcome(player, program, batch, *game.critic_turn(critic, real, drawn.x), state)

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        if self.shared:
            with torch.no_grad():
                _check_tells(owner(program.guide), self.shared, x_of(batch, type(self).__name__))
        points = [name for name, site in check_infers(program, batch, "InfoGAN").items() if is_point(site)]
        if points:
            raise UsageError(
                f"InfoGAN reads log q(z | x), and site {shown(points[0])} of the guide is a point, which has no "
                "density: give it a distribution, or choose an objective that reads draws alone, 'ali'."
            )


def _body(pair: nn.Module | None, shared: str) -> Featured:
    """The module of the pair of that name, which tells its features."""
    assert pair is not None  # as _check_tells has found
    return cast(Featured, pair.get_submodule(shared))


def _check_tells(pair: nn.Module | None, shared: str, x: Tensor) -> None:
    """The pair has a module of that name, which tells its features of x.

    Raises:
        UsageError: there is none, or it does not; those that do are listed.
    """
    telling = [name for name, part in pair.named_modules() if name and _tells(part, x)] if pair is not None else []
    if shared not in telling:
        raise UsageError(
            f"shared={shown(shared)} of InfoGAN must name a module that tells its features of x, of which "
            f"{type(pair).__name__} has {', '.join(telling) or 'none'}: give it a method features(x), or leave shared "
            "out."
        )


def _tells(part: nn.Module, x: Tensor) -> bool:
    """Whether a module tells features of such data; a generator's networks may, of latents."""
    try:
        return isinstance(part, Featured) and part.features(x).dim() > 1
    except RuntimeError:  # torch's of shapes that do not fit
        return False


def _features(body: Featured | None, x: Tensor) -> Tensor:
    """What the body finds in x, (B, F)."""
    assert body is not None  # whose critic it is
    return body.features(x).flatten(1)


def _not_of_features(game: Adversarial) -> str | None:
    """What a game has that is not for a dense critic of what another network finds; None: nothing."""
    own = type(game)
    has = {
        f"critic={shown(game.critic)}": game.critic is not None,
        "unroll": game.unroll,
        "spectral_norm": game.spectral_norm,
        "historical_averaging": game.historical_averaging,
        "a critic of its own making": (own.parameters, own.read) != (Adversarial.parameters, Adversarial.read),
    }
    return next((what for what, there in has.items() if there), None)
