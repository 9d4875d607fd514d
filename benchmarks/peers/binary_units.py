"""Binary units: double control variates, RODEO and OVIS of an SBN 784-200; others of a VAE of 20 units."""

import math
from collections.abc import Callable
from functools import partial
from itertools import permutations
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from peers.common import Estimator, Loss, dense
from ppgen.data import DataSpec
from ppgen.inference import OVIS, RODEO, DoubleCV, LocalExpectation, UnorderedSet
from ppgen.models import SBN, DiscreteVAE
from ppgen.pairs.pair import Pair

__all__: list[str] = []

LAYER, FEW, AUXILIARY, CONTROL = 200, 20, 5, 10


class _Networks(nn.Module):
    """Encoder, decoder and prior of binary units, linear or with layers between."""

    def __init__(self, x: Tensor, units: int, *hidden: int) -> None:
        super().__init__()
        size = x.shape[1]
        self.encoder = nn.Sequential(*dense(size, *hidden, units, between=nn.Tanh))
        self.decoder = nn.Sequential(*dense(units, *hidden, size, between=nn.Tanh))
        self.prior = nn.Parameter(torch.zeros(units))
        self.register_buffer("mean", x.mean(0))

    def logits(self, x: Tensor) -> Tensor:
        """Of q(z | x), (B, units)."""
        logits: Tensor = self.encoder(x - self.get_buffer("mean"))
        return logits

    def log_p(self, x: Tensor, z: Tensor, outputs: Tensor | None = None) -> Tensor:
        """log p(x, z), (..., B), by the decoder's outputs, where they are known."""
        outputs = self.decoder(2 * z - 1) if outputs is None else outputs
        return bernoulli(self.prior, z) + bernoulli(outputs, x)

    def slope(self, x: Tensor, outputs: Tensor, logits: Tensor) -> Tensor:
        """d log w / dz written out, of a linear decoder, (K, B, units)."""
        return 2 * (x - outputs.sigmoid()) @ self.decoder[0].weight + self.prior - logits


_Net = TypeVar("_Net", bound=_Networks)


def bernoulli(logits: Tensor, value: Tensor) -> Tensor:
    """log Bernoulli(value; sigmoid(logits)), summed over units: (..., D) -> (...,)."""
    logits, value = torch.broadcast_tensors(logits, value)
    return -binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)


def network(spec: DataSpec) -> Pair:
    """The belief network."""
    return SBN(spec, (LAYER,))


def few(spec: DataSpec) -> Pair:
    """The VAE of a few units."""
    return DiscreteVAE(spec, FEW)


def by_hand(
    made: Callable[[Tensor], _Net], loss: Callable[[_Net, int, Tensor], Tensor]
) -> Callable[[Tensor, int], Loss]:
    """What learns, by all the data, and the loss of a batch by it and K."""

    def of(x: Tensor, num_particles: int) -> Loss:
        networks = made(x)
        return networks, partial(loss, networks, num_particles)

    return of


def linear(x: Tensor) -> _Networks:
    """Those of the belief network."""
    return _Networks(x, LAYER)


def deep(x: Tensor) -> _Networks:
    """Those of the VAE."""
    return _Networks(x, FEW, 200, 200)


def others(numbers: Tensor) -> Tensor:
    """The mean over the other particles, (K, ...)."""
    return (numbers.sum(0) - numbers) / (len(numbers) - 1)


def double_cv_loss(networks: _Networks, num_particles: int, x: Tensor) -> Tensor:
    """The slope of log w in the states written out."""
    logits = networks.logits(x)
    q = logits.sigmoid()
    mu, z = q.detach(), torch.bernoulli(q.detach().expand(num_particles, -1, -1))  # (K, B, units)
    outputs = networks.decoder(2 * z - 1)
    log_q = bernoulli(logits, z)  # (K, B)
    log_w = networks.log_p(x, z, outputs) - log_q
    with torch.no_grad():
        seen = others(networks.slope(x, outputs, logits))
        left = log_w - torch.einsum("kbf,jbf->kjb", seen, z - mu)  # (K, K, B): of j by what k sees
        own = left.diagonal().mT  # (K, B)
        signal = own - (left.sum(1) - own) / (num_particles - 1)
    return -(log_w + signal * log_q + (seen * q).sum(-1)).mean()


