"""Hand-written eager PyTorch: no probabilistic programming, one fused Adam.

The particles share one run of the encoder; the likelihood is `binary_cross_entropy_with_logits`; log q(z | x)
is taken from the standardized noise, without subtracting loc again.
"""

import math
from collections.abc import Callable

import torch
from problem import LATENT, LEARNING_RATE
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch_problem import batches, networks

from peers import Step

__all__ = ["make_loss", "make_step", "train_step"]

Loss = Callable[[Tensor], Tensor]


def make_loss(encoder: nn.Module, decoder: nn.Module, num_particles: int) -> Loss:
    """Minus the K-sample bound summed over the batch: (B, 784) -> ()."""

    def loss(x: Tensor) -> Tensor:
        loc, log_scale = encoder(x).chunk(2, dim=-1)  # (B, 50) each
        noise = torch.randn(num_particles, x.shape[0], LATENT, device=x.device)
        z = loc + log_scale.exp() * noise  # (K, B, 50)
        logits = decoder(z)  # (K, B, 784)
        nll = binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
        log_prior_ratio = (0.5 * (noise.square() - z.square()) + log_scale).sum(-1)  # log p(z) - log q(z | x)
        log_weights = log_prior_ratio - nll  # (K, B)
        return -(log_weights.logsumexp(0) - math.log(num_particles)).sum()

    return loss


def train_step(
    loss: Loss, networks: tuple[nn.Module, nn.Module], fetch: Callable[[], Tensor], batch_size: int
) -> Step[Tensor]:
    """Fetch, loss, gradient and fused Adam around any loss of a batch."""
    parameters = [p for network in networks for p in network.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)

    def update() -> Tensor:
        value = loss(fetch())
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        optimizer.step()
        return value.detach()

    return Step(update, lambda value: value.item() / batch_size)


def make_step(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The step as it is written, run eagerly."""
    encoder, decoder = networks(device)
    loss = make_loss(encoder, decoder, num_particles)
    return train_step(loss, (encoder, decoder), batches(batch_size, device), batch_size)
