"""Features of labelled data: those of x alone, of the rows that the labels are of."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen import Pair
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.evaluation import Case, evaluate
from ppgen.evaluation.features import features_of, labelled_data, labelled_features
from ppgen.models import CVAE, GAN, SSVAE, VAE

SPEC = DataSpec("bits", 6, "binary", num_classes=3)


class Teller(Pair):
    """Its guide puts the label, if it is given one, into z[0], and x into the rest."""

    def model(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(x.new_zeros(2), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(torch.cat([y[:, None], x], 1), 1.0).to_event(1))


class Forgetful(Teller):
    """The same, which may be given x alone."""

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        super().model(x, x[:, 0] if y is None else y)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        super().guide(x, x.new_full((len(x),), 7.0) if y is None else y)


def test_a_guide_that_needs_a_label_is_given_every_one() -> None:
    x, y = torch.randn(5, 2), torch.tensor([0, 2, 2, 1, 0])
    found = features_of(Teller(), (x, y), 3)
    assert torch.allclose(found, torch.cat([torch.ones(5, 1), x], 1).double())


def test_a_label_that_may_be_left_out_is() -> None:
    x, y = torch.randn(5, 2), torch.tensor([0, 2, 2, 1, 0])
    assert features_of(Forgetful(), (x, y), 3)[:, 0].tolist() == [7] * 5


@pytest.mark.parametrize("name", ["cvae", "ss_vae"])
def test_no_feature_depends_on_the_label(name: str) -> None:
    pair, x = ppgen.make_pair(name, SPEC, latent_dim=2, hidden=(4,)), torch.rand(4, 6).round()
    one, other = (features_of(pair, (x, torch.full((4,), label)), 3) for label in (0, 2))
    assert torch.equal(one, other)


def test_features_that_are_not_finite_are_refused() -> None:
    pair = VAE(SPEC, 2, hidden=(4,))
    for parameter in pair.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    with pytest.raises(UsageError, match="of datum 0 is not finite"):
        features_of(pair, (torch.ones(3, 6),), None)


def test_labels_of_data_without_them_are_those_of_their_loader() -> None:
    data = ppgen.load_data("digits")
    labelled = labelled_data(data, True)
    assert labelled is not None
    case = Case(VAE(data.spec, 2, hidden=(4,)), data, "test", data.test, 2, 0, False, labelled=labelled)
    found = labelled_features(case)
    assert found is not None
    assert found.held_out.shape == (300, 2)
    assert sorted(found.held_out_labels.tolist()) == sorted(labelled.test[1].tolist())
    assert torch.equal(found.train_labels.bincount(), labelled.train[1].bincount())


def test_data_whose_label_is_not_known_are_left_out() -> None:
    x, y = torch.rand(7, 6).round(), torch.tensor([0, -1, 2, -1, 1, 1, -1])
    spec = DataSpec("bits", 6, "binary", num_classes=3, num_labelled=4)
    data = Dataset(spec, (x, y), test=(x, y.clamp_min(0)))
    case = Case(SSVAE(spec, 2, hidden=(4,), classifier=(4,)), data, "test", data.test, 2, 0, False, labelled=data)
    found = labelled_features(case)
    assert found is not None
    assert sorted(found.train_labels.tolist()) == [0, 1, 1, 2]
    assert len(found.held_out) == 7


def test_there_are_none_without_labels_without_held_out_data_or_without_latents() -> None:
    x, y = torch.rand(7, 6).round(), torch.tensor([0, 1, 2, 0, 1, 1, 2])
    data = Dataset(SPEC, (x, y), test=(x, y))
    pair = CVAE(SPEC, 2, hidden=(4,))
    assert labelled_features(Case(pair, data, "test", data.test, 2, 0, False)) is None
    assert labelled_features(Case(pair, data, "train", data.train, 2, 0, False, labelled=data)) is None
    implicit = GAN(DataSpec("bits", 6, "real"), 2)
    assert labelled_features(Case(implicit, data, "test", data.test, 2, 0, False, labelled=data)) is None


def test_labels_that_nobody_has_are_refused() -> None:
    x = torch.rand(7, 6).round()
    data = Dataset(DataSpec("bits", 6, "binary"), (x,), test=(x,))
    with pytest.raises(UsageError, match="data 'bits' are tensors without, of which no loader knows more"):
        evaluate(VAE(data.spec, 2, hidden=(4,)), data, particles=2, labels=True)
    bars = ppgen.load_data("bars", num_data=20)
    with pytest.raises(UsageError, match="data set 'bars' has no labels: those that have are"):
        labelled_data(bars, True)


def test_labels_of_other_data_are_refused() -> None:
    digits = ppgen.load_data("digits", binarize="threshold")
    other = labelled_data(ppgen.load_data("digits", binarize="none"), True)
    case = Case(VAE(digits.spec, 2, hidden=(4,)), digits, "test", digits.test, 2, 0, False, labelled=other)
    with pytest.raises(UsageError, match="those that come with labels are other data"):
        labelled_features(case)


def test_an_evaluation_has_them_unless_they_are_not_wanted() -> None:
    x, y = torch.rand(30, 6).round(), torch.arange(30) % 3
    data, pair = Dataset(SPEC, (x, y), test=(x, y)), CVAE(SPEC, 2, hidden=(4,))
    names = [[one.name for one in evaluate(pair, data, particles=2, labels=asked).measures] for asked in (None, False)]
    assert names == [["probe_error", "mean_average_precision", "precision_at_tenth_recall"], []]
