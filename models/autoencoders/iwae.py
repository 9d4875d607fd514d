"""The importance weighted autoencoder's pair: L stochastic layers, inferred from the bottom up.

    p(z_L)           = N(0, I)                                              z_l: (latent_l,)
    p(z_l | z_{l+1}) = N(loc_l(z_{l+1}), diag(scale_l(z_{l+1}))^2)          l = L-1..1
    p(x | z_1)       = the spec's likelihood of decoder(z_1)

    q(z_1 | x)       = N(loc(x), diag(scale(x))^2)
    q(z_{l+1} | z_l) = N(loc(z_l), diag(scale(z_l))^2)                      l = 1..L-1

Each loc and log scale comes from a network of its own. Two layers are the paper's; with one the pair is ``vae``. A flow
may bend each q (``guide``), and p(z_L) may be a flow, or a mixture of q(z_L | .) at learned places of z_{L-1}, or of x
where L = 1 (``prior``). The importance weighted bound itself is an objective, ``iwelbo``.

Reference: Importance Weighted Autoencoders, Burda, Grosse and Salakhutdinov, 2016, eq. 1; the default sizes too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated

import pyro
import torch
from annotated_types import Len
from torch import Tensor

from ppgen.arguments import Sizes
from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.guides import amortised
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.networks import MLP, Activation, ConditionalNormal
from ppgen.layers.priors import inputs_like, made_prior, real_inputs
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["IWAE"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    return IWAE(spec, (3, 2), hidden=((4,), (4,))), (torch.rand(5, 6).round(),)


@register_model(
    "iwae",
    summary="Gaussian stochastic layers, two or any number, dense networks",
    reference="Burda, Grosse and Salakhutdinov, Importance weighted autoencoders",
    year=2016,
    link="https://arxiv.org/abs/1509.00519",
    tags=("continuous", "amortised", "hierarchical"),
    tiny=_tiny,
    recommended=Recommended("iwelbo", {"num_particles": 5}, {"steps": 20_000, "batch_size": 100}),
)
class IWAE(Pair):
    """Autoencoder with L stochastic layers. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z1: (latent1,), real, in the plate ``data``; next to x
        z2: (latent2,), real, in the plate ``data``; of two layers the top, and so on to z<L>
        x: (D,), observed, in the plate ``data``

    Parameters: those of the networks ``encoder1`` .. ``encoder<L>`` and ``decoder1`` .. ``decoder<L>``, which give
    z_1 .. z_L and x, z_1 .. z_{L-1}.

    Args:
        spec: what one datum is: its size, its likelihood, the training mean at which the decoder starts.
        latent_dims: sizes of z_1 .. z_L.
        guide: of each layer, ``"gaussian"``, a flow's, ``"iaf(num=2)"``, or ``"semi_implicit"``
            (:mod:`ppgen.layers.guides`).
        prior: of z_L: ``"normal"``, a flow, ``"maf(num=2)"``, or a mixture of the guide at learned pseudo-inputs,
            ``"vamp(num=100)"`` (:mod:`ppgen.layers.priors`).
        hidden: for each of them the hidden layers between it and what is below, going up; reversed going down.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.

    Raises:
        UsageError: a size is not positive, there are not as many lists of hidden layers as latents, a name is unknown,
            or a mixture is asked of a guide that does not score any z.

    >>> from ppgen.draws import prior_latents
    >>> pair = IWAE(DataSpec("pictures", 64, "binary"), (5, 2), hidden=((16,), (8,)))
    >>> {name: tuple(z.shape) for name, z in prior_latents(pair, (torch.zeros(1, 64),), 7).items()}  # from the top
    {'z2': (7, 2), 'z1': (7, 5)}
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dims: Annotated[Sizes, Len(1)] = (100, 50),
        *,
        guide: str = "gaussian",
        prior: str = "normal",
        hidden: Annotated[Sequence[Sizes], Len(1)] = ((200, 200), (100, 100)),
        activation: Activation = "tanh",
    ) -> None:
        super().__init__(data_size=spec.num_data)
        _check(latent_dims, hidden)
        self.latent_dims = tuple(latent_dims)
        self.likelihood = likelihood(spec)
        bias = self.likelihood.initial_bias(spec.mean)
        layers = list(enumerate(zip(pairwise((spec.num_features, *latent_dims)), hidden, strict=True), start=1))
        for number, ((below, above), sizes) in layers:
            read = partial(MLP, below, hidden=sizes, activation=activation)
            encoder = amortised(guide, above, read, site=f"e{number}")
            self.add_module(f"encoder{number}", encoder)
        inputs = real_inputs(latent_dims[-2]) if len(latent_dims) > 1 else inputs_like(spec)
        self.prior = made_prior(prior, latent_dims[-1], encoder, inputs)
        for number, ((below, above), sizes) in layers[:0:-1]:
            decoder = ConditionalNormal(MLP(above, 2 * below, sizes[::-1], activation))
            self.add_module(f"decoder{number}", decoder)
        self.decoder1 = MLP(latent_dims[0], self.likelihood.num_outputs, hidden[0][::-1], activation, bias)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            prior = self.prior(x, self.get_submodule(f"encoder{len(self.latent_dims)}"))
            for number in range(len(self.latent_dims), 0, -1):
                z = pyro.sample(f"z{number}", prior)  # (K, B, latent_l)
                if number > 1:
                    prior = self.get_submodule(f"decoder{number}")(z)
            outputs = self.decoder1(z)  # (K, B, D)
            pyro.sample("x", self.likelihood(outputs, x), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            below = x
            for number in range(1, len(self.latent_dims) + 1):
                below = pyro.sample(f"z{number}", self.get_submodule(f"encoder{number}")(below))  # (K, B, latent_l)


def _check(latent_dims: Sizes, hidden: Sequence[Sizes]) -> None:
    if len(latent_dims) != len(hidden):
        raise UsageError(
            f"IWAE has {len(latent_dims)} stochastic layers, latent_dims={shown(tuple(latent_dims))}, and needs as "
            f"many lists of hidden layers, got hidden={shown(tuple(hidden))}: say one for each."
        )
