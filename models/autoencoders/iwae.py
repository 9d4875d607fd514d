"""The importance weighted autoencoder's pair: two stochastic layers, inferred from the bottom up.

    p(z2)      = N(0, I)                                        z2: (latent2,)
    p(z1 | z2) = N(loc(z2), diag(scale(z2))^2)                  z1: (latent1,)
    p(x | z1)  = the spec's likelihood of decoder(z1)

    q(z1 | x)  = N(loc(x), diag(scale(x))^2)
    q(z2 | z1) = N(loc(z1), diag(scale(z1))^2)

Each loc and log scale comes from a network of its own. With one stochastic layer the pair is ``vae``; the
importance weighted bound itself is an objective, ``iwelbo``.

Reference: Importance Weighted Autoencoders, Burda, Grosse and Salakhutdinov, 2016; the default sizes too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Len
from torch import Tensor

from ppgen.arguments import Sizes
from ppgen.data import DataSpec
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.networks import MLP, Activation, ConditionalNormal
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["IWAE"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    return IWAE(spec, (3, 2), hidden=((4,), (4,))), (torch.rand(5, 6).round(),)


@register_model(
    "iwae",
    summary="two Gaussian stochastic layers, dense networks",
    reference="Burda, Grosse and Salakhutdinov, Importance weighted autoencoders",
    year=2016,
    link="https://arxiv.org/abs/1509.00519",
    tags=("continuous", "amortised", "hierarchical"),
    tiny=_tiny,
    recommended=Recommended("iwelbo", {"num_particles": 5}, {"steps": 20_000, "batch_size": 100}),
)
class IWAE(Pair):
    """Autoencoder with two stochastic layers. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z1: (latent1,), real, in the plate ``data``; next to x
        z2: (latent2,), real, in the plate ``data``; the top
        x: (D,), observed, in the plate ``data``

    Args:
        spec: what one datum is: its size, its likelihood, the training mean at which the decoder starts.
        latent_dims: sizes of z1 and z2.
        hidden: hidden layers between x and z1, and between z1 and z2, going up; reversed going down.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.

    Raises:
        UsageError: a size is not positive, there are not two layers of them, or the activation is unknown.

    >>> from ppgen.draws import prior_latents
    >>> pair = IWAE(DataSpec("pictures", 64, "binary"), (5, 2), hidden=((16,), (8,)))
    >>> {name: tuple(z.shape) for name, z in prior_latents(pair, (torch.zeros(1, 64),), 7).items()}  # from the top
    {'z2': (7, 2), 'z1': (7, 5)}
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dims: Annotated[Sizes, Len(2, 2)] = (100, 50),
        *,
        hidden: Annotated[Sequence[Sizes], Len(2, 2)] = ((200, 200), (100, 100)),
        activation: Activation = "tanh",
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.latent_dims = latent1, latent2 = tuple(latent_dims)
        near, far = hidden
        self.likelihood = likelihood(spec)
        bias = self.likelihood.initial_bias(spec.mean)
        self.encoder1 = ConditionalNormal(MLP(spec.num_features, 2 * latent1, near, activation))
        self.encoder2 = ConditionalNormal(MLP(latent1, 2 * latent2, far, activation))
        self.decoder2 = ConditionalNormal(MLP(latent2, 2 * latent1, far[::-1], activation))
        self.decoder1 = MLP(latent1, self.likelihood.num_outputs, near[::-1], activation, bias)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            latent2 = self.latent_dims[1]
            prior = dist.Normal(x.new_zeros(latent2), x.new_ones(latent2)).to_event(1)
            z2 = pyro.sample("z2", prior)  # (K, B, latent2)
            z1 = pyro.sample("z1", self.decoder2(z2))  # (K, B, latent1)
            outputs = self.decoder1(z1)  # (K, B, D)
            pyro.sample("x", self.likelihood(outputs, x), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            z1 = pyro.sample("z1", self.encoder1(x))  # (K, B, latent1)
            pyro.sample("z2", self.encoder2(z1))  # (K, B, latent2)
