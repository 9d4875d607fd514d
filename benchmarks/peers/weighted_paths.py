"""Bounds of autoencoders: the jackknife, generalised double reparameterization, annealed paths, mixtures as guides."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from peers import Step
from peers.common import LR, batches, by_hand, dense, descend, pictures, turns
from ppgen.inference import DAIS, JVI, SIVI, GDReG
from ppgen.models import IWAE, VAE
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair

__all__: list[str] = []

LATENT = 50
LAYERS, HIDDEN = (100, 50), ((200, 200), (100, 100))
TEMPERATURES, STEP_SIZE, PERSISTENCE = 4, 0.1, 0.9
EXTRA, NOISE, WIDTH = 10, 10, 64

Through = Callable[..., Any]


def ours(
    objective: Objective, batch_size: int, *, layers: bool = False, guide: str = "gaussian", eager: bool = False
) -> Step[None]:
    """The turn, compiled or not, of a VAE or of one with two layers of latents."""
    spec, x = pictures("binary")
    pair: Pair = IWAE(spec, LAYERS, hidden=HIDDEN) if layers else VAE(spec, LATENT, guide=guide)
    return turns(pair, x, objective, batch_size, eager=eager)


def jvi_ours(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The jackknife, compiled."""
    return ours(JVI(num_particles=num_particles), batch_size)


