"""Variational deep embedding: a variational autoencoder whose prior is a mixture, so that codes fall into clusters.

    p(c)     = Categorical(w)                       c in 0..C-1
    p(z | c) = N(m_c, diag(s_c)^2)                  z: (latent,)
    p(x | z) = the spec's likelihood of decoder(z)

    q(z | x) = N(loc(x), diag(scale(x))^2)
    q(c | z) = p(c | z) = w_c N(z; m_c, s_c) / sum_c' w_c' N(z; m_c', s_c')

With the last, which is the best q(c | x) there is at a draw z, the terms of c in the bound sum to log p(z) exactly,

    E_q(c | z) [log p(z, c) - log q(c | z)] = log sum_c w_c N(z; m_c, s_c),

so that c is left out of model and guide, whose prior of z is the mixture: no index is drawn, and log-weights are

    log w = log p(x | z) + log sum_c w_c N(z; m_c, s_c) - log q(z | x)          (nats).

With one component that stays at N(0, I) it is ``vae``; as there, a flow may bend the guide (``guide``). Where training
starts decides which clusters it finds: components start apart at random, and :meth:`VaDE.start_from_codes` puts them
where a mixture fits the codes of data, as the paper does after pretraining.

Reference: Variational Deep Embedding, Jiang, Zheng, Tan, Tang and Zhou, 2017, eqs. 10 and 16.
"""

from __future__ import annotations

from typing import Annotated

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Len
from torch import Tensor, nn

from ppgen.arguments import Count, Positive, Seed, Sizes, checked
from ppgen.data import DataSpec
from ppgen.distributions.components import DiagonalGaussians
from ppgen.errors import UsageError
from ppgen.layers.guides import amortised
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.networks import Activation, Network, Networks
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["VaDE"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    return VaDE(spec, 2, 3, hidden=(4,)), (torch.rand(5, 6).round(),)


@register_model(
    "vade",
    summary="VAE with a mixture of Gaussians for prior, its component summed out: clusters of codes",
    reference="Jiang, Zheng, Tan, Tang and Zhou, Variational deep embedding",
    year=2017,
    link="https://arxiv.org/abs/1611.05148",
    tags=("continuous", "amortised", "mixture"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 20_000, "batch_size": 100}),
)
class VaDE(Pair):
    """VAE with a mixture prior. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (latent,), real, in the plate ``data``; c is summed out of its prior
        x: (D,), observed, in the plate ``data``

    Parameters: ``logits`` of w (C,), ``locs`` m and ``log_scales`` log s (C, latent); those of the networks.

    Args:
        spec: what one datum is, as of ``vae``.
        latent_dim: size of z.
        num_components: C.
        guide: ``"gaussian"``, a flow's, ``"iaf(num=2)"``, or ``"semi_implicit"`` (:mod:`ppgen.layers.guides`).
        hidden: sizes of the encoder's dense hidden layers; the decoder has them in reverse.
        spread: how far apart components start, the standard deviation of m; s starts at 1.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        network: ``"mlp"``, or ``"conv"`` for data with an image shape; or what makes a network of the sizes of its
            input and its output.
        channels: channels of the convolutions of ``"conv"``.

    Raises:
        UsageError: a size or the spread is not positive, a name is unknown, or ``"conv"`` is asked for data without an
            image shape.

    >>> pair = VaDE(DataSpec("pictures", 64, "binary"), latent_dim=2, num_components=3, hidden=(16,))
    >>> pair.responsibilities(torch.rand(5, 64).round()).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 10,
        num_components: Count = 10,
        *,
        guide: str = "gaussian",
        hidden: Sizes = (200, 200),
        spread: Positive = 1.0,
        activation: Activation = "tanh",
        network: Network = "mlp",
        channels: Annotated[Sizes, Len(1)] = (32, 64),
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.latent_dim, self.num_components = latent_dim, num_components
        networks = Networks(spec, network, hidden, channels, activation)
        self.likelihood = likelihood(spec)
        self.encoder = amortised(guide, latent_dim, networks.encoder)
        outputs, bias = self.likelihood.num_outputs, self.likelihood.initial_bias(spec.mean)
        self.decoder = networks.decoder(latent_dim, outputs, bias=bias)
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.locs = nn.Parameter(spread * torch.randn(num_components, latent_dim))
        self.log_scales = nn.Parameter(torch.zeros(num_components, latent_dim))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            components = dist.Normal(self.locs, self.log_scales.exp()).to_event(1)  # (C,), event (latent,)
            prior = dist.MixtureSameFamily(dist.Categorical(logits=self.logits), components)
            z = pyro.sample("z", prior)  # (K, B, latent)
            pyro.sample("x", self.likelihood(self.decoder(z), x), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.encoder(x))  # (K, B, latent)

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z), (..., B, latent) to (..., B), in nats."""
        return self._log_joint(z).logsumexp(-1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(c | z) at the code z of x, (B, D) to (B, C)."""
        return self._log_joint(self.encode(x)).softmax(-1)

    category_probs = responsibilities
    """By which ``evaluate`` tells how far clusters are the labels."""

    def encode(self, x: Tensor) -> Tensor:
        """The mean of q(z | x), or where a flow puts that of its Gaussian, (B, D) to (B, latent)."""
        return self.encoder.centre(x)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The mean of p(x | z) at the code z of x, (B, D)."""
        mean: Tensor = self.likelihood(self.decoder(self.encode(x)), x).mean
        return mean

    @torch.no_grad()
    @checked
    def start_from_codes(self, x: Tensor, *, seed: Seed = 0) -> None:
        """Put the prior where a mixture fits the codes of x, (N, D), by scikit-learn's EM.

        Raises:
            UsageError: there are fewer data than components.
        """
        from sklearn.mixture import GaussianMixture

        if len(x) < self.num_components:
            raise UsageError(
                f"a mixture of num_components={self.num_components} needs as many codes, got {len(x)} data: give more."
            )
        found = GaussianMixture(self.num_components, covariance_type="diag", random_state=seed)
        found.fit(self.encode(x).double().cpu().numpy())
        scales = found.covariances_**0.5
        for parameter, value in ((self.locs, found.means_), (self.log_scales, scales), (self.logits, found.weights_)):
            parameter.copy_(torch.as_tensor(value) if parameter is self.locs else torch.as_tensor(value).log())

    def _log_joint(self, z: Tensor) -> Tensor:
        """log p(z, c), (..., B, C)."""
        return self.logits.log_softmax(-1) + DiagonalGaussians(self.locs, self.log_scales.exp()).table(z)
