"""Unigrams: all words alike, or a mixture in which a whole document has one topic; what topic models are measured by.

    c     ~ Categorical(w)                               c in 0..C-1, the topic of the whole document; w: (C,)
    x | c ~ n words, each from beta_c                    x: (V,), counts; n = sum_v x_v; beta: (C, V)

    log p(x) = log sum_c w_c prod_v beta_cv^x_v + log(n! / prod_v x_v!)            (nats), exact: c is summed out

With C = 1 a document says nothing of its next word, which has the word's frequency in the training data: the perplexity
that a model of documents must be below. With more the words of one half tell the topic, and so the other half,

    p(word | x) = sum_c p(c | x) beta_c,

but a document has one topic, where it has shares of many in LDA: with a hundred words p(c | x) is one or zero.

``em`` has both steps in closed form, with r_dc = p(c | x_d), and ends at C = 1 after the first:

    w_c = sum_d r_dc / N,        beta_cv  proportional to  smoothing + sum_d r_dc x_dv

A word that training has not seen has probability 0 without smoothing, and a document with it is impossible: its
perplexity is infinite. With smoothing, the mode under the prior beta_c ~ Dirichlet(1 + smoothing), which is what a step
of EM then never lowers: log p(x) + smoothing sum_cv log beta_cv.

Reference: Text Classification from Labeled and Unlabeled Documents using EM, Nigam, McCallum, Thrun and Mitchell, 2000.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ppgen.arguments import Count, NonNegative
from ppgen.data import DataSpec
from ppgen.distributions.bag_of_words import BagOfWords
from ppgen.errors import UsageError
from ppgen.layers.words import check_counts, frequencies, off_zero, start_topics
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["Unigram"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five documents."""
    spec = DataSpec("tiny", 6, "counts", num_data=20)
    return Unigram(spec, 2), (1 + torch.poisson(torch.ones(5, 6)),)


@register_model(
    "unigram",
    summary="words by their frequencies, or a mixture of unigrams: one topic for a whole document, summed out",
    reference="Nigam, McCallum, Thrun and Mitchell, Text classification from labeled and unlabeled documents using EM",
    year=2000,
    link="https://doi.org/10.1023/A:1007692713085",
    tags=("discrete", "mixture", "exact", "topics"),
    tiny=_tiny,
    recommended=Recommended("em", training={"steps": 50, "batch_size": 1_000_000}),
)
class Unigram(Pair):
    """Unigrams, or a mixture of them. One batch is ``(x,)``, x of shape (B, V): counts of words.

    Sites:
        c: (), an index 0..C-1, in the plate ``data``; the model's alone, marked for parallel enumeration
        x: (V,), observed, in the plate ``data``: a :class:`ppgen.distributions.bag_of_words.BagOfWords`

    Parameters: ``logits`` of w (C,), ``topic_logits`` of beta (C, V).

    Args:
        spec: what one datum is: counts; topics start around its mean.
        num_components: C; 1: one unigram for all documents.
        smoothing: what the M step of ``em`` adds to every expected count of a word in a topic.

    Raises:
        UsageError: the data are not counts, C is not positive or the smoothing negative.

    >>> pair = Unigram(DataSpec("words", 3, "counts", mean=torch.tensor([2.0, 1.0, 1.0])))
    >>> pair.topics.detach()
    tensor([[0.5000, 0.2500, 0.2500]])
    """

    def __init__(self, spec: DataSpec, num_components: Count = 1, *, smoothing: NonNegative = 0.01) -> None:
        super().__init__(data_size=spec.num_data)
        check_counts("Unigram", spec)
        self.num_components, self.smoothing = num_components, float(smoothing)
        alone = frequencies(spec).log()[None]
        self.topic_logits = nn.Parameter(alone if num_components == 1 else start_topics(spec, num_components))
        self.logits = nn.Parameter(torch.zeros(num_components))

    def model(self, x: Tensor) -> None:
        log_topics = off_zero(self.topics).log()
        with self.data_plate(x):
            c = pyro.sample("c", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})  # (C, K, B)
            pyro.sample("x", BagOfWords(log_topics[c], x.sum(-1)), obs=x)  # (B, V)

    def guide(self, x: Tensor) -> None:
        pass

    @property
    def topics(self) -> Tensor:
        """beta (C, V), rows summing to one."""
        return self.topic_logits.softmax(-1)

    @property
    def weights(self) -> Tensor:
        """w (C,)."""
        return self.logits.softmax(-1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(c | x), (B, V) to (B, C)."""
        return self._log_joint(x).softmax(-1)

    category_probs = responsibilities

    def next_word_log_probs(self, x: Tensor) -> Tensor:
        """log p(w | x) of one word more, of documents x (..., V), in nats: exact, (..., V)."""
        log_topics = off_zero(self.topics).log()
        return (self._log_joint(x).log_softmax(-1)[..., None] + log_topics).logsumexp(-2)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x), (B, V) to (B,), in nats."""
        return self._log_joint(x).logsumexp(-1) + BagOfWords.log_orders(x)

    def expected_statistics(self, x: Tensor, *, hard: bool = False) -> dict[str, Tensor]:
        """``weights`` (C,), the documents of each topic, and ``words`` (C, V), theirs; ``count``; in float64."""
        r = self.responsibilities(x).double()
        r = one_hot(r.argmax(-1), self.num_components).to(r) if hard else r
        return {"count": r.new_full((), len(x)), "weights": r.sum(0), "words": r.T @ x.double()}

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The logits of w and of beta.

        Raises:
            UsageError: a topic is left without documents.
        """
        weights = statistics["weights"]
        if bool((empty := weights <= torch.finfo(weights.dtype).eps).any()):
            raise UsageError(
                f"component {int(empty.nonzero()[0])} of {self.num_components} of Unigram is left without documents: "
                "lower num_components, or start elsewhere (another seed)."
            )
        words = off_zero(self.smoothing + statistics["words"]).log()
        return {"logits": weights.log().to(self.logits), "topic_logits": words.to(self.topic_logits)}

    def _log_joint(self, x: Tensor) -> Tensor:
        """log p(words in their order, c), (..., C)."""
        return self.logits.log_softmax(-1) + x @ off_zero(self.topics).log().T
