"""Latent Dirichlet allocation: documents are mixtures of topics, topics are distributions over words.

    theta     ~ Dirichlet(alpha)                            theta: (T,), the document's shares of T topics
    x | theta ~ n words, each from theta beta               x: (V,), counts; n = sum_v x_v; beta: (T, V), the topics

    log p(x | theta) = sum_v x_v log (theta beta)_v + log(n! / prod_v x_v!)        (nats)

Each word i has a topic z_i, which is summed out: prod_i sum_z theta_z beta_{z w_i} = prod_i (theta beta)_{w_i}. What is
left is continuous, costs one product of matrices, and has bounds above those that keep the words' topics.

    q(theta | x) = Dirichlet(delta + s c(x)),                c_t(x): how many of the words topic t has; sum_t c_t = n

c is found for each document, by coordinate ascent on the bound that keeps the words' topics (Blei et al., eq. 6 and 7),

    c_t <- sum_v x_v phi_vt,        phi_vt ~ beta_tv exp(digamma(alpha_t + c_t))  over t,        from c_t = n / T,

or it is n times the softmax of a network. At delta = alpha and s = 1 the former is the mean-field guide, which takes
every word's topic for known and so is far too narrow: delta and s are learned.

Topics are parameters, or latents of the whole corpus outside the data plate,

    beta_t ~ Dirichlet(eta, ..., eta),        q(beta_t) = Dirichlet(lambda_t),

and then c(x) is taken at their mean under q, lambda_t / sum_v lambda_tv.

``cavi`` climbs the bound that keeps the words' topics, in closed form but for each document's own coordinate ascent,
which is at exp E log beta then:

    lambda_tv = eta + n_tv,    n_tv = sum_d x_dv phi_dvt;    of topics that are parameters  beta_tv = n_tv / sum_v n_tv

Reference: Latent Dirichlet Allocation, Blei, Ng and Jordan, 2003. Minibatches: Stochastic Variational Inference,
Hoffman, Blei, Wang and Paisley, 2013. Learned alpha matters: On Smoothing and Inference for Topic Models, Asuncion,
Welling, Smyth and Teh, 2009.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from ppgen.arguments import Count, Positive, Sizes
from ppgen.chains.topics import likelier, words_of
from ppgen.data import DataSpec
from ppgen.data.validate import check_kind
from ppgen.distributions.bag_of_words import BagOfWords
from ppgen.distributions.log_dirichlet import LogDirichlet
from ppgen.distributions.of_particles import of_particles
from ppgen.errors import UsageError
from ppgen.layers.networks import MLP, BatchNorm
from ppgen.layers.words import check_counts, off_zero, ratio, start_topics
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["LDA"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five documents."""
    spec = DataSpec("tiny", 6, "counts", num_data=20)
    return LDA(spec, 2, topics="dirichlet", iterations=3), (1 + torch.poisson(torch.ones(5, 6)),)


