"""The neural autoregressive distribution estimator: hidden units that take one feature in after the other.

    a_1 = c,        a_{t+1} = a_t + W_i x_i (+ U_i),                    i = o_t;  a: (H,); o the order, of D features
    p(x_i = 1 | those before) = sigmoid(b_i + V_i h(a_t)),              h = sigmoid in the paper

    log p(x) = sum_t log p(x_{o_t} | those before)        (nats), exact: nothing is latent

W is shared by all conditionals, so that a draw, which keeps a, costs O(D H). A log-probability has every a_t at once:
features are taken in blocks, a at the start of each block is a cumulative sum over blocks, and within one it is a
product with a triangle of x (:class:`_Recursion`).

With ``orderless=True`` one network serves every order: U tells the hidden units which features they have been given. A
step of training draws, for each datum, an order and how many features d = 0..D-1 of it are known, and takes

    log p(x) ~ D / (D - d) sum_{i not known} log p(x_i | known)

of which the mean over d is log p(x | o) and that over orders at most log p(x). The model is the mixture of M orders,

    p(x) = (1 / M) sum_m p(x | o_m)

exact in M passes, log p(x) their log-mean-exp (EoNADE).

Reference: The Neural Autoregressive Distribution Estimator, Larochelle and Murray, 2011; orders: A Deep and Tractable
Density Estimator, Uria, Murray and Larochelle, 2014.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppgen.arguments import Count, Seed
from ppgen.data import DataSpec
from ppgen.distributions.autoregressive import Conditionals
from ppgen.distributions.orders import OneStep, known_at_random, over_orders
from ppgen.distributions.turns import in_turn
from ppgen.errors import UsageError
from ppgen.layers.dense import Activation, make_activation, start_bias
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.orders import Order, check_binary, orders_of, ranks
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["NADE"]

_BLOCK = 14
"""Features in a block: the product within it costs as much for each feature as its own length."""

_ROWS = 200
"""Data at a time, of which D H numbers each are in memory."""


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    return NADE(DataSpec("tiny", 4, "binary", num_data=20), 3, order=[2, 0, 3, 1]), (torch.rand(5, 4).round(),)


class _Network(nn.Module):
    """W (D, H), c (H,), V (D, H), b (D,), and of all orders U (D, H); rows belong to features as they stand in x."""

    def __init__(self, num_features: int, hidden: int, activation: Activation, orderless: bool) -> None:
        super().__init__()
        self.activation = make_activation(activation)
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_features, hidden)))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.output = nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_features, hidden)))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.known = nn.Parameter(torch.zeros(num_features, hidden)) if orderless else None

    def given(self, x: Tensor, known: Tensor) -> Any:
        """The laws of features given those that are ``known`` of x, both (..., D), by a network of all orders."""
        assert self.known is not None
        a = self.hidden_bias + (x * known) @ self.weight + known.to(x) @ self.known
        return dist.Bernoulli(logits=self.activation(a) @ self.output.T + self.bias)


class _Recursion(Conditionals):
    """The laws of features by a network, in an order."""

    support = dist.constraints.boolean

    def __init__(self, network: _Network, order: Tensor) -> None:
        super().__init__(order)
        self.network = network

    def forward(self, x: Tensor) -> Any:
        rows = x.reshape(-1, x.shape[-1])
        logits = torch.cat([self._logits(part) for part in rows.split(_ROWS)])
        return dist.Bernoulli(logits=logits.reshape(x.shape))

    def complete(self, x: Tensor, num_given: int = 0) -> Tensor:
        net, given, rest = self.network, self.order[:num_given], self.order[num_given:]
        a = net.hidden_bias + x[..., given] @ net.weight[given]
        a = a if net.known is None else a + net.known[given].sum(0)
        features = list(x.unbind(-1))
        of_each = zip(in_turn(rest.tolist()), net.weight[rest], net.output[rest], net.bias[rest], strict=True)
        for i, weight, output, bias in of_each:
            features[i] = torch.bernoulli((net.activation(a) @ output + bias).sigmoid())
            a = a.addcmul_(features[i][..., None], weight)
            a = a if net.known is None else a.add_(net.known[i])
        return torch.stack(features, -1)

    def _logits(self, x: Tensor) -> Tensor:
        """Of all features at x, (B, D), in N blocks of C of them, the last filled up with zeros."""
        net, triangle = self.network, x.new_ones(_BLOCK, _BLOCK).tril(-1)
        drawn, weight, output = (_blocks(one[self.order]) for one in (x.T, net.weight, net.output))
        drawn = drawn.transpose(1, 2)  # (N, B, C); weight, output: (N, C, H)
        sums, within = drawn @ weight, (drawn[:, :, None] * triangle).flatten(1, 2) @ weight  # (N, B, H), (N, B C, H)
        within = within.unflatten(1, (len(x), _BLOCK))
        if net.known is not None:
            known = _blocks(net.known[self.order])  # (N, C, H)
            sums, within = sums + known.sum(1, keepdim=True), within + (triangle @ known)[:, None]
        start = torch.cat([net.hidden_bias.expand(1, *sums.shape[1:]), sums[:-1]]).cumsum(0)
        a = start[:, :, None] + within  # (N, B, C, H)
        in_turn = (net.activation(a) * output[:, None]).sum(-1)  # (N, B, C)
        found = in_turn.transpose(0, 1).flatten(1)[:, : x.shape[1]]
        logits: Tensor = found[:, ranks(self.order)] + net.bias
        return logits


def _blocks(rows: Tensor) -> Tensor:
    """(D, ...) to (N, C, ...), zeros after the last."""
    missing = -len(rows) % _BLOCK
    filled = torch.cat([rows, rows.new_zeros(missing, rows.shape[1])]) if missing else rows
    blocks: Tensor = filled.unflatten(0, (-1, _BLOCK))
    return blocks


@register_model(
    "nade",
    summary="neural autoregressive distribution estimator: hidden units that take in one feature after the other",
    reference="Larochelle and Murray, The neural autoregressive distribution estimator",
    year=2011,
    link="https://proceedings.mlr.press/v15/larochelle11a.html",
    tags=("discrete", "autoregressive", "exact"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"epochs": 20, "batch_size": 50, "lr": 1e-3}),
)
class NADE(Pair):
    """Neural autoregressive distribution estimator. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        x: (D,), observed, in the plate ``data``

    Parameters, of ``network``: ``weight`` W, ``output`` V and ``known`` U, (D, H); ``hidden_bias`` c, (H,); ``bias`` b,
    (D,), which starts at the training mean's logits.

    Args:
        spec: what one datum is: binary.
        hidden: H.
        activation: h, a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        order: in which features are drawn: ``"raster"``, ``"random"`` or a permutation.
        orderless: whether the network is trained for every order.
        num_orders: M, of an orderless one; the first is ``order``, the others are random.
        order_seed: of random orders.

    Raises:
        UsageError: the data are not binary, a size is not positive, the activation is unknown, the order is no
            permutation, or there are several orders of a network that is trained for one.

    >>> pair = NADE(DataSpec("bits", 3, "binary"), 5)
    >>> pair.distribution().log_prob(torch.ones(2, 3)).shape
    torch.Size([2])
    """

    vectorized = True  # which order it is differs from run to run in training
    orders: Tensor

    def __init__(
        self,
        spec: DataSpec,
        hidden: Count = 500,
        *,
        activation: Activation = "sigmoid",
        order: Order = "raster",
        orderless: bool = False,
        num_orders: Count = 1,
        order_seed: Seed = 0,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        check_binary("NADE", spec)
        _check(orderless, num_orders)
        self.orderless = orderless
        self.register_buffer("orders", orders_of(order, spec.num_features, num_orders, order_seed))  # (M, D)
        self.network = _Network(spec.num_features, hidden, activation, orderless)
        start_bias(self.network.bias, likelihood(spec).initial_bias(spec.mean))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("x", self._scored(x), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        """No latents: nothing to infer."""

    def distribution(self) -> Any:
        """p(x), of event shape (D,): its ``log_prob`` is exact."""
        return over_orders([_Recursion(self.network, order) for order in self.orders])

    def _scored(self, x: Tensor) -> Any:
        """p(x), or in training for every order one step of a random one for each datum."""
        if not (self.orderless and self.training):
            return self.distribution()
        return OneStep(_Recursion(self.network, self.orders[0]), self.network.given, known_at_random(x))


def _check(orderless: bool, num_orders: int) -> None:
    if num_orders > 1 and not orderless:
        raise UsageError(
            f"num_orders={num_orders} of NADE needs a network that is trained for every order: give orderless=True."
        )
