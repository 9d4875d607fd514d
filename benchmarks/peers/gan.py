"""A GAN of dense networks 32-256-256-784 on images, non-saturating: a turn is one step of each player."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from peers import Step
from peers.common import LR, batches, by_hand, dense, descend, pictures, turns
from ppgen.inference import NonSaturating
from ppgen.models import GAN

__all__ = ["eager", "handwritten", "handwritten_compiled", "ours"]

LATENT, WIDTHS = 32, (256, 256)


def ours(batch_size: int, num_particles: int, device: str, *, eager: bool = False) -> Step[None]:
    """The compiled turn."""
    spec, x = pictures("real")
    pair = GAN(spec, LATENT, hidden=WIDTHS, output="sigmoid")
    return turns(pair, x, NonSaturating(hidden=WIDTHS), batch_size, eager=eager)


def eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The same turn without a compiler."""
    return ours(batch_size, num_particles, device, eager=True)


def handwritten(
    batch_size: int, num_particles: int, device: str, through: Callable[..., Callable[..., Tensor]] = lambda f: f
) -> Step[Tensor]:
    """Both players' losses, and a fused Adam of each; ``through`` is a compiler, if any."""
    _, x = pictures("real")
    generator = nn.Sequential(*dense(LATENT, *WIDTHS, x.shape[1], between=nn.ReLU), nn.Sigmoid())
    critic = nn.Sequential(*dense(x.shape[1], *WIDTHS, 1, between=lambda: nn.LeakyReLU(0.2)))
    of_generator, of_critic = (
        torch.optim.Adam(network.parameters(), lr=LR, betas=(0.5, 0.9), fused=True) for network in (generator, critic)
    )
    fetch = batches(x, batch_size)

    def critics(real: Tensor) -> Tensor:
        fake = generator(torch.randn(batch_size, LATENT)).detach()
        outputs = critic(torch.cat([real, fake]))
        return softplus(-outputs[:batch_size]).mean() + softplus(outputs[batch_size:]).mean()

    def generators() -> Tensor:
        return softplus(-critic(generator(torch.randn(batch_size, LATENT)))).mean()

    critics, generators = through(critics), through(generators)

    def update() -> Tensor:
        descend(critics(fetch()), of_critic)
        fetch()
        return descend(generators(), of_generator)

    return by_hand(update)


def handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """Both losses under `torch.compile`."""
    return handwritten(batch_size, num_particles, device, torch.compile)
