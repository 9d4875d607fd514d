"""Bounds of autoencoders: functions of weights, doubly reparameterized paths, mixtures as guides."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from peers.common import Estimator, Loss
from peers.gaussian import LATENT, Coders, network, normal, seen, vae
from ppgen.data import DataSpec
from ppgen.inference import CUBO, JVI, SIVI, SUMO, FDivergence, GDReG, VRMax
from ppgen.models import IWAE, VAE
from ppgen.pairs.pair import Pair

__all__: list[str] = []

LAYERS, HIDDEN = (100, 50), ((200, 200), (100, 100))
EXTRA, NOISE, WIDTH, TERMS, ORDER = 10, 10, 64, 5, 2.0


def layered(spec: DataSpec) -> Pair:
    """Ours with two layers of latents."""
    return IWAE(spec, LAYERS, hidden=HIDDEN)


def mixed(spec: DataSpec) -> Pair:
    """Ours with a mixture as guide."""
    return VAE(spec, LATENT, guide=f"semi_implicit(noise={NOISE}, hidden=[{WIDTH}])")


def of_weights(bound: Callable[[Tensor], Tensor]) -> Callable[[Tensor, int], Loss]:
    """A bound that is a function of log-weights, (K, B) to (B,)."""

    def by_hand(x: Tensor, num_particles: int) -> Loss:
        coders = Coders()

        def loss(x: Tensor) -> Tensor:
            z, entropy = coders.drawn(x, num_particles)
            return -bound(entropy + coders.log_p(x, z)).mean()

        return coders, loss

    return by_hand


def jackknifed(log_w: Tensor) -> Tensor:
    """K L_K - (K - 1) times the mean of the bounds that leave one out."""
    num = len(log_w)
    itself = torch.eye(num, dtype=torch.bool)[..., None]
    others = log_w.masked_fill(itself, -torch.inf).logsumexp(1)  # (K, B)
    whole, fewer = log_w.logsumexp(0) - math.log(num), others.mean(0) - math.log(num - 1)
    return num * whole - (num - 1) * fewer


def less_forward_kl(log_w: Tensor) -> Tensor:
    """The evidence less KL(p || q), both of the same weights."""
    evidence = log_w.logsumexp(0) - math.log(len(log_w))
    log_r = log_w - evidence
    return evidence - (log_r.exp() * log_r).mean(0)


def vr_max_by_hand(x: Tensor, num_particles: int) -> Loss:
    """The best of each datum is found without a graph; it alone is run with one."""
    coders = Coders()

    def loss(x: Tensor) -> Tensor:
        loc, log_scale = coders.encoded(x)
        noise = torch.randn(num_particles, *loc.shape)
        with torch.no_grad():
            log_w = noise.square().sum(-1) / 2 + coders.log_p(x, loc + log_scale.exp() * noise)
            best = log_w.argmax(0)[None, :, None].expand(1, *loc.shape)
        kept = noise.gather(0, best)  # (1, B, D)
        entropy = (kept.square() / 2 + log_scale).sum(-1)
        return -(entropy + coders.log_p(x, loc + log_scale.exp() * kept)).mean()

    return coders, loss


def twofold(
    weights: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]], num_more: int = 0
) -> Callable[[Tensor, int], Loss]:
    """Gradients that weigh particles differently for the model and along the guide's path, by one run of the decoder.

    Args:
        weights: by log-weights, (K, B): the value, (B,), the model's and the guide's weights, (K, B).
        num_more: particles beside those that are asked for.
    """

    def by_hand(x: Tensor, num_particles: int) -> Loss:
        coders = Coders()

        def loss(x: Tensor) -> Tensor:
            loc, log_scale = coders.encoded(x)
            z = loc + log_scale.exp() * torch.randn(num_particles + num_more, *loc.shape)
            held = loc.detach(), log_scale.detach()

            def log_w(z: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
                log_p = coders.log_p(x, z)
                found = log_p - normal(z, *held)
                return found.sum(), (log_p, found.detach())

            slope, (log_p, found) = torch.func.grad(log_w, has_aux=True)(z.detach())
            value, for_model, for_guide = weights(found)
            surrogate = (for_model * log_p).sum(0) + (for_guide * (slope.detach() * z).sum(-1)).sum(0)
            return -(value + surrogate - surrogate.detach()).mean()

        return coders, loss

    return by_hand


def chi(log_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The upper bound of this order, which the guide lowers; the model has the weights of the lower one."""
    value = ((ORDER * log_w).logsumexp(0) - math.log(len(log_w))) / ORDER
    return value, log_w.softmax(0), (ORDER - 1) * (ORDER * log_w).softmax(0)


def series(log_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The series cut off after so many terms."""

    def roulette(log_w: Tensor) -> Tensor:
        bounds = (log_w.logcumsumexp(0) - torch.arange(1.0, len(log_w) + 1)[:, None].log())[-TERMS - 1 :]
        return bounds[0] + (bounds.diff(dim=0) * torch.arange(1.0, TERMS + 1)[:, None]).sum(0)

    def summed(log_w: Tensor) -> tuple[Tensor, Tensor]:
        value = roulette(log_w)
        return value.sum(), value.detach()

    for_model, value = torch.func.grad(summed, has_aux=True)(log_w)
    return value, for_model, log_w.softmax(0).square()


@dataclass(frozen=True, kw_only=True)
class _SoManyTerms(SUMO):
    """Cut off where by hand it is."""

    def terms(self) -> int:
        return TERMS


def gdreg_by_hand(x: Tensor, num_particles: int) -> Loss:
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

    return nn.ModuleList([*encoders, above, decoder]), loss


def sivi_by_hand(x: Tensor, num_particles: int) -> Loss:
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

    return nn.ModuleList([body, heads, mover, decoder]), loss


jvi = Estimator(vae, lambda k: JVI(num_particles=k), of_weights(jackknifed))
f_divergence = Estimator(vae, lambda k: FDivergence(num_particles=k, f="forward_kl"), of_weights(less_forward_kl))
vr_max = Estimator(vae, lambda k: VRMax(num_particles=k), vr_max_by_hand)
cubo = Estimator(vae, lambda k: CUBO(num_particles=k, order=ORDER), twofold(chi))
sumo = Estimator(vae, lambda k: _SoManyTerms(num_particles=k), twofold(series, TERMS))
gdreg = Estimator(layered, lambda k: GDReG(num_particles=k), gdreg_by_hand)
sivi = Estimator(mixed, lambda k: SIVI(num_particles=k, num_extra=EXTRA), sivi_by_hand)
