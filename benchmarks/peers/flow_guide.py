"""The VAE 784-200-200-40 with a guide of two inverse autoregressive flows, ELBO."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, linear

from peers import Step
from peers.common import LR, batches, by_hand, dense, descend, pictures, turns
from ppgen.inference import ELBO
from ppgen.models import VAE

__all__ = ["eager", "handwritten", "handwritten_compiled", "ours"]

LATENT, WIDTH, CONTEXT, NUM = 40, 320, 64, 2


def ours(batch_size: int, num_particles: int, device: str, *, eager: bool = False) -> Step[None]:
    """The compiled turn."""
    spec, x = pictures("binary")
    pair = VAE(spec, LATENT, guide=f"iaf(num={NUM}, hidden=[{WIDTH}])")
    return turns(pair, x, ELBO(), batch_size, eager=eager)


def eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The same turn without a compiler."""
    return ours(batch_size, num_particles, device, eager=True)


def handwritten(
    batch_size: int, num_particles: int, device: str, through: Callable[..., Callable[..., Tensor]] = lambda f: f
) -> Step[Tensor]:
    """Three networks, masks made once, the transforms' log-scales summed on the way, and a fused Adam."""
    _, x = pictures("binary")
    size = x.shape[1]
    encoder = nn.Sequential(*dense(size, 200, 200, 2 * LATENT + CONTEXT, between=nn.Tanh))
    decoder = nn.Sequential(*dense(LATENT, 200, 200, size, between=nn.Tanh))
    flows = [_Masked(reverse=number % 2 == 1) for number in range(NUM)]
    modules = nn.ModuleList([encoder, decoder, *flows])
    optimizer, fetch = torch.optim.Adam(modules.parameters(), lr=LR, fused=True), batches(x, batch_size)

    def loss(x: Tensor) -> Tensor:
        loc, log_scale, context = encoder(x).split([LATENT, LATENT, CONTEXT], -1)
        noise = torch.randn_like(loc)
        z, log_q = loc + log_scale.exp() * noise, -noise.square() / 2 - log_scale
        for flow in flows:
            mean, log_scale = flow(torch.cat([context, z], -1)).chunk(2, -1)
            log_scale = log_scale + (log_scale.clamp(-5.0, 3.0) - log_scale).detach()
            z, log_q = mean + log_scale.exp() * z, log_q - log_scale
        miss = binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
        return (miss + (log_q + z.square() / 2).sum()) / len(x)

    loss = through(loss)
    return by_hand(lambda: descend(loss(fetch()), optimizer))


def handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return handwritten(batch_size, num_particles, device, torch.compile)


class _Masked(nn.Module):
    """Means and log-scales of each number, of those before it and the context: one hidden layer, zero at first."""

    def __init__(self, *, reverse: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(CONTEXT + LATENT, WIDTH), nn.Linear(WIDTH, 2 * LATENT)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        rank = torch.arange(LATENT).flip(0) if reverse else torch.arange(LATENT)
        degree = torch.linspace(0, LATENT - 1, WIDTH).round()
        ranks = torch.cat([torch.full((CONTEXT,), -1), rank])
        self.register_buffer("reads", (ranks < degree[:, None]).float())
        self.register_buffer("read", (degree <= rank[:, None]).float().repeat(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        reads, read = self.get_buffer("reads"), self.get_buffer("read")
        h = linear(x, self.first.weight * reads, self.first.bias).relu()
        return linear(h, self.last.weight * read, self.last.bias)
