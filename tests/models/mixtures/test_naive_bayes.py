"""Naive Bayes against scikit-learn's four, sums by hand, and Nigam's EM with few labels."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, GaussianNB, MultinomialNB
from torch import Tensor

import ppgen
from ppgen.data import DataSpec
from ppgen.data.column import Column
from ppgen.distributions.independent import Categoricals, Levels
from ppgen.errors import UsageError
from ppgen.inference import EM
from ppgen.models import NaiveBayes

N, D, C, LEVELS = 60, 5, 3, 4
GENERATOR = torch.Generator().manual_seed(0)
Y = torch.arange(N) % C
RAW = torch.randn(N, D, dtype=torch.float64, generator=GENERATOR) + torch.eye(D, dtype=torch.float64)[Y] * 2
DATA: dict[str, Tensor] = {
    "binary": (RAW > 0.5).double(),
    "counts": (3 * RAW.abs()).floor(),
    "quantised": ((RAW + 2).round().clamp(0, LEVELS - 1)) / (LEVELS - 1),
    "real": RAW,
}
PEERS: dict[str, Any] = {
    "binary": BernoulliNB,
    "counts": MultinomialNB,
    "quantised": lambda **options: CategoricalNB(min_categories=LEVELS, **options),
    "real": GaussianNB,
}


def spec(kind: Any, *, labelled: bool = True, num_labelled: int | None = None) -> DataSpec:
    return DataSpec(
        "table",
        D,
        kind,
        levels=LEVELS if kind == "quantised" else None,
        num_classes=C if labelled else None,
        num_data=N,
        num_labelled=num_labelled,
    )


def fitted(pair: NaiveBayes, *batch: Tensor, epochs: int = 1, batch_size: int = N, **options: Any) -> NaiveBayes:
    given = batch if len(batch) > 1 else batch[0]
    ppgen.fit(pair, given, EM(**options), epochs=epochs, batch_size=batch_size, seed=0, progress=False)
    return pair


def partly(share: int = 2) -> Tensor:
    """Labels of one datum in so many."""
    return torch.where(torch.arange(N) // C % share == 0, Y, -1)


@pytest.mark.parametrize("smoothing", [1.0, 0.3])
@pytest.mark.parametrize("kind", DATA)
def test_class_probabilities_are_scikit_learns(kind: Any, smoothing: float) -> None:
    x, name = DATA[kind], "var_smoothing" if kind == "real" else "alpha"
    known = x if kind != "quantised" else (x * (LEVELS - 1)).round()
    peer = PEERS[kind](**{name: smoothing}).fit(known.numpy(), Y.numpy())
    options: dict[str, Any] = {"var_smoothing" if kind == "real" else "smoothing": smoothing}
    pair = NaiveBayes(spec(kind), **options).double()
    pair.set_closed_form(x, Y)
    expected = peer.predict_proba(known.numpy())
    assert np.allclose(pair.classify(x).detach(), expected, rtol=0, atol=1e-9)
    by_em = fitted(NaiveBayes(**pair.arguments).double(), x, Y, batch_size=7)
    assert np.allclose(by_em.classify(x).detach(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", DATA)
def test_the_density_is_pyros_enumeration_with_and_without_labels(kind: Any) -> None:
    pair, x = NaiveBayes(spec(kind)).double(), DATA[kind]
    pair.set_closed_form(x, Y)
    joint = torch.stack([pair.log_evidence(x, torch.full_like(Y, label)) for label in range(C)], -1)
    torch.testing.assert_close(pair.log_evidence(x), joint.logsumexp(-1))
    torch.testing.assert_close(joint.softmax(-1), pair.classify(x))
    for batch in ((x,), (x, Y), (x, partly())):
        with pyro.validation_enabled(False):
            loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(pair.model, pair.guide, *batch)
        assert -loss.item() == pytest.approx(float(pair.log_evidence(*batch).sum().detach()), rel=1e-10)


TOWN, COLOUR = torch.arange(N) * Y % 4, (torch.arange(N) + Y) % 2
EYE = torch.eye(4, dtype=torch.float64)
MIXED = torch.cat([RAW[:, :1], DATA["binary"][:, 1:3], EYE[TOWN], RAW[:, 3:], EYE[:2, :2][COLOUR]], 1)
COLUMNS = (
    Column("a", "real"),
    Column("b", "binary"),
    Column("c", "binary"),
    Column("town", "categorical", ("p", "q", "r", "s")),
    Column("d", "real"),
    Column("e", "real"),
    Column("colour", "categorical", ("red", "blue")),
)


def mixed(**options: Any) -> NaiveBayes:
    return NaiveBayes(DataSpec("table", 11, "mixed", columns=COLUMNS, num_classes=C, num_data=N), **options).double()


@pytest.mark.parametrize(("smoothing", "var_smoothing"), [(1.0, 1e-9), (0.3, 0.1)])
def test_mixed_columns_are_the_product_of_scikit_learns_laws(smoothing: float, var_smoothing: float) -> None:
    """log p(x, y) of three classifiers, each of the columns of its kind, less log p(y) where it is counted again."""
    pair = mixed(smoothing=smoothing, var_smoothing=var_smoothing)
    fitted(pair, MIXED, Y, batch_size=25)
    parts = [
        (GaussianNB(var_smoothing=var_smoothing), MIXED[:, [0, 7, 8]]),
        (BernoulliNB(alpha=smoothing), MIXED[:, 1:3]),
        (CategoricalNB(alpha=smoothing), torch.stack([TOWN, COLOUR], 1)),
    ]
    joint = sum(peer.fit(x.numpy(), Y.numpy()).predict_joint_log_proba(x.numpy()) for peer, x in parts)
    expected = torch.as_tensor(joint) - 2 * torch.bincount(Y).double().div(N).log()
    found = torch.stack([pair.log_evidence(MIXED, torch.full_like(Y, label)) for label in range(C)], -1)
    torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-9)


def test_mixed_columns_without_labels_are_clusters_whose_evidence_em_never_lowers() -> None:
    pair = NaiveBayes(DataSpec("table", 11, "mixed", columns=COLUMNS, num_data=N), C, smoothing=0.0, var_smoothing=0.0)
    values = []
    for _ in range(4):
        fitted(pair.double(), MIXED)
        values.append(float(pair.log_evidence(MIXED).mean().detach()))
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(values))
    with pyro.validation_enabled(False):
        loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(pair.model, pair.guide, MIXED)
    assert -loss.item() == pytest.approx(N * values[-1], rel=1e-10)


def test_draws_of_mixed_columns_are_such_rows_of_the_classes_means() -> None:
    """The mean of 4,000 draws of class 1 within 5 standard errors."""
    pair = mixed()
    pair.set_closed_form(MIXED, Y)
    torch.manual_seed(0)
    y = torch.ones(4_000, dtype=torch.long)
    x = MIXED[:1].expand(4_000, -1)
    trace = pyro.poutine.trace(pyro.poutine.uncondition(pair.model)).get_trace(x, y)
    drawn: Any = trace.nodes["x"]["value"]
    assert torch.equal(drawn[:, 3:7].sum(1), torch.ones_like(drawn[:, 0]))
    assert set(drawn[:, [1, 2, 9, 10]].unique().tolist()) == {0.0, 1.0}
    error = drawn.std(0) / 4_000**0.5
    assert ((drawn.mean(0) - pair.means[1].detach()).abs() <= 5 * error).all()


def test_a_datum_by_hand() -> None:
    """Two of three data are of class 0; of the first feature both have a one, of the second one of them."""
    pair = NaiveBayes(DataSpec("bits", 2, "binary", num_classes=2)).double()
    x, y = torch.tensor([[1.0, 0], [1, 1], [0, 1]], dtype=torch.float64), torch.tensor([0, 0, 1])
    pair.set_closed_form(x, y)
    joint = pair.log_evidence(x[1:2].expand(2, 2), torch.tensor([0, 1])).exp().detach()
    expected = [2 / 3 * (2 + 1) / (2 + 2) * (1 + 1) / (2 + 2), 1 / 3 * (0 + 1) / (1 + 2) * (1 + 1) / (1 + 2)]
    assert joint.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("labelled", [True, False])
def test_em_never_lowers_the_evidence(kind: Any, labelled: bool) -> None:
    """Without smoothing, which is exact; a thousandth of the variance keeps real data off a singular class."""
    x, y = DATA[kind], partly()
    batch: tuple[Tensor, ...] = (x, y) if labelled else (x,)
    if labelled:
        pair = NaiveBayes(spec(kind, num_labelled=30), smoothing=0.0, var_smoothing=0.0)
    else:
        pair = NaiveBayes(spec(kind, labelled=False), C, smoothing=0.0, var_smoothing=0.0)
    values = []
    for _ in range(6):
        fitted(pair.double(), *batch)
        values.append(float(pair.log_evidence(*batch).mean().detach()))
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(values))
    assert values[-1] > values[0]


def test_few_labels_begin_at_the_labelled_data_and_em_adds_the_others() -> None:
    """The first step by Nigam et al.: weights r of the classifier of the labelled alone; then sums over all."""
    x, y = DATA["binary"], partly(5)
    few = NaiveBayes(spec("binary")).double()
    few.set_closed_form(x, y)
    r = torch.where((y == -1)[:, None], few.classify(x).detach(), torch.eye(C, dtype=x.dtype)[y.clamp_min(0)])
    theta = (r.T @ x + 1) / (r.sum(0)[:, None] + 2)
    pair = fitted(NaiveBayes(spec("binary", num_labelled=12)).double(), x, y)
    torch.testing.assert_close(pair.means.detach(), theta)
    torch.testing.assert_close(pair.weights.detach(), r.mean(0))


def test_hard_em_gives_each_datum_to_its_most_probable_class() -> None:
    x, y = DATA["real"], partly(5)
    few = NaiveBayes(spec("real")).double()
    few.set_closed_form(x, y)
    taken = torch.where(y == -1, few.classify(x).argmax(-1), y)
    pair = fitted(NaiveBayes(spec("real", num_labelled=12)).double(), x, y, hard=True)
    expected = torch.stack([x[taken == label].mean(0) for label in range(C)])
    torch.testing.assert_close(pair.means.detach(), expected)


def test_draws_of_the_model_are_of_the_classes_that_are_asked_for() -> None:
    """E[x | y] within 5 standard errors of 4,000 draws, of counts of 50 words."""
    torch.manual_seed(0)
    pair = NaiveBayes(spec("counts")).double()
    pair.set_closed_form(DATA["counts"], Y)
    x, y = torch.full((4_000, D), 10.0, dtype=torch.float64), torch.zeros(4_000, dtype=torch.long)
    trace = pyro.poutine.trace(pyro.poutine.uncondition(pair.model)).get_trace(x, y)
    theta = pair.means[0].detach()
    error = (50 * theta * (1 - theta) / 4_000).sqrt()
    drawn: Any = trace.nodes["x"]["value"]
    assert ((drawn.mean(0) - 50 * theta).abs() < 5 * error).all()


def test_levels_are_categories() -> None:
    family = Categoricals.of(LEVELS)
    components = family(torch.randn(2, D * LEVELS, dtype=torch.float64, generator=GENERATOR))
    x = DATA["quantised"]
    torch.testing.assert_close(components.table(x)[:, 1], Levels(components.log_probs[1]).log_prob(x))
    every = torch.cartesian_prod(*[torch.linspace(0, 1, LEVELS, dtype=torch.float64)] * D)
    assert float(components.table(every).exp().sum(0)[0]) == pytest.approx(1, abs=1e-9)
    mean = (components.table(every).exp().T @ every)[0]
    torch.testing.assert_close(components.means[0], mean)


@pytest.mark.parametrize(
    ("given", "options", "sentence"),
    [
        (DataSpec("any", 3, "any", shape=(3,)), {"num_components": 2}, "NaiveBayes needs data that are binary, counts"),
        (
            DataSpec("bits", 3, "binary"),
            {},
            "NaiveBayes needs the number of classes, and data 'bits' come without",
        ),
        (
            spec("binary"),
            {"num_components": 2},
            "num_components=2 of NaiveBayes is for data without labels",
        ),
        (spec("binary"), {"smoothing": -1.0}, "smoothing must be a number of at least 0"),
    ],
)
def test_what_it_is_not_made_for_is_refused(given: DataSpec, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        NaiveBayes(given, **options)


def test_labels_that_leave_a_class_empty_are_refused() -> None:
    y = torch.where(Y == 1, -1, Y)
    with pytest.raises(UsageError, match="class 1 of 3 is left without data: give each class a datum with its label"):
        fitted(NaiveBayes(spec("binary", num_labelled=40)).double(), DATA["binary"], y)


def test_a_feature_that_does_not_vary_in_a_class_is_refused_unless_smoothed() -> None:
    x = RAW.clone()
    x[Y == 2, 1] = 5.0
    with pytest.raises(UsageError, match="feature 1 does not vary within class 2, and its variance is zero: give"):
        NaiveBayes(spec("real"), var_smoothing=0.0).double().set_closed_form(x, Y)
    pair = NaiveBayes(spec("real")).double()
    pair.set_closed_form(x, Y)
    assert np.allclose(pair.classify(x).detach(), GaussianNB().fit(x.numpy(), Y.numpy()).predict_proba(x.numpy()))