@register_model(
    "lda",
    summary="latent Dirichlet allocation, words' topics summed out; topics parameters or Dirichlet latents",
    reference="Blei, Ng and Jordan, Latent Dirichlet allocation",
    year=2003,
    link="https://www.jmlr.org/papers/v3/blei03a.html",
    tags=("continuous", "topics"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 1_200, "batch_size": 200, "lr": 0.05}),
)
class LDA(Pair):
    """Latent Dirichlet allocation. One batch is ``(x,)``, x of shape (B, V): counts of words.

    Sites:
        log_topics: (T, V), logarithms of rows on the simplex, global; only with ``topics="dirichlet"``
        log_theta: (T,), logarithms of shares, in the plate ``data``: those of small shares have no number in float32
        x: (V,), observed, in the plate ``data``: a :class:`ppgen.distributions.bag_of_words.BagOfWords`

    Parameters: ``log_concentration`` log alpha, ``guide_log_concentration`` log delta, (T,) each; ``guide_log_mass``
    log s; those of the topics, ``table.logits`` or ``table.log_counts`` (T, V); and those of the guide's network.

    Args:
        spec: what one datum is: counts; topics start around its mean.
        num_topics: T.
        guide: ``"document"`` (coordinate ascent for each document: no parameters for it, works on unseen documents; no
            gradient goes through it, since it maximises a bound already) or ``"amortised"`` (a network).
        topics: ``"parameter"``, or ``"dirichlet"`` for latents with the prior Dirichlet(eta).
        concentration: initial alpha, the same for all topics.
        topic_concentration: eta; of topics that are parameters what Gibbs sampling takes for their prior.
        iterations: steps of coordinate ascent.
        hidden: sizes of the hidden layers of the amortised guide's network.

    Raises:
        UsageError: the data are not counts, a size or concentration is not positive, or a name is unknown.

    >>> pair = LDA(DataSpec("documents", 50, "counts"), num_topics=3)
    >>> pair.topics.shape, torch.allclose(pair.topics.sum(-1), torch.ones(3))
    (torch.Size([3, 50]), True)
    """

    shares_site: ClassVar[str] = "log_theta"
    """The latent whose softmax is a document's shares of the topics."""

    def __init__(
        self,
        spec: DataSpec,
        num_topics: Count = 50,
        *,
        guide: Literal["document", "amortised"] = "document",
        topics: Literal["parameter", "dirichlet"] = "parameter",
        concentration: Positive = 0.1,
        topic_concentration: Positive = 0.05,
        iterations: Count = 20,
        hidden: Sizes = (200,),
    ) -> None:
        super().__init__(data_size=spec.num_data)
        check_counts("LDA", spec)
        self.is_conjugate = guide == "document"
        self.num_topics, self.topic_concentration = num_topics, float(topic_concentration)
        alpha = torch.full((num_topics,), float(concentration))
        start = start_topics(spec, num_topics).exp() * (spec.num_data or 1) / num_topics  # words of each topic
        self.table = _Parameters(start) if topics == "parameter" else _Latents(start, topic_concentration)
        self.counts = _CoordinateAscent(iterations) if guide == "document" else _Network(spec, num_topics, hidden)
        self.log_concentration = nn.Parameter(alpha.log())
        self.guide_log_concentration = nn.Parameter(alpha.log())
        self.guide_log_mass = nn.Parameter(torch.zeros(()))

    def model(self, x: Tensor) -> None:
        topics = self.table.prior()  # (T, V), or (K, T, V)
        with self.data_plate(x):
            log_theta = pyro.sample("log_theta", LogDirichlet(self.log_concentration.exp()))  # (K, B, T)
            probs = log_theta.softmax(-1) @ topics  # (K, B, V); the softmax is exp, for shares that were moved, too
            pyro.sample("x", BagOfWords(off_zero(probs).log(), x.sum(-1)), obs=x)  # (B, V)

    def guide(self, x: Tensor) -> None:
        self.table.posterior()
        counts = self.counts(x, self.topics, self.log_concentration.exp())  # (B, T)
        concentration = self.guide_log_concentration.exp() + self.guide_log_mass.exp() * counts
        with self.data_plate(x):
            pyro.sample("log_theta", LogDirichlet(concentration))  # (K, B, T)

    @property
    def topics(self) -> Tensor:
        """beta (T, V), rows summing to one; the mean under q where topics are latent."""
        return self.table.mean

    def expected_statistics(self, x: Tensor) -> dict[str, Tensor]:
        """sum_d x_dv phi_dvt of documents x, (B, V): ``topics`` (T, V), the words of each topic."""
        topics = self.table.mean_log.exp()
        weights = self._mean_field(x)[1].exp()  # (B, T)
        words = topics * (weights.T @ ratio(x, weights @ topics))
        return {"count": x.new_full((), len(x)), "topics": words}

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameters of the topics; alpha stays.

        Raises:
            UsageError: a topic that is a parameter has no word.
        """
        values = self.table.maximised(statistics["topics"])
        return {f"table.{name}": value for name, value in values.items()}

    def local_bound(self, x: Tensor) -> Tensor:
        """The bound that keeps the words' topics, at a document's own c, (B, V) to (B,), in nats."""
        concentration, log_weights = self._mean_field(x)
        told = BagOfWords(off_zero(log_weights.exp() @ self.table.mean_log.exp()).log(), x.sum(-1)).log_prob(x)
        prior = dist.Dirichlet(self.log_concentration.exp())
        divergence: Tensor = kl_divergence(dist.Dirichlet(concentration), prior)
        return told - divergence

    def divergence(self) -> Tensor:
        """KL of the topics' guide from their prior, (), in nats; 0 of topics that are parameters."""
        return self.table.divergence()

    def _mean_field(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """alpha + c and E log theta, (B, T) each, of q(theta) = Dirichlet(alpha + c)."""
        alpha = self.log_concentration.exp()
        found = alpha + self.counts(x, self.table.mean_log.exp(), alpha)
        return found, found.digamma() - found.sum(-1, keepdim=True).digamma()

    def gibbs_start(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """A topic of every word at random, and its counts; see :mod:`ppgen.inference.sampling.gibbs`.

        Raises:
            UsageError: a count is negative or no whole number, or a document is empty.
        """
        check_kind("documents", x, DataSpec("documents", x.shape[-1], "counts"))
        words = words_of(x)
        topics = torch.randint(self.num_topics, words.word.shape, device=x.device)
        counts = words.table(topics, self.num_topics, x.shape[-1])
        return {"word_topics": topics}, {"counts": counts, "log_concentration": self.log_concentration.detach()}

    def gibbs_sweep(
        self, state: Mapping[str, Tensor], x: Tensor, *, learn_prior: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """beta, then the words' topics; their counts (T, V) and log alpha; log p(w | the other words' topics), (N,)."""
        words, alpha = words_of(x), self.log_concentration.exp()
        counts = words.table(state["word_topics"], self.num_topics, x.shape[-1])
        beta = dist.Dirichlet(self.topic_concentration + counts).sample().to(alpha)  # (T, V)
        topics, totals = words.sweep(state["word_topics"], alpha, beta)
        told = words.by_document(off_zero(totals).log())
        told = told - words.lengths * (words.lengths - 1 + alpha.sum()).log()
        learned = likelier(alpha.double(), words.shares(topics, self.num_topics)) if learn_prior else alpha
        counts = words.table(topics, self.num_topics, x.shape[-1])
        return {"word_topics": topics}, {"counts": counts, "log_concentration": learned.log().to(alpha)}, told

    def gibbs_parameters(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of the topics, alpha, and delta = alpha."""
        log_counts = (self.topic_concentration + statistics["counts"]).log().to(self.log_concentration)
        log_alpha = statistics["log_concentration"]
        names = {f"table.{name}": log_counts for name, _ in self.table.named_parameters()}
        return {**names, "log_concentration": log_alpha, "guide_log_concentration": log_alpha}

    def log_predictive(self, x: Tensor) -> Tensor:
        """log p(words | theta), (B,), in nats, at theta = E[theta] given the topics' counts c(x) of the guide."""
        alpha = self.log_concentration.exp()
        shares = alpha + self.counts(x, self.topics, alpha)  # (B, T)
        return (x * off_zero(shares / shares.sum(-1, keepdim=True) @ self.topics).log()).sum(-1)


class _Topics(nn.Module, ABC):
    """The topics of the model and of the guide."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """(T, V), rows summing to one."""

    @property
    @abstractmethod
    def mean_log(self) -> Tensor:
        """E log beta, (T, V), in nats."""

    @abstractmethod
    def maximised(self, counts: Tensor) -> dict[str, Tensor]:
        """Parameters, by name, where topics have these words, (T, V)."""

    @abstractmethod
    def divergence(self) -> Tensor:
        """KL of the guide's topics from the model's, ()."""

    @abstractmethod
    def prior(self) -> Tensor:
        """The model's topics, (T, V), or (K, T, V) under a plate of particles."""

    @abstractmethod
    def posterior(self) -> None:
        """The guide's site, if any."""


class _Parameters(_Topics):
    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(start.log())

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(-1)

    @property
    def mean_log(self) -> Tensor:
        return self.logits.log_softmax(-1)

    def maximised(self, counts: Tensor) -> dict[str, Tensor]:
        if not bool((words := counts.sum(1) > 0).all()):
            raise UsageError(
                f"topic {int((~words).nonzero()[0])} of LDA is left without a word: lower num_topics, or make topics "
                "latent, with a prior (topics='dirichlet')."
            )
        return {"logits": off_zero(counts).log()}

    def divergence(self) -> Tensor:
        return self.logits.new_zeros(())

    def prior(self) -> Tensor:
        return self.mean

    def posterior(self) -> None:
        pass


class _Latents(_Topics):
    def __init__(self, start: Tensor, concentration: float) -> None:
        super().__init__()
        self.log_counts = nn.Parameter((concentration + start).log())
        self.concentration = concentration

    @property
    def mean(self) -> Tensor:
        return self.log_counts.softmax(-1)

    @property
    def mean_log(self) -> Tensor:
        counts = self.log_counts.exp()
        return counts.digamma() - counts.sum(-1, keepdim=True).digamma()

    def maximised(self, counts: Tensor) -> dict[str, Tensor]:
        return {"log_counts": (self.concentration + counts).log()}

    def divergence(self) -> Tensor:
        prior = dist.Dirichlet(torch.full_like(self.log_counts, self.concentration))
        total: Tensor = kl_divergence(dist.Dirichlet(self.log_counts.exp()), prior).sum()
        return total

    def prior(self) -> Tensor:
        prior = dist.Independent(LogDirichlet(torch.full_like(self.log_counts, self.concentration)), 1)
        return of_particles(pyro.sample("log_topics", prior).exp())

    def posterior(self) -> None:
        pyro.sample("log_topics", dist.Independent(LogDirichlet(self.log_counts.exp()), 1))  # (K, 1, T, V)


class _CoordinateAscent(nn.Module):
    """c(x) by fixed-point iteration, without gradient."""

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations

    @torch.no_grad()
    def forward(self, x: Tensor, topics: Tensor, concentration: Tensor) -> Tensor:
        counts = x.sum(-1, keepdim=True) / len(topics)  # (B, 1)
        for _ in range(self.iterations):
            weights = torch.digamma(concentration + counts).exp()  # (B, T)
            counts = weights * (ratio(x, weights @ topics) @ topics.T)  # (B, T)
        return counts


class _Network(nn.Module):
    """c(x) by a network of log(1 + x), batch-normalised: else all documents soon have the same topics."""

    def __init__(self, spec: DataSpec, num_topics: int, hidden: Sequence[int]) -> None:
        super().__init__()
        dense = MLP(spec.num_features, num_topics, hidden, "softplus")
        self.network = nn.Sequential(dense, BatchNorm(num_topics, learn_scale=True))

    def forward(self, x: Tensor, topics: Tensor, concentration: Tensor) -> Tensor:
        shares: Tensor = self.network(x.log1p()).softmax(-1)  # (B, T)
        return x.sum(-1, keepdim=True) * shares
