"""The fully visible belief network: a logistic regression of every feature on those before it.

    p(x_i = 1 | those before) = sigmoid(c_i + sum_j W_ij x_j),        j before i in the order, of D features

    log p(x) = sum_i log p(x_i | those before)        (nats), exact: nothing is latent

W starts at zero and c at the training mean's logits, so that features start independent. log p(x) is concave in W and
c: there is one maximum. A Laplace prior of the weights (objective ``map``) keeps it from fitting its training data too
well.

Reference: Graphical Models for Machine Learning and Digital Communication, Frey, 1998.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ppgen.arguments import Seed
from ppgen.data import DataSpec
from ppgen.distributions.autoregressive import Conditionals
from ppgen.layers.in_turn import AutoregressivePair
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.orders import Order, check_binary, order_of, ranks
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["FVBN"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    pair = FVBN(DataSpec("tiny", 4, "binary", num_data=20), order=[2, 0, 3, 1])
    nn.init.normal_(pair.conditionals.weight)
    return pair, (torch.rand(5, 4).round(),)


class _Regressions(Conditionals):
    """W (D, D), of which what stands before a feature is read, and c (D,)."""

    support = dist.constraints.boolean
    before: Tensor

    def __init__(self, order: Tensor, bias: Tensor) -> None:
        super().__init__(order)
        rank = ranks(order)
        self.register_buffer("before", rank[:, None] > rank, persistent=False)  # (D, D)
        self.weight = nn.Parameter(torch.zeros(len(order), len(order)))
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Any:
        return dist.Bernoulli(logits=linear(x, self.weight * self.before, self.bias))

    def draw(self, x: Tensor, i: int) -> Tensor:
        return torch.bernoulli((x @ (self.weight[i] * self.before[i]) + self.bias[i]).sigmoid())


@register_model(
    "fvbn",
    summary="fully visible belief network: a logistic regression of every feature on those before it",
    reference="Frey, Graphical models for machine learning and digital communication",
    year=1998,
    link="https://mitpress.mit.edu/9780262529549/",
    tags=("discrete", "autoregressive", "exact"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"epochs": 40, "batch_size": 100, "lr": 3e-3}),
)
class FVBN(AutoregressivePair):
    """Fully visible belief network. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        x: (D,), observed, in the plate ``data``

    Parameters, of ``conditionals``: ``weight`` W (D, D), ``bias`` c (D,).

    Args:
        spec: what one datum is: binary.
        order: in which features are drawn: ``"raster"``, ``"random"`` or a permutation.
        order_seed: of ``"random"``.

    Raises:
        UsageError: the data are not binary, or the order is no permutation.

    >>> pair = FVBN(DataSpec("bits", 3, "binary"))
    >>> pair.distribution().log_prob(torch.ones(2, 3)).detach()  # even odds at first, without a training mean
    tensor([-2.0794, -2.0794])
    """

    conditionals: _Regressions

    def __init__(self, spec: DataSpec, *, order: Order = "raster", order_seed: Seed = 0) -> None:
        super().__init__(spec)
        check_binary("FVBN", spec)
        bias = likelihood(spec).initial_bias(spec.mean)
        start = torch.zeros(spec.num_features) if bias is None else bias
        self.conditionals = _Regressions(order_of(order, spec.num_features, order_seed), start)
