"""The neural autoregressive distribution estimator: hidden units that take one feature in after the other.

    a_1 = c,        a_{t+1} = a_t + W_{o_t} x_{o_t}                     a: (H,); o the order, of D features
    p(x_i = 1 | those before) = sigmoid(b_i + V_i h(a_t)),              i = o_t;  h = sigmoid in the paper

    log p(x) = sum_t log p(x_{o_t} | those before)        (nats), exact: nothing is latent

W is shared by all conditionals, so that a draw, which keeps a, costs O(D H). A log-probability has every a_t at once:
features are taken in blocks, a at the start of each block is a cumulative sum over blocks, and within one it is a
product with a triangle of x (:class:`_Recursion`).

Reference: The Neural Autoregressive Distribution Estimator, Larochelle and Murray, 2011.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppgen.arguments import Count, Seed
from ppgen.data import DataSpec
from ppgen.distributions.autoregressive import Autoregressive, Conditionals
from ppgen.layers.dense import Activation, make_activation, start_bias
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.orders import Order, check_binary, order_of
from ppgen.machine.progress import track
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


class _Recursion(Conditionals):
    """W (D, H), c (H,), V (D, H), b (D,); rows belong to features as they stand in x."""

    support = dist.constraints.boolean

    def __init__(self, order: Tensor, hidden: int, activation: Activation) -> None:
        super().__init__(order)
        self.activation = make_activation(activation)
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(len(order), hidden)))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.output = nn.Parameter(nn.init.xavier_uniform_(torch.empty(len(order), hidden)))
        self.bias = nn.Parameter(torch.zeros(len(order)))

    def forward(self, x: Tensor) -> Any:
        rows = x.reshape(-1, x.shape[-1])
        logits = torch.cat([self._logits(part) for part in rows.split(_ROWS)])
        return dist.Bernoulli(logits=logits.reshape(x.shape))

    def complete(self, x: Tensor, num_given: int = 0) -> Tensor:
        x, (given, rest) = x.clone(), (self.order[:num_given], self.order[num_given:])
        a = self.hidden_bias + x[..., given] @ self.weight[given]
        for i in track(rest.tolist(), "features", True):
            x[..., i] = torch.bernoulli((self.activation(a) @ self.output[i] + self.bias[i]).sigmoid())
            a = a + x[..., i, None] * self.weight[i]
        return x

    def _logits(self, x: Tensor) -> Tensor:
        """Of all features at x, (B, D), in blocks of C of them, the last filled up with zeros."""
        drawn, weight, output = (_blocks(one) for one in (x.T[self.order], self.weight[self.order], self.output[self.order]))
        drawn = drawn.transpose(1, 2)  # (N, B, C); weight, output: (N, C, H)
        sums = drawn @ weight  # (N, B, H)
        start = torch.cat([self.hidden_bias.expand(1, *sums.shape[1:]), sums[:-1]]).cumsum(0)
        before = (drawn[:, :, None] * drawn.new_ones(_BLOCK, _BLOCK).tril(-1)).flatten(1, 2)  # (N, B C, C)
        a = start[:, :, None] + (before @ weight).unflatten(1, (len(x), _BLOCK))  # (N, B, C, H)
        in_turn = (self.activation(a) * output[:, None]).sum(-1)  # (N, B, C)
        found = in_turn.transpose(0, 1).flatten(1)[:, : x.shape[1]]
        return found[:, self.order.argsort()] + self.bias


def _blocks(rows: Tensor) -> Tensor:
    """(D, ...) to (N, C, ...), zeros after the last."""
    missing = -len(rows) % _BLOCK
    filled = torch.cat([rows, rows.new_zeros(missing, rows.shape[1])]) if missing else rows
    return filled.unflatten(0, (-1, _BLOCK))


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

    Parameters, of ``conditionals``: ``weight`` W and ``output`` V, (D, H); ``hidden_bias`` c, (H,); ``bias`` b, (D,),
    which starts at the training mean's logits.

    Args:
        spec: what one datum is: binary.
        hidden: H.
        activation: h, a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        order: in which features are drawn: ``"raster"``, ``"random"`` or a permutation.
        order_seed: of ``"random"``.

    Raises:
        UsageError: the data are not binary, a size is not positive, the activation is unknown, or the order is no
            permutation.

    >>> pair = NADE(DataSpec("bits", 3, "binary"), 5)
    >>> pair.distribution().log_prob(torch.ones(2, 3)).shape
    torch.Size([2])
    """

    def __init__(
        self,
        spec: DataSpec,
        hidden: Count = 500,
        *,
        activation: Activation = "sigmoid",
        order: Order = "raster",
        order_seed: Seed = 0,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        check_binary("NADE", spec)
        self.conditionals = _Recursion(order_of(order, spec.num_features, order_seed), hidden, activation)
        start_bias(self.conditionals.bias, likelihood(spec).initial_bias(spec.mean))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("x", self.distribution(), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        """No latents: nothing to infer."""

    def distribution(self) -> Autoregressive:
        """p(x), of event shape (D,): its ``log_prob`` is exact, and its ``complete`` draws what is not known of x."""
        return Autoregressive(self.conditionals)
