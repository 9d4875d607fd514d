"""Experts for a label: a mixture, whose gate says which of them to ask, or a product, in which all have a veto.

    p(c | x)    = Categorical(softmax(gate(x)))              c in 0..C-1
    p(y | x, c) = Categorical(softmax(expert_c(x)))          y: a label, 0..Y-1

    mixture     p(y | x) = sum_c p(c | x) p(y | x, c)        exact: c is summed out, and left out of the guide
    product     p(y | x) = prod_c p(y | x, c) / sum_y' prod_c p(y' | x, c)        no gate, and no latent

x is given: it stands in the model as a point at itself, so that log p(x, y) is log p(y | x). Networks without hidden
layers are linear: a mixture of them bends where the gate says, and a product of them is one of them.

The M step of EM has no closed form here: ``gem`` takes gradient steps at responsibilities

    r_nc = p(c | x_n, y_n)    proportional to    p(c | x_n) p(y_n | x_n, c),

in which experts and gate learn apart, each from its own weighted labels; ``elbo`` climbs log p(y | x) itself.

References: Adaptive Mixtures of Local Experts, Jacobs, Jordan, Nowlan and Hinton, 1991; Hierarchical Mixtures of
Experts and the EM Algorithm, Jordan and Jacobs, 1994; Training Products of Experts by Minimizing Contrastive
Divergence, Hinton, 2002.
"""

from __future__ import annotations

from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex
from torch import Tensor, nn

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.layers.labels import check_classes, classes_of_all
from ppgen.layers.networks import MLP, Activation
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["MixtureOfExperts"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "real", num_classes=3, num_data=20)
    return MixtureOfExperts(spec, 2), (torch.randn(5, 6), torch.tensor([0, 1, 2, 1, 0]))


@register_model(
    "mixture_of_experts",
    summary="a label given a datum: experts mixed by a gate, or their product",
    reference="Jacobs, Jordan, Nowlan and Hinton, Adaptive mixtures of local experts",
    year=1991,
    link="https://doi.org/10.1162/neco.1991.3.1.79",
    tags=("conditional", "labels", "discrete", "mixture"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 2_000, "batch_size": 100, "lr": 1e-2}),
)
class MixtureOfExperts(Pair):
    """Experts for a label. One batch is ``(x, y)``, x of shape (B, D), y (B,), int64: labels 0..Y-1.

    Sites:
        x: (D,), observed, a point at itself: given; in the plate ``data``
        c: (), an index 0..C-1, in the plate ``data``; of a mixture, the model's alone, marked for parallel enumeration
        y: (), the index of a class, observed, in the plate ``data``

    Args:
        spec: what one datum is; it has ``num_classes`` when the data were loaded with ``labels=True``.
        num_experts: C.
        combine: ``"mixture"`` or ``"product"``.
        hidden: sizes of the hidden layers of each expert; none: it is linear.
        gate_hidden: those of the gate.
        activation: of hidden layers.

    Raises:
        UsageError: the data have no labels, or not all of them; a size is not positive, or a name is unknown. In
            training: a class has no data.

    >>> pair = MixtureOfExperts(DataSpec("numbers", 4, "real", num_classes=3), num_experts=2)
    >>> x, y = torch.zeros(5, 4), torch.tensor([0, 1, 2, 0, 1])
    >>> pair.classify(x).shape, pair.responsibilities(x, y).shape
    (torch.Size([5, 3]), torch.Size([5, 2]))
    """

    mean: Tensor

    def __init__(
        self,
        spec: DataSpec,
        num_experts: Count = 5,
        *,
        combine: Literal["mixture", "product"] = "mixture",
        hidden: Sizes = (),
        gate_hidden: Sizes = (),
        activation: Activation = "relu",
    ) -> None:
        super().__init__(data_size=spec.num_data)
        classes, features = classes_of_all(spec, "MixtureOfExperts", "'ss_vae'"), spec.num_features
        self.num_classes, self.waits_for_data = classes, True
        self.register_buffer("mean", spec.centre)
        self.experts = nn.ModuleList(MLP(features, classes, hidden, activation) for _ in range(num_experts))
        self.gate = MLP(features, num_experts, gate_hidden, activation) if combine == "mixture" else None

    def model(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("x", dist.Delta(x, event_dim=1), obs=x)  # (B, D)
            told = self.log_probs(x)  # (B, C, Y)
            if self.gate is None:
                logits = told.sum(-2)
            else:
                gate = dist.Categorical(logits=self.gate(x - self.mean))
                c = pyro.sample("c", gate, infer={"enumerate": "parallel"})  # (C, K, B)
                logits = Vindex(told)[torch.arange(len(x), device=x.device), c]  # (C, K, B, Y)
            pyro.sample("y", dist.Categorical(logits=logits), obs=y)  # (B,)

    def guide(self, x: Tensor, y: Tensor) -> None:
        """What is latent is summed out: nothing to infer."""

    def start_from(self, x: Tensor, y: Tensor, *, seed: int) -> None:
        """Look at the labels of training data, y (N,), before the first step; nothing moves.

        Raises:
            UsageError: a class is left without data.
        """
        if self.data_size in (None, len(x)):  # else these are some of the data, and the class may be among the others
            check_classes(y, self.num_classes, "MixtureOfExperts")
        self.waits_for_data = False

    def log_probs(self, x: Tensor) -> Tensor:
        """log p(y | x, c) of every expert and label, (B, D) to (B, C, Y), in nats."""
        outputs = [expert(x - self.mean) for expert in self.experts]
        return torch.stack(outputs, -2).log_softmax(-1)

    def classify(self, x: Tensor) -> Tensor:
        """p(y | x), the probability of each label: (B, D) to (B, Y)."""
        told = self.log_probs(x)
        if self.gate is None:
            return told.sum(-2).softmax(-1)
        log_gate = self.gate(x - self.mean).log_softmax(-1)  # (B, C)
        mixed: Tensor = (log_gate.unsqueeze(-1) + told).logsumexp(-2)
        return mixed.exp()

    def responsibilities(self, x: Tensor, y: Tensor) -> Tensor:
        """p(c | x, y), (B, C); of a product all have the same share."""
        told = self.log_probs(x)  # (B, C, Y)
        if self.gate is None:
            return torch.full_like(told[..., 0], 1 / told.shape[-2])
        log_gate = self.gate(x - self.mean).log_softmax(-1)
        joint: Tensor = log_gate + told.take_along_dim(y[:, None, None], -1).squeeze(-1)
        return joint.softmax(-1)
