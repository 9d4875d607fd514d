"""Real numbers one after the other, each a mixture of Gaussians given those before it.

    p(x_i | those before i in an order) = sum_m pi_im N(x_i; loc_im, scale_im^2)            i = 1..D, m = 1..M

pi, loc and scale of all features are one pass of a masked network (:mod:`ppgen.layers.masked`): the conditionals are
RNADE's, the network is MADE's, as Papamakarios et al. (Masked autoregressive flow, 2017) have them. It reads and
predicts x in units of the training data's standard deviation about their mean, where scales are at least ``min_scale``:
without a least one, a Gaussian on a number that occurs twice has no maximum of likelihood.

    log p(x) = sum_t log p(x_{o_t} | those before)        (nats), exact: nothing is latent

Reference: RNADE: The Real-Valued Neural Autoregressive Density-Estimator, Uria, Murray and Larochelle, 2013.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ppgen.arguments import Count, Positive, Seed, Sizes
from ppgen.data import DataSpec
from ppgen.distributions.autoregressive import Conditionals
from ppgen.errors import UsageError, setting, shown
from ppgen.layers.in_turn import AutoregressivePair
from ppgen.layers.masked import MaskedMLP, degrees
from ppgen.layers.networks import Activation
from ppgen.layers.orders import Order, order_of, ranks
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["RNADE"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    return RNADE(DataSpec("tiny", 3, "real", num_data=20), (6,), num_components=2), (torch.randn(5, 3),)


class _Mixtures(Conditionals):
    """The laws of features, at x in units of the data's spread about their centre."""

    support = dist.constraints.real
    centre: Tensor
    spread: Tensor
    started: Tensor

    def __init__(self, network: MaskedMLP, order: Tensor, own: list[Tensor], centre: Tensor, min_scale: float) -> None:
        super().__init__(order)
        self.network, self.min_scale, self.num_layers = network, min_scale, len(own)
        for layer, each in enumerate(own):
            self.register_buffer(f"degrees{layer}", each)
        self.register_buffer("centre", centre)
        self.register_buffer("spread", torch.ones_like(centre))
        self.register_buffer("started", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Any:
        own = [self.get_buffer(f"degrees{layer}") for layer in range(self.num_layers)]
        outputs = self.network((x - self.centre) / self.spread, ranks(self.order), own)  # (..., 3 M, D)
        logits, loc, log_scale = outputs.movedim(-2, -1).chunk(3, -1)  # (..., D, M)
        centre, spread = self.centre.unsqueeze(-1), self.spread.unsqueeze(-1)  # (D, 1)
        each = dist.Normal(centre + spread * loc, spread * (log_scale.exp() + self.min_scale))
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), each)


@register_model(
    "rnade",
    summary="real numbers one after the other, each a mixture of Gaussians given those before it",
    reference="Uria, Murray and Larochelle, RNADE: the real-valued neural autoregressive density-estimator",
    year=2013,
    link="https://arxiv.org/abs/1306.0186",
    tags=("continuous", "autoregressive", "exact"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 6_000, "batch_size": 100, "lr": 3e-3}),
)
class RNADE(AutoregressivePair):
    """Mixtures of Gaussians in turn. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        x: (D,), observed, in the plate ``data``

    Args:
        spec: what one datum is: real.
        hidden: sizes of the hidden layers; ``()`` leaves numbers that are linear in those before.
        num_components: M.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        min_scale: the least standard deviation of a component, in those of the data.
        order: in which features are drawn: ``"raster"``, ``"random"`` or a permutation.
        order_seed: of ``"random"``, and of the degrees of hidden units.

    Raises:
        UsageError: the data are not real, a size is not positive, the activation is unknown, or the order is no
            permutation.

    >>> pair = RNADE(DataSpec("numbers", 2, "real"), (8,), num_components=1)
    >>> x = pair.distribution().sample((4,))
    >>> pair.distribution().log_prob(x).shape
    torch.Size([4])
    """

    conditionals: _Mixtures

    def __init__(
        self,
        spec: DataSpec,
        hidden: Sizes = (100, 100),
        *,
        num_components: Count = 10,
        activation: Activation = "relu",
        min_scale: Positive = 1e-3,
        order: Order = "raster",
        order_seed: Seed = 0,
    ) -> None:
        super().__init__(spec)
        _check(spec)
        size = spec.num_features
        network = MaskedMLP(size, 3 * num_components, hidden, activation, bias=_bias(num_components, size))
        in_turn, own = order_of(order, size, order_seed), degrees(size, hidden, order_seed)
        self.conditionals = _Mixtures(network, in_turn, own, spec.centre, min_scale)

    @property
    def waits_for_data(self) -> bool:
        """Whether training is to begin at the mean and the standard deviation of the data."""
        return not bool(self.conditionals.started)

    @torch.no_grad()
    def start_from(self, x: Tensor, *, seed: int) -> None:
        """Take the mean and the standard deviation of data, (N, D), for centre and spread."""
        self.conditionals.centre.copy_(x.mean(0))
        self.conditionals.spread.copy_(x.std(0).clamp_min(torch.finfo(x.dtype).eps))
        self.conditionals.started.fill_(1)


def _bias(num_components: int, size: int) -> Tensor:
    """Components of equal weight side by side from -1.5 to 1.5, as wide as they are apart; one alone is N(0, 1)."""
    loc = torch.linspace(-1.5, 1.5, num_components) if num_components > 1 else torch.zeros(1)
    log_scale = torch.full_like(loc, 3 / (num_components - 1) if num_components > 1 else 1.0).log()
    return torch.cat([torch.zeros_like(loc), loc, log_scale])[:, None].expand(-1, size)


def _check(spec: DataSpec) -> None:
    if spec.observation == "quantised":
        dequantised = setting("D", "binarize", "dequantise")
        raise UsageError(
            f"RNADE is a density of real data, and data {shown(spec.name)} are grey levels: take {dequantised}, or "
            "'pixelcnn', which gives levels their probabilities."
        )
    if spec.observation != "real":
        raise UsageError(
            f"RNADE needs real data, but data {shown(spec.name)} are {spec.in_words}: of binary data take 'nade' or "
            "'made'."
        )