def jvi_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The jackknife without a compiler."""
    return ours(JVI(num_particles=num_particles), batch_size, eager=True)


def gdreg_ours(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """Generalised double reparameterization, compiled."""
    return ours(GDReG(num_particles=num_particles), batch_size, layers=True)


def gdreg_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """Generalised double reparameterization without a compiler."""
    return ours(GDReG(num_particles=num_particles), batch_size, layers=True, eager=True)


def dais_ours(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """Annealed paths, compiled."""
    return ours(DAIS(num_particles=num_particles, num_temperatures=TEMPERATURES), batch_size)


def dais_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """Annealed paths without a compiler."""
    return ours(DAIS(num_particles=num_particles, num_temperatures=TEMPERATURES), batch_size, eager=True)


def sivi_ours(batch_size: int, num_particles: int, device: str, *, eager: bool = False) -> Step[None]:
    """A mixture as guide, compiled."""
    objective = SIVI(num_particles=num_particles, num_extra=EXTRA)
    return ours(objective, batch_size, guide=f"semi_implicit(noise={NOISE}, hidden=[{WIDTH}])", eager=eager)


def sivi_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """A mixture as guide without a compiler."""
    return sivi_ours(batch_size, num_particles, device, eager=True)


def network(*sizes: int) -> nn.Sequential:
    """Linear layers with tanh between."""
    return nn.Sequential(*dense(*sizes, between=nn.Tanh))


def handwritten(
    loss: Callable[[Tensor], Tensor], modules: nn.Module, batch_size: int, through: Through
) -> Step[Tensor]:
    """The step of a loss of a batch."""
    _, x = pictures("binary")
    fetch = batches(x, batch_size)
    optimizer = torch.optim.Adam(modules.parameters(), lr=LR, fused=True)
    loss = through(loss)
    return by_hand(lambda: descend(loss(fetch()), optimizer))


def seen(outputs: Tensor, x: Tensor) -> Tensor:
    """log Bernoulli(x; sigmoid(outputs)), summed over pixels."""
    return -binary_cross_entropy_with_logits(outputs, x.expand_as(outputs), reduction="none").sum(-1)


def normal(z: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    """log N(z; loc, exp(log_scale)^2) but for its constant, summed over coordinates."""
    return -(((z - loc) * (-log_scale).exp()).square() / 2 + log_scale).sum(-1)


def jvi_handwritten(batch_size: int, num_particles: int, device: str, through: Through = lambda f: f) -> Step[Tensor]:
    """K L_K - (K - 1) times the mean of the bounds that leave one out."""
    encoder, decoder = network(784, 200, 200, 2 * LATENT), network(LATENT, 200, 200, 784)
    itself = torch.eye(num_particles, dtype=torch.bool)[..., None]

    def loss(x: Tensor) -> Tensor:
        loc, log_scale = encoder(x).chunk(2, -1)
        noise = torch.randn(num_particles, *loc.shape)
        z = loc + log_scale.exp() * noise
        ratio = (0.5 * (noise.square() - z.square()) + log_scale).sum(-1)  # log p(z) - log q(z | x)
        log_w = ratio + seen(decoder(z), x)  # (K, B)
        others = log_w.masked_fill(itself, -torch.inf).logsumexp(1)  # (K, B)
        whole, fewer = log_w.logsumexp(0) - math.log(num_particles), others.mean(0) - math.log(num_particles - 1)
        return -(num_particles * whole - (num_particles - 1) * fewer).mean()

    return handwritten(loss, nn.ModuleList([encoder, decoder]), batch_size, through)


def jvi_handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return jvi_handwritten(batch_size, num_particles, device, torch.compile)


def gdreg_handwritten(batch_size: int, num_particles: int, device: str, through: Through = lambda f: f) -> Step[Tensor]:
    """The slopes of each particle's densities taken once, by `torch.func`, and weighted afterwards."""
    (low, high), ((a, b), (c, d)) = LAYERS, HIDDEN
    encoders = nn.ModuleList([network(784, a, b, 2 * low), network(low, c, d, 2 * high)])
    above, decoder = network(high, d, c, 2 * low), network(low, b, a, 784)

    def loss(x: Tensor) -> Tensor:
        loc1, log_scale1 = encoders[0](x).chunk(2, -1)
        z1 = loc1 + log_scale1.exp() * torch.randn(num_particles, *loc1.shape)
        loc2, log_scale2 = encoders[1](z1).chunk(2, -1)
        z2 = loc2 + log_scale2.exp() * torch.randn_like(loc2)
        at1, at2, q1 = z1.detach(), z2.detach(), (loc1.detach(), log_scale1.detach())

        def log_q(z1: Tensor, z2: Tensor) -> Tensor:
            return normal(z1, *q1) + normal(z2, *encoders[1](z1).chunk(2, -1))

        def log_p(z1: Tensor, z2: Tensor) -> Tensor:
            return seen(decoder(z1), x) + between(z1, z2) - z2.square().sum(-1) / 2

        def between(z1: Tensor, z2: Tensor) -> Tensor:
            return normal(z1, *above(z2).chunk(2, -1))

        def both(z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
            q, p = log_q(z1, z2), log_p(z1, z2)
            return (p - q).sum(), (p - q).detach()

        (g1, g2), log_w = torch.func.grad(both, argnums=(0, 1), has_aux=True)(at1, at2)
        g1, g2 = g1.detach(), g2.detach()
        of_q = torch.func.grad(lambda z: log_q(z, at2).sum())(at1).detach()
        loc, log_scale = above(at2).chunk(2, -1)
        noise = ((at1 - loc) * (-log_scale).exp()).detach()
        of_p = -noise * (-log_scale.detach()).exp()
        v = log_w.softmax(0)[..., None]
        slope = (v - v.square()) * g1 + v * (of_q - of_p)
        guided = (v.square() * (g1 * z1).sum(-1, keepdim=True)).sum() + (v.square() * g2 * z2).sum()
        prior = (slope * (loc + log_scale.exp() * noise)).sum()
        value = log_w.logsumexp(0).sum()
        surrogate = guided + prior + (v[..., 0] * seen(decoder(at1), x)).sum()
        return -(value + surrogate - surrogate.detach()) / len(x)

    return handwritten(loss, nn.ModuleList([*encoders, above, decoder]), batch_size, through)


def gdreg_handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return gdreg_handwritten(batch_size, num_particles, device, torch.compile)


class _Annealing(nn.Module):
    """What is learnt of the path."""

    def __init__(self) -> None:
        super().__init__()
        self.log_step_size = nn.Parameter(torch.full((TEMPERATURES, LATENT), STEP_SIZE).log())
        self.spacing = nn.Parameter(torch.zeros(TEMPERATURES))
        self.persistence = nn.Parameter(torch.tensor(PERSISTENCE).logit())


def dais_handwritten(batch_size: int, num_particles: int, device: str, through: Through = lambda f: f) -> Step[Tensor]:
    """One leapfrog a bridge, its slope by `torch.func`."""
    encoder, decoder, path = network(784, 200, 200, 2 * LATENT), network(LATENT, 200, 200, 784), _Annealing()

    def loss(x: Tensor) -> Tensor:
        loc, log_scale = encoder(x).chunk(2, -1)
        noise = torch.randn(num_particles, *loc.shape)
        u = loc + log_scale.exp() * noise
        log_w = (noise.square() / 2 + log_scale).sum(-1)  # - log q(u | x)

        def log_p(u: Tensor) -> Tensor:
            return seen(decoder(u), x) - u.square().sum(-1) / 2

        def tempered(u: Tensor, beta: Tensor) -> Tensor:
            return ((1 - beta) * normal(u, loc, log_scale) + beta * log_p(u)).sum()

        slope, kept, r = torch.func.grad(tempered), path.persistence.sigmoid(), torch.randn_like(u)
        for beta, e in zip(path.spacing.softmax(0).cumsum(0), path.log_step_size.exp(), strict=True):
            u = u + e / 2 * r
            after = r + e * slope(u, beta)
            u = u + e / 2 * after
            log_w = log_w + (r.square() - after.square()).sum(-1) / 2
            r = kept * after + (1 - kept.square()).sqrt() * torch.randn_like(r)
        return -(log_w + log_p(u)).mean()

    return handwritten(loss, nn.ModuleList([encoder, decoder, path]), batch_size, through)


def dais_handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return dais_handwritten(batch_size, num_particles, device, torch.compile)


def sivi_handwritten(batch_size: int, num_particles: int, device: str, through: Through = lambda f: f) -> Step[Tensor]:
    """The density of a draw, averaged over the noise it was made of and ten more draws of noise."""
    body, heads = network(784, 200, 200), nn.Linear(200, 2 * LATENT)
    mover, decoder = network(200 + NOISE, WIDTH, LATENT), network(LATENT, 200, 200, 784)

    def loss(x: Tensor) -> Tensor:
        h = body(x).tanh()
        loc, log_scale = heads(h).chunk(2, -1)
        log_scale = log_scale - 1
        e = torch.randn(1 + EXTRA, num_particles, len(x), NOISE)
        locs = loc + mover(torch.cat([h.expand(*e.shape[:-1], -1), e], -1))  # (J + 1, K, B, D)
        z = locs[0] + log_scale.exp() * torch.randn_like(locs[0])
        log_q = normal(z, locs, log_scale).logsumexp(0) - math.log(1 + EXTRA)
        log_w = seen(decoder(z), x) - z.square().sum(-1) / 2 - log_q
        return -log_w.mean()

    return handwritten(loss, nn.ModuleList([body, heads, mover, decoder]), batch_size, through)


def sivi_handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return sivi_handwritten(batch_size, num_particles, device, torch.compile)
