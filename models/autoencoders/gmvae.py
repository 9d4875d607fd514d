"""The Gaussian mixture VAE: discrete units, and a Gaussian vector given them: a mixed pair.

    p(y)        = Bernoulli(sigmoid(b)) of each of U units, or Categorical(softmax(b)) of each, one row of b a unit
    p(z | y)    = N(m(y), diag(s(y))^2)                                     z: (latent,)
    p(x | y, z) = the spec's likelihood of decoder(z, code(y))

    q(y | x)    = the same family as p(y), with logits classifier(x - mean)
    q(z | x, y) = N(loc(x, y), diag(scale(x, y))^2),                        (loc, log scale) = encoder(x, code(y))

m and log s are linear in code(y): of one categorical unit, a table of C Gaussians, the clusters; binary units are
2 y - 1, gates that move z and switch the decoder on and off. Here y is drawn, where ``vade`` sums it out and ``ss_vae``
knows it for some data: z has a reparameterized sample and y has none, so that the gradient has a pathwise part and a
scored one (docs/objectives.md, mixed pairs).

Reference: Deep unsupervised clustering with Gaussian mixture variational autoencoders, Dilokthanakul et al., 2016;
its w, the noise that m and s are functions of beside y, is left out. The guide: Semi-supervised learning with deep
generative models, Kingma, Rezende, Mohamed and Welling, 2014.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import pyro
import torch
from annotated_types import Ge
from torch import Tensor, nn

from ppgen.arguments import Count, Positive, Sizes
from ppgen.data import DataSpec
from ppgen.layers.discrete_units import DiscreteUnits
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.networks import MLP, Activation, ConditionalNormal
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["GMVAE"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    return GMVAE(spec, 2, classes=3, hidden=(4,)), (torch.rand(5, 6).round(),)


@register_model(
    "gmvae",
    summary="Gaussian mixture VAE: classes or binary gates that are drawn, and a Gaussian vector given them",
    reference="Dilokthanakul et al., Deep unsupervised clustering with Gaussian mixture variational autoencoders",
    year=2016,
    link="https://arxiv.org/abs/1611.02648",
    tags=("continuous", "discrete", "amortised", "mixture"),
    tiny=_tiny,
    recommended=Recommended("enumerate", training={"steps": 10_000, "batch_size": 100}),
)
class GMVAE(Pair):
    """Gaussian mixture variational autoencoder. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        y: (units,), in {0, 1}, or (units, classes), one-hot rows; in the plate ``data``
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, in the plate ``data``

    ``enumerate`` sums over y while it has few states and draws z; every estimator for discrete latents takes the pair,
    those for binary ones at ``classes=2``.

    Args:
        spec: what one datum is: its size, its likelihood, the training mean.
        latent_dim: size of z.
        units: U.
        classes: C of each unit; 2 makes the units binary.
        hidden: sizes of the hidden layers of classifier and encoder; the decoder has them in reverse.
        spread: how far apart the Gaussians of z start, the standard deviation of m over states; s starts at 1.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.

    Raises:
        UsageError: a size or the spread is not positive, there are fewer than two classes, a name is unknown.

    >>> pair = GMVAE(DataSpec("pictures", 64, "binary"), 2, units=3, classes=4, hidden=(16,))
    >>> pair.responsibilities(torch.rand(5, 64).round()).shape  # of each unit
    torch.Size([5, 3, 4])
    """

    mean: Tensor

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 10,
        *,
        units: Count = 1,
        classes: Annotated[int, Ge(2)] = 10,
        hidden: Sizes = (200, 200),
        spread: Positive = 1.0,
        activation: Activation = "tanh",
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.latent_dim = latent_dim
        self.units = DiscreteUnits(units, classes)
        self.likelihood = likelihood(spec)
        self.register_buffer("mean", spec.centre)
        features, numbers = spec.num_features, self.units.num_numbers
        outputs, bias = self.likelihood.num_outputs, self.likelihood.initial_bias(spec.mean)
        self.logits = nn.Parameter(torch.zeros(numbers))
        self.mixture = ConditionalNormal(_apart(numbers, latent_dim, spread / units**0.5))
        self.classifier = MLP(features, numbers, hidden, activation)
        self.encoder = ConditionalNormal(MLP(features + numbers, 2 * latent_dim, hidden, activation))
        self.decoder = MLP(latent_dim + numbers, outputs, hidden[::-1], activation, bias)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            y = pyro.sample("y", self.units(self.logits))  # (K, B, units), or (K, B, units, classes)
            code = self.units.code(y)  # (K, B, U C)
            z = pyro.sample("z", self.mixture(code))  # (K, B, latent)
            outputs = self.decoder(_beside(z, code))  # (K, B, D)
            pyro.sample("x", self.likelihood(outputs, x), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        centred = x - self.mean
        with self.data_plate(x):
            y = pyro.sample("y", self.units(self.classifier(centred)))  # (K, B, units), or (K, B, units, classes)
            pyro.sample("z", self.encoder(_beside(centred, self.units.code(y))))  # (K, B, latent)

    def responsibilities(self, x: Tensor) -> Tensor:
        """q(y | x), the probability of each class of each unit: (B, D) to (B, U, C)."""
        probs: Tensor = self.units(self.classifier(x - self.mean)).base_dist.probs
        return torch.stack([1 - probs, probs], -1) if self.units.binary else probs

    @property
    def category_probs(self) -> Callable[[Tensor], Tensor] | None:
        """By which ``evaluate`` tells how far clusters are the labels, (B, D) to (B, C); None of several units."""
        return (lambda x: self.responsibilities(x)[:, 0]) if self.units.state_shape[0] == 1 else None


def _apart(num_inputs: int, dim: int, spread: float) -> nn.Linear:
    """From the code of y to m and log s: means at random, scales of one."""
    layer = nn.Linear(num_inputs, 2 * dim)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    nn.init.normal_(layer.weight[:dim], std=spread)
    return layer


def _beside(vector: Tensor, code: Tensor) -> Tensor:
    """The two side by side, for each of what either has."""
    shape = torch.broadcast_shapes(vector.shape[:-1], code.shape[:-1])
    return torch.cat([vector.expand(*shape, -1), code.expand(*shape, -1)], -1)
