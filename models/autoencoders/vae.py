"""The variational autoencoder: a latent vector, a decoder, and an amortised Gaussian guide.

    p(z)     = N(0, I)                                  z: (latent,)
    p(x | z) = the spec's likelihood of decoder(z)      Bernoulli, Gaussian, discretized logistic or multinomial

    q(z | x) = N(loc(x), diag(scale(x))^2),             (loc, log scale) = encoder(x)

Either may be another: p(z) a flow or a mixture of the guide (``prior``), q(z | x) bent by a flow (``guide``).
With ``noise="network"`` p(x | z) = N(loc(z), diag(scale(z))^2), both by the decoder; with ``means="sigmoid"`` loc is in
(0, 1), as Kingma and Welling have it of Frey faces (appendix C.2).

x is (B, D): B data of D features. The engine runs the pair with K particles, and z is (K, B, latent); Pyro alone runs
it without, and z is (B, latent). Networks map the last dim and serve both; sums over K or B are the engine's.

Reference: Auto-Encoding Variational Bayes, Kingma and Welling, 2014. Networks and initial values follow
Importance Weighted Autoencoders, Burda, Grosse and Salakhutdinov, 2016 (one stochastic layer).
"""

from __future__ import annotations

from typing import Annotated

import pyro
import torch
from annotated_types import Len
from torch import Tensor

from ppgen.arguments import Count, NonNegative, Sizes
from ppgen.data import DataSpec
from ppgen.layers.guides import amortised
from ppgen.layers.likelihoods import Means, NoiseKind, gaussian_or
from ppgen.layers.networks import Activation, Network, Networks
from ppgen.layers.priors import inputs_like, made_prior
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["VAE"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    return VAE(spec, 2, hidden=(4,)), (torch.rand(5, 6).round(),)


@register_model(
    "vae",
    summary="one Gaussian latent vector, dense or convolutional networks",
    reference="Kingma and Welling, Auto-encoding variational Bayes",
    year=2014,
    link="https://arxiv.org/abs/1312.6114",
    tags=("continuous", "amortised"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 20_000, "batch_size": 100}),
)
class VAE(Pair):
    """Variational autoencoder. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, in the plate ``data``

    Args:
        spec: what one datum is: its size, its likelihood, the number of training data, and their mean, at which the
            decoder's output starts.
        latent_dim: size of z.
        guide: ``"gaussian"``, a flow's, ``"iaf(num=2)"``, or ``"semi_implicit"`` (:mod:`ppgen.layers.guides`).
        prior: ``"normal"``, a flow, ``"maf(num=2)"``, or a mixture of the guide at learned pseudo-inputs,
            ``"vamp(num=100)"`` (:mod:`ppgen.layers.priors`).
        hidden: sizes of the encoder's dense hidden layers; the decoder has them in reverse.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        network: ``"mlp"``, or ``"conv"`` for data with an image shape: convolutions, then the dense layers; or what
            makes a network of the sizes of its input and its output, ``functools.partial(MLP, hidden=(50,))``.
        channels: channels of the convolutions of ``"conv"``.
        noise: of a Gaussian likelihood: ``"learned"``, a scale for each feature, or ``"network"``, by the decoder for
            each datum. Of grey levels it takes them for real numbers, and the bound is of their density. None: that
            of the spec, which of real data is ``"learned"``.
        means: of that likelihood: the decoder's outputs, or of data in [0, 1] their ``"sigmoid"``.
        min_noise: the least scale of that likelihood, for one that goes to zero; 0: there is none.

    Raises:
        UsageError: a size is not positive, a name is unknown, ``"conv"`` is asked for data without an image shape, a
            Gaussian likelihood of data that have none, or a mixture of a guide that does not score any z.

    >>> import ppgen
    >>> pair = VAE(DataSpec("pictures", 64, "binary", image_shape=(8, 8)), latent_dim=2, hidden=(16,))
    >>> x = torch.rand(5, 64).round()
    >>> ppgen.log_weights(pair, (x,), num_particles=100).shape  # log p(x, z) - log q(z | x)
    torch.Size([100, 5])
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 10,
        *,
        guide: str = "gaussian",
        prior: str = "normal",
        hidden: Sizes = (200, 200),
        activation: Activation = "tanh",
        network: Network = "mlp",
        channels: Annotated[Sizes, Len(1)] = (32, 64),
        noise: NoiseKind | None = None,
        means: Means = "identity",
        min_noise: NonNegative = 0.0,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.latent_dim = latent_dim
        networks = Networks(spec, network, hidden, channels, activation)
        self.likelihood = gaussian_or(spec, noise, means, min_noise)
        self.encoder = amortised(guide, latent_dim, networks.encoder)
        self.prior = made_prior(prior, latent_dim, self.encoder, inputs_like(spec))
        self.decoder = networks.decoder(
            latent_dim, self.likelihood.num_outputs, bias=self.likelihood.initial_bias(spec.mean)
        )

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", self.prior(x, self.encoder))  # (K, B, latent)
            outputs = self.decoder(z)  # (K, B, D)
            pyro.sample("x", self.likelihood(outputs, x), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.encoder(x))  # (K, B, latent)
