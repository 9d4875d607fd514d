"""The vector-quantised VAE: discrete latents, each the nearest code of a codebook to what the encoder says.

    p(z)     = each of M latents one of C codes e_c, all alike      z: (M, d),  e: (C, d)
    p(x | z) = the spec's likelihood of decoder(z)

    q(z | x) = a point:  z_m = the code nearest to v_m,             v: (M, d) = encoder(x)

A code has probability 1 / C, and a point of discrete latents has probability 1, so that every log-weight of x is

    log w = log p(x | z) - M log C  <=  log p(x)            (nats),

a bound that the cost of saying which codes loosens; it is the value of ``elbo``. Its gradient with respect to z goes to
v as it is (straight-through): a biased one, and none to the codes. These, and the encoder's commitment to them, learn
by

    |sg v - z|^2 + b |v - sg z|^2                                           (sg: the gradient stops)

which the model has as the factor ``penalty``, of which the **value is 0** and the gradient that of minus these terms:
what is reported is the bound, in training too. With ``decay`` codes are moving averages of the v that choose them, and
the first term is left out (:mod:`ppgen.layers.quantisation`). The prior stays uniform; the paper fits an autoregressive
one to the codes after training.

Reference: Neural Discrete Representation Learning, van den Oord, Vinyals and Kavukcuoglu, 2017: eqs. 1 to 3, A.
"""

from __future__ import annotations

from typing import Annotated, Any

import pyro
import torch
from annotated_types import Ge, Le, Len
from torch import Tensor

from ppgen.arguments import Count, NonNegative, Seed, Sizes, checked
from ppgen.data import DataSpec
from ppgen.distributions.codebook import UniformCodes
from ppgen.distributions.point import RoundedPoint
from ppgen.errors import UsageError
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.networks import Activation, Network, Networks
from ppgen.layers.quantisation import Codebook
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["VQVAE"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    return VQVAE(spec, 3, 4, 2, hidden=(4,)), (torch.rand(5, 6).round(),)


@register_model(
    "vq_vae",
    summary="VAE whose latents are the nearest codes of a codebook, with a straight-through gradient",
    reference="van den Oord, Vinyals and Kavukcuoglu, Neural discrete representation learning",
    year=2017,
    link="https://arxiv.org/abs/1711.00937",
    tags=("discrete", "amortised", "point"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 20_000, "batch_size": 100}),
)
class VQVAE(Pair):
    """Vector-quantised VAE. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (M, d), in the plate ``data``: rows of the codebook
        x: (D,), observed, in the plate ``data``
        penalty: (), a factor of value 0, in the plate ``data``; in training only

    Parameters: ``codebook.codes`` (C, d), buffers ``codebook.codes`` and ``codebook.counts`` (C,) where there is a
    decay; those of the networks.

    Args:
        spec: what one datum is, as of ``vae``.
        num_latents: M.
        num_codes: C.
        code_size: d.
        hidden: sizes of the encoder's dense hidden layers; the decoder has them in reverse.
        commitment: b.
        decay: of the moving averages that codes are, in [0, 1], 0.99 in the paper; None: codes learn by gradient.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        network: ``"mlp"``, or ``"conv"`` for data with an image shape; or what makes a network of the sizes of its
            input and its output.
        channels: channels of the convolutions of ``"conv"``.

    Raises:
        UsageError: a size is not positive, there is one code only, the commitment is negative, the decay is not in
            [0, 1], a name is unknown, or ``"conv"`` is asked for data without an image shape.

    >>> pair = VQVAE(DataSpec("pictures", 64, "binary"), num_latents=4, num_codes=8, hidden=(16,))
    >>> x = torch.rand(5, 64).round()
    >>> pair.chosen(x).shape, pair.reconstruct(x).shape
    (torch.Size([5, 4]), torch.Size([5, 64]))
    """

    def __init__(
        self,
        spec: DataSpec,
        num_latents: Count = 16,
        num_codes: Annotated[int, Ge(2)] = 64,
        code_size: Count = 8,
        *,
        hidden: Sizes = (200, 200),
        commitment: NonNegative = 0.25,
        decay: Annotated[float, Ge(0), Le(1)] | None = None,
        activation: Activation = "relu",
        network: Network = "mlp",
        channels: Annotated[Sizes, Len(1)] = (32, 64),
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.shape, self.num_codes, self.commitment = (num_latents, code_size), num_codes, commitment
        networks = Networks(spec, network, hidden, channels, activation)
        self.likelihood = likelihood(spec)
        self.codebook = Codebook(num_codes, code_size, decay)
        numbers = num_latents * code_size
        self.encoder = networks.encoder(numbers)
        outputs, bias = self.likelihood.num_outputs, self.likelihood.initial_bias(spec.mean)
        self.decoder = networks.decoder(numbers, outputs, bias=bias)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            codes = UniformCodes(self.codebook.codes).expand([self.shape[0]])
            prior = codes.to_event(1)  # type: ignore[no-untyped-call]
            z = pyro.sample("z", prior)  # (K, B, M, d)
            if self.training:
                terms = self.codebook.terms(self.encoded(x), self.commitment).sum(-1)  # (B,)
                pyro.factor("penalty", terms.detach() - terms)
            pyro.sample("x", self._given(z, x), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = self.codebook(self.encoded(x))
            pyro.sample("z", RoundedPoint(z, event_dim=2))  # type: ignore[no-untyped-call]  # (K, B, M, d)

    def encoded(self, x: Tensor) -> Tensor:
        """v, (B, D) to (B, M, d)."""
        v: Tensor = self.encoder(x)
        return v.reshape(*v.shape[:-1], *self.shape)

    def chosen(self, x: Tensor) -> Tensor:
        """Which codes are nearest, in 0..C-1: (B, D) to (B, M)."""
        found: Tensor = self.codebook.nearest(self.encoded(x))
        return found

    def reconstruct(self, x: Tensor) -> Tensor:
        """The mean of p(x | z) at the codes of x, (B, D)."""
        mean: Tensor = self._given(self.codebook(self.encoded(x)), x).mean
        return mean

    def assigned(self, *batch: Tensor) -> dict[str, Tensor]:
        averaged = self.codebook.averaged(self.encoded(batch[0]))
        return {f"codebook.{name}": value for name, value in averaged.items()}

    @torch.no_grad()
    @checked
    def start_from_data(self, x: Tensor, *, seed: Seed = 0) -> None:
        """Put the codes where k-means puts as many centres among what the encoder says of x, (N, D).

        Raises:
            UsageError: the data have fewer vectors than there are codes.
        """
        from sklearn.cluster import KMeans

        v = self.encoded(x).flatten(0, 1)
        if len(v) < self.num_codes:
            raise UsageError(
                f"num_codes={self.num_codes} codes need as many vectors, got {len(v)} of {len(x)} data: give more."
            )
        found = KMeans(self.num_codes, n_init=1, random_state=seed).fit(v.double().cpu().numpy())
        self.codebook.codes.copy_(torch.as_tensor(found.cluster_centers_))

    def _given(self, z: Tensor, x: Tensor) -> Any:
        return self.likelihood(self.decoder(z.flatten(-2)), x)
