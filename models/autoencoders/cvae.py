"""The conditional variational autoencoder: data given labels, with a prior that the label sets.

    p(z | y)    = N(loc(y), diag(scale(y))^2)           y: a label in 0..num_classes-1, z: (latent,)
    p(x | z, y) = the spec's likelihood of decoder(z, y)

    q(z | x, y) = N(loc(x, y), diag(scale(x, y))^2)

A flow may bend the guide (``guide``).

y is given, never inferred: the pair models p(x | y). It enters the networks as a one-hot vector.

Reference: Learning Structured Output Representation using Deep Conditional Generative Models,
Sohn, Lee and Yan, 2015.
"""

from __future__ import annotations

from functools import partial

import pyro
import torch
from torch import Tensor

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.layers.guides import amortised
from ppgen.layers.labels import beside_label, classes_of_all, one_hot
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.networks import MLP, Activation, ConditionalNormal
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["CVAE"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    spec = DataSpec("tiny", 6, "binary", num_classes=3, num_data=20)
    return CVAE(spec, 2, hidden=(4,)), (torch.rand(5, 6).round(), torch.tensor([0, 1, 2, 1, 0]))


@register_model(
    "cvae",
    summary="VAE of data given their labels, with a learned prior for each label",
    reference="Sohn, Lee and Yan, Learning structured output representation using deep conditional generative models",
    year=2015,
    link="https://proceedings.neurips.cc/paper/2015/hash/8d55a249e6baa5c06772297520da2051-Abstract.html",
    tags=("continuous", "amortised", "conditional"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 20_000, "batch_size": 100}),
)
class CVAE(Pair):
    """Conditional variational autoencoder. One batch is ``(x, y)``, x of shape (B, D), labels y of shape (B,).

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, in the plate ``data``

    Args:
        spec: what one datum is; it has ``num_classes`` when the data were loaded with ``labels=True``.
        latent_dim: size of z.
        guide: ``"gaussian"``, a flow's, ``"iaf(num=2)"``, or ``"semi_implicit"`` (:mod:`ppgen.layers.guides`).
        hidden: sizes of the encoder's hidden layers; the decoder has them in reverse. The prior's network
            is a linear map of the one-hot label, which gives each label a loc and scale of its own.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.

    Raises:
        UsageError: the data have no labels, or not all, a size is not positive, or a name is unknown.

    >>> from ppgen.draws import prior_samples
    >>> pair = CVAE(DataSpec("pictures", 64, "binary", num_classes=10), latent_dim=2, hidden=(16,))
    >>> x, y = torch.zeros(10, 64), torch.arange(10)
    >>> prior_samples(pair, (x, y), 20).x.shape  # two of each class
    torch.Size([20, 64])
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 10,
        *,
        guide: str = "gaussian",
        hidden: Sizes = (200, 200),
        activation: Activation = "tanh",
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.num_classes, features = classes_of_all(spec, "CVAE", "SSVAE"), spec.num_features
        self.likelihood = likelihood(spec)
        outputs, bias = self.likelihood.num_outputs, self.likelihood.initial_bias(spec.mean)
        self.prior = ConditionalNormal(MLP(self.num_classes, 2 * latent_dim, hidden=()))
        read = partial(MLP, features + self.num_classes, hidden=hidden, activation=activation)
        self.encoder = amortised(guide, latent_dim, read)
        self.decoder = MLP(latent_dim + self.num_classes, outputs, hidden[::-1], activation, bias)

    def model(self, x: Tensor, y: Tensor) -> None:
        label = one_hot(y, self.num_classes, x)  # (B, classes)
        with self.data_plate(x):
            z = pyro.sample("z", self.prior(label))  # (K, B, latent)
            outputs = self.decoder(beside_label(z, y, self.num_classes))  # (K, B, D)
            pyro.sample("x", self.likelihood(outputs, x), obs=x)  # (B, D)

    def guide(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.encoder(beside_label(x, y, self.num_classes)))  # (K, B, latent)
