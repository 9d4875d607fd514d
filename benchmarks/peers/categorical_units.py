"""A VAE of one-hot units between layers of 200: straight-through estimators, ReinMax's kin and DisARM-Tree."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from peers.common import Estimator, Loss, dense
from ppgen.inference import DisARMTree, GappedStraightThrough, GumbelRao, ReinMax, ReinMaxCV, ReinMaxRao
from ppgen.models import DiscreteVAE
from ppgen.objectives.objective import Objective

__all__: list[str] = []

UNITS, DEPTH, TEMPERATURE, INNER, GAP, ETA = 20, 3, 0.5, 10, 1.0, 0.5
CLASSES = 2**DEPTH


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


def against(objective: Callable[[int], Objective], loss: Callable[[_Networks, Tensor], Tensor]) -> Estimator:
    """An objective of ours beside the loss of a batch by the networks."""

    def by_hand(x: Tensor, num_particles: int) -> Loss:
        networks = _Networks(x)
        return networks, partial(loss, networks)

    return Estimator(lambda spec: DiscreteVAE(spec, UNITS, classes=CLASSES), objective, by_hand)


def drawn(probabilities: Tensor) -> Tensor:
    """One-hot rows."""
    exponential = torch.empty_like(probabilities).exponential_()
    return one_hot((probabilities / exponential).argmax(-1), CLASSES).to(probabilities)


def along(mean: Tensor, logits: Tensor) -> Tensor:
    """A number whose slope by the logits is the covariance of units of this mean."""
    return mean * (logits - (mean * logits).sum(-1, keepdim=True))


def sloped(z: Tensor, smooth: Tensor) -> Tensor:
    """The states, with the slope of what is smooth."""
    return z + (smooth - smooth.detach())


def reinmax_loss(networks: _Networks, x: Tensor) -> Tensor:
    """The paper's second algorithm, at temperature 1."""
    logits = networks.logits(x)
    pi = logits.detach().exp()
    z = drawn(pi)
    smooth = 2 * along((pi + z) / 2, logits) - along(pi, logits) / 2
    return -networks.log_w(x, sloped(z, smooth), logits).mean()


def relaxed_given(z: Tensor, pi: Tensor) -> Tensor:
    """Relaxed rows by Gumbels drawn given the state, (INNER, B, U, C)."""
    exponential = pi.new_empty(INNER, *pi.shape).exponential_()
    top = (z * exponential).sum(-1, keepdim=True)
    zeta = -torch.where(z > 0, top, exponential / pi + top).log()
    return (zeta / TEMPERATURE).softmax(-1)


def gumbel_rao_loss(networks: _Networks, x: Tensor) -> Tensor:
    """Straight-through Gumbel-Softmax, its slope a mean over Gumbels drawn given the state."""
    logits = networks.logits(x)
    pi = logits.detach().exp()
    z = drawn(pi)
    smooth = along(relaxed_given(z, pi), logits).mean(0) / TEMPERATURE
    return -networks.log_w(x, sloped(z, smooth), logits).mean()


def reinmax_rao_loss(networks: _Networks, x: Tensor) -> Tensor:
    """ReinMax's slope at the mean of relaxed rows."""
    logits = networks.logits(x)
    pi = logits.detach().exp()
    z = drawn(pi)
    y = relaxed_given(z, pi).mean(0)
    smooth = 2 * along((pi + y) / 2, logits) - (along(pi, logits) + along(y, logits)) / 2
    return -networks.log_w(x, sloped(z, smooth), logits).mean()


def reinmax_cv_loss(networks: _Networks, x: Tensor) -> Tensor:
    """ReinMax less the score, and less its own at the slope of log w where every unit is at its mean."""
    logits = networks.logits(x)
    pi = logits.detach().exp()
    z, at = drawn(pi), pi.clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(networks.log_w(x, at, logits.detach()).sum(), at)
    smooth = 2 * along((pi + z) / 2, logits) - along(pi, logits) / 2
    control = ETA * (slope * (along(pi, logits) - smooth)).sum((-2, -1))  # the covariance is the slope's expectation
    log_w = networks.log_w(x, sloped(z, smooth), logits.detach())  # without the score
    return -(log_w + (control - control.detach())).mean()


def gapped_loss(networks: _Networks, x: Tensor) -> Tensor:
    """The slope of a softmax in which the state wins by the gap."""
    logits = networks.logits(x)
    z, top = drawn(logits.detach().exp()), logits.detach().amax(-1, keepdim=True)
    moved = torch.where(z > 0, top, torch.minimum(logits.detach(), top - GAP))
    smooth = along((moved / TEMPERATURE).softmax(-1), logits) / TEMPERATURE
    return -networks.log_w(x, sloped(z, smooth), logits).mean()


def disarm_tree_loss(networks: _Networks, x: Tensor) -> Tensor:
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


reinmax = against(lambda k: ReinMax(), reinmax_loss)
gumbel_rao = against(lambda k: GumbelRao(temperature=TEMPERATURE, inner_draws=INNER), gumbel_rao_loss)
reinmax_rao = against(lambda k: ReinMaxRao(temperature=TEMPERATURE, inner_draws=INNER), reinmax_rao_loss)
reinmax_cv = against(lambda k: ReinMaxCV(eta=ETA), reinmax_cv_loss)
gapped_straight_through = against(lambda k: GappedStraightThrough(temperature=TEMPERATURE, gap=GAP), gapped_loss)
disarm_tree = against(lambda k: DisARMTree(), disarm_tree_loss)
