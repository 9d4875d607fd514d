"""A VAE whose latents move on: annealed and Hamiltonian paths, Langevin steps, conditional importance sampling."""

import math

import torch
from torch import Tensor, nn

from peers.common import Estimator, Loss
from peers.gaussian import LATENT, Coders, normal, vae
from ppgen.inference import DAIS, HamiltonianELBO, LangevinVAE, MarkovianScoreClimbing

__all__: list[str] = []

STEPS, STEP_SIZE, PERSISTENCE, COLD = 4, 0.1, 0.9, 0.5
ACCEPTANCE, ADAPTATION = 0.574, 0.05
FEW_DATA = 200


class _Annealing(Coders):
    """With what is learnt of the path."""

    def __init__(self) -> None:
        super().__init__()
        self.log_step_size = nn.Parameter(torch.full((STEPS, LATENT), STEP_SIZE).log())
        self.spacing = nn.Parameter(torch.zeros(STEPS))
        self.persistence = nn.Parameter(torch.tensor(PERSISTENCE).logit())


def dais_by_hand(x: Tensor, num_particles: int) -> Loss:
    """One leapfrog a bridge, its slope by `torch.func`."""
    path = _Annealing()

    def loss(x: Tensor) -> Tensor:
        loc, log_scale = path.encoded(x)
        noise = torch.randn(num_particles, *loc.shape)
        u = loc + log_scale.exp() * noise
        log_w = (noise.square() / 2 + log_scale).sum(-1)  # - log q(u | x)

        def tempered(u: Tensor, beta: Tensor) -> Tensor:
            return ((1 - beta) * normal(u, loc, log_scale) + beta * path.log_p(x, u)).sum()

        slope, kept, r = torch.func.grad(tempered), path.persistence.sigmoid(), torch.randn_like(u)
        for beta, e in zip(path.spacing.softmax(0).cumsum(0), path.log_step_size.exp(), strict=True):
            u = u + e / 2 * r
            after = r + e * slope(u, beta)
            u = u + e / 2 * after
            log_w = log_w + (r.square() - after.square()).sum(-1) / 2
            r = kept * after + (1 - kept.square()).sqrt() * torch.randn_like(r)
        return -(log_w + path.log_p(x, u)).mean()

    return path, loss


class _Trajectory(Coders):
    """With what is learnt of the trajectory."""

    def __init__(self) -> None:
        super().__init__()
        self.log_step_size = nn.Parameter(torch.full((LATENT,), STEP_SIZE).log())
        self.cold = nn.Parameter(torch.tensor(COLD).logit())


def hamiltonian_by_hand(x: Tensor, num_particles: int) -> Loss:
    """Leapfrogs of log p, cooled after each."""
    path, share = _Trajectory(), torch.linspace(0, 1, STEPS + 1)

    def loss(x: Tensor) -> Tensor:
        u, log_w = path.drawn(x, num_particles)
        slope, e, g = torch.func.grad(lambda u: path.log_p(x, u).sum()), path.log_step_size.exp(), torch.randn_like(u)
        warmth = 1 + (path.cold.sigmoid().rsqrt() - 1) * (1 - share.square())
        r = warmth[0] * g
        for cooling in warmth[1:] / warmth[:-1]:
            u = u + e / 2 * r
            r = r + e * slope(u)
            u = u + e / 2 * r
            r = cooling * r
        return -(log_w + path.log_p(x, u) + (g.square() - r.square()).sum(-1) / 2).mean()

    return path, loss


def langevin_by_hand(x: Tensor, num_particles: int) -> Loss:
    """The slope at the guide's draws serves the guide and the first move, and each end's the move after it."""
    coders, step_size = Coders(), torch.tensor(STEP_SIZE)

    def loss(x: Tensor) -> Tensor:
        z, entropy = coders.drawn(x, num_particles)

        def joint(z: Tensor) -> tuple[Tensor, Tensor]:
            log_p = coders.log_p(x, z)
            return log_p.sum(), log_p.detach()

        with torch.no_grad():
            u, rates = z.detach(), []
            at_start, value = torch.func.grad(joint, has_aux=True)(u)
            slope, log_p = at_start, value
            for _ in range(STEPS):
                r, e = torch.randn_like(u), step_size * (0.8 + 0.4 * torch.rand(()))
                half = r + e / 2 * slope
                there = u + e * half
                ahead, gain = torch.func.grad(joint, has_aux=True)(there)
                after = half + e / 2 * ahead
                chance = gain - log_p + (r.square() - after.square()).sum(-1) / 2
                yes = torch.rand_like(chance).log() < chance
                u, slope = (torch.where(yes[..., None], *pair) for pair in ((there, u), (ahead, slope)))
                log_p = torch.where(yes, gain, log_p)
                rates.append(chance.clamp_max(0.0).exp().mean())
            step_size.mul_((ADAPTATION * (torch.stack(rates).mean() - ACCEPTANCE)).exp())
        for_model, for_guide = coders.log_p(x, u), entropy + (at_start * z).sum(-1)
        surrogate = for_model + for_guide
        return -(value + entropy.detach() + surrogate - surrogate.detach()).mean()

    return coders, loss


def climbing_by_hand(x: Tensor, num_particles: int) -> Loss:
    """All the data at once, in their order, each with a state that is kept."""
    coders, state = Coders(), torch.randn(len(x), LATENT)

    def loss(_: Tensor) -> Tensor:
        loc, log_scale = coders.encoded(x)
        with torch.no_grad():
            fresh = loc + log_scale.exp() * torch.randn(num_particles - 1, *loc.shape)
            z = torch.cat([state[None], fresh])
        log_p, log_q = coders.log_p(x, z), normal(z, loc, log_scale)
        with torch.no_grad():
            log_w = log_p - log_q
            race = log_w - torch.empty_like(log_w).exponential_().log()
            state.copy_(z.take_along_dim(race.argmax(0)[None, :, None], 0)[0])
            value = log_w[1:].logsumexp(0) - math.log(num_particles - 1)
        taught = (log_w.softmax(0) * (log_p + log_q)).sum(0)
        return -(value + taught - taught.detach()).mean()

    return coders, loss


dais = Estimator(vae, lambda k: DAIS(num_particles=k, num_temperatures=STEPS), dais_by_hand)
hamiltonian_elbo = Estimator(vae, lambda k: HamiltonianELBO(num_particles=k, num_leapfrogs=STEPS), hamiltonian_by_hand)
langevin_vae = Estimator(vae, lambda k: LangevinVAE(num_particles=k, num_steps=STEPS), langevin_by_hand)
markovian_score_climbing = Estimator(
    vae, lambda k: MarkovianScoreClimbing(num_particles=k), climbing_by_hand, num_data=FEW_DATA
)
