"""Perplexity: how well a pair predicts words, by document completion and by its bound; 1 is certainty, V a guess.

**Document completion.** The n words of each document are cut at random, without replacement, into x1 of ceil(n / 2) and
x2 of floor(n / 2). What is inferred from x1 predicts every word of x2 by itself:

    p(w | x1) = sum_k v_k p(w | z_k),        z_k ~ q(z | x1),    v = softmax_k log w_k(x1)

    perplexity = exp(-sum_d sum_w x2_dw log p(w | x1_d) / sum_d n_d),        n_d the words of x2_d

with log w_k the log-weights of x1: its particles, weighed. As K grows p(w | x1) goes to the model's own predictive
E[p(w | z) | x1], whatever the guide; at K = 1 it is the guide's. It is an estimate of what the model predicts, and no
bound on anything. A pair may state p(w | x1) itself, of one word more than x1 has (its ``next_word_log_probs``), an
energy-based one, in which log Z cancels, or one that sums its latents out: no particle is drawn, and the perplexity is
exact. Where the pair has latents outside the data plate (topics with a prior), each particle has its own draw of the
guide's posterior of them, and v weighs what belongs to the document.

**The bound.** exp(-sum_d bound_d / sum_d n_d) over whole documents, bound_d <= log p(x_d) in expectation: above the
model's perplexity in expectation. Of an unnormalised pair log p(x_d) is exact but for log Z, which annealing finds too
small in expectation: what is called the bound is then *below* the model's perplexity, and with the other side of a
sandwich above it. Both score the words in their order, one by one: where the pair's likelihood is that of counts, with
the multinomial coefficient, it is taken out. So models of counts and of sequences of the same documents, in one
vocabulary, are compared by it.

Published perplexities of variational topic models are bounds, those of Gibbs samplers completions, and they are not
comparable; neither are those of two vocabularies.

References: On smoothing and inference for topic models, Asuncion, Welling, Smyth and Teh, 2009, whose words are so
predicted one by one. Evaluation methods for topic models, Wallach, Murray, Salakhutdinov and Mimno, 2009, where x2 is
scored as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppgen.distributions.bag_of_words import BagOfWords
from ppgen.distributions.symbols import lengths
from ppgen.errors import UsageError
from ppgen.evaluation.bounds import evidence_of
from ppgen.evaluation.case import Case
from ppgen.evaluation.result import Measure
from ppgen.pages.numbers import counted
from ppgen.pairs.log_weights import read_particles
from ppgen.pairs.rows import num_rows, take_rows
from ppgen.pairs.tracing import Batch, Particles

__all__ = [
    "Perplexity",
    "completion",
    "halves",
    "log_coefficients",
    "perplexities",
    "perplexity",
    "predictive",
    "score_completion",
    "word_probs",
]


_DOCUMENTS = 20
"""Whose next words are told at a time, by a pair that states them."""


@dataclass(frozen=True)
class Perplexity:
    """exp(-nats per word), with its standard error over documents."""

    value: float
    standard_error: float
    num_words: int
    num_documents: int


def perplexity(log_prob: Tensor, num_words: Tensor) -> Perplexity:
    """The perplexity of documents, each of so many words of so much log-probability.

    With R = -sum_d l_d / sum_d n_d, a ratio of two means over documents, and r_d = -l_d - R n_d, the standard error of
    R is sqrt(D / (D - 1) sum_d r_d^2) / sum_d n_d, and that of exp(R) is exp(R) times it (the delta method, twice).

    Args:
        log_prob: l, (D,), in nats.
        num_words: n, (D,), at least 1.

    Returns:
        Infinite, its standard error NaN, where a word has probability 0.

    Raises:
        UsageError: fewer than 2 documents, or one without words.
    """
    D, nats, words = len(log_prob), -log_prob.double(), num_words.double()
    if D < 2 or log_prob.shape != num_words.shape or bool((num_words < 1).any()):
        raise UsageError(
            "the standard error of a perplexity is over documents: expected at least 2, each with a log-probability "
            f"and at least one word, got {tuple(log_prob.shape)} log-probabilities and {tuple(num_words.shape)} "
            f"numbers of words, of which {int((num_words < 1).sum())} are below 1."
        )
    rate = nats.sum() / words.sum()
    error = ((nats - rate * words).square().sum() * D / (D - 1)).sqrt() / words.sum()
    value = float(rate.exp())
    return Perplexity(value, value * float(error), int(words.sum()), D)


def halves(x: Tensor, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Cut the words of each document in two at random, all cuts into such sizes equally likely.

    So the counts of the halves are multivariate hypergeometric. The cut depends on ``x`` and ``seed`` alone, not on the
    device nor on the global random state.

    Args:
        x: (D, V), counts.
        seed: seeds the cut.

    Returns:
        (D, V) and (D, V), which sum to ``x``: ceil(n / 2) and floor(n / 2) words of a document of n.

    Raises:
        UsageError: a document has no word, or a count is negative or no whole number.
    """
    _check_counts(x)
    document, word = x.nonzero(as_tuple=True)
    count = x[document, word].long()
    document, word = document.repeat_interleave(count), word.repeat_interleave(count)  # (words,) each
    draws = torch.rand(len(word), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    order = (document + draws.to(x.device)).argsort()  # document by document, within one at random
    size = x.sum(1).long()
    rank = torch.arange(len(word), device=x.device) - (size.cumsum(0) - size).repeat_interleave(size)
    held_out = order[rank >= ((size + 1) // 2).repeat_interleave(size)]
    second = torch.zeros_like(x).index_put_(
        (document[held_out], word[held_out]), x.new_ones(len(held_out)), accumulate=True
    )
    return x - second, second


def word_probs(particles: Particles) -> tuple[str, Tensor] | None:
    """The observed site that tells p(word | z), and that as (K, B, V): its distribution has ``probs`` over the words.

    None where there is none: x is no vector of counts under the model.
    """
    size = particles.batch[0].shape[-1:]
    for name, site in particles.model_sites.items():
        probs = getattr(site["fn"], "probs", None)
        if site["is_observed"] and isinstance(probs, Tensor) and site["fn"].event_shape == size == probs.shape[-1:]:
            return name, probs
    return None


def predictive(pair: Any, batch: Batch, num_particles: int, *, progress: bool = False) -> Iterator[Tensor]:
    """p(w | x) of every word, some documents of ``batch`` at a time: (rows, V).

    Args:
        pair: a pair on counts, or any module with ``model`` and ``guide``.
        batch: what the data set yields, ``(x,)`` or ``(x, y)``: the documents to infer from.
        num_particles: K.
        progress: show a progress bar.

    Raises:
        UsageError: K < 1; no observed site of the model tells p(word | z); a log-weight or probability is NaN.
    """
    if _tells_next(pair):
        with torch.no_grad():
            yield from (pair.next_word_log_probs(x).exp() for x in batch[0].split(_DOCUMENTS))
        return
    for blocks in read_particles(pair, batch, num_particles, _predict, progress=progress):
        totals, means = (torch.stack(parts) for parts in zip(*blocks, strict=True))  # (blocks, rows), (blocks, rows, V)
        mean = _weighed(totals, means)
        if bool(mean.isnan().any()):
            raise UsageError("the probability of a word is NaN: look at the guide's output for the data.")
        yield mean


def completion(pair: Any, batch: Batch, num_particles: int, *, seed: int = 0, progress: bool = False) -> Perplexity:
    """The perplexity of one half of each document, given the other.

    Documents of one word have no second half and are left out.

    Args:
        pair: a pair on counts, or any module with ``model`` and ``guide``.
        batch: whole documents, x first, (D, V).
        num_particles: K.
        seed: seeds the cut (:func:`halves`); the particles use torch's global random numbers.
        progress: show a progress bar.

    Raises:
        UsageError: K < 1; no observed site of the model tells p(word | z); an empty document; fewer than 2 documents
            of at least two words.
    """
    first, second = halves(batch[0], seed=seed)
    rows = second.sum(1).nonzero().squeeze(1)
    if len(rows) < 2:
        raise UsageError(
            f"document completion needs at least 2 documents of at least two words, got {len(rows)} of {len(first)}: "
            "a document of one word has no second half."
        )
    given = (first, *batch[1:])
    if len(rows) < len(first):  # no copy of all the counts without need
        given, second = tuple(part[rows] for part in given), second[rows]
    return score_completion(predictive(pair, given, num_particles, progress=progress), second)


def score_completion(probs: Iterable[Tensor], held_out: Tensor) -> Perplexity:
    """The perplexity of held-out words under predictive distributions, from wherever these come.

    Args:
        probs: p(word | the rest of the document), in pieces of (rows, V), one row a document, in order.
        held_out: (D, V), counts; at least one word a document.
    """
    start, scores = 0, []
    for part in probs:
        words = held_out[start : start + len(part)].double()
        scores.append(torch.xlogy(words, part.double()).sum(1))
        start += len(part)
    return perplexity(torch.cat(scores), held_out.sum(1))


def log_coefficients(pair: Any, batch: Batch) -> Tensor:
    """What the model's log-likelihood of counts has above that of the words in their order, (D,), in nats.

    The multinomial coefficient log n! / prod_w n_w! where the likelihood holds it, as it does of a pair that states
    ``next_word_log_probs``, else 0: read off one particle, of whose latents it does not depend.
    """
    if _tells_next(pair):
        return BagOfWords.log_orders(batch[0])
    return torch.cat([part for (part,) in read_particles(pair, batch, 1, _log_coefficient)])


def perplexities(case: Case) -> Iterator[Measure]:
    """``perplexity`` by document completion and ``bound_perplexity``, of pairs that state word distributions.

    Of sequences the latter alone: halves drawn at random have no order.
    """
    pair, batch, K = case.pair, case.batch, case.num_particles
    kind = case.dataset.spec.observation
    if kind == "symbols" and not getattr(pair, "holds_labels", False):
        yield from _of_whole_documents(case, case.log_likelihoods[K], lengths(batch[0]))
    if kind != "counts" or not _states_words(pair, batch):
        return
    num_words = batch[0].sum(1)
    short = int((num_words < 2).sum())
    if num_rows(batch) - short >= 2:
        found = completion(pair, batch, K, seed=case.seed, progress=case.progress)
        left_out = f"; {counted(short, 'document')} of one word left out" if short else ""
        how = "exact" if _tells_next(pair) else f"K = {K:,}: an estimate of the predictive perplexity, no bound"
        yield Measure(
            "perplexity",
            found.value,
            found.standard_error,
            f"per word, of {found.num_words:,} words that are half of each of {found.num_documents:,} {case.split} "
            f"documents, given the other half, {how}{left_out}",
        )
    if getattr(pair, "holds_labels", False):  # log p(x, y), of more than the words
        return
    yield from _of_whole_documents(case, case.log_likelihoods[K] - log_coefficients(pair, batch), num_words)


def _of_whole_documents(case: Case, log_p: Tensor, num_words: Tensor) -> Iterator[Measure]:
    """``bound_perplexity``, and ``upper_perplexity`` where log Z has an upper side."""
    found, log_z = perplexity(log_p, num_words), case.log_z
    error = None if log_z is None else log_z.standard_error
    said = f"per word, of all {found.num_words:,} words, from "
    if log_z is None and evidence_of(case.pair, case.batch) == "exact":
        how = "log p(x), exact"
    elif log_z is None:
        how = f"the bound of K = {case.num_particles:,}: above the model's perplexity in expectation"
    elif log_z.exact:
        how = "log p(x), its log Z exact"
    else:
        how = "log p(x) with log Z annealed, which errs downward: below the model's perplexity in expectation"
    yield Measure("bound_perplexity", *_with_log_z(found, error), said + how)
    if log_z is not None and log_z.upper is not None:
        above = perplexity(log_p + log_z.value - log_z.upper, num_words)
        how = "log p(x) with log Z from above: above the model's perplexity in expectation"
        yield Measure("upper_perplexity", *_with_log_z(above, log_z.upper_standard_error), said + how)


def _with_log_z(found: Perplexity, error: float | None) -> tuple[float, float]:
    """With its standard error, that of log Z a datum in it: in logarithms D / sum_d n_d times as much a word."""
    a_word = (error or 0.0) * found.num_documents / found.num_words
    return found.value, math.hypot(found.standard_error, found.value * a_word)


def _check_counts(x: Tensor) -> None:
    """``x``, (D, V), holds documents of at least one word.

    Raises:
        UsageError: it does not; the document is named.
    """
    parts = x.split(_DOCUMENTS)
    wrong = torch.cat([((part < 0) | (part != part.round())).any(1) | (part == 0).all(1) for part in parts])
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise UsageError(
            "expected documents of whole counts, at least one word each, and document "
            f"{row} sums to {float(x[row].sum()):g} with counts from {float(x[row].min()):g} to "
            f"{float(x[row].max()):g}: drop empty documents."
        )


def _tells_next(pair: Any) -> bool:
    return callable(getattr(pair, "next_word_log_probs", None))


def _states_words(pair: Any, batch: Batch) -> bool:
    """Whether the model tells the next word, or p(word | z) of each of two documents, with weights of their own."""
    if pair.needs_log_z or _tells_next(pair):
        return _tells_next(pair)
    two = take_rows(batch, slice(2))
    ((found,),) = read_particles(pair, two, 1, lambda p: word_probs(p) is not None and p.log_w.shape[1] == len(two[0]))
    return found


def _predict(particles: Particles) -> tuple[Tensor, Tensor]:
    """log sum_k w_k, (B,), and the weighed mean of p(word | z_k), (B, V)."""
    found = word_probs(particles)
    if found is None:
        raise UsageError(
            "no observed site of the model tells the probability of a word: expected a distribution of counts with "
            f"probs of shape (..., {particles.batch[0].shape[-1]}), such as pyro.distributions.Multinomial."
        )
    return particles.log_w.logsumexp(0), _weighed(particles.log_w, found[1])


def _weighed(log_w: Tensor, values: Tensor) -> Tensor:
    """sum_k softmax_k(log w) values_k: (K, B) and (K, B, V) to (B, V)."""
    return torch.einsum("kb,kbv->bv", log_w.softmax(0), values)


def _log_coefficient(particles: Particles) -> Tensor:
    found = word_probs(particles)
    assert found is not None  # perplexities has looked
    name, probs = found
    return (particles.log_prob(name) - torch.xlogy(particles.batch[0], probs).sum(-1)).squeeze(0)  # (B,)
