"""A deep Boltzmann machine, 784-500-1000: mean field, and persistent chains, one sweep, as many as data."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, softplus

from peers import Step
from peers.common import LR, batches, by_hand, descend, pictures, turns
from ppgen.inference import MeanFieldPCD
from ppgen.models import DBM

__all__ = ["eager", "handwritten", "handwritten_compiled", "ours"]

HIDDEN, ROUNDS = (500, 1000), 5
"""Rounds of the mean field: a tolerance of none, so that all peers do as many."""


def ours(batch_size: int, num_particles: int, device: str, *, eager: bool = False) -> Step[None]:
    """The compiled turn."""
    spec, x = pictures("binary")
    pair = DBM(spec, HIDDEN, tolerance=1e-30, rounds=ROUNDS)
    return turns(pair, x, MeanFieldPCD(num_chains=batch_size), batch_size, eager=eager)


def eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The same turn without a compiler."""
    return ours(batch_size, num_particles, device, eager=True)


def handwritten(
    batch_size: int, num_particles: int, device: str, through: Callable[..., Callable[..., Tensor]] = lambda f: f
) -> Step[Tensor]:
    """Means, sweep, difference of free energies and one fused Adam; ``through`` is a compiler, if any."""
    _, x = pictures("binary")
    sizes = (x.shape[1], *HIDDEN)
    lower, upper = (nn.Parameter(0.01 * torch.randn(sizes[k], sizes[k + 1])) for k in (0, 1))
    visible, middle, top = (nn.Parameter(torch.zeros(size)) for size in sizes)
    optimizer = torch.optim.Adam([lower, upper, visible, middle, top], lr=LR, fused=True)
    chains, fetch = torch.cat([x[:batch_size], torch.rand(batch_size, sizes[2]).round()], 1), batches(x, batch_size)

    def means(v: Tensor) -> Tensor:
        bottom = v @ lower + middle
        first = bottom.sigmoid()
        second = (first @ upper + top).sigmoid()
        for _ in range(ROUNDS):
            first = (bottom + second @ upper.T).sigmoid()
            second = (first @ upper + top).sigmoid()
        return torch.cat([first, second], 1)

    def sweep(s: Tensor) -> Tensor:
        v, h2 = s.split((sizes[0], sizes[2]), 1)
        h1 = torch.bernoulli((v @ lower + h2 @ upper.T + middle).sigmoid())
        return torch.bernoulli(torch.cat([h1 @ lower.T + visible, h1 @ upper + top], 1).sigmoid())

    def loss(v: Tensor, m: Tensor, s: Tensor) -> Tensor:
        first, second = m.split(HIDDEN, 1)
        entropy = binary_cross_entropy(m, m, reduction="none").sum(1)
        energy = v @ visible + (first * (v @ lower + middle)).sum(1) + (second * (first @ upper + top)).sum(1)
        w, h2 = s.split((sizes[0], sizes[2]), 1)
        model = w @ visible + h2 @ top + softplus(w @ lower + h2 @ upper.T + middle).sum(1)
        return model.mean() - (energy + entropy).mean()

    means, sweep, loss = through(means), through(sweep), through(loss)

    def update() -> Tensor:
        nonlocal chains
        v = fetch()
        with torch.no_grad():
            chains, m = sweep(chains), means(v)
        return descend(loss(v, m, chains), optimizer)

    return by_hand(update)


def handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """Means, sweep and loss under `torch.compile`."""
    return handwritten(batch_size, num_particles, device, torch.compile)
