"""VAE/GAN: a variational autoencoder whose likelihood compares what a critic finds in data, not pixels.

    L_prior = KL(q(z | x) || p(z)),        L_like = -E_q[log N(h(x); h(x~), I)]                   (nats per datum)

    critic:     L_c of data against draws and reconstructions, half of them each
    encoder:    min    L_prior + L_like
    decoder:    min    gamma L_like + L_g of draws and reconstructions

    x~ = E[x | z],  z ~ q(z | x),        x' = E[x | z],  z ~ p(z),        h: the features of the critic as it stands

The encoder is what the guide's parameters are, the decoder the model's; each of the two losses reaches its own alone,
and the critic is told nothing of either: were h to learn from L_like, it would have no features. A parameter of both
gets both. Pixels have no noise: draws and reconstructions are the mean of p(x | z), so that its own scale is not
trained and no bound is given; the pair's draws with that noise are not what was shown to the critic, its means are. A
pair whose x is a point (``bigan``) is the paper's as it stands.

The paper counts draws and reconstructions whole, twice as many as data, by which its optimal critic at the equilibrium
is 1/3; by halves it is 1/2, and the game may be any. gamma weighs a sum over all features against one judgement.

Larsen, Sonderby, Larochelle and Winther: Autoencoding beyond Pixels using a Learned Similarity Metric, ICML 2016, eq. 4
to 8 and algorithm 1, where L_like is called L_llike^Dis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ppgen.arguments import NonNegative
from ppgen.distributions.wrappers import mean_of
from ppgen.errors import UsageError, shown
from ppgen.objectives.critics import GivenCritic, featured
from ppgen.objectives.games import OfGame
from ppgen.objectives.turns import Outcome, Player, State
from ppgen.pairs.divergence import divergences
from ppgen.pairs.joint import check_infers
from ppgen.pairs.parameters import isolated, owner
from ppgen.pairs.rows import x_of
from ppgen.pairs.sampling import check_normalised, data_size, unconditioned
from ppgen.pairs.sites import Site, check_reparameterized, drawn_site, is_point
from ppgen.pairs.stacking import alone
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["VAEGAN"]


@register_objective(
    "vae_gan",
    summary="adversarial: a VAE whose likelihood compares the features of a critic",
    reference="Larsen et al., Autoencoding beyond pixels using a learned similarity metric",
    year=2016,
    link="https://arxiv.org/abs/1512.09300",
    tags=("adversarial", "biased"),
    tiny=lambda: VAEGAN(game=OBJECTIVES["nonsaturating"].cls(hidden=(4,))),
)
@dataclass(frozen=True, kw_only=True)
class VAEGAN(OfGame):
    """``game``: whose losses; its critic tells its features (:class:`ppgen.objectives.critics.Featured`), the last
    hidden layer of those that an objective makes. ``gamma``: the weight of L_like in the decoder's loss.

    Metrics of the critic: those of the game, ``fake`` being of both kinds; of the encoder: ``divergence``, L_prior, and
    ``similarity``, -L_like, in nats per datum; of the decoder: ``similarity`` and ``fooling``, L_g.

    >>> [player.name for player in VAEGAN().players()]
    ['critic', 'encoder', 'decoder']
    """

    needs_samples: ClassVar[bool] = False

    gamma: NonNegative = 0.1

    def players(self) -> tuple[Player, ...]:
        critic, generator = self.rules.players()
        return critic, replace(generator, name="encoder"), replace(generator, name="decoder")

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        critic = super().parameters(pair, batch)
        featured(critic, type(self).__name__)
        return critic

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        critic = GivenCritic.of(program, batch, self.rules.read)
        if player == "critic":
            return self._critic_turn(critic, program, batch, state)
        inferred = run_particles(program, batch, 1)
        if player == "encoder":
            return self._encoder_turn(critic, inferred.with_fixed(model=True), state)
        return self._decoder_turn(critic, inferred.with_fixed(latents=True), state)

    def _critic_turn(self, critic: GivenCritic, program: Program, batch: Batch, state: State) -> Outcome:
        with torch.no_grad():
            fakes = _drawn(program, batch), _rebuilt(run_particles(program, batch, 1))
        turns = [self.rules.critic_turn(critic, x_of(batch, type(self).__name__), fake) for fake in fakes]
        loss = torch.stack([loss for loss, _ in turns]).mean()
        metrics = {name: torch.stack([told[name] for _, told in turns]).mean() for name in turns[0][1]}
        return self.rules.outcome("critic", program, batch, loss, metrics, state)

    def _encoder_turn(self, critic: GivenCritic, inferred: Particles, state: State) -> Outcome:
        divergence = torch.stack(divergences(inferred)).sum(0).mean()
        similarity = _similarity(critic, inferred.batch[0], _rebuilt(inferred))
        num_data = data_size(inferred.program, inferred.batch)
        metrics = {"divergence": divergence, "similarity": similarity}
        return Outcome(num_data * (divergence - similarity), num_data, metrics, state)

    def _decoder_turn(self, critic: GivenCritic, inferred: Particles, state: State) -> Outcome:
        program, batch, rebuilt = inferred.program, inferred.batch, _rebuilt(inferred)
        similarity = _similarity(critic, batch[0], rebuilt)
        fooling = 0.5 * (self._fooling(critic, _drawn(program, batch)) + self._fooling(critic, rebuilt))
        metrics = {"similarity": similarity, "fooling": fooling}
        return self.rules.outcome("generator", program, batch, fooling - self.gamma * similarity, metrics, state)

    def _fooling(self, critic: GivenCritic, fake: Tensor) -> Tensor:
        """L_g, ()."""
        game = self.rules
        real, fake = game.noised(critic.batch[0]), game.noised(fake)
        return game.generator_loss(game.answer(critic, real, fake)(fake))

    def _look(self, program: Program, batch: Batch) -> None:
        name = type(self).__name__
        check_normalised(program.model, name)
        super()._look(program, batch)
        inferred = check_infers(program, batch, name)
        check_reparameterized(inferred, name)
        _check_no_point(inferred, name)
        if outside := run_particles(program, batch, 1).global_latents:
            raise UsageError(
                f"{name} infers what each datum was made of, and site {shown(outside[0])} stands outside the data "
                "plate: move it inside, or train with ELBO."
            )
        _check_mean(program, batch, name)


def _similarity(critic: GivenCritic, x: Tensor, rebuilt: Tensor) -> Tensor:
    """E log N(h(x); h(x~), I), (), in nats per datum."""
    apart = critic.features(x) - critic.features(rebuilt)  # (B, F)
    return -0.5 * (apart.square().sum(1).mean() + apart.shape[1] * math.log(2 * math.pi))


def _drawn(program: Program, batch: Batch) -> Tensor:
    """E[x | z] of draws of the prior, the shape of x."""
    return _mean(drawn_site(unconditioned(program.model, batch), batch[0]), batch[0])


def _rebuilt(inferred: Particles) -> Tensor:
    """E[x | z] of the latents that the guide drew, the shape of x."""
    x = inferred.batch[0]
    return _mean(_observed(inferred.model_sites, x), x)


def _observed(sites: Mapping[str, Site], x: Tensor) -> Site:
    return next(site for site in sites.values() if site["is_observed"] and site["value"].shape == x.shape)


def _mean(site: Site, x: Tensor) -> Tensor:
    mean: Tensor = alone(site)["fn"].mean
    return mean.reshape(x.shape)


def _check_no_point(inferred: Mapping[str, Any], name: str) -> None:
    for site in inferred.values():
        if is_point(site):
            raise UsageError(
                f"{name} holds the guide to the prior by their divergence, and site {shown(site['name'])} of the guide "
                "is a point, which has none: let the guide draw it from a density (posterior='normal' of 'bigan'), or "
                "train with 'ali' or 'avb'."
            )


def _check_mean(program: Program, batch: Batch, name: str) -> None:
    """The model's x has a mean, whose gradient reaches a parameter."""
    with torch.enable_grad(), isolated():
        site = drawn_site(unconditioned(program.model, batch), batch[0])
        mean = mean_of(alone(site)["fn"])
    if mean is None or not mean.requires_grad:
        raise UsageError(
            f"{name} shows its critic the mean of p(x | z), and site {shown(site['name'])} of "
            f"{type(owner(program.model)).__name__} has none with a gradient: give it a distribution that has a mean, "
            "or train with ELBO."
        )
