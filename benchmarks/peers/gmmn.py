"""A generative moment matching network 10-64-256-256-1024-784 by the root of MMD^2 with the paper's six kernels."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from peers import Step
from peers.common import LR, batches, by_hand, dense, descend, pictures, turns
from ppgen.inference import MMD
from ppgen.models import GMMN

__all__ = ["eager", "handwritten", "handwritten_compiled", "ours"]

LATENT, WIDTHS = 10, (64, 256, 256, 1024)
SQUARES = (2, 5, 10, 20, 40, 80)


def ours(batch_size: int, num_particles: int, device: str, *, eager: bool = False) -> Step[None]:
    """The compiled turn."""
    spec, x = pictures("real")
    pair = GMMN(spec, LATENT, hidden=WIDTHS, output="sigmoid")
    objective = MMD(bandwidths=[square**0.5 for square in SQUARES], scale=1.0, root=True)
    return turns(pair, x, objective, batch_size, eager=eager)


def eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The same turn without a compiler."""
    return ours(batch_size, num_particles, device, eager=True)


def handwritten(
    batch_size: int, num_particles: int, device: str, through: Callable[..., Callable[..., Tensor]] = lambda f: f
) -> Step[Tensor]:
    """Three matrices of distances, six kernels of each, and a fused Adam; ``through`` is a compiler, if any."""
    _, x = pictures("real")
    generator = nn.Sequential(*dense(LATENT, *WIDTHS, x.shape[1], between=nn.ReLU), nn.Sigmoid())
    optimizer = torch.optim.Adam(generator.parameters(), lr=LR, fused=True)
    fetch = batches(x, batch_size)

    def kernels(a: Tensor, b: Tensor) -> Tensor:
        squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
        return sum(((squares / (-2 * square)).exp().mean() for square in SQUARES), torch.zeros(()))

    def loss(real: Tensor) -> Tensor:
        fake = generator(2 * torch.rand(batch_size, LATENT) - 1)
        return (kernels(real, real) + kernels(fake, fake) - 2 * kernels(real, fake) + 1e-12).sqrt()

    loss = through(loss)
    return by_hand(lambda: descend(loss(fetch()), optimizer))


def handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return handwritten(batch_size, num_particles, device, torch.compile)
