"""A VAE of one-hot units between layers of 200: ReinMax, Gumbel-Rao and DisARM-Tree."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from peers import Step
from peers.common import LR, batches, by_hand, dense, descend, pictures, turns
from ppgen.inference import DisARMTree, GumbelRao, ReinMax
from ppgen.models import DiscreteVAE
from ppgen.objectives.objective import Objective

__all__: list[str] = []

UNITS, DEPTH, TEMPERATURE, INNER = 20, 3, 0.5, 10
CLASSES = 2**DEPTH

Through = Callable[..., Any]


def ours(objective: Objective, batch_size: int, *, eager: bool = False) -> Step[None]:
    """The turn, compiled or not."""
    spec, x = pictures("binary")
    return turns(DiscreteVAE(spec, UNITS, classes=CLASSES), x, objective, batch_size, eager=eager)


def reinmax_ours(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """ReinMax, compiled."""
    return ours(ReinMax(), batch_size)


def reinmax_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """ReinMax without a compiler."""
    return ours(ReinMax(), batch_size, eager=True)


def gumbel_rao_ours(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """Gumbel-Rao, compiled."""
    return ours(GumbelRao(temperature=TEMPERATURE, inner_draws=INNER), batch_size)


def gumbel_rao_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """Gumbel-Rao without a compiler."""
    return ours(GumbelRao(temperature=TEMPERATURE, inner_draws=INNER), batch_size, eager=True)


def disarm_tree_ours(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """DisARM-Tree, compiled."""
    return ours(DisARMTree(), batch_size)


def disarm_tree_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """DisARM-Tree without a compiler."""
    return ours(DisARMTree(), batch_size, eager=True)


class _Networks(nn.Module):
    """Encoder, decoder and prior, and what the estimators need of them."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        size, code = x.shape[1], UNITS * CLASSES
        self.encoder = nn.Sequential(*dense(size, 200, 200, code, between=nn.Tanh))
        self.decoder = nn.Sequential(*dense(code, 200, 200, size, between=nn.Tanh))
        self.prior = nn.Parameter(torch.zeros(UNITS, CLASSES))
        self.register_buffer("mean", x.mean(0))

    def logits(self, x: Tensor) -> Tensor:
        """log q of each class, (B, U, C)."""
        encoded: Tensor = self.encoder(x - self.get_buffer("mean"))
        return encoded.unflatten(-1, (UNITS, CLASSES)).log_softmax(-1)

    def log_w(self, x: Tensor, z: Tensor, logits: Tensor) -> Tensor:
        """Log-weights of one-hot rows z, (..., B, U, C), or of values between: (..., B)."""
        outputs = self.decoder(z.flatten(-2))
        miss = binary_cross_entropy_with_logits(outputs, x.expand_as(outputs), reduction="none").sum(-1)
        prior = (z * (self.prior.log_softmax(-1) - logits)).sum((-2, -1))  # log p(z) - log q(z | x)
        return prior - miss


def handwritten(estimator: Callable[[_Networks, Tensor], Tensor], batch_size: int, through: Through) -> Step[Tensor]:
    """The step of an estimator, which gives the loss by the networks and a batch."""
    _, x = pictures("binary")
    networks, fetch = _Networks(x), batches(x, batch_size)
    optimizer = torch.optim.Adam(networks.parameters(), lr=LR, fused=True)
    loss = through(lambda v: estimator(networks, v))
    return by_hand(lambda: descend(loss(fetch()), optimizer))


def drawn(probabilities: Tensor) -> Tensor:
    """One-hot rows."""
    exponential = torch.empty_like(probabilities).exponential_()
    return one_hot((probabilities / exponential).argmax(-1), CLASSES).to(probabilities)


def along(mean: Tensor, logits: Tensor) -> Tensor:
    """A number whose slope by the logits is the covariance of units of this mean."""
    return mean * (logits - (mean * logits).sum(-1, keepdim=True))


def reinmax(networks: _Networks, x: Tensor) -> Tensor:
    """The paper's second algorithm, at temperature 1."""
    logits = networks.logits(x)
    pi = logits.detach().exp()
    z = drawn(pi)
    smooth = 2 * along((pi + z) / 2, logits) - along(pi, logits) / 2
    return -networks.log_w(x, z + (smooth - smooth.detach()), logits).mean()


def reinmax_handwritten(
    batch_size: int, num_particles: int, device: str, through: Through = lambda f: f
) -> Step[Tensor]:
    """ReinMax by hand."""
    return handwritten(reinmax, batch_size, through)


def reinmax_handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return reinmax_handwritten(batch_size, num_particles, device, torch.compile)


def gumbel_rao(networks: _Networks, x: Tensor) -> Tensor:
    """Straight-through Gumbel-Softmax, its slope a mean over Gumbels drawn given the state."""
    logits = networks.logits(x)
    pi = logits.detach().exp()
    z = drawn(pi)
    exponential = pi.new_empty(INNER, *pi.shape).exponential_()
    top = (z * exponential).sum(-1, keepdim=True)
    zeta = -torch.where(z > 0, top, exponential / pi + top).log()
    smooth = along((zeta / TEMPERATURE).softmax(-1), logits).mean(0) / TEMPERATURE
    return -networks.log_w(x, z + (smooth - smooth.detach()), logits).mean()


def gumbel_rao_handwritten(
    batch_size: int, num_particles: int, device: str, through: Through = lambda f: f
) -> Step[Tensor]:
    """Gumbel-Rao by hand."""
    return handwritten(gumbel_rao, batch_size, through)


def gumbel_rao_handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return gumbel_rao_handwritten(batch_size, num_particles, device, torch.compile)


def disarm_tree(networks: _Networks, x: Tensor) -> Tensor:
    """An antithetic pair of draws, each unit by three decisions; nodes in the order of their levels."""
    logits = networks.logits(x)
    mass, levels = logits, []
    for _ in range(DEPTH):  # from the leaves up
        left, right = mass.unflatten(-1, (-1, 2)).unbind(-1)
        levels.append(right - left)
        mass = torch.logaddexp(left, right)
    odds = torch.cat(levels[::-1], -1)  # (B, U, C - 1)
    one = odds.detach().sigmoid()
    u = torch.rand_like(one)
    bits = (torch.stack([u, 1 - u]) > 1 - one).to(one)  # (2, B, U, C - 1)
    reach, reached = bits.new_ones(*bits.shape[:-1], 1), []
    for level in bits.split([2**depth for depth in range(DEPTH)], -1):
        reached.append(reach)
        reach = torch.stack([reach * (1 - level), reach * level], -1).flatten(-2)
    z, seen = reach, torch.cat(reached, -1)
    log_w = networks.log_w(x, z, logits)  # (2, B)
    own, other = seen * (bits - one) / 2
    both = (bits[0] - bits[1]) * torch.maximum(one, 1 - one) / 2
    slope = torch.where(seen[0] * seen[1] > 0, both, own - other)
    gain = (log_w[0] - log_w[1]).detach()
    return -(log_w.mean(0) + gain * (slope * odds).sum((-2, -1))).mean()


def disarm_tree_handwritten(
    batch_size: int, num_particles: int, device: str, through: Through = lambda f: f
) -> Step[Tensor]:
    """DisARM-Tree by hand."""
    return handwritten(disarm_tree, batch_size, through)


def disarm_tree_handwritten_compiled(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The loss under `torch.compile`."""
    return disarm_tree_handwritten(batch_size, num_particles, device, torch.compile)
