"""The classifier: its likelihood is the cross-entropy, and it learns."""

import pyro
import pytest
import torch
from torch.nn.functional import cross_entropy

import ppgen
from ppgen.data import DataSpec
from ppgen.draws import prior_samples
from ppgen.errors import UsageError
from ppgen.evaluation import evaluate
from ppgen.models import Classifier

SPEC = DataSpec("blobs", 2, "real", num_classes=3)
CENTRES = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0]])


def blobs(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes about centres far apart."""
    y = torch.arange(num) % 3
    return CENTRES[y] + 0.3 * torch.randn(num, 2), y


def test_its_log_likelihood_is_minus_the_cross_entropy_and_x_is_not_scored() -> None:
    pair, (x, y) = Classifier(SPEC, 4, hidden=(5,)).double(), blobs(7)
    x = x.double()
    log_w = ppgen.log_weights(pair, (x, y), num_particles=2)
    expected = -cross_entropy(pair.last(pair.features(x)), y, reduction="none")
    torch.testing.assert_close(log_w, expected.detach().expand(2, 7))


def test_a_draw_of_it_is_the_given_datum() -> None:
    x, y = blobs(5)
    assert torch.equal(prior_samples(Classifier(SPEC, 4), (x, y), 5).x, x)


def test_it_learns_classes_that_are_apart() -> None:
    pyro.set_rng_seed(0)
    data = ppgen.Dataset(SPEC, blobs(300), blobs(60), blobs(60))
    run = ppgen.fit(Classifier(data.spec, 8, hidden=()), data, "elbo", steps=100, batch_size=50, lr=0.02, eager=True)
    found = evaluate(run.pair, data)
    assert found.method == "exact"
    assert found.to_json()["accuracy"] == 1.0


def test_a_classifier_of_pixels_has_no_bits_per_dimension() -> None:
    spec = DataSpec("greys", 2, "quantised", num_classes=2, levels=5)
    part = torch.randint(5, (10, 2)) / 4, torch.arange(10) % 2
    assert evaluate(Classifier(spec, 3), ppgen.Dataset(spec, part, part, part)).bits_per_dim is None


def test_data_without_labels_or_with_some_are_refused() -> None:
    with pytest.raises(UsageError, match="Classifier needs the number of classes"):
        Classifier(DataSpec("bare", 2, "real"))
    with pytest.raises(UsageError, match="needs every label, and 12 of data 'some' have one"):
        Classifier(DataSpec("some", 2, "real", num_classes=2, num_data=20, num_labelled=12))
