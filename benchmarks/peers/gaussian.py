"""A VAE 784-200-200-50 by hand, and ours: what its estimators have in common."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from peers.common import dense
from ppgen.data import DataSpec
from ppgen.models import VAE
from ppgen.pairs.pair import Pair

__all__ = ["LATENT", "Coders", "network", "normal", "seen", "vae"]

LATENT = 50


def vae(spec: DataSpec) -> Pair:
    """Ours."""
    return VAE(spec, LATENT)


def network(*sizes: int) -> nn.Sequential:
    """Linear layers with tanh between."""
    return nn.Sequential(*dense(*sizes, between=nn.Tanh))


def seen(outputs: Tensor, x: Tensor) -> Tensor:
    """log Bernoulli(x; sigmoid(outputs)), summed over pixels."""
    return -binary_cross_entropy_with_logits(outputs, x.expand_as(outputs), reduction="none").sum(-1)


def normal(z: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    """log N(z; loc, exp(log_scale)^2) but for its constant, summed over coordinates."""
    return -(((z - loc) * (-log_scale).exp()).square() / 2 + log_scale).sum(-1)


class Coders(nn.Module):
    """Encoder and decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = network(784, 200, 200, 2 * LATENT), network(LATENT, 200, 200, 784)

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """loc and log scale of q(z | x), (B, D)."""
        loc, log_scale = self.encoder(x).chunk(2, -1)
        return loc, log_scale

    def drawn(self, x: Tensor, num: int) -> tuple[Tensor, Tensor]:
        """z, (K, B, D), and - log q(z | x) along it but for its constant, (K, B)."""
        loc, log_scale = self.encoded(x)
        noise = torch.randn(num, *loc.shape)
        return loc + log_scale.exp() * noise, (noise.square() / 2 + log_scale).sum(-1)

    def log_p(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) but for its constant, (K, B)."""
        return seen(self.decoder(z), x) - z.square().sum(-1) / 2