class _Controlled(_Networks):
    """With RODEO's surrogates: what is linear in the expansion, and a network of it."""

    def __init__(self, x: Tensor) -> None:
        super().__init__(x, LAYER)
        self.eta, self.share = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(()))
        self.level, self.log_unit = nn.Parameter(torch.tensor(-540.0)), nn.Parameter(torch.tensor(3.0))
        self.rest = nn.Sequential(*dense(2, CONTROL, 2, between=nn.Tanh))
        nn.init.zeros_(self.rest[-1].weight)
        nn.init.zeros_(self.rest[-1].bias)

    def surrogates(self, level: Tensor, expansion: Tensor) -> Tensor:
        """h and g, (..., 2)."""
        unit = self.log_unit.exp()
        off = ((level - self.level) / unit)[..., None].expand_as(expansion)
        found: Tensor = self.eta * expansion[..., None] + unit * self.rest(torch.stack([off, expansion / unit], -1))
        return found


def rodeo_loss(networks: _Controlled, num_particles: int, x: Tensor) -> Tensor:
    """Both surrogates by one run of their network; they descend the noise of the gradient in the same loss."""
    logits = networks.logits(x)
    mu = logits.detach().sigmoid()
    z = torch.bernoulli(mu.expand(num_particles, -1, -1))  # (K, B, units)
    outputs = networks.decoder(2 * z - 1)
    log_w = networks.log_p(x, z, outputs) - bernoulli(logits, z)  # (K, B)
    with torch.no_grad():
        own, level = networks.slope(x, outputs, logits), others(log_w)
        seen = others(own)
        at = (seen * z).sum(-1) - others((own * z).sum(-1))  # (K, B)
        without = at[..., None] - seen * z
    differences = networks.surrogates(level, without + seen) - networks.surrogates(level, without)
    image = ((mu - z) * differences[..., 0]).sum(-1)
    taken = networks.surrogates(level, at[..., None])[..., 0, 1]
    signal = log_w.detach() - level - networks.share * others(image) - taken
    gradient = (signal[..., None] * (z - mu) + mu * (1 - mu) * differences[..., 1]) / num_particles
    ascent, noise = (gradient.detach() * logits).sum((0, 2)), gradient.sum(0).square().sum(-1)  # (B,)
    return -(log_w.mean(0) + ascent - noise).mean()


def ovis_loss(networks: _Networks, num_particles: int, x: Tensor) -> Tensor:
    """The sum over the others is taken once, and each auxiliary particle added to it."""
    itself = torch.eye(num_particles, dtype=torch.bool)[..., None]
    logits = networks.logits(x)
    chances = logits.detach().sigmoid().expand(num_particles + AUXILIARY, -1, -1)
    z, aside = torch.bernoulli(chances).split([num_particles, AUXILIARY])
    log_q = bernoulli(logits, z)
    log_w = networks.log_p(x, z) - log_q  # (K, B)
    bound = log_w.logsumexp(0)
    with torch.no_grad():
        extra = (networks.log_p(x, aside) - bernoulli(logits, aside))[:, None]  # (S, 1, B)
        rest = log_w.masked_fill(itself, -torch.inf).logsumexp(1)  # (K, B)
        replaced = torch.logaddexp(rest, extra)  # (S, K, B)
        signal = bound - (replaced - (extra - replaced).exp()).mean(0)
    return -(bound - math.log(num_particles) + (signal * log_q).sum(0)).mean()


