"""A generative moment matching network of an autoencoder's codes.

    p(z) = U(-1, 1)^latent  or  N(0, I)                 z: (latent,)
    c    = G(z),    x = D(c)                            c: the code, in (0, 1)^F; both are points

    q(z) = p(z),    q(c | x) a point, E(x)              D and E: an autoencoder

Two stages train it, ``"reconstruction, mmd(site=code)"``: first D and E, by the squared error; then G, whose codes come
to be distributed as E(x) is, which stands still. Codes lie closer together than pictures do, and kernel means tell more
of a few dozen numbers than of hundreds.

Reference: Generative Moment Matching Networks, Li, Swersky and Zemel, 2015, section 4.
"""

from __future__ import annotations

from typing import Annotated

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Len
from torch import Tensor, nn

from ppgen.arguments import Count, Share, Sizes
from ppgen.data import DataSpec
from ppgen.layers.dense import MLP
from ppgen.layers.generators import Generator, Output, Prior, PushForward, made_prior
from ppgen.layers.networks import Activation, Networks
from ppgen.pairs.pair import Pair
from ppgen.pairs.sampling import Draws
from ppgen.pairs.tracing import Batch
from ppgen.registry import Recommended, register_model

__all__ = ["GMMNCodes"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    return GMMNCodes(DataSpec("tiny", 6, "real", num_data=20), 3, hidden=(4,), codes=(4, 2)), (torch.randn(5, 6),)


@register_model(
    "gmmn_codes",
    summary="generative moment matching network of the codes of an autoencoder, which is trained first",
    reference="Li, Swersky and Zemel, Generative moment matching networks",
    year=2015,
    link="https://arxiv.org/abs/1502.02761",
    tags=("continuous", "implicit", "amortised", "stages"),
    tiny=_tiny,
    recommended=Recommended(
        "reconstruction, mmd(site=code, root=True, scale=1.0, bandwidths=[0.25, 0.5, 1.0, 2.0])",
        {"shares": (1, 2)},
        {"steps": 20_000, "batch_size": 500, "lr": 1e-3},
    ),
)
class GMMNCodes(PushForward):
    """Moment matching network of codes. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (latent,), real, in the plate ``data``
        code: (F,), a point mass at G(z), in the plate ``data``
        x: (D,), observed, a point mass at D(code), in the plate ``data``

    Args:
        spec: what one datum is: its size, its kind, and the mean of the training data, at which the output starts.
        latent_dim: size of z.
        hidden: sizes of the hidden layers, from z to the code.
        codes: sizes of the encoder's layers, the last F; the decoder is its mirror image.
        dropout: the share of the encoder's hidden numbers that are put to zero in training.
        prior: of z, ``"uniform"`` (on -1 to 1) or ``"normal"``; or what makes a Pyro distribution of each of (latent,)
            zeros.
        output: ``"sigmoid"``, ``"tanh"`` or ``"identity"``; or what makes a module of the same shape. None: sigmoid for
            data in [0, 1] by their kind (binary, quantised), identity for real data.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one.

    Raises:
        UsageError: the data are counts, or the prior makes no distribution of (latent,) numbers.

    >>> import ppgen
    >>> pair = GMMNCodes(DataSpec("numbers", 5, "real"), 3, hidden=(8,), codes=(4, 2))
    >>> x = torch.randn(20, 5)
    >>> run = ppgen.fit(pair, x, "reconstruction, mmd(site=code)", steps=4, eager=True)
    >>> pair.encode(x).shape, pair.reconstruct(x).shape
    (torch.Size([20, 2]), torch.Size([20, 5]))
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 10,
        *,
        hidden: Sizes = (64, 256, 256, 1024),
        codes: Annotated[Sizes, Len(1)] = (1024, 32),
        dropout: Share = 0.0,
        prior: Prior = "uniform",
        output: Output | None = None,
        activation: Activation = "relu",
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.latent_dim = latent_dim
        self.prior = made_prior(prior, latent_dim)
        networks, size = Networks(spec, hidden=codes[:-1], activation=activation), codes[-1]
        self.encoder = nn.Sequential(networks.encoder(size, dropout=dropout), nn.Sigmoid())
        self.coder = nn.Sequential(MLP(latent_dim, size, hidden, activation), nn.Sigmoid())
        self.generator = Generator(networks, size, output, "GMMNCodes")

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", self.prior(x.new_zeros(self.latent_dim)).to_event(1))  # (K, B, latent)
            code = pyro.sample("code", dist.Delta(self.coder(z), event_dim=1))  # (K, B, F)
            pyro.sample("x", dist.Delta(self.generator(code), event_dim=1), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        code = self.encode(x)  # (B, F)
        with self.data_plate(x):
            pyro.sample("z", self.prior(x.new_zeros(self.latent_dim)).to_event(1))  # (K, B, latent)
            pyro.sample("code", dist.Delta(code, event_dim=1))

    def encode(self, x: Tensor) -> Tensor:
        """The code of x, (B, D) to (B, F)."""
        code: Tensor = self.encoder(x)
        return code

    def reconstruct(self, x: Tensor) -> Tensor:
        """x made again of its code, (B, D)."""
        again: Tensor = self.generator(self.encode(x))
        return again

    def remake_data(self, batch: Batch) -> Draws:
        """Every datum of ``batch`` made again of its code."""
        again, how = self.reconstruct(batch[0]), "D(c) at the code c of x"
        return Draws(again, again, how, how)
