"""A sigmoid belief network 784-200-200 by VIMCO, or by REINFORCE with leave-one-out baselines."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from peers import Step
from peers.common import LR, batches, by_hand, descend, pictures, svi, turns
from ppgen.inference import REINFORCE, VIMCO
from ppgen.models import SBN
from ppgen.objectives.objective import Objective

__all__: list[str] = []

LAYERS = (200, 200)


def ours(objective: Objective, batch_size: int, *, eager: bool = False) -> Step[None]:
    """The turn, compiled or not."""
    spec, x = pictures("binary")
    return turns(SBN(spec, LAYERS), x, objective, batch_size, eager=eager)


def vimco_ours(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """VIMCO, compiled."""
    return ours(VIMCO(num_particles=num_particles), batch_size)


def vimco_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """VIMCO without a compiler."""
    return ours(VIMCO(num_particles=num_particles), batch_size, eager=True)


def reinforce_ours(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """REINFORCE, compiled."""
    return ours(REINFORCE(num_particles=num_particles, baseline="leave_one_out"), batch_size)


def reinforce_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """REINFORCE without a compiler."""
    return ours(REINFORCE(num_particles=num_particles, baseline="leave_one_out"), batch_size, eager=True)


def reinforce_stock_pyro(batch_size: int, num_particles: int, device: str) -> Step[float]:
    """`Trace_ELBO` with vectorized particles on the same pair: the score function, without our baselines."""
    spec, x = pictures("binary")
    bound = Trace_ELBO(num_particles=num_particles, vectorize_particles=True, max_plate_nesting=1)
    return svi(SBN(spec, LAYERS), x, bound, batch_size)


def handwritten(
    bound: Callable[[Tensor], Tensor],
    signal: Callable[[Tensor], Tensor],
    batch_size: int,
    num_particles: int,
    through: Callable[..., Callable[[Tensor], Tensor]] = lambda f: f,
) -> Step[Tensor]:
    """``bound`` reduces log-weights (K, B) over K; ``signal`` maps them to what multiplies the score."""
    _, x = pictures("binary")
    sizes, mean = (x.shape[1], *LAYERS), x.mean(0)
    encoders = nn.ModuleList(nn.Linear(down, up) for down, up in pairwise(sizes))
    decoders = nn.ModuleList(nn.Linear(up, down) for down, up in pairwise(sizes))
    prior = nn.Parameter(torch.zeros(LAYERS[-1]))
    optimizer = torch.optim.Adam([*encoders.parameters(), *decoders.parameters(), prior], lr=LR, fused=True)
    fetch = batches(x, batch_size)

    def loss(v: Tensor) -> Tensor:
        below, states, log_q = (v - mean).expand(num_particles, -1, -1), [], v.new_zeros(num_particles, len(v))
        for encoder in encoders:
            logits = encoder(below)  # (K, B, units)
            states.append(torch.bernoulli(logits.detach().sigmoid()))
            log_q = log_q + bernoulli(logits, states[-1])
            below = 2 * states[-1] - 1
        log_p = bernoulli(prior, states[-1])
        for decoder, above, at in zip(decoders, states, [v, *states], strict=False):
            log_p = log_p + bernoulli(decoder(2 * above - 1), at)
        log_w = log_p - log_q  # (K, B)
        return -(bound(log_w) + (signal(log_w.detach()) * log_q).sum(0)).mean()

    loss = through(loss)
    return by_hand(lambda: descend(loss(fetch()), optimizer))


def vimco_handwritten(
    batch_size: int, num_particles: int, device: str, through: Callable[..., Callable[[Tensor], Tensor]] = lambda f: f
) -> Step[Tensor]:
    """The importance-weighted bound, with the others' geometric mean in each particle's place."""

    def bound(log_w: Tensor) -> Tensor:
        return log_w.logsumexp(0) - math.log(num_particles)

    def signal(log_w: Tensor) -> Tensor:
        others = (log_w.sum(0) - log_w) / (num_particles - 1)
        without = torch.where(torch.eye(num_particles, dtype=torch.bool)[..., None], others, log_w)  # (K, K, B)
        return bound(log_w) - (without.logsumexp(1) - math.log(num_particles))

    return handwritten(bound, signal, batch_size, num_particles, through)


def vimco_handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return vimco_handwritten(batch_size, num_particles, device, torch.compile)


def reinforce_handwritten(
    batch_size: int, num_particles: int, device: str, through: Callable[..., Callable[[Tensor], Tensor]] = lambda f: f
) -> Step[Tensor]:
    """The ELBO, with the others' mean as the baseline."""

    def signal(log_w: Tensor) -> Tensor:
        return (log_w - (log_w.sum(0) - log_w) / (num_particles - 1)) / num_particles

    return handwritten(lambda log_w: log_w.mean(0), signal, batch_size, num_particles, through)


def reinforce_handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return reinforce_handwritten(batch_size, num_particles, device, torch.compile)


def bernoulli(logits: Tensor, value: Tensor) -> Tensor:
    """log Bernoulli(value; sigmoid(logits)), summed over units: (..., D) -> (...,)."""
    logits, value = torch.broadcast_tensors(logits, value)
    return -binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)
