"""A generative moment matching network: a short uniform latent vector, and a deep network that makes x of it.

    p(z) = U(-1, 1)^latent  or  N(0, I)                 z: (latent,)
    x    = G(z),    G = output(network)                 x | z is a point, not a distribution

    q(z) = p(z)                                         nothing infers z

It has no critic: ``mmd`` holds kernel means of its draws against those of data, with the kernels of the paper, of
several widths fixed in the units of x, sum_s exp(-|x - x'|^2 / 2 s), s = 2, 5, 10, 20, 40 and 80: bandwidths sqrt(s)
for pictures in [0, 1]; and the root of MMD^2.

Reference: Generative Moment Matching Networks, Li, Swersky and Zemel, 2015, sections 3 and 5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.layers.generators import Generator, Output, Prior, PushForward, made_prior
from ppgen.layers.networks import Activation, Networks
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["GMMN"]

_KERNELS = tuple(round(width**0.5, 6) for width in (2, 5, 10, 20, 40, 80))
"""Standard deviations, for pictures in [0, 1]."""


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    return GMMN(DataSpec("tiny", 6, "real", num_data=20), 3, hidden=(4,)), (torch.randn(5, 6),)


@register_model(
    "gmmn",
    summary="generative moment matching network: a deep network of a short latent vector, trained without a critic",
    reference="Li, Swersky and Zemel, Generative moment matching networks",
    year=2015,
    link="https://arxiv.org/abs/1502.02761",
    tags=("continuous", "implicit"),
    tiny=_tiny,
    recommended=(
        Recommended(
            "mmd",
            {"bandwidths": _KERNELS, "scale": 1.0, "root": True},
            {"steps": 6_000, "batch_size": 500, "lr": 3e-3},
            kinds=("binary", "quantised"),
        ),
        Recommended("mmd", {"root": True}, {"steps": 6_000, "batch_size": 500, "lr": 1e-3}),
    ),
)
class GMMN(PushForward):
    """Generative moment matching network. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, a point mass at G(z), in the plate ``data``

    Args:
        spec: what one datum is: its size, its kind, and the mean of the training data, at which the output starts.
        latent_dim: size of z.
        hidden: sizes of the hidden layers, from z to x.
        prior: of z, ``"uniform"`` (on -1 to 1) or ``"normal"``; or what makes a Pyro distribution of each of (latent,)
            zeros.
        output: ``"sigmoid"``, ``"tanh"`` or ``"identity"``; or what makes a module of the same shape. None: sigmoid for
            data in [0, 1] by their kind (binary, quantised), identity for real data.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one.

    Raises:
        UsageError: the data are counts, or the prior makes no distribution of (latent,) numbers.

    >>> import ppgen
    >>> pair = GMMN(DataSpec("ring", 2, "real"), 3, hidden=(16,))
    >>> run = ppgen.fit(pair, torch.randn(20, 2), "mmd", steps=2, eager=True)
    >>> ppgen.draws.prior_samples(pair, (torch.zeros(1, 2),), 100).x.shape
    torch.Size([100, 2])
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 10,
        *,
        hidden: Sizes = (64, 256, 256, 1024),
        prior: Prior = "uniform",
        output: Output | None = None,
        activation: Activation = "relu",
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.latent_dim = latent_dim
        self.prior = made_prior(prior, latent_dim)
        networks = Networks(spec, hidden=hidden[::-1], activation=activation)
        self.generator = Generator(networks, latent_dim, output, "GMMN")
