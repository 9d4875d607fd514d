"""A Markov chain of words: each is drawn given the one before it, the first given the start.

    x_1 ~ A_start,        x_t | x_{t-1} = v ~ A_v        x: (T,), words 0..V-1, n of them; A: (V + 1, V)

    log p(x) = log A_{start, x_1} + sum_{t=2..n} log A_{x_{t-1}, x_t}        (nats), exact: there are no latents

The length n is given, as that of a document of counts is. With one q in place of all rows of A it is a unigram, whose
perplexity on the same words says what their order is worth.

``em`` is one step in closed form. With n_vw how often w follows v, n_v = sum_w n_vw, and the prior A_v ~ Dirichlet(1 +
c q), q the words' frequencies or uniform, the mode is a mean of both (MacKay and Peto 1995):

    A_vw = (n_vw + c q_w) / (n_v + c) = (1 - l_v) n_vw / n_v + l_v q_w,        l_v = c / (n_v + c)

so that what follows a rare word is told by q. With q uniform that is symmetric smoothing, each count raised by c / V;
with c = 0 it is maximum likelihood, and two words that training has not seen together have probability 0.

On the training data c = 0 would always be best. So c is what tells each word best from all the others, which is Jelinek
and Mercer's deleted interpolation with one word deleted at a time:

    max_c  sum_vw n_vw log [ (n_vw - 1 + c q'_w) / (n_v - 1 + c) ],        q': q without this occurrence of w

With the latent that says whether a word is drawn from the other counts or from q summed out, of prior weights 1 - l_v
and l_v, this is its log-likelihood; the derivative by log c vanishes where

    sum_vw n_vw r_vw = sum_v n_v c / (n_v - 1 + c),        r_vw = c q'_w / (n_vw - 1 + c q'_w)

as many words come from q by the latent's posterior r as by its prior: a fixed point of EM in c. It is one number, found
by Brent's method.

By gradient (``elbo``) log p(x) alone is climbed, towards n_vw / n_v: held-out words say when to stop.

References: Interpolated estimation of Markov source parameters from sparse data, Jelinek and Mercer, 1980. A
hierarchical Dirichlet language model, MacKay and Peto, Natural Language Engineering 1995.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import pyro
import torch
from torch import Tensor, nn

from ppgen.arguments import NonNegative
from ppgen.data import DataSpec
from ppgen.distributions.markov_chain import MarkovChain
from ppgen.distributions.symbols import predecessors, present
from ppgen.errors import UsageError, setting, shown
from ppgen.layers.words import check_symbols, frequencies, off_zero
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["Markov"]

_MOST = 2**28
"""Transition probabilities, at most: a GiB in float32."""

_RANGE = math.log(1e-4), math.log(1e8)
"""Of log c: no smoothing, and no transitions."""


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five sequences of one to five symbols."""
    places = torch.arange(5)
    x = torch.where(places <= places[:, None], torch.randint(4, (5, 5)), -1)
    return Markov(DataSpec("tiny", 4, "symbols", num_data=20)), (x.to(torch.get_default_dtype()),)


