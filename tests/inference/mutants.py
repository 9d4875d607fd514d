"""Estimators with one mistake each, as people make them: a test that lets one pass proves nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from ppgen.chains.hamiltonian import drifting
from ppgen.chains.unconstrained import FreeLatents
from ppgen.inference import DAIS, IWELBO, JVI, SIVI, SUMO, GDReG, HamiltonianELBO, MarkovianScoreClimbing
from ppgen.objectives.bounds import Bound, Reduction
from ppgen.objectives.objective import with_gradient_of
from ppgen.pairs.mixing import log_q_given_others
from ppgen.pairs.reductions import log_mean_exp
from ppgen.pairs.tracing import Particles

__all__ = [
    "DetachedDistributions",
    "FixedSlopes",
    "FreshParticlesAlone",
    "GuideScaled",
    "HookedWeights",
    "JackknifeOfTwo",
    "LargerLastTerm",
    "LargestByShares",
    "MomentaUncounted",
    "NoEntropy",
    "NormalisedApart",
    "OnceReparameterized",
    "OwnDrawLeftOut",
    "PriorScoredToo",
    "RouletteScaled",
    "Scaled",
    "SurvivalOfTheNext",
    "Unwidened",
    "UpperBoundOfShares",
    "WeightsNotSquared",
]


@dataclass(frozen=True, kw_only=True)
class _Mutant(Bound):
    needs_rsample: ClassVar[bool] = True

    num_particles: int = 2


@dataclass(frozen=True, kw_only=True)
class Scaled(_Mutant):
    """The gradient times a factor: a sign, a 2, a 1.02."""

    bound: Any
    factor: float

    def estimate(self, particles: Particles) -> Tensor:
        value = self.bound.estimate(particles)
        return with_gradient_of(value, self.factor * value)


@dataclass(frozen=True, kw_only=True)
class GuideScaled(_Mutant):
    """The guide's part of the gradient times 1.02, the model's part right."""

    bound: Reduction

    def estimate(self, particles: Particles) -> Tensor:
        value = self.bound.reduce(particles.log_w)
        return with_gradient_of(value, value + 0.02 * self.bound.reduce(particles.with_fixed(model=True).log_w))


@dataclass(frozen=True, kw_only=True)
class NoEntropy(_Mutant):
    """The ELBO without the gradient of log q."""

    def estimate(self, particles: Particles) -> Tensor:
        return (particles.log_p - particles.log_q.detach()).mean(0)


@dataclass(frozen=True, kw_only=True)
class WeightsNotSquared(IWELBO):
    """As the bound of DReG: sticking the landing, which the importance-weighted bound does not allow."""

    def path_weights(self, log_w: Tensor) -> Tensor:
        return self.weights(log_w)


@dataclass(frozen=True, kw_only=True)
class OnceReparameterized(_Mutant):
    """DReG that forgets to hold the guide's parameters fixed."""

    def estimate(self, particles: Particles) -> Tensor:
        weight = particles.log_w.detach().softmax(0)
        for_model = particles.with_fixed(latents=True).log_p
        return (weight.square() * particles.with_fixed(model=True).log_w + weight * for_model).sum(0)


@dataclass(frozen=True, kw_only=True)
class DetachedDistributions(_Mutant):
    """Sticking the landing (``square=False``) or DReG that detaches each q(z_s | .) whole: z1 -> z2 is lost."""

    square: bool

    def estimate(self, particles: Particles) -> Tensor:
        log_q = torch.zeros(())
        for name in particles.latents:
            site = particles.guide_sites[name]
            fixed = dist.Normal(site["fn"].mean.detach(), site["fn"].stddev.detach())
            log_q = log_q + fixed.log_prob(site["value"])
        log_w = particles.with_fixed(model=True).log_p - log_q
        weight = log_w.detach().softmax(0).square() if self.square else 1 / len(log_w)
        for_model = particles.with_fixed(latents=True).log_p
        weight_of_model = log_w.detach().softmax(0) if self.square else 1 / len(log_w)
        return (weight * log_w + weight_of_model * for_model).sum(0)


@dataclass(frozen=True, kw_only=True)
class HookedWeights(_Mutant):
    """DReG by a hook on each latent: along z1 -> z2 the weight is applied twice."""

    def estimate(self, particles: Particles) -> Tensor:
        log_w = particles.with_fixed(model=True, guide=True).log_w
        weight = log_w.detach().softmax(0)
        for name in particles.latents:
            particles.guide_sites[name]["value"].register_hook(lambda gradient: weight * gradient)
        return (weight * (log_w + particles.with_fixed(latents=True).log_p)).sum(0)


@dataclass(frozen=True, kw_only=True)
class JackknifeOfTwo(_Mutant):
    """The jackknife with the weights of two particles, 2 and -1, at any K."""

    def estimate(self, particles: Particles) -> Tensor:
        log_w, others = particles.log_w, ~torch.eye(self.num_particles, dtype=torch.bool)
        without_one = torch.stack([log_mean_exp(log_w[kept]) for kept in others]).mean(0)
        return 2 * log_mean_exp(log_w) - without_one


