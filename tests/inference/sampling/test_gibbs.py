"""Gibbs sampling of words' topics: against the enumerated posterior, known topics, and in the loop."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import chi2
from torch import Tensor

import ppgen
from ppgen.chains.topics import likelier, words_of
from ppgen.data import DataSpec, bar_topics
from ppgen.errors import UsageError
from ppgen.inference import Gibbs
from ppgen.models import LDA
from ppgen.pairs.parameters import swapped
from ppgen.pairs.tracing import Program
from ppgen.training.options import TrainingOptions
from ppgen.training.progress import Progress
from ppgen.training.trainer import Trainer

X = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]], dtype=torch.float64)
"""Six words in two documents."""
ALPHA, ETA = torch.tensor([0.7, 1.4], dtype=torch.float64), 0.6


def small_pair(**options: Any) -> LDA:
    pair = LDA(DataSpec("words", 3, "counts", num_data=2), 2, topic_concentration=ETA, **options).double()
    with torch.no_grad():
        pair.log_concentration.copy_(ALPHA.log())
    return pair


def log_joint(topics: Tensor) -> Tensor:
    """log p(z, w) of six words' topics, fully collapsed, from its own sums over the words in the sampler's order."""
    words = words_of(X)
    value = torch.zeros((), dtype=torch.float64)
    for document in range(2):
        counts = topics[words.document == document].bincount(minlength=2)
        value += (torch.lgamma(ALPHA + counts) - torch.lgamma(ALPHA)).sum()
    for topic in range(2):
        counts = words.word[topics == topic].bincount(minlength=3) + 0.0
        value += torch.lgamma(ETA + counts).sum() - torch.lgamma(3 * ETA + counts.sum())
    return value


STATES = torch.tensor(list(itertools.product(range(2), repeat=6)))
"""All topics of the six words, (64, 6)."""


def index(topics: Tensor) -> Tensor:
    return (topics * 2 ** torch.arange(5, -1, -1)).sum(-1)


def test_sweeps_keep_the_enumerated_posterior_of_six_words() -> None:
    """Chi-square on all 64 states, false alarm 1e-6: each of 3,000 chains begins at a draw of p(z | w)."""
    torch.manual_seed(0)
    pair, posterior = small_pair(), torch.stack([log_joint(z) for z in STATES]).softmax(0)
    starts = STATES[torch.multinomial(posterior, 1_500, replacement=True)]
    with torch.no_grad():
        ends = torch.stack(
            [pair.gibbs_sweep({"word_topics": z}, X, learn_prior=False)[0]["word_topics"] for z in starts]
        )
    found, expected = index(ends).bincount(minlength=64), 1_500 * posterior
    assert float(((found - expected).square() / expected).sum()) < chi2.isf(1e-6, 63)
    assert float((ends != starts).double().mean()) > 0.2  # and they move


def test_a_sweep_forgets_where_it_began() -> None:
    """From one state, after 8 sweeps, the same words share a topic as often as the posterior says: 5 sigma of 100."""
    torch.manual_seed(1)
    pair, posterior = small_pair(), torch.stack([log_joint(z) for z in STATES]).softmax(0)
    ends = []
    for _ in range(100):
        state = {"word_topics": torch.zeros(6, dtype=torch.long)}
        for _ in range(8):
            state = pair.gibbs_sweep(state, X, learn_prior=False)[0]
        ends.append(state["word_topics"])
    apart = (STATES[:, :1] != STATES).double().sum(1)
    mean = float(posterior @ apart)
    sd = float((posterior @ (apart - mean).square()).sqrt())
    z = torch.stack(ends)
    assert float((z != z[:, :1]).double().sum(1).mean()) == pytest.approx(mean, abs=5 * sd / 10)


def test_words_come_back_as_counts() -> None:
    x = torch.tensor([[0.0, 1, 0], [2, 0, 3], [1, 1, 0]])
    words = words_of(x)
    found = torch.zeros(3, 3).index_put_((words.document, words.word), torch.ones(()), accumulate=True)
    torch.testing.assert_close(found[words.rank], x)
    assert words.sizes.tolist() == [3, 2, 1, 1, 1]
    torch.testing.assert_close(words.by_document(torch.ones(8)), x.sum(1))


def test_the_step_on_alpha_raises_the_likelihood_of_the_counts() -> None:
    torch.manual_seed(0)
    counts = 1 + torch.poisson(torch.tensor([[0.3, 4.0, 1.0]], dtype=torch.float64).expand(50, 3))

    def likelihood(alpha: Tensor) -> float:
        whole = torch.lgamma(alpha.sum()) - torch.lgamma(alpha.sum() + counts.sum(1))
        return float(whole.sum() + (torch.lgamma(alpha + counts) - torch.lgamma(alpha)).sum())

    alphas = [torch.full((3,), 0.1, dtype=torch.float64)]
    for _ in range(5):
        alphas.append(likelier(alphas[-1], counts))
        assert likelihood(alphas[-1]) > likelihood(alphas[-2])


@pytest.mark.thorough
def test_the_ten_topics_of_bars_are_found() -> None:
    """Within 0.05 in total variation, every one."""
    data = ppgen.load_data("bars")
    pair = LDA(data.spec, 10, concentration=1.0, topic_concentration=0.01)
    objective = Gibbs(burn_in=200, learn_prior=False)
    ppgen.fit(pair, data, objective, steps=400, batch_size=len(data.train[0]), seed=0, progress=False)
    distance = 0.5 * (pair.topics.detach()[:, None] - bar_topics()).abs().sum(-1)
    rows, columns = linear_sum_assignment(distance)
    assert float(distance[rows, columns].max()) < 0.05


def test_what_is_put_into_the_pair_is_the_mean_over_kept_sweeps() -> None:
    pair = small_pair()
    trainer = Trainer(pair, ppgen.data.as_dataset(X), Gibbs(burn_in=2), TrainingOptions(batch_size=2, steps=5))
    kept: list[Tensor] = []
    for turn in range(5):
        trainer.take_turn()
        counts = words_of(X).table(trainer.state["word_topics"], 2, 3)
        kept = [*kept, counts] if turn > 2 else [counts]  # two sweeps of which nothing is kept
        mean = ETA + torch.stack(kept).mean(0)
        torch.testing.assert_close(pair.topics.detach(), mean / mean.sum(1, keepdim=True))


@pytest.mark.parametrize("topics", ["parameter", "dirichlet"])
def test_both_kinds_of_topics_get_them(topics: Any) -> None:
    pair = small_pair(topics=topics)
    values = pair.gibbs_parameters({"counts": torch.ones(2, 3) * torch.arange(3), "log_concentration": ALPHA.log()})
    with swapped(pair, values):
        expected = (ETA + torch.arange(3.0).double()) / (3 * ETA + 3)
        torch.testing.assert_close(pair.topics, expected.expand(2, 3))


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        ([[1.0, 0, 0], [0, 0, 0]], "must hold documents of at least one word"),
        ([[1.0, 0, 0], [0.5, 1, 0]], "counts 0, 1, 2"),
        ([[1.0, 0, 0], [-1, 2, 0]], "counts 0, 1, 2"),
    ],
)
def test_what_are_no_documents_is_refused(x: list[list[float]], sentence: str) -> None:
    pair = small_pair()
    why = Gibbs().refuses(Program(pair.model, pair.guide), (torch.tensor(x).double(),))
    assert why is not None
    assert sentence in why


def test_a_chain_goes_on_from_a_checkpoint() -> None:
    """Its words' topics, what it has kept and torch's random numbers are the state: the ends agree to the bit."""
    data, ends = ppgen.load_data("bars", num_data=20), []
    for interrupted in (False, True):
        torch.manual_seed(0)
        options = TrainingOptions(batch_size=20, steps=6)
        trainer = Trainer(LDA(data.spec, 3), data, Gibbs(burn_in=1), options)
        for turn in range(6):
            if interrupted and turn == 3:
                tensors, facts = trainer.tensors(), Progress(**trainer.facts())
                trainer = Trainer(LDA(data.spec, 3), data, Gibbs(burn_in=1), options)
                trainer.restore(tensors, facts)
            trainer.take_turn()
        ends.append(trainer.pair.topics.detach())
    assert torch.equal(*ends)


def test_a_part_of_the_data_is_refused() -> None:
    data = ppgen.load_data("bars", num_data=100)
    with pytest.raises(
        UsageError, match=r"Gibbs moves the latents of all \d+ data of LDA in a step, got a batch of 10"
    ):
        ppgen.fit(LDA(data.spec, 3), data, Gibbs(), steps=1, batch_size=10, progress=False)


def test_the_words_of_counts_are_made_once_until_these_are_written_to() -> None:
    x = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    first = words_of(x)
    assert words_of(x) is first
    assert words_of(x.clone()) is not first
    x[1, 2] += 1
    assert words_of(x).lengths.tolist() == [3, 2]
