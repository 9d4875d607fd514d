"""The masked autoencoder: all conditionals of an autoregressive model by one pass of a dense network with masks.

    p(x_i = 1 | those before i in an order) = sigmoid(output_i(x)),        i = 1..D

Masks on the weights leave to output i the inputs before i (:mod:`ppgen.layers.masked`). They follow from the order and
from degrees of the hidden units that are drawn at random, and the same weights serve any number of them: there are M
masks, mask m of order m mod ``num_orders``, and the model is their mixture,

    p(x) = (1 / M) sum_m p(x | masks m)

log p(x) is exact, M passes and their log-mean-exp. Training draws one m for each step, as dropout draws its noise: its
loss is -(1 / M) sum_m log p(x | masks m) in expectation, which is at least -log p(x), and is that where M = 1.

Reference: MADE: Masked Autoencoder for Distribution Estimation, Germain, Gregor, Murray and Larochelle, 2015.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ppgen.arguments import Count, Seed, Sizes
from ppgen.data import DataSpec
from ppgen.distributions.autoregressive import Conditionals
from ppgen.distributions.orders import over_orders
from ppgen.errors import UsageError
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.masked import MaskedConditionals, MaskedMLP, degrees
from ppgen.layers.networks import Activation
from ppgen.layers.orders import Order, check_binary, orders_of
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["MADE"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    pair = MADE(DataSpec("tiny", 4, "binary", num_data=20), (6, 5), num_masks=2, num_orders=2)
    return pair, (torch.rand(5, 4).round(),)


@register_model(
    "made",
    summary="masked autoencoder: all conditionals by one pass of a dense network, over several masks and orders",
    reference="Germain, Gregor, Murray and Larochelle, MADE: masked autoencoder for distribution estimation",
    year=2015,
    link="https://arxiv.org/abs/1502.03509",
    tags=("discrete", "autoregressive", "exact"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"epochs": 60, "batch_size": 100, "lr": 1e-3}),
)
class MADE(Pair):
    """Masked autoencoder. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        x: (D,), observed, in the plate ``data``

    Args:
        spec: what one datum is: binary.
        hidden: sizes of the hidden layers; ``()`` leaves logistic regressions.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        direct: whether outputs read the inputs directly, too.
        num_masks: M, draws of the hidden units' degrees.
        num_orders: how many orders masks have in turn, at most M.
        order: the first: ``"raster"``, ``"random"`` or a permutation; the others are random.
        mask_seed: of degrees and random orders.

    Raises:
        UsageError: the data are not binary, a size is not positive, the activation is unknown, the order is no
            permutation, or there are more orders than masks.

    >>> pair = MADE(DataSpec("bits", 3, "binary"), (8,), num_masks=4)
    >>> pair.distribution().log_probs(torch.ones(2, 3)).shape  # of each mask
    torch.Size([4, 2])
    """

    vectorized = True  # which mask it is differs from run to run in training
    orders: Tensor

    def __init__(
        self,
        spec: DataSpec,
        hidden: Sizes = (500,),
        *,
        activation: Activation = "relu",
        direct: bool = True,
        num_masks: Count = 1,
        num_orders: Count = 1,
        order: Order = "raster",
        mask_seed: Seed = 0,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        check_binary("MADE", spec)
        _check(num_masks, num_orders)
        bias = likelihood(spec).initial_bias(spec.mean)
        self.network = MaskedMLP(
            spec.num_features, 1, hidden, activation, direct=direct, bias=None if bias is None else bias[None]
        )
        orders = orders_of(order, spec.num_features, num_orders, mask_seed)
        self.register_buffer("orders", orders[torch.arange(num_masks) % num_orders])  # (M, D)
        each = [degrees(spec.num_features, hidden, mask_seed + number) for number in range(num_masks)]
        for layer, own in enumerate(zip(*each, strict=True)):
            self.register_buffer(f"degrees{layer}", torch.stack(own))  # (M, H_l)
        self.num_layers = len(hidden)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("x", self._scored(), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        """No latents: nothing to infer."""

    def distribution(self) -> Any:
        """p(x), of event shape (D,): its ``log_prob`` is exact."""
        return over_orders(
            [self._member(number) for number in torch.arange(len(self.orders), device=self.orders.device).split(1)]
        )

    def _scored(self) -> Any:
        """p(x), or in training p(x | masks m) of a random m."""
        if len(self.orders) == 1 or not self.training:
            return self.distribution()
        return over_orders([self._member(torch.randint(len(self.orders), (1,), device=self.orders.device))])

    def _member(self, number: Tensor) -> Conditionals:
        order, *own = (table.index_select(0, number).squeeze(0) for table in (self.orders, *self._degrees()))
        return MaskedConditionals(self.network, _bernoulli, dist.constraints.boolean, order, own)

    def _degrees(self) -> list[Tensor]:
        return [self.get_buffer(f"degrees{layer}") for layer in range(self.num_layers)]


def _bernoulli(outputs: Tensor) -> Any:
    return dist.Bernoulli(logits=outputs.squeeze(-2))


def _check(num_masks: int, num_orders: int) -> None:
    if num_orders > num_masks:
        raise UsageError(
            f"MADE has num_masks={num_masks} and num_orders={num_orders}, and every order needs a mask: give as many "
            "masks as orders, or more."
        )
