"""Binary units: double control variates and OVIS of an SBN 784-200; local expectations of a VAE of 20 units."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from peers import Step
from peers.common import LR, batches, by_hand, dense, descend, pictures, turns
from ppgen.inference import OVIS, DoubleCV, LocalExpectation
from ppgen.models import SBN, DiscreteVAE
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair

__all__: list[str] = []

LAYER, FEW, AUXILIARY = 200, 20, 5

Through = Callable[..., Any]


def ours(objective: Objective, batch_size: int, *, few: bool = False, eager: bool = False) -> Step[None]:
    """The turn, compiled or not, of the belief network or of the VAE of a few units."""
    spec, x = pictures("binary")
    pair: Pair = DiscreteVAE(spec, FEW) if few else SBN(spec, (LAYER,))
    return turns(pair, x, objective, batch_size, eager=eager)


def double_cv_ours(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """Double control variates, compiled."""
    return ours(DoubleCV(num_particles=num_particles), batch_size)


def double_cv_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """Double control variates without a compiler."""
    return ours(DoubleCV(num_particles=num_particles), batch_size, eager=True)


def ovis_ours(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """OVIS, compiled."""
    return ours(OVIS(num_particles=num_particles, auxiliary=AUXILIARY), batch_size)


def ovis_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """OVIS without a compiler."""
    return ours(OVIS(num_particles=num_particles, auxiliary=AUXILIARY), batch_size, eager=True)


def local_expectation_ours(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """Local expectations, compiled."""
    return ours(LocalExpectation(), batch_size, few=True)


def local_expectation_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """Local expectations without a compiler."""
    return ours(LocalExpectation(), batch_size, few=True, eager=True)


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


def bernoulli(logits: Tensor, value: Tensor) -> Tensor:
    """log Bernoulli(value; sigmoid(logits)), summed over units: (..., D) -> (...,)."""
    logits, value = torch.broadcast_tensors(logits, value)
    return -binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)


def handwritten(
    estimator: Callable[[_Networks, Tensor], Tensor], batch_size: int, through: Through, *sizes: int
) -> Step[Tensor]:
    """The step of an estimator, which gives the loss by the networks and a batch; ``sizes``: units, hidden layers."""
    _, x = pictures("binary")
    networks, fetch = _Networks(x, *sizes), batches(x, batch_size)
    optimizer = torch.optim.Adam(networks.parameters(), lr=LR, fused=True)
    loss = through(lambda v: estimator(networks, v))
    return by_hand(lambda: descend(loss(fetch()), optimizer))


def double_cv_handwritten(
    batch_size: int, num_particles: int, device: str, through: Through = lambda f: f
) -> Step[Tensor]:
    """The slope of log w in the states written out: that of a linear layer."""

    def loss(networks: _Networks, x: Tensor) -> Tensor:
        logits = networks.logits(x)
        q = logits.sigmoid()
        mu, z = q.detach(), torch.bernoulli(q.detach().expand(num_particles, -1, -1))  # (K, B, units)
        outputs = networks.decoder(2 * z - 1)
        log_q = bernoulli(logits, z)  # (K, B)
        log_w = networks.log_p(x, z, outputs) - log_q
        with torch.no_grad():
            slope = 2 * (x - outputs.sigmoid()) @ networks.decoder[0].weight + networks.prior - logits
            others = (slope.sum(0) - slope) / (num_particles - 1)
            left = log_w - torch.einsum("kbf,jbf->kjb", others, z - mu)  # (K, K, B): of j by what k sees
            own = left.diagonal().mT  # (K, B)
            signal = own - (left.sum(1) - own) / (num_particles - 1)
        return -(log_w + signal * log_q + (others * q).sum(-1)).mean()

    return handwritten(loss, batch_size, through, LAYER)


def double_cv_handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return double_cv_handwritten(batch_size, num_particles, device, torch.compile)


def ovis_handwritten(batch_size: int, num_particles: int, device: str, through: Through = lambda f: f) -> Step[Tensor]:
    """The sum over the others is taken once, and each auxiliary particle added to it."""
    itself = torch.eye(num_particles, dtype=torch.bool)[..., None]

    def loss(networks: _Networks, x: Tensor) -> Tensor:
        logits = networks.logits(x)
        chances = logits.detach().sigmoid().expand(num_particles + AUXILIARY, -1, -1)
        z, aside = torch.bernoulli(chances).split([num_particles, AUXILIARY])
        log_q = bernoulli(logits, z)
        log_w = networks.log_p(x, z) - log_q  # (K, B)
        bound = log_w.logsumexp(0)
        with torch.no_grad():
            extra = (networks.log_p(x, aside) - bernoulli(logits, aside))[:, None]  # (S, 1, B)
            others = log_w.masked_fill(itself, -torch.inf).logsumexp(1)  # (K, B)
            replaced = torch.logaddexp(others, extra)  # (S, K, B)
            signal = bound - (replaced - (extra - replaced).exp()).mean(0)
        return -(bound - math.log(num_particles) + (signal * log_q).sum(0)).mean()

    return handwritten(loss, batch_size, through, LAYER)


def ovis_handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return ovis_handwritten(batch_size, num_particles, device, torch.compile)


def local_expectation_handwritten(
    batch_size: int, num_particles: int, device: str, through: Through = lambda f: f
) -> Step[Tensor]:
    """Each unit turned over in turn, in one run of the decoder."""
    turned = torch.eye(FEW)[:, None]  # (units, 1, units)

    def loss(networks: _Networks, x: Tensor) -> Tensor:
        logits = networks.logits(x)
        z = torch.bernoulli(logits.detach().sigmoid())
        log_w = networks.log_p(x, z) - bernoulli(logits.detach(), z)  # (B,), without the score, of mean zero
        with torch.no_grad():
            moved = (z - turned).abs()  # (units, B, units)
            gain = networks.log_p(x, moved) - bernoulli(logits, moved) - log_w  # (units, B)
        odds = ((1 - 2 * z) * logits).sigmoid()  # of each unit's other state, (B, units)
        return -(log_w + (gain.mT * odds).sum(-1)).mean()

    return handwritten(loss, batch_size, through, FEW, 200, 200)


def local_expectation_handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return local_expectation_handwritten(batch_size, num_particles, device, torch.compile)
