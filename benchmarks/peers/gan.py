"""A GAN of dense networks 32-256-256-784 on images: a turn is one step of the generator after those of the critic.

Non-saturating, one step of each; and the Wasserstein distance with a penalty on slopes, five steps of the critic.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from peers import Step
from peers.common import LR, batches, by_hand, dense, descend, pictures, turns
from ppgen.inference import NonSaturating, WassersteinGP
from ppgen.models import GAN
from ppgen.objectives.objective import Objective

__all__ = ["eager", "gp_eager", "gp_handwritten", "gp_ours", "handwritten", "handwritten_compiled", "ours"]

LATENT, WIDTHS = 32, (256, 256)
CRITIC_STEPS, WEIGHT = 5, 10.0


def _turns(objective: Objective, batch_size: int, eager: bool) -> Step[None]:
    spec, x = pictures("real")
    return turns(GAN(spec, LATENT, hidden=WIDTHS, output="sigmoid"), x, objective, batch_size, eager=eager)


def ours(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The compiled turn."""
    return _turns(NonSaturating(hidden=WIDTHS), batch_size, eager=False)


def eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The same turn without a compiler."""
    return _turns(NonSaturating(hidden=WIDTHS), batch_size, eager=True)


def gp_ours(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The compiled turn with the penalty."""
    return _turns(WassersteinGP(hidden=WIDTHS, critic_steps=CRITIC_STEPS, weight=WEIGHT), batch_size, eager=False)


def gp_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The same turn without a compiler."""
    return _turns(WassersteinGP(hidden=WIDTHS, critic_steps=CRITIC_STEPS, weight=WEIGHT), batch_size, eager=True)


def _networks(size: int) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer, torch.optim.Optimizer]:
    """Generator and critic, and a fused Adam of each."""
    generator = nn.Sequential(*dense(LATENT, *WIDTHS, size, between=nn.ReLU), nn.Sigmoid())
    critic = nn.Sequential(*dense(size, *WIDTHS, 1, between=lambda: nn.LeakyReLU(0.2)))
    of_generator, of_critic = (
        torch.optim.Adam(network.parameters(), lr=LR, betas=(0.5, 0.9), fused=True) for network in (generator, critic)
    )
    return generator, critic, of_generator, of_critic


def handwritten(
    batch_size: int, num_particles: int, device: str, through: Callable[..., Callable[..., Tensor]] = lambda f: f
) -> Step[Tensor]:
    """Both players' losses, and a fused Adam of each; ``through`` is a compiler, if any."""
    _, x = pictures("real")
    generator, critic, of_generator, of_critic = _networks(x.shape[1])
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


def gp_handwritten(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The usual loop: the penalty by `torch.autograd.grad`, draws without a graph, the critic still as G learns.

    Not under `torch.compile`, which refuses the gradient of a gradient.
    """
    _, x = pictures("real")
    generator, critic, of_generator, of_critic = _networks(x.shape[1])
    fetch = batches(x, batch_size)

    def penalty(real: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand(batch_size, 1)
        between = (share * real + (1 - share) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        return (slope.norm(dim=1) - 1).square().mean()

    def critics(real: Tensor) -> Tensor:
        with torch.no_grad():
            fake = generator(torch.randn(batch_size, LATENT))
        of_real, of_fake = critic(torch.cat([real, fake])).chunk(2)
        return of_fake.mean() - of_real.mean() + WEIGHT * penalty(real, fake)

    def update() -> Tensor:
        for _ in range(CRITIC_STEPS):
            descend(critics(fetch()), of_critic)
        critic.requires_grad_(False)
        loss = descend(-critic(generator(torch.randn(batch_size, LATENT))).mean(), of_generator)
        critic.requires_grad_(True)
        return loss

    return by_hand(update)
