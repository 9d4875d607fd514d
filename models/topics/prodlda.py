"""ProdLDA: a topic model whose words come from a product of experts, one expert a topic, with an amortised guide.

    z         ~ N(m, diag(v))                            z: (T,)
    theta     = softmax(z)                               theta: (T,), the weights of T experts
    x | theta ~ n words, each from softmax(b + theta W)  x: (V,), counts; n = sum_v x_v; W: (T, V), b: (V,)

    m_t = log a_t - mean_s log a_s,        v_t = (1 - 2 / T) / a_t + sum_s 1 / (T^2 a_s)

theta is nearly Dirichlet(a): m and v are Laplace's approximation to its density in the basis of the softmax, here with
the same a for all topics, so that m = 0 and v = (1 - 1 / T) / a. Where LDA mixes distributions of words, here their
logarithms are mixed: p(word | theta) is the product, normalised, of the background softmax(b) and of the experts
softmax(W_t) to the powers theta_t. The experts are the topics: what a document's topics add to the background.

    q(z | x) = N(loc(x), diag(scale(x))^2),              loc = N(A h), log scale^2 = N(C h),    h = network(log(1 + x))

A flow, given h, may bend it (``guide``).
N is batch normalisation, over the data of the batch in training and by running averages in evaluation: without it most
topics die in the first steps, when the divergence of the guide from the prior is all that the gradient sees. h has
dropout in training, whose mask is drawn at an auxiliary site: whoever scores the guide's draws again, scores them under
the mask they were drawn with.

The paper normalises theta W over the batch, too. Here it is left as it is, and b starts at the logarithms of the words'
frequencies: so log p(x | z) is a density of one document in training as in evaluation, and the rows of W, which any
rescaling of a word would leave without meaning, can be read. And the paper's network takes x, whose largest counts then
rule the guide of long documents.

Reference: Autoencoding Variational Inference for Topic Models, Srivastava and Sutton, 2017.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Len
from pyro import poutine
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppgen.arguments import Count, Positive, Share, Sizes
from ppgen.data import DataSpec
from ppgen.distributions.bag_of_words import BagOfWords
from ppgen.layers.guides import bending
from ppgen.layers.networks import MLP, BatchNorm
from ppgen.layers.words import check_counts, frequencies
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["ProdLDA"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five documents."""
    spec = DataSpec("tiny", 6, "counts", num_data=20)
    return ProdLDA(spec, 2, hidden=(4, 3)), (1 + torch.poisson(torch.ones(5, 6)),)


@register_model(
    "prodlda",
    summary="topics as a product of experts, logistic-normal weights, batch-normalised amortised guide",
    reference="Srivastava and Sutton, Autoencoding variational inference for topic models",
    year=2017,
    link="https://arxiv.org/abs/1703.01488",
    tags=("continuous", "amortised", "topics"),
    tiny=_tiny,
    recommended=Recommended("analytic_kl", training={"steps": 2_000, "batch_size": 200, "lr": 0.02}),
)
class ProdLDA(Pair):
    """ProdLDA. One batch is ``(x,)``, x of shape (B, V): counts of words.

    Sites:
        z: (T,), real, in the plate ``data``
        x: (V,), observed, in the plate ``data``: a :class:`ppgen.distributions.bag_of_words.BagOfWords`

    Parameters: ``weight`` W (T, V) and ``background`` b (V,); those of the guide's network. In training the guide
    depends on the batch, through N, and has an auxiliary site ``mask`` (hidden,) in the plate ``data``, 1 where h is
    kept; in evaluation (``pair.eval()``) there is neither.

    Args:
        spec: what one datum is: counts; b starts at the logarithm of its mean.
        num_topics: T, at least 2.
        guide: ``"gaussian"``, a flow's, ``"iaf(num=2)"``, or ``"semi_implicit"`` (:mod:`ppgen.layers.guides`).
        hidden: sizes of the hidden layers of the guide's network.
        concentration: a.
        dropout: share of h that is dropped in training.

    Raises:
        UsageError: the data are not counts, a size or the concentration is not positive, the dropout is not below
            1, or the guide is unknown.

    >>> pair = ProdLDA(DataSpec("documents", 50, "counts"), num_topics=3)
    >>> probs = pair.log_probs(torch.tensor([0.2, 0.3, 0.5])).exp()  # of the words of a document with these topics
    >>> probs.shape, torch.allclose(probs.sum(), torch.ones(()))
    (torch.Size([50]), True)
    """

    shares_site: ClassVar[str] = "z"
    """The latent whose softmax is a document's shares of the topics."""

    vectorized = True
    """Batch normalisation is over the particles and the data of a batch together."""

    def __init__(
        self,
        spec: DataSpec,
        num_topics: Count = 50,
        *,
        guide: str = "gaussian",
        hidden: Annotated[Sizes, Len(1)] = (100, 100),
        concentration: Positive = 1.0,
        dropout: Share = 0.2,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        check_counts("ProdLDA", spec)
        self.num_topics = num_topics
        *narrower, last = hidden
        self.keep = 1 - dropout
        self.prior_scale = ((1 - 1 / num_topics) / concentration) ** 0.5
        self.network = MLP(spec.num_features, last, narrower, "softplus")
        self.loc = nn.Sequential(nn.Linear(last, num_topics), BatchNorm(num_topics))
        self.log_variance = nn.Sequential(nn.Linear(last, num_topics), BatchNorm(num_topics))
        self.flow = bending(guide, num_topics, last)
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_topics, spec.num_features)))
        self.background = nn.Parameter(frequencies(spec).log())

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            prior = dist.Normal(x.new_zeros(self.num_topics), self.prior_scale * x.new_ones(self.num_topics))
            z = pyro.sample("z", prior.to_event(1))  # (K, B, T)
            pyro.sample("x", BagOfWords(self.log_probs(z.softmax(-1)), x.sum(-1)), obs=x)  # (B, V)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            h = self._dropped(softplus(self.network(x.log1p())))  # (B, hidden), or (K, B, hidden) with dropout
            scale = (self.log_variance(h) / 2).exp()  # (K, B, T)
            found = dist.Normal(self.loc(h), scale).to_event(1)
            pyro.sample("z", found if self.flow is None else self.flow(found, h))  # (K, B, T)

    def log_probs(self, theta: Tensor) -> Tensor:
        """log p(word | theta), (..., T) to (..., V), in nats."""
        return (self.background + theta @ self.weight).log_softmax(-1)

    @property
    def topics(self) -> Tensor:
        """The experts softmax(W_t), (T, V), rows summing to one."""
        return self.weight.softmax(-1)

    def _dropped(self, h: Tensor) -> Tensor:
        if not self.training or self.keep == 1:
            return h
        kept = dist.Bernoulli(torch.full_like(h, self.keep)).to_event(1)
        with poutine.mask(mask=False):  # it is no latent: its probability counts nowhere
            mask = pyro.sample("mask", kept, infer={"is_auxiliary": True})  # (K, B, hidden)
        return h * mask / self.keep
