"""The sigmoid belief network: layers of binary units, each given the one above it.

    p(z_L)           = Bernoulli(sigmoid(b))                                    z_l: (layers[l - 1],), in {0, 1}
    p(z_l | z_{l+1}) = Bernoulli(sigmoid(decoder_l(2 z_{l+1} - 1)))
    p(x | z_1)       = the spec's likelihood of decoder_0(2 z_1 - 1)

    q(z_1 | x)       = Bernoulli(sigmoid(encoder_1(x - mean)))
    q(z_l | z_{l-1}) = Bernoulli(sigmoid(encoder_l(2 z_{l-1} - 1)))

Every encoder and decoder is linear, or, with ``hidden=(200, 200)``, has deterministic tanh layers between. With
``guide_blocks=G`` the units of a layer of the guide are not independent: they are drawn in G blocks, each given the
blocks before it (:mod:`ppgen.layers.discrete_units`). Trained by ``wake_sleep`` this is the Helmholtz machine.

The latents are seen as -1 and 1, and x less its training mean: a unit whose state is not yet informative then adds
nothing to what its neighbours see. The last bias starts at the training mean, all others and b at zero.

Reference: Connectionist Learning of Belief Networks, Neal, 1992; its guide: The Helmholtz Machine, Dayan, Hinton, Neal
and Zemel, 1995. Sizes and initial values: Neural Variational Inference and Learning in Belief Networks, Mnih and
Gregor, 2014; deterministic layers: REBAR, Tucker et al., 2017.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Len
from torch import Tensor, nn

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.layers.discrete_units import AutoregressiveUnits, DiscreteUnits
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.networks import MLP, Activation
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["SBN"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    return SBN(spec, (3, 2)), (torch.rand(5, 6).round(),)


@register_model(
    "sbn",
    summary="sigmoid belief network: layers of binary units, linear or with deterministic layers between",
    reference="Mnih and Gregor, Neural variational inference and learning in belief networks",
    year=2014,
    link="https://arxiv.org/abs/1402.0030",
    tags=("discrete", "amortised", "hierarchical"),
    tiny=_tiny,
    recommended=Recommended("vimco", {"num_particles": 5}, {"steps": 20_000, "batch_size": 50, "lr": 2e-3}),
)
class SBN(Pair):
    """Sigmoid belief network. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z1: (layers[0],), in {0, 1}, in the plate ``data``; next to x
        z2: (layers[1],), in {0, 1}, in the plate ``data``; and so on upwards
        x: (D,), observed, in the plate ``data``

    Args:
        spec: what one datum is: its size, its likelihood, the training mean.
        layers: numbers of units, from the layer next to x upwards; the sites are ``z1``, ``z2``, ...
        hidden: sizes of the deterministic layers between two layers, going up; reversed going down. ``()``: linear.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        guide_blocks: in how many blocks a layer of the guide is drawn; 1 is a guide of independent units.

    Raises:
        UsageError: a size is not positive, the activation is unknown, or there are more blocks than units in a layer.

    >>> from ppgen.draws import prior_latents
    >>> pair = SBN(DataSpec("pictures", 64, "binary"), layers=(5, 2))
    >>> {name: tuple(z.shape) for name, z in prior_latents(pair, (torch.zeros(1, 64),), 7).items()}  # from the top
    {'z2': (7, 2), 'z1': (7, 5)}
    """

    mean: Tensor

    def __init__(
        self,
        spec: DataSpec,
        layers: Annotated[Sizes, Len(1)] = (200, 200),
        *,
        hidden: Sizes = (),
        activation: Activation = "tanh",
        guide_blocks: Count = 1,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.layers = tuple(layers)
        self.likelihood = likelihood(spec)
        self.register_buffer("mean", spec.centre)
        steps = list(pairwise((spec.num_features, *self.layers)))  # (below, above)
        self.prior = nn.Parameter(torch.zeros(self.layers[-1]))
        self.decoders = nn.ModuleList(MLP(up, down, hidden[::-1], activation) for down, up in steps[1:])
        bias = self.likelihood.initial_bias(spec.mean)
        self.decoder = MLP(self.layers[0], self.likelihood.num_outputs, hidden[::-1], activation, bias)
        self.encoders = nn.ModuleList(MLP(down, up, hidden, activation) for down, up in steps)
        self.units = nn.ModuleList(
            DiscreteUnits(num) if guide_blocks == 1 else AutoregressiveUnits(num, guide_blocks) for num in self.layers
        )

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            top = len(self.layers)
            z = pyro.sample(f"z{top}", dist.Bernoulli(logits=self.prior).to_event(1))  # (K, B, layers[-1])
            for level in range(top - 1, 0, -1):
                logits = self.decoders[level - 1](2 * z - 1)
                z = pyro.sample(f"z{level}", dist.Bernoulli(logits=logits).to_event(1))  # (K, B, layers[level - 1])
            pyro.sample("x", self.likelihood(self.decoder(2 * z - 1), x), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            below = x - self.mean  # (B, D)
            for level, (encoder, units) in enumerate(zip(self.encoders, self.units, strict=True), start=1):
                z = pyro.sample(f"z{level}", units(encoder(below)))  # (K, B, layers[level - 1])
                below = 2 * z - 1
