"""Adversarial variational Bayes: a bound of a guide without a density, by a critic of its draws against the prior's.

    critic:            max_T  E_data E_q[log sigma(T(x, z))] + E_data E_p[log(1 - sigma(T(x, z)))]
    model and guide:   min    -E_data E_q[log p(x | z) - T(x, z)]                                       (nats)

At the optimum T = log q(z | x) - log p(z), and minus the second loss is the ELBO, whose gradient in the guide needs no
slope of T in what T learnt (proposition 2); q may be anything that can be drawn from: a network of x and noise. At any
other T the number is no bound.

With ``adaptive`` contrast the critic tells q from what is nearer to it than the prior, r(z | x) = N(m, diag(s^2)), m
and s the mean and standard deviation of the K draws of each datum, held fixed (section 3.2):

    log q - log p = T + log r(z | x) - log p(z),       T of (z - m) / s against N(0, I),

where T has less to learn. K draws also average the second loss.

Mescheder, Nowozin and Geiger: Adversarial Variational Bayes, ICML 2017, eq. 3.3 and 3.7, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from annotated_types import Len
from pyro.distributions import Normal
from torch import Tensor, nn

from ppgen.arguments import Count, NonNegative, Share, Sizes, Words
from ppgen.errors import UsageError
from ppgen.layers.dense import Maker
from ppgen.objectives.adversarial import Adversarial
from ppgen.objectives.games import JointCritic
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Outcome, Player, State
from ppgen.pairs.joint import check_infers
from ppgen.pairs.latents import side_by_side
from ppgen.pairs.looking import looking
from ppgen.pairs.pair import check_likelihood
from ppgen.pairs.sampling import prior_latents
from ppgen.pairs.sites import check_reparameterized
from ppgen.pairs.tracing import Batch, Program, run_particles
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["AVB"]


@register_objective(
    "avb",
    summary="adversarial variational Bayes: a VAE whose guide needs no density",
    reference="Mescheder, Nowozin and Geiger, Adversarial variational Bayes",
    year=2017,
    link="https://arxiv.org/abs/1701.04722",
    tags=("adversarial", "biased"),
    tiny=lambda: AVB(hidden=(4,)),
)
@dataclass(frozen=True, kw_only=True)
class AVB(Objective):
    """``critic``: T, called with x, the latents of a datum side by side, (B, F), and what else a batch holds; or what
    makes one; None: a dense network of sizes ``hidden``. ``critic_steps``, ``critic_rate``, ``betas``: as of the games;
    ``num_particles``: K; ``adaptive``: the contrast, for which K is 2 or more, better tens.

    Metrics of the pair: ``log_likelihood``, E log p(x | z), and ``divergence``, the estimate of KL(q(z | x) || p(z)),
    in nats per datum; of the critic: ``real`` and ``fake``, its means at draws of guide and prior.

    Raises:
        UsageError: ``adaptive`` with one particle.

    >>> import ppgen
    >>> pair = ppgen.models.ImplicitVAE(ppgen.DataSpec("bits", 4, "binary"), latent_dim=2, hidden=(3,))
    >>> objective, x = AVB(hidden=(8,), num_particles=5, adaptive=True), torch.zeros(3, 4)
    >>> program = Program(pair.model, pair.guide, objective.parameters(pair, (x,)))
    >>> sorted(objective.play("pair", program, (x,), {}).metrics)
    ['divergence', 'log_likelihood']
    """

    is_bound: ClassVar[bool] = False
    unbiased_gradient: ClassVar[bool] = False
    needs_inference: ClassVar[bool] = True

    critic: Annotated[nn.Module | Maker | None, Words("a module, or what makes one of a batch's tensors")] = None
    hidden: Sizes = (128, 128)
    critic_steps: Count = 1
    critic_rate: NonNegative = 1.0
    betas: Annotated[Sequence[Share], Len(2, 2), Words("two numbers in [0, 1)")] = (0.5, 0.9)
    num_particles: Count = 1
    adaptive: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adaptive and self.num_particles < 2:
            raise UsageError(
                "adaptive contrast takes mean and standard deviation of the draws of a datum, and num_particles of AVB "
                "is 1: give it tens, or leave adaptive out."
            )

    @property
    def total_particles(self) -> int:
        return self.num_particles

    def players(self) -> tuple[Player, ...]:
        critic, pair = self._logistic.players()
        return critic, replace(pair, name="pair")

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        with looking(pair, seed=0):
            one = run_particles(Program(pair.model, pair.guide), batch, 1)  # type: ignore[arg-type]  # a pair's methods
            latents = side_by_side(one)[0]
        return self._logistic.parameters(pair, (batch[0], latents, *batch[1:]))

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        critic = JointCritic.of(program, batch)
        with nullcontext() if player == "pair" else torch.no_grad():
            particles = run_particles(program, batch, self.num_particles)
            z = side_by_side(particles)  # (K, B, F)
        num_data = particles.scale * z.shape[1]
        mean, spread = _moments(z) if self.adaptive else (0.0, 1.0)
        inferred = _beside(batch, (z - mean) / spread)
        if player == "critic":
            other = torch.randn_like(z) if self.adaptive else side_by_side(particles, prior_latents(particles))
            loss, metrics = self._logistic.critic_turn(critic, inferred, _beside(batch, other))
            return Outcome(num_data * loss, num_data, {name: metrics[name] for name in ("real", "fake")})
        ratio = critic(inferred).reshape(z.shape[:2])  # (K, B)
        if self.adaptive:
            ratio = ratio + Normal(mean, spread).log_prob(z).sum(-1) - particles.log_prior
        told, divergence = particles.log_likelihood.mean(), ratio.mean()
        return Outcome(num_data * (divergence - told), num_data, {"log_likelihood": told, "divergence": divergence})

    def _look(self, program: Program, batch: Batch) -> None:
        name = type(self).__name__
        check_likelihood(program.model, name)
        super()._look(program, batch)
        check_reparameterized(check_infers(program, batch, name), name)
        if outside := run_particles(program, batch, 1).global_latents:
            raise UsageError(
                f"{name} takes its critic for each datum by itself, and site {outside[0]!r} stands outside the data "
                "plate: move it inside, or train with ELBO."
            )

    @property
    def _logistic(self) -> Adversarial:
        """The critic's game, logistic regression of the guide's draws against the others."""
        made: Adversarial = OBJECTIVES["minimax"].cls(
            critic=self.critic,
            hidden=self.hidden,
            critic_steps=self.critic_steps,
            critic_rate=self.critic_rate,
            betas=self.betas,
        )
        return made


def _moments(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the draws of each datum, (B, F) each, held fixed."""
    fixed = z.detach()
    return fixed.mean(0), fixed.std(0) + 1e-6


def _beside(batch: Batch, z: Tensor) -> Tensor:
    """x, once for each of K draws, and these, (K, B, F) -> (K B, D + F)."""
    x = batch[0].reshape(len(batch[0]), -1)
    return torch.cat([x.expand(len(z), *x.shape), z.to(x.dtype).expand(-1, len(x), -1)], -1).flatten(0, 1)
