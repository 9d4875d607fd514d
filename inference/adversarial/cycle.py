"""Cycle consistency (CycleGAN): data and latents as two sets, and maps both ways that undo each other.

    x' of z by the model,  z ~ p(z)                 z' of x by the guide,  x ~ p_data

    critics:          L_c(f(x), f(x')) + R          L_c(g(z), g(z')) + R           f of x alone, g of z alone
    model and guide:  L_g(f(x')) + L_g(g(z'))
                      + weight   (E|x'' - x| + E|z'' - z|)      x'' of z' by the model, z'' of x' by the guide
                      + identity (E|G(x) - x| + E|F(z) - z|)    where x and z are vectors of one kind

|.| is the mean over the numbers of a vector of their absolute values, as in the authors' code, so that the weights mean
the same at every size. In a translation (:class:`ppgen.models.CycleGAN`) z is the source s, p(s) the other set's own
distribution, the model x = G(s) and the guide s = F(x): no row of the batch (x, s) need be a pair, for every term is a
mean over x or a mean over s. Of any other pair whose guide infers latents z is what its model draws from the prior:
the guide's draws are to be distributed as the prior's over all data, and to be undone by the model.

At the optimum x' is distributed as data, z' as the prior, and G and F are inverse to each other. Which of the maps that
do so is found, is said by the losses only up to maps that leave one of the distributions as it is.

Zhu, Park, Isola and Efros: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, ICCV 2017,
eq. 1-3, and section 5.2 of the identity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ppgen.arguments import NonNegative
from ppgen.errors import UsageError
from ppgen.objectives.adversarial import Adversarial, GivenCritic
from ppgen.objectives.games import GameName, OfGame
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.joint import Joint, check_infers, drawn_jointly, generated_at, inferred_jointly
from ppgen.pairs.looking import looking
from ppgen.pairs.parameters import owner
from ppgen.pairs.sites import check_reparameterized
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["Cycle"]


@register_objective(
    "cycle",
    summary="adversarial: data and latents as two sets, with maps both ways that undo each other (CycleGAN)",
    reference="Zhu, Park, Isola and Efros, Unpaired image-to-image translation",
    year=2017,
    link="https://arxiv.org/abs/1703.10593",
    tags=("adversarial", "biased"),
    tiny=lambda: Cycle(game=OBJECTIVES["least_squares"].cls(hidden=(4,)), weight=1.0),
)
@dataclass(frozen=True, kw_only=True)
class Cycle(OfGame):
    """``game``: whose losses, for both sides, each with a critic of its own; ``weight``: of the two cycles (the paper's
    lambda); ``identity``: of the term that keeps what is of the other set already as it is.

    A critic sees x, or every number of the latents of a datum, (B, F), and nothing else that a batch holds. One that is
    given is copied for either side.

    Metrics of the critic: those of the game, of x, and with ``_latents`` behind their names of latents. Of the
    generator: ``cycle``, E|x'' - x|, ``cycle_latents``, E|z'' - z|, and ``identity``, in the units of x and z.

    >>> import ppgen
    >>> pair, x = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"), 2), torch.zeros(4, 3)
    >>> critics = Cycle().parameters(pair, (x,))
    >>> {name: critic.network.layers[0].in_features for name, critic in critics.items()}
    {'of_x': 3, 'of_latents': 2}
    """

    game: GameName = "least_squares"
    weight: NonNegative = 10.0
    identity: NonNegative = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.rules).play is not Adversarial.play:
            raise UsageError(
                f"the game of Cycle is played by two critics, and {type(self.rules).__name__} keeps a state for one: "
                "choose another, such as 'least_squares'."
            )

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        with looking(pair, seed=0):
            drawn = drawn_jointly(Program(pair.model, pair.guide), batch)  # type: ignore[arg-type]  # a pair's methods
        self._check_sizes(type(pair).__name__, drawn)
        return nn.ModuleDict(
            {
                "of_x": self.rules.parameters(pair, (batch[0],)),
                "of_latents": self.rules.parameters(pair, (drawn.numbers,)),
            }
        )

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        game, moves = self.rules, player == "generator"
        with nullcontext() if moves else torch.no_grad():
            drawn = drawn_jointly(program, batch)
            inferred = inferred_jointly(program, batch, drawn)
        sides = self._sides(program, inferred, drawn)
        loss, metrics = batch[0].new_zeros(()), dict[str, Tensor]()
        for which, critic, real, fake in sides:
            if moves:
                loss = loss + game.generator_cost(critic, real, fake)
                continue
            cost, told = game.critic_turn(critic, real, fake)
            loss, metrics = loss + cost, {**metrics, **{f"{name}{which}": value for name, value in told.items()}}
        if moves:
            metrics = self._kept(program, batch, inferred, drawn)
            loss = loss + self.weight * (metrics["cycle"] + metrics["cycle_latents"])
            loss = loss + self.identity * metrics["identity"] if self.identity else loss
        return game.outcome(player, program, batch, loss, metrics, state)

    def _sides(
        self, program: Program, inferred: Joint, drawn: Joint
    ) -> Iterator[tuple[str, GivenCritic, Tensor, Tensor]]:
        """What is behind a metric's name, a critic, what is real to it and what is made."""
        critics, read = program.own, self.rules.read
        assert isinstance(critics, nn.ModuleDict)  # two players: only the loop plays them, with the critics
        yield "", GivenCritic(critics["of_x"], (inferred.x,), read), inferred.x, drawn.x
        z = drawn.numbers.detach()
        yield "_latents", GivenCritic(critics["of_latents"], (z,), read), z, inferred.numbers

    def _kept(self, program: Program, batch: Batch, inferred: Joint, drawn: Joint) -> dict[str, Tensor]:
        """How far x and z are from what both maps, or with ``identity`` one, make of them."""
        others = batch[1:]
        x_again = generated_at(program, batch, inferred.values)
        z_again = inferred_jointly(program, (drawn.x, *others), drawn).numbers
        found = {"cycle": _off(x_again, inferred.x), "cycle_latents": _off(z_again, drawn.numbers)}
        if self.identity:
            (name,), x = drawn.names, inferred.x
            made = generated_at(program, batch, {name: x.reshape(drawn.values[name].shape)})
            told = inferred_jointly(program, (drawn.numbers.reshape(x.shape), *others), drawn).numbers
            found["identity"] = _off(made, x) + _off(told, drawn.numbers)
        return found

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        name = type(self).__name__
        check_reparameterized(check_infers(program, batch, name), name)
        self._check_sizes(type(owner(program.model)).__name__, drawn_jointly(program, batch))

    def _check_sizes(self, pair: str, drawn: Joint) -> None:
        numbers, latents = math.prod(drawn.x.shape[1:]), drawn.numbers.shape[1]
        if self.rules.critic is not None and latents != numbers:
            raise UsageError(
                f"the critic of Cycle's game is given and copied for x, {numbers} numbers, and for the latents of "
                f"{pair}, {latents} numbers: leave critic out, and give the sizes of the layers, hidden=."
            )
        if self.identity and (len(drawn.names) != 1 or latents != numbers):
            raise UsageError(
                f"identity of Cycle takes x for a latent and a latent for x, and {pair} has latents "
                f"{', '.join(drawn.names)} of {latents} numbers where x has {numbers}: leave identity out."
            )


def _off(found: Tensor, wanted: Tensor) -> Tensor:
    return (found - wanted).abs().mean()
