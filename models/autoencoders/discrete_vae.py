"""The variational autoencoder with discrete latents: binary units, or categorical ones.

    p(z)     = Bernoulli(sigmoid(b)) of each of U units, or Categorical(softmax(b)) of each, one row of b a unit
    p(x | z) = the spec's likelihood of decoder(code(z))

    q(z | x) = the same family, with logits encoder(x - mean)

Binary z has shape (U,) and is seen as 2 z - 1; categorical z has shape (U, C), one-hot rows side by side. The prior is
learned, and starts uniform.

``DiscreteVAE(spec, 200)`` with its two tanh layers of 200 is the nonlinear binary VAE of REBAR, RELAX and DisARM;
``DiscreteVAE(spec, 20, classes=10)`` has the 20 x 10 categorical units of Gumbel-Softmax.

Reference: Categorical Reparameterization with Gumbel-Softmax, Jang, Gu and Poole, 2017; REBAR, Tucker et al., 2017.
"""

from __future__ import annotations

from typing import Annotated

import pyro
import torch
from annotated_types import Ge, Len
from torch import Tensor, nn

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.layers.discrete_units import DiscreteUnits
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.networks import Activation, Network, Networks
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["DiscreteVAE"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    return DiscreteVAE(spec, 2, classes=3, hidden=(4,)), (torch.rand(5, 6).round(),)


@register_model(
    "discrete_vae",
    summary="VAE whose latents are binary or categorical units, dense or convolutional networks",
    reference="Jang, Gu and Poole, Categorical reparameterization with Gumbel-Softmax",
    year=2017,
    link="https://arxiv.org/abs/1611.01144",
    tags=("discrete", "amortised"),
    tiny=_tiny,
    recommended=Recommended("vimco", {"num_particles": 5}, {"steps": 20_000, "batch_size": 50}),
)
class DiscreteVAE(Pair):
    """Variational autoencoder with discrete latents. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (units,), in {0, 1}, or (units, classes), one-hot rows; in the plate ``data``
        x: (D,), observed, in the plate ``data``

    Args:
        spec: what one datum is: its size, its likelihood, the training mean.
        units: U.
        classes: C; 2 makes the units binary.
        hidden: sizes of the encoder's dense hidden layers; the decoder has them in reverse.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        network: ``"mlp"``, or ``"conv"`` for data with an image shape: convolutions, then the dense layers; or what
            makes a network of the sizes of its input and its output, ``functools.partial(MLP, hidden=(50,))``.
        channels: channels of the convolutions of ``"conv"``.

    Raises:
        UsageError: a size is not positive, there are fewer than two classes, a name is unknown, or ``"conv"`` is asked
            for data without an image shape.

    >>> from ppgen.draws import prior_latents
    >>> pair = DiscreteVAE(DataSpec("pictures", 64, "binary"), 20, classes=10, hidden=())
    >>> z = prior_latents(pair, (torch.zeros(1, 64),), 7)["z"]  # side by side
    >>> z.shape, bool((z.unflatten(1, (20, 10)).sum(-1) == 1).all())
    (torch.Size([7, 200]), True)
    """

    mean: Tensor

    def __init__(
        self,
        spec: DataSpec,
        units: Count = 200,
        *,
        classes: Annotated[int, Ge(2)] = 2,
        hidden: Sizes = (200, 200),
        activation: Activation = "tanh",
        network: Network = "mlp",
        channels: Annotated[Sizes, Len(1)] = (32, 64),
    ) -> None:
        super().__init__(data_size=spec.num_data)
        networks = Networks(spec, network, hidden, channels, activation)
        self.units = DiscreteUnits(units, classes)
        self.likelihood = likelihood(spec)
        self.register_buffer("mean", spec.centre)
        self.prior = nn.Parameter(torch.zeros(self.units.num_numbers))
        self.encoder = networks.encoder(self.units.num_numbers)
        self.decoder = networks.decoder(
            self.units.num_numbers, self.likelihood.num_outputs, bias=self.likelihood.initial_bias(spec.mean)
        )

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", self.units(self.prior))  # (K, B, units), or (K, B, units, classes)
            outputs = self.decoder(self.units.code(z))  # (K, B, D)
            pyro.sample("x", self.likelihood(outputs, x), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.units(self.encoder(x - self.mean)))  # (K, B, units), or (K, B, units, classes)
