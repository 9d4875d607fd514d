"""A masked autoencoder 784-500-784, a step of maximum likelihood; and draws of a NADE with 500 hidden units."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, linear

from peers import Step
from peers.common import LR, batches, by_hand, descend, pictures, turns
from ppgen.inference import ELBO
from ppgen.models import MADE, NADE

__all__ = [
    "made_eager",
    "made_handwritten",
    "made_handwritten_compiled",
    "made_ours",
    "nade_draws_handwritten",
    "nade_draws_ours",
]

HIDDEN = 500


def made_ours(batch_size: int, num_particles: int, device: str, *, eager: bool = False) -> Step[None]:
    """The compiled turn."""
    spec, x = pictures("binary")
    return turns(MADE(spec, (HIDDEN,)), x, ELBO(), batch_size, eager=eager)


def made_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The same turn without a compiler."""
    return made_ours(batch_size, num_particles, device, eager=True)


def made_handwritten(
    batch_size: int, num_particles: int, device: str, through: Callable[..., Callable[..., Tensor]] = lambda f: f
) -> Step[Tensor]:
    """Two masked layers and direct connections, their masks made once, and a fused Adam."""
    _, x = pictures("binary")
    size = x.shape[1]
    first, last = nn.Linear(size, HIDDEN), nn.Linear(HIDDEN, size)
    direct = nn.Parameter(torch.zeros(size, size))
    degrees, ranks = torch.randint(size - 1, (HIDDEN,)), torch.arange(size)
    reads, read = (ranks <= degrees[:, None]).float(), (degrees < ranks[:, None]).float()
    before = (ranks < ranks[:, None]).float()
    parameters = [*first.parameters(), *last.parameters(), direct]
    optimizer, fetch = torch.optim.Adam(parameters, lr=LR, fused=True), batches(x, batch_size)

    def loss(x: Tensor) -> Tensor:
        h = linear(x, first.weight * reads, first.bias).relu()
        logits = linear(h, last.weight * read, last.bias) + linear(x, direct * before)
        return binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)

    loss = through(loss)
    return by_hand(lambda: descend(loss(fetch()), optimizer))


def made_handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return made_handwritten(batch_size, num_particles, device, torch.compile)


def nade_draws_ours(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """As many draws as there are data in a batch, by the pair's distribution."""
    spec, _ = pictures("binary")
    drawn = NADE(spec, HIDDEN).distribution()
    return by_hand(lambda: drawn.sample((batch_size,)).mean())


def nade_draws_handwritten(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The recursion of the paper, one feature after the other, the hidden units' input kept."""
    _, x = pictures("binary")
    size = x.shape[1]
    weight, output = (nn.init.xavier_uniform_(torch.empty(size, HIDDEN)) for _ in range(2))
    hidden_bias, bias = torch.zeros(HIDDEN), torch.zeros(size)

    @torch.no_grad()
    def draw() -> Tensor:
        x, a = torch.zeros(batch_size, size), hidden_bias.expand(batch_size, HIDDEN)
        for i in range(size):
            x[:, i] = torch.bernoulli((a.sigmoid() @ output[i] + bias[i]).sigmoid())
            a = a + x[:, i, None] * weight[i]
        return x.mean()

    return by_hand(draw)