@dataclass(frozen=True, kw_only=True)
class LargerLastTerm(JVI):
    """The jackknife whose bounds of fewest particles count 2 % more, and those of all of them as much less."""

    def reduce(self, log_w: Tensor) -> Tensor:
        num = len(log_w)
        kept = torch.combinations(torch.arange(num), num - self.order)  # (sets, K - m)
        fewest = log_mean_exp(log_w[kept].movedim(1, 0)).mean(0)
        share = (num - self.order) ** self.order / math.factorial(self.order)
        more: Tensor = 0.02 * (-1) ** self.order * share * (fewest - log_mean_exp(log_w))
        return super().reduce(log_w) + more


@dataclass(frozen=True, kw_only=True)
class NormalisedApart(_Mutant):
    """The evidence less a chi-square divergence, whose weights are normalised outside of the graph."""

    def estimate(self, particles: Particles) -> Tensor:
        evidence = log_mean_exp(particles.log_w)
        ratio = (particles.log_w - evidence.detach()).exp()
        return evidence - (ratio - 1).square().mean(0)


@dataclass(frozen=True, kw_only=True)
class LargestByShares(_Mutant):
    """The largest log-weight with the gradient of the importance-weighted bound."""

    def estimate(self, particles: Particles) -> Tensor:
        return with_gradient_of(particles.log_w.max(0).values, log_mean_exp(particles.log_w))


@dataclass(frozen=True, kw_only=True)
class UpperBoundOfShares(_Mutant):
    """The chi upper bound of order 2, whose guide weighs particles by w in the place of w^2."""

    def estimate(self, particles: Particles) -> Tensor:
        log_w, share = particles.log_w.detach(), particles.log_w.detach().softmax(0)
        along_path = particles.with_fixed(model=True, guide=True).log_w
        for_model = particles.with_fixed(latents=True).log_p
        return with_gradient_of(log_mean_exp(2 * log_w) / 2, (share * (along_path + for_model)).sum(0))


@dataclass(frozen=True, kw_only=True)
class PriorScoredToo(GDReG):
    """The generalised gradient that keeps the prior's score beside its path; priors without parameters do not tell."""

    def estimate(self, particles: Particles) -> Tensor:
        value, fixed = super().estimate(particles), particles.with_fixed(latents=True)
        score = (particles.log_w.detach().softmax(0) * fixed.log_prob(fixed.latents[0])).sum(0)
        return with_gradient_of(value, value + score)


@dataclass(frozen=True, kw_only=True)
class SurvivalOfTheNext(SUMO):
    """Russian roulette whose terms are divided by the chance that the next one is reached."""

    def survival(self, terms: Tensor) -> Tensor:
        return super().survival(terms + 1)


@dataclass(frozen=True, kw_only=True)
class RouletteScaled(SUMO):
    """SUMO whose model's or guide's gradient is 2 % too large."""

    of: str = "model"

    def estimate(self, particles: Particles) -> Tensor:
        value, other = super().estimate(particles), "guide" if self.of == "model" else "model"
        frozen = {other: True, "latents": self.of == "model"}
        return with_gradient_of(value, value + 0.02 * super().estimate(particles.with_fixed(**frozen)))


@dataclass(frozen=True, kw_only=True)
class FreshParticlesAlone(MarkovianScoreClimbing):
    """Markovian score climbing that teaches by the guide's draws and leaves the chain's state out."""

    def estimate(self, particles: Particles) -> Tensor:
        share = particles.log_w.detach()[1:].softmax(0)
        return (share * (particles.log_p + particles.log_q)[1:]).sum(0)


class _Fixed(FreeLatents):
    """Slopes without a gradient of their own."""

    def slope(self, u: Tensor, power: Tensor | None = None) -> Tensor:
        return super().slope(u, power).detach()


@dataclass(frozen=True, kw_only=True)
class FixedSlopes(DAIS):
    """DAIS that takes slopes for constants."""

    def log_weights(self, free: FreeLatents, motion: Any) -> Tensor:
        return super().log_weights(_Fixed(free.particles, free.needed_by), motion)


@dataclass(frozen=True, kw_only=True)
class MomentaUncounted(DAIS):
    """DAIS without the last bridge's momenta in its weight."""

    def log_weights(self, free: FreeLatents, motion: Any) -> Tensor:
        u, r, kept = free.start, torch.randn_like(free.start), motion.persistence.sigmoid()
        log_w = free.particles.log_w - free.log_joint_at_start
        for beta, e in zip(motion.betas, motion.log_step_size.exp(), strict=True):
            before = r.square().sum(-1) / 2
            u, r = drifting(partial(free.slope, power=beta), u, r, e)
            if beta < 1:
                log_w = log_w + before - r.square().sum(-1) / 2
            r = kept * r + (1 - kept.square()).sqrt() * torch.randn_like(r)
        return log_w + free.log_joint(u)


@dataclass(frozen=True, kw_only=True)
class Unwidened(HamiltonianELBO):
    """The Hamiltonian bound that forgets that its momentum was widened: the Jacobian is counted twice."""

    def log_weights(self, free: FreeLatents, motion: Any) -> Tensor:
        widened: Tensor = motion.warmth(self.num_leapfrogs)[0]
        return super().log_weights(free, motion) + free.start.shape[-1] * widened.log()


@dataclass(frozen=True, kw_only=True)
class OwnDrawLeftOut(SIVI):
    """SIVI whose mixture lacks the draw that z was made of."""

    def log_weights(self, particles: Particles) -> Tensor:
        log_q = log_q_given_others(particles, int(self.num_extra))  # type: ignore[arg-type]  # no schedule
        log_w: Tensor = particles.log_p - log_q.logsumexp(0) + math.log(len(log_q))
        return log_w
