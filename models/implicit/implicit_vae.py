"""A variational autoencoder whose guide is a network of the datum and noise: any distribution, without a density.

    p(z)     = N(0, I)                                  z: (latent,)
    p(x | z) = the spec's likelihood of decoder(z)      Bernoulli, Gaussian, discretized logistic or multinomial

    z | x    = encoder(x, e),  e ~ N(0, I)              e: (noise,); q(z | x) has no density that could be computed

The model is that of ``vae``. The guide may be of any form, with several modes, and knows of itself only how to draw: no
log-weight and no bound exist. ``avb`` trains both, with a critic that stands for log q(z | x) - log p(z).

Reference: Adversarial Variational Bayes: Unifying Variational Autoencoders and Generative Adversarial Networks,
Mescheder, Nowozin and Geiger, 2017.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.networks import MLP, Activation
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["ImplicitVAE"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    return ImplicitVAE(spec, 2, noise=3, hidden=(4,)), (torch.rand(5, 6).round(),)


@register_model(
    "implicit_vae",
    summary="VAE whose guide is a network of x and noise, without a density",
    reference="Mescheder, Nowozin and Geiger, Adversarial variational Bayes",
    year=2017,
    link="https://arxiv.org/abs/1701.04722",
    tags=("continuous", "amortised", "implicit"),
    tiny=_tiny,
    recommended=Recommended("avb", training={"steps": 20_000, "batch_size": 100}),
)
class ImplicitVAE(Pair):
    """Variational autoencoder with an implicit guide. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (latent,), real, in the plate ``data``; in the guide a point mass at encoder(x, e)
        x: (D,), observed, in the plate ``data``

    The guide draws its noise at an auxiliary site, e (noise,).

    Args:
        spec: what one datum is: its size, its likelihood, the number of training data, and their mean, at which the
            decoder's output starts.
        latent_dim: size of z.
        noise: size of e; None: that of z.
        hidden: sizes of the encoder's hidden layers; the decoder has them in reverse.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.

    Raises:
        UsageError: a size is not positive, or a name is unknown.

    >>> import ppgen
    >>> pair = ImplicitVAE(DataSpec("pictures", 64, "binary"), latent_dim=2, hidden=(16,))
    >>> run = ppgen.fit(pair, torch.rand(20, 64).round(), "avb", steps=2, eager=True)
    """

    implicit_guide: ClassVar[bool] = True
    vectorized = True

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 10,
        *,
        noise: Count | None = None,
        hidden: Sizes = (200, 200),
        activation: Activation = "tanh",
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.latent_dim, self.noise = latent_dim, noise or latent_dim
        self.likelihood = likelihood(spec)
        self.encoder = MLP(spec.num_features + self.noise, latent_dim, hidden, activation)
        outputs, bias = self.likelihood.num_outputs, self.likelihood.initial_bias(spec.mean)
        self.decoder = MLP(latent_dim, outputs, hidden[::-1], activation, bias)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", self._standard(x, self.latent_dim))  # (K, B, latent)
            pyro.sample("x", self.likelihood(self.decoder(z), x), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            e = pyro.sample("e", self._standard(x, self.noise), infer={"is_auxiliary": True})  # (K, B, noise)
            told = torch.cat([x.expand(*e.shape[:-1], -1), e], -1)  # (K, B, D + noise)
            pyro.sample("z", dist.Delta(self.encoder(told), event_dim=1))  # (K, B, latent)

    def _standard(self, x: Tensor, size: int) -> Any:
        return dist.Normal(x.new_zeros(size), x.new_ones(size)).to_event(1)