def local_expectation_loss(networks: _Networks, num_particles: int, x: Tensor) -> Tensor:
    """Each unit turned over in turn, in one run of the decoder."""
    turned = torch.eye(FEW)[:, None]  # (units, 1, units)
    logits = networks.logits(x)
    z = torch.bernoulli(logits.detach().sigmoid())
    log_w = networks.log_p(x, z) - bernoulli(logits.detach(), z)  # (B,), without the score, of mean zero
    with torch.no_grad():
        moved = (z - turned).abs()  # (units, B, units)
        gain = networks.log_p(x, moved) - bernoulli(logits, moved) - log_w  # (units, B)
    odds = ((1 - 2 * z) * logits).sigmoid()  # of each unit's other state, (B, units)
    return -(log_w + (gain.mT * odds).sum(-1)).mean()


def distinct(logits: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """States without replacement by a stochastic beam, (B, num, units), and their log q, (B, num)."""
    log_q = torch.stack([logsigmoid(-logits), logsigmoid(logits)], -1)  # (B, units, 2)
    mass = logits.new_zeros(len(logits), 1)
    top, states = -torch.empty_like(mass).exponential_().log(), logits.new_zeros(len(logits), 1, 0)
    for unit in log_q.unbind(1):
        child = mass[..., None] + unit[:, None]  # (B, k, 2)
        free = child - torch.empty_like(child).exponential_().log()
        behind = top[..., None] - free + torch.log(-torch.expm1(free - free.amax(-1, keepdim=True)))
        held = top[..., None] - behind.clamp_min(0) - (-behind.abs()).exp().log1p()  # the greatest is the parent's
        top, first = held.flatten(1).topk(min(num, 2 * held.shape[1]))
        mass = child.flatten(1).gather(1, first)
        before = states.gather(1, (first // 2)[..., None].expand(-1, -1, states.shape[-1]))
        states = torch.cat([before, (first % 2)[..., None].to(states)], -1)
    return states, mass


def unordered_set_loss(networks: _Networks, num_particles: int, x: Tensor) -> Tensor:
    """Weights by a sum over all orders of the set."""
    logits = networks.logits(x)
    orders = torch.tensor(list(permutations(range(num_particles))))  # (orders, K)
    with torch.no_grad():
        states, mass = distinct(logits, num_particles)
        q = mass.exp()
        each = q[:, orders]  # (B, orders, K)
        chance = (each / (1 - each.cumsum(-1) + each)).prod(-1)  # (B, orders)
        pairs = torch.zeros(len(orders), num_particles**2)
        pairs[torch.arange(len(orders)), orders[:, 0] * num_particles + orders[:, 1]] = 1.0
        joint = (chance @ pairs).unflatten(-1, (num_particles, num_particles))  # of the first and the second
        first = joint.sum(-1)
        weight = (first / first.sum(-1, keepdim=True)).T  # (K, B)
        rest = (1 - q)[..., None] * joint / first[..., None]  # (B, K, K)
    z = states.transpose(0, 1)  # (K, B, units)
    log_q = bernoulli(logits, z)
    log_w = networks.log_p(x, z) - log_q.detach()
    with torch.no_grad():
        signal = (1 - q.T) * log_w - torch.einsum("bst,tb->sb", rest, log_w)
    return -(weight * (log_w + signal * log_q)).sum(0).mean()


double_cv = Estimator(network, lambda k: DoubleCV(num_particles=k), by_hand(linear, double_cv_loss))
rodeo = Estimator(network, lambda k: RODEO(num_particles=k, hidden=(CONTROL,)), by_hand(_Controlled, rodeo_loss))
ovis = Estimator(network, lambda k: OVIS(num_particles=k, auxiliary=AUXILIARY), by_hand(linear, ovis_loss))
local_expectation = Estimator(few, lambda k: LocalExpectation(), by_hand(deep, local_expectation_loss))
unordered_set = Estimator(few, lambda k: UnorderedSet(num_particles=k), by_hand(deep, unordered_set_loss))
