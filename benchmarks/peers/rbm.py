"""A restricted Boltzmann machine, 784-500, by persistent contrastive divergence: one sweep, as many chains as data."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from peers import Step
from peers.common import LR, batches, by_hand, descend, pictures, turns
from ppgen.inference import PCD
from ppgen.models import RBM

__all__ = ["eager", "handwritten", "handwritten_compiled", "ours", "scikit_learn"]

HIDDEN = 500


def ours(batch_size: int, num_particles: int, device: str, *, eager: bool = False) -> Step[None]:
    """The compiled turn."""
    spec, x = pictures("binary")
    return turns(RBM(spec, HIDDEN), x, PCD(num_chains=batch_size), batch_size, eager=eager)


def eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The same turn without a compiler."""
    return ours(batch_size, num_particles, device, eager=True)


def handwritten(
    batch_size: int, num_particles: int, device: str, through: Callable[..., Callable[..., Tensor]] = lambda f: f
) -> Step[Tensor]:
    """Sweep, difference of free energies and one fused Adam; ``through`` is a compiler, if any."""
    _, x = pictures("binary")
    weight = nn.Parameter(0.01 * torch.randn(x.shape[1], HIDDEN))
    visible, hidden = nn.Parameter(torch.zeros(x.shape[1])), nn.Parameter(torch.zeros(HIDDEN))
    optimizer = torch.optim.Adam([weight, visible, hidden], lr=LR, fused=True)
    chains, fetch = x[:batch_size], batches(x, batch_size)

    def free_energy(v: Tensor) -> Tensor:
        return -(v @ visible) - softplus(v @ weight + hidden).sum(-1)

    def sweep(v: Tensor) -> Tensor:
        h = torch.bernoulli((v @ weight + hidden).sigmoid())
        return torch.bernoulli((h @ weight.T + visible).sigmoid())

    def loss(v: Tensor, model: Tensor) -> Tensor:
        return free_energy(v).mean() - free_energy(model).mean()

    sweep, loss = through(sweep), through(loss)

    def update() -> Tensor:
        nonlocal chains
        with torch.no_grad():
            chains = sweep(chains)
        return descend(loss(fetch(), chains), optimizer)

    return by_hand(update)


def handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """Sweep and loss under `torch.compile`."""
    return handwritten(batch_size, num_particles, device, torch.compile)


def scikit_learn(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """`BernoulliRBM.partial_fit` of a batch, in float32; plain gradient descent, no Adam."""
    from sklearn.neural_network import BernoulliRBM

    x = pictures("binary")[1].numpy()
    machine = BernoulliRBM(n_components=HIDDEN, batch_size=batch_size, learning_rate=0.01, random_state=0)
    generator, place, order = np.random.default_rng(0), 0, np.arange(len(x))

    def update() -> None:
        nonlocal place, order
        if place + batch_size > len(x):
            place, order = 0, generator.permutation(len(x))
        place += batch_size
        machine.partial_fit(x[order[place - batch_size : place]])

    return Step(update, lambda _: 0.0)
