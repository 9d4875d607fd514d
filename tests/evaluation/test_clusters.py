"""Cluster accuracy: the best one-to-one map by hand, and of an InfoGAN's categories on labelled digits."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy

import ppgen
from ppgen.errors import UsageError
from ppgen.evaluation.clusters import matched
from ppgen.models import LDA, InfoGAN


@pytest.mark.parametrize("seed", range(5))
def test_the_map_is_the_best_of_all(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    categories, labels = (torch.randint(4, (30,), generator=generator) for _ in range(2))
    best = max((torch.tensor(order)[categories] == labels).double().mean() for order in permutations(range(4)))
    assert matched(categories, labels).mean() == best


def test_categories_beyond_the_classes_are_wrong() -> None:
    """Of three categories that split one class two are wrong; one class left without a category is wrong."""
    assert matched(torch.tensor([0, 1, 2, 2]), torch.zeros(4, dtype=torch.int64)).sum() == 2
    assert matched(torch.zeros(4, dtype=torch.int64), torch.tensor([0, 1, 2, 2])).sum() == 2


def rand_by_pairs(first: Any, second: Any) -> float:
    """The adjusted Rand index by its definition, over all pairs of data."""
    together = [np.equal.outer(one, one)[np.triu_indices(len(one), 1)].astype(float) for one in (first, second)]
    expected, most = together[0].sum() * together[1].mean(), 0.5 * (together[0].sum() + together[1].sum())
    return float(((together[0] * together[1]).sum() - expected) / (most - expected))


def information_by_counts(first: Any, second: Any) -> float:
    """Mutual information over the mean entropy, by the joint table of both."""
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1 / len(first))
    entropies = [float(entropy(part.ravel())) for part in (table.sum(1), table.sum(0), table)]
    return (entropies[0] + entropies[1] - entropies[2]) / (0.5 * (entropies[0] + entropies[1]))


def test_evaluate_asks_an_infogan_for_it_where_labels_are_asked_for() -> None:
    data = ppgen.load_data("digits", binarize="none")
    torch.manual_seed(0)
    pair = InfoGAN(data.spec, 3, num_categories=4, num_uniform=0, hidden=(8,))
    found = ppgen.evaluation.evaluate(pair, data, labels=True, num_samples=50, progress=False)
    named = {measure.name: measure for measure in found.measures}
    labels = ppgen.load_data("digits", binarize="none", labels=True).test[1]
    expected = matched(pair.category_probs(data.test[0]).argmax(-1), labels)
    assert named["cluster_accuracy"].value == pytest.approx(expected.mean().item())
    both = labels.numpy(), pair.category_probs(data.test[0]).argmax(-1).numpy()
    assert named["adjusted_rand"].value == pytest.approx(rand_by_pairs(*both))
    assert named["normalised_mutual_information"].value == pytest.approx(information_by_counts(*both))
    assert "share of 300 test data" in named["cluster_accuracy"].meaning
    without = ppgen.evaluation.evaluate(pair, data, num_samples=50, progress=False)
    assert "cluster_accuracy" not in {measure.name for measure in without.measures}


def test_labels_of_other_data_are_refused() -> None:
    data = ppgen.load_data("digits", binarize="none")
    pair = InfoGAN(data.spec, 3, num_categories=4, num_uniform=0, hidden=(8,))
    other = replace(data, test=(data.test[0].flip(0),))
    with pytest.raises(UsageError, match="labels of data 'digits' were asked for"):
        ppgen.evaluation.evaluate(pair, other, labels=True, num_samples=50, progress=False)


def test_clusters_of_documents_are_by_their_main_topic(tmp_path: Path) -> None:
    """Two topics without a word in common, of which each document has one but for the last, of the other's class."""
    texts = {"a": ["sea sea ship"] * 5, "b": ["law law jury"] * 4 + ["sea ship law"]}
    for label, each in texts.items():
        (tmp_path / "test" / label).mkdir(parents=True)
        (tmp_path / "train" / label).mkdir(parents=True)
        (tmp_path / "train" / label / "0.txt").write_text("sea ship law jury")
        for number, text in enumerate(each):
            (tmp_path / "test" / label / f"{number}.txt").write_text(text)
    data = ppgen.load_data("texts", file=str(tmp_path))
    pair = LDA(data.spec, num_topics=2)
    pair.table.logits.data = torch.tensor([[1, 2, 1e-9, 1e-9], [1e-9, 1e-9, 2, 1]]).log()
    found = ppgen.evaluation.evaluate(pair, data, particles=2, labels=True, progress=False)
    named = {measure.name: measure.value for measure in found.measures}
    assert named["num_clusters"] == 2
    assert named["cluster_accuracy"] == pytest.approx(0.9)
    both = np.repeat([0, 1], 5), np.repeat([0, 1], [6, 4])
    assert named["adjusted_rand"] == pytest.approx(rand_by_pairs(*both))
    assert named["normalised_mutual_information"] == pytest.approx(information_by_counts(*both))
