"""The neural variational document model: a Gaussian vector of a document, and words from a softmax of its linear map.

    z     ~ N(0, I)                                      z: (latent,)
    x | z ~ n words, each from softmax(b + z R)          x: (V,), counts; n = sum_v x_v; R: (latent, V), b: (V,)

    log p(x | z) = sum_v x_v log softmax(b + z R)_v + log(n! / prod_v x_v!)        (nats)

No shares and no simplex: z is any vector, its numbers multiply the rates of words up or down, and two documents are
near each other where their vectors are. Nothing keeps a dimension to one theme.

    q(z | x) = N(loc(x), diag(scale(x))^2),              loc, log scale = network(log(1 + x))

A flow may bend the guide (``guide``), and p(z) may be a flow or a mixture of the guide (``prior``).

The paper's network takes x, whose largest counts then rule the guide of long documents; b starts at the logarithms of
the words' frequencies; and both are trained together, where the paper takes turns.

Reference: Neural Variational Inference for Text Processing, Miao, Yu and Blunsom, 2016, section 3.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import pyro
import torch
from torch import Tensor, nn

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.distributions.bag_of_words import BagOfWords
from ppgen.layers.guides import amortised
from ppgen.layers.networks import MLP, Activation
from ppgen.layers.priors import inputs_like, made_prior
from ppgen.layers.words import check_counts, frequencies
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["NVDM"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five documents."""
    spec = DataSpec("tiny", 6, "counts", num_data=20)
    return NVDM(spec, 2, hidden=(4,)), (1 + torch.poisson(torch.ones(5, 6)),)


@register_model(
    "nvdm",
    summary="neural variational document model: a Gaussian vector of each document, words by a softmax, no shares",
    reference="Miao, Yu and Blunsom, Neural variational inference for text processing",
    year=2016,
    link="https://arxiv.org/abs/1511.06038",
    tags=("continuous", "amortised", "topics"),
    tiny=_tiny,
    recommended=Recommended("analytic_kl", training={"steps": 2_000, "batch_size": 200, "lr": 0.002}),
)
class NVDM(Pair):
    """NVDM. One batch is ``(x,)``, x of shape (B, V): counts of words.

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (V,), observed, in the plate ``data``: a :class:`ppgen.distributions.bag_of_words.BagOfWords`

    Parameters: ``weight`` R (latent, V) and ``background`` b (V,); those of the guide's network.

    Args:
        spec: what one datum is: counts; b starts at the logarithm of its mean.
        latent_dim: size of z.
        guide: ``"gaussian"``, a flow's, ``"iaf(num=2)"``, or ``"semi_implicit"`` (:mod:`ppgen.layers.guides`).
        prior: ``"normal"``, a flow, ``"maf(num=2)"``, or a mixture of the guide at learned pseudo-inputs,
            ``"vamp(num=100)"`` (:mod:`ppgen.layers.priors`).
        hidden: sizes of the hidden layers of the guide's network.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.

    Raises:
        UsageError: the data are not counts, a size is not positive, a name is unknown, or a mixture is asked of a
            guide that does not score any z.

    >>> pair = NVDM(DataSpec("documents", 50, "counts"), latent_dim=3)
    >>> pair.log_probs(torch.zeros(3)).exp().sum().round(decimals=4)  # of the words of a document at the origin
    tensor(1., grad_fn=<RoundBackward1>)
    """

    topics_are: ClassVar[str] = "Topic j is by what one more of z_j multiplies the rates of words, as shares."
    """What a page says of ``topics``."""

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 50,
        *,
        guide: str = "gaussian",
        prior: str = "normal",
        hidden: Sizes = (500,),
        activation: Activation = "tanh",
    ) -> None:
        super().__init__(data_size=spec.num_data)
        check_counts("NVDM", spec)
        self.latent_dim = latent_dim
        read = partial(MLP, spec.num_features, hidden=hidden, activation=activation)
        self.encoder = amortised(guide, latent_dim, read)
        self.prior = made_prior(prior, latent_dim, self.encoder, inputs_like(spec))
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(latent_dim, spec.num_features)))
        self.background = nn.Parameter(frequencies(spec).log())

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", self.prior(x, self.inferred))  # (K, B, latent)
            pyro.sample("x", BagOfWords(self.log_probs(z), x.sum(-1)), obs=x)  # (B, V)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.inferred(x))  # (K, B, latent)

    def inferred(self, x: Tensor) -> Any:
        """q(z | x) of documents, (B, V): of batch shape (B,)."""
        return self.encoder(x.log1p())

    def log_probs(self, z: Tensor) -> Tensor:
        """log p(word | z), (..., latent) to (..., V), in nats."""
        return (self.background + z @ self.weight).log_softmax(-1)

    @property
    def topics(self) -> Tensor:
        """softmax(R_j), (latent, V), rows summing to one."""
        return self.weight.softmax(-1)