@register_model(
    "markov",
    summary="a Markov chain of words, smoothed by their frequencies as deleted interpolation tells",
    reference="MacKay and Peto, A hierarchical Dirichlet language model",
    year=1995,
    link="https://doi.org/10.1017/S1351324900000218",
    tags=("discrete", "exact", "topics"),
    tiny=_tiny,
    recommended=Recommended("em", training={"steps": 1, "batch_size": 1_000_000}),
)
class Markov(Pair):
    """A Markov chain of words. One batch is ``(x,)``, x of shape (B, T): words in their order, -1 after the last.

    Sites:
        x: (T,), observed, in the plate ``data``: a :class:`ppgen.distributions.markov_chain.MarkovChain`

    Parameters: ``logits`` of A (V + 1, V), the last row that of the start.

    Args:
        spec: what one datum is: symbols; all rows start at their frequencies.
        concentration: c, of the prior of ``em``; None: found by leaving each word out in turn.
        base: q: the words' frequencies, ``"unigram"``, or ``"uniform"``.
        smoothing: what is added to every count of a word in q.

    Raises:
        UsageError: the data are no symbols, or too many different ones for a table of pairs; a number is negative.

    >>> pair = Markov(DataSpec("words", 3, "symbols", mean=torch.tensor([2.0, 1.0, 1.0])))
    >>> pair.initial.detach(), pair.transition.shape
    (tensor([0.5000, 0.2500, 0.2500]), torch.Size([3, 3]))
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        concentration: NonNegative | None = None,
        base: Literal["unigram", "uniform"] = "unigram",
        smoothing: NonNegative = 0.01,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        check_symbols("Markov", spec)
        _check_size(spec)
        self.concentration, self.base, self.smoothing = concentration, base, float(smoothing)
        self.logits = nn.Parameter(frequencies(spec).log().repeat(spec.num_features + 1, 1))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("x", MarkovChain(self.logits.log_softmax(-1), present(x)), obs=x)  # (B, T)

    def guide(self, x: Tensor) -> None:
        pass

    @property
    def initial(self) -> Tensor:
        """p(first word), (V,)."""
        return self.logits[-1].softmax(-1)

    @property
    def transition(self) -> Tensor:
        """p(next word | word), (V, V), rows summing to one."""
        return self.logits[:-1].softmax(-1)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x), (B, T) to (B,), in nats."""
        return MarkovChain(self.logits.log_softmax(-1), present(x)).log_prob(x)

    def expected_statistics(self, x: Tensor, *, hard: bool = False) -> dict[str, Tensor]:
        """``followed`` (V + 1, V), how often each word follows each, the last row the start; ``count``; in float64."""
        symbols, before = predecessors(x, len(self.logits) - 1)
        places = present(x)
        pairs = before[places] * self.logits.shape[1] + symbols[places]
        followed = torch.bincount(pairs, minlength=self.logits.numel()).double().reshape(self.logits.shape)
        return {"count": followed.new_full((), len(x)), "followed": followed}

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The logits of A."""
        followed = statistics["followed"]
        c = self.deleted_interpolation(followed) if self.concentration is None else self.concentration
        return {"logits": off_zero(followed + c * self._base(followed.sum(0))).log().to(self.logits)}

    def deleted_interpolation(self, followed: Tensor) -> float:
        """c that predicts each word best from all the others, of counts n (V + 1, V): at most 1e8, at least 1e-4."""
        from scipy.optimize import minimize_scalar

        context, word = followed.nonzero(as_tuple=True)
        times, others = followed[context, word], followed.sum(1)[context] - 1  # (pairs,)
        q = self._base_of_others(followed.sum(0))[word]

        def lost(log_c: float) -> float:
            c = math.exp(log_c)
            return -float((times * (off_zero(times - 1 + c * q) / (others + c)).log()).sum())

        return math.exp(minimize_scalar(lost, bounds=_RANGE, method="bounded").x)

    def _base(self, words: Tensor) -> Tensor:
        """q (V,), of how often each word comes."""
        raised = words + self.smoothing if self.base == "unigram" else torch.ones_like(words)
        return raised / off_zero(raised.sum())

    def _base_of_others(self, words: Tensor) -> Tensor:
        """q^- (V,): of each word that which is left where one occurrence of it is taken away."""
        if self.base == "uniform":
            return self._base(words)
        return (words - 1 + self.smoothing) / off_zero(words.sum() - 1 + self.smoothing * len(words))


def _check_size(spec: DataSpec) -> None:
    if spec.num_features * (spec.num_features + 1) > _MOST:
        raise UsageError(
            f"Markov has a probability of each pair of words, and the {spec.num_features} words of data "
            f"{shown(spec.name)} have more than {_MOST} pairs: take fewer, {setting('D', 'max_words', 10_000)}."
        )
