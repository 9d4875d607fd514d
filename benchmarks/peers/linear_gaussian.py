"""Probabilistic PCA of images, 784 to 20, with a full Gaussian guide: a step that is nearly all overhead."""

import math
from collections.abc import Callable

import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from peers import Step
from peers.common import LR, batches, by_hand, descend, pictures, svi, turns
from ppgen.inference import ELBO
from ppgen.models import LinearGaussian

__all__ = ["eager", "handwritten", "handwritten_compiled", "ours", "stock_pyro"]

LATENT = 20


def ours(batch_size: int, num_particles: int, device: str, *, eager: bool = False) -> Step[None]:
    """The compiled turn."""
    spec, x = pictures("real")
    return turns(LinearGaussian(spec, LATENT), x, ELBO(num_particles=num_particles), batch_size, eager=eager)


def eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The same turn without a compiler."""
    return ours(batch_size, num_particles, device, eager=True)


def stock_pyro(batch_size: int, num_particles: int, device: str) -> Step[float]:
    """`SVI` with `Trace_ELBO` on the same pair."""
    spec, x = pictures("real")
    return svi(LinearGaussian(spec, LATENT), x, Trace_ELBO(), batch_size)


def handwritten(
    batch_size: int, num_particles: int, device: str, through: Callable[..., Callable[[Tensor], Tensor]] = lambda f: f
) -> Step[Tensor]:
    """The bound written out, and one fused Adam; ``through`` is a compiler, if any."""
    _, x = pictures("real")
    features = x.shape[1]
    sizes: tuple[tuple[int, ...], ...] = ((LATENT, features), (LATENT,), (LATENT, LATENT), (), (features,))
    encode, shift, raw, log_noise, mean = (nn.Parameter(torch.zeros(size)) for size in sizes)
    decode = nn.Parameter(torch.randn(features, LATENT) / LATENT**0.5)
    optimizer = torch.optim.Adam([encode, shift, raw, log_noise, mean, decode], lr=LR, fused=True)
    fetch = batches(x, batch_size)

    def loss(v: Tensor) -> Tensor:
        log_diagonal = raw.diagonal()
        scale = raw.tril(-1) + torch.diag_embed(log_diagonal.exp())
        noise = torch.randn(len(v), LATENT)
        z = v @ encode.t() + shift + noise @ scale.t()  # (B, latent)
        error = (v - z @ decode.t() - mean) * (-log_noise).exp()
        log_p = -0.5 * error.square().sum(-1) - features * (log_noise + 0.5 * math.log(2 * math.pi))
        log_ratio = 0.5 * (noise.square() - z.square()).sum(-1) + log_diagonal.sum()  # log p(z) - log q(z | x)
        return -(log_p + log_ratio).mean()

    loss = through(loss)
    return by_hand(lambda: descend(loss(fetch()), optimizer))


def handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return handwritten(batch_size, num_particles, device, torch.compile)
