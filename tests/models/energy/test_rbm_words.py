"""A replicated softmax: what it says of one word more, and its perplexities, against sums over all documents."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.distributions.bag_of_words import BagOfWords
from ppgen.evaluation.perplexity import completion, halves
from ppgen.models import RBM
from ppgen.report.energy import log_normaliser
from ppgen.report.samples import reconstructed_data
from ppgen.report.topics import topics

V, H, C = 4, 3, 2


def a_machine(**options: Any) -> Any:
    torch.manual_seed(0)
    spec = DataSpec("words", V, "counts", num_classes=C if options.get("labels") else None)
    pair: Any = ppgen.make_pair("rbm", spec, hidden=H, **options).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    return pair


def log_p_in_order(pair: Any, words: tuple[int, ...]) -> float:
    """log p~ of words in their order, of which the multinomial coefficient counts how many there are."""
    x = torch.bincount(torch.tensor(words), minlength=V).double()
    return float((-pair.free_energy(x) - BagOfWords.log_orders(x)).detach())


@pytest.mark.parametrize("labels", [False, True])
def test_one_word_more_has_the_probability_of_longer_documents_in_their_order(labels: bool) -> None:
    """By sums over all sequences of n + 1 words, each given the words before it."""
    pair, words = a_machine(labels=labels), (0, 2, 2)
    log_p = torch.tensor([log_p_in_order(pair, (*words, w)) for w in range(V)], dtype=torch.float64)
    found = pair.next_word_log_probs(torch.bincount(torch.tensor(words), minlength=V).double())
    assert torch.allclose(found, log_p.log_softmax(0), atol=1e-12)
    total = torch.tensor([log_p_in_order(pair, each) for each in product(range(V), repeat=4)], dtype=torch.float64)
    assert float(total.logsumexp(0)) == pytest.approx(float(pair.exact_log_zs(torch.tensor([4.0]))), abs=1e-9)


def test_completion_scores_each_word_of_the_second_half_by_itself() -> None:
    pair, x = a_machine(), torch.tensor([[2.0, 1, 0, 3], [0, 4, 1, 0], [1, 1, 1, 1]]).double()
    first, second = halves(x, seed=0)
    nats = sum(float(second[d] @ pair.next_word_log_probs(first[d]).detach()) for d in range(3))
    found = completion(pair, (x,), 1)
    assert found.value == pytest.approx(math.exp(-nats / float(second.sum())), rel=1e-12)


def _documents() -> tuple[Dataset, Tensor]:
    x = torch.tensor([[2.0, 1, 0, 3], [0, 4, 1, 0], [1, 1, 1, 1], [0, 0, 1, 0]])
    return Dataset(DataSpec("words", V, "counts"), (x,), (x,), (x,)), x


def test_perplexities_of_an_evaluation_are_those_of_its_likelihoods() -> None:
    pair, (data, x) = a_machine().float(), _documents()
    found = ppgen.evaluation.evaluate(pair, data, particles=1, log_z={"exact": True}, progress=False)
    measures = {measure.name: measure for measure in found.measures}
    log_z = pair.exact_log_zs(x.sum(1)).double()
    nats = (-pair.free_energy(x).double() - log_z - BagOfWords.log_orders(x)).detach()
    assert measures["bound_perplexity"].value == pytest.approx(float((-nats.sum() / x.sum()).exp()), rel=1e-5)
    assert "its log Z exact" in measures["bound_perplexity"].meaning
    assert measures["perplexity"].value == pytest.approx(completion(pair, (x,), 1).value)
    assert "1 document of one word left out" in measures["perplexity"].meaning


def test_both_sides_of_log_z_give_a_perplexity_each_and_their_directions_are_said() -> None:
    pair, (data, x) = a_machine().float(), _documents()
    how = {"num_temperatures": 20, "num_chains": 20, "sandwich": True}
    found = ppgen.evaluation.evaluate(pair, data, particles=1, log_z=how, progress=False)
    measures, log_z = {measure.name: measure for measure in found.measures}, found.log_z
    assert log_z is not None
    assert log_z.upper is not None
    assert "below the model's perplexity in expectation" in measures["bound_perplexity"].meaning
    assert "above the model's perplexity in expectation" in measures["upper_perplexity"].meaning
    nats = (-pair.free_energy(x).double() - BagOfWords.log_orders(x)).detach().sum()
    for name, value in (("bound_perplexity", log_z.value), ("upper_perplexity", log_z.upper)):
        assert measures[name].value == pytest.approx(float(((4 * value - nats) / x.sum()).exp()), rel=1e-5)


def test_a_machine_with_labels_has_no_perplexity_of_the_words_alone_by_its_joint_likelihood() -> None:
    pair, (data, x) = a_machine(labels=True).float(), _documents()
    y = torch.tensor([0, 1, 1, 0])
    named = Dataset(DataSpec("words", V, "counts", num_classes=C), (x, y), (x, y), (x, y))
    found = ppgen.evaluation.evaluate(pair, named, particles=1, log_z={"exact": True}, labels=False, progress=False)
    assert [measure.name for measure in found.measures] == ["perplexity", "accuracy"]
    log_z = pair.exact_log_zs(x.sum(1))
    nats = -pair.free_energy(pair.datum((x, y))) - log_z
    assert found.log_likelihood == pytest.approx(float(nats.detach().mean()), rel=1e-5)
    assert len(data.test[0]) == 4


def test_documents_of_differing_lengths_train_and_are_evaluated_from_the_run() -> None:
    x = torch.eye(6)[torch.arange(60) % 6] * torch.arange(1.0, 61.0)[:, None] % 7 + torch.eye(6)[0]
    data = ppgen.dataset_from(x, observation="counts")
    pair = ppgen.make_pair("rbm", data.spec, hidden=3)
    run = ppgen.fit(pair, data, "pcd", steps=5, batch_size=20, progress=False, eager=True)
    found = run.evaluation = run.evaluate(
        particles=1, log_z={"num_temperatures": 20, "num_chains": 10, "sandwich": True}
    )
    assert found.log_z is not None
    assert found.log_z.sizes == tuple(sorted({int(n) for n in run.data.rows(found.split)[0].sum(1)}))
    assert found.log_z.num_chains == 10
    assert found.lower is not None
    again = type(found).from_json(found.to_json())
    assert again == found
    section = log_normaliser(run)
    assert section is not None
    assert section.facts[""]["of which"] == f"the mean over data, of 1 to {max(found.log_z.sizes)} words"


def test_the_words_of_hidden_units_and_documents_made_again_are_on_the_page() -> None:
    x = torch.eye(V)[torch.arange(40) % V] * 5 + torch.eye(V)[0]
    data = ppgen.dataset_from(x, observation="counts", vocabulary=["ant", "bee", "cat", "dog"])
    pair: Any = ppgen.make_pair("rbm", data.spec, hidden=2)
    with torch.no_grad():
        pair.weight.copy_(torch.tensor([[0.0, 3], [1, 2], [2, 1], [3, 0]]))
    run = ppgen.fit(pair, data, "cd", steps=1, lr=1e-6, progress=False, eager=True)
    section = topics(run)
    assert section is not None
    assert section.text.startswith("Topic j is by what hidden unit j, on, multiplies the rates of words")
    words = {row[0]: [word.split("\N{NO-BREAK SPACE}")[0] for word in row[-1].split(", ")] for row in section.table[1:]}
    assert words == {"0": ["dog", "cat", "bee", "ant"], "1": ["ant", "bee", "cat", "dog"]}
    assert section.table[0][-1] == "words of the largest shares, times the mean word's"
    shares = pair.weight.detach()[:, 0].softmax(0)  # of four words, whose mean is a quarter
    assert section.table[-2 + int(section.table[-1][0] == "0")][-1].startswith(
        f"dog\N{NO-BREAK SPACE}{4 * shares[3]:.1f},"
    )
    again = reconstructed_data(run)
    assert again is not None
    assert "what is expected of it after one step" in again.figures[0].caption
    assert "ant" in again.figures[0].body


def test_machines_of_other_data_have_no_topics() -> None:
    assert RBM(DataSpec("bits", 3, "binary"), 2).topics is None
