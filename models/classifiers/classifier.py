"""A classifier as a pair without latents: a label, given a datum that is not modelled.

    p(y | x) = Categorical(softmax(W h(x) + b)),        h(x) = activation(network(x - mean))

x is given: it stands in the model as a point at itself, of log-probability zero, so that the log-likelihood of a batch
is sum log p(y | x), minus the cross-entropy, and a draw of the model is the given x with a label of it. ``elbo`` is
exact here, and its maximum is that of the likelihood. h(x), the last hidden layer, are the features by which draws of
other pairs are held against data (:mod:`ppgen.evaluation.judged`).

Reference: Gradient-based learning applied to document recognition, LeCun, Bottou, Bengio and Haffner, 1998.
"""

from __future__ import annotations

from typing import Annotated

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Ge, Len
from torch import Tensor, nn

from ppgen.arguments import Count, Share, Sizes
from ppgen.data import DataSpec
from ppgen.layers.dense import glorot, make_activation
from ppgen.layers.labels import classes_of_all
from ppgen.layers.networks import Activation, Network, Networks
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["Classifier"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "real", num_classes=3, num_data=20)
    return Classifier(spec, 4, hidden=(5,)), (torch.randn(5, 6), torch.tensor([0, 1, 2, 1, 0]))


@register_model(
    "classifier",
    summary="a label given a datum: the classifier by which draws of other pairs are judged",
    reference="LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition",
    year=1998,
    link="https://doi.org/10.1109/5.726791",
    tags=("conditional", "labels"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 3_000, "batch_size": 100, "lr": 1e-3}),
)
class Classifier(Pair):
    """A classifier. One batch is ``(x, y)``, x of shape (B, D), y (B,), int64: labels 0..C-1.

    Sites:
        x: (D,), observed, a point at itself: given; in the plate ``data``
        y: (), the index of a class, observed, in the plate ``data``

    Args:
        spec: what one datum is; it has ``num_classes`` when the data were loaded with ``labels=True``.
        num_hidden: size of the last hidden layer, the features.
        hidden: sizes of the dense layers before it.
        network: ``"mlp"``, or ``"conv"`` for data with an image shape: convolutions, 5 x 5 of stride 2, then the dense
            layers; or what makes a network of the sizes of its input and its output.
        channels: channels of the convolutions of ``"conv"``.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        dropout: the share of hidden numbers that are put to zero in training.
        max_shift: pixels by which pictures are moved at random in training, each way.

    Raises:
        UsageError: the data have no labels, or not all of them; a size is not positive, a name is unknown, or
            ``"conv"`` or ``max_shift`` is asked for data without an image shape.

    >>> pair = Classifier(DataSpec("pictures", 64, "quantised", num_classes=10, levels=17), 16, hidden=())
    >>> x = torch.zeros(5, 64)
    >>> pair.features(x).shape, pair.classify(x).shape
    (torch.Size([5, 16]), torch.Size([5, 10]))
    """

    mean: Tensor

    def __init__(
        self,
        spec: DataSpec,
        num_hidden: Count = 128,
        *,
        hidden: Sizes = (256,),
        network: Network = "mlp",
        channels: Annotated[Sizes, Len(1)] = (16, 32),
        activation: Activation = "relu",
        dropout: Share = 0.0,
        max_shift: Annotated[int, Ge(0)] = 0,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.num_classes = classes_of_all(spec, "Classifier", "'ss_vae'")
        self.num_features = spec.num_features
        self.register_buffer("mean", spec.centre)
        networks = Networks(spec, network, hidden, channels, activation)
        self.shift = networks.random_shift(max_shift)
        self.network = nn.Sequential(
            networks.encoder(num_hidden, kernel=5, dropout=dropout), make_activation(activation), nn.Dropout(dropout)
        )
        self.last = glorot(nn.Linear(num_hidden, self.num_classes))

    def model(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("x", dist.Delta(x, event_dim=1), obs=x)  # (B, D)
            pyro.sample("y", dist.Categorical(logits=self._logits(x)), obs=y)  # (B,)

    def guide(self, x: Tensor, y: Tensor) -> None:
        """No latents: nothing to infer."""

    def classify(self, x: Tensor) -> Tensor:
        """p(y | x), the probability of each class: (B, D) to (B, C)."""
        return self._logits(x).softmax(-1)

    def features(self, x: Tensor) -> Tensor:
        """h(x), the last hidden layer: (B, D) to (B, num_hidden)."""
        h: Tensor = self.network(self.shift(x - self.mean))
        return h

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.features(x))
        return logits
