"""The Parzen window: its value, its choice of sigma, and the published number."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.evaluation import evaluate, parzen_log_likelihood, parzen_sigma
from ppgen.evaluation.parzen import PUBLISHED_SIGMAS, sigma_grid
from tests.implicit import Push, plane


def test_it_is_the_log_density_of_a_mixture_at_the_samples() -> None:
    samples, data = torch.randn(7, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    components = Independent(Normal(samples, torch.tensor(0.3, dtype=torch.float64)), 1)
    truth = MixtureSameFamily(Categorical(logits=torch.zeros(7)), components).log_prob(data)
    torch.testing.assert_close(parzen_log_likelihood(samples, data, 0.3), truth)


def test_many_data_are_scored_in_parts_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, data = torch.randn(10, 2), torch.randn(9, 2)
    whole = parzen_log_likelihood(samples, data, 0.5)
    monkeypatch.setattr("ppgen.evaluation.parzen._CELLS", 20)
    torch.testing.assert_close(parzen_log_likelihood(samples, data, 0.5), whole)  # sums in another order


def test_sigma_is_the_one_at_which_held_out_data_are_likeliest() -> None:
    samples, held_out = torch.randn(50, 2), torch.randn(40, 2)
    sigmas = [0.01, 0.3, 30.0]
    means = [float(parzen_log_likelihood(samples, held_out, sigma).mean()) for sigma in sigmas]
    assert parzen_sigma(samples, held_out, sigmas) == sigmas[means.index(max(means))] == 0.3


def test_sigma_of_data_at_the_sample_is_their_distance_over_root_d() -> None:
    """One sample at 0 and data at distance r: d/d sigma of -r^2 / 2 sigma^2 - D log sigma is 0 at sigma^2 = r^2 / D."""
    held_out = 2 * torch.nn.functional.normalize(torch.randn(30, 4), dim=1)
    assert parzen_sigma(torch.zeros(1, 4), held_out, torch.linspace(0.5, 2, 151)) == pytest.approx(1.0)


def test_pictures_have_the_published_grid_and_other_data_one_of_their_own_spread() -> None:
    pixels, points = torch.rand(50, 9), 1000 * torch.randn(50, 2)
    assert sigma_grid(pixels, pictures=True) is PUBLISHED_SIGMAS
    assert PUBLISHED_SIGMAS[[0, -1]].tolist() == pytest.approx([0.1, 1.0])
    grid = sigma_grid(points, pictures=False)
    torch.testing.assert_close(grid[-1], points.double().var(0).mean().sqrt())
    torch.testing.assert_close(grid / 2, sigma_grid(points / 2, pictures=False))
    torch.testing.assert_close(grid[0], grid[-1] / 1000)
    assert len(sigma_grid(pixels - 0.5, pictures=True)) == len(grid)  # pictures beyond [0, 1]: not as published


def test_an_implicit_pair_is_evaluated_by_its_window_and_it_says_so() -> None:
    """Over test data it falls below the data's own density, by smoothing, and by less than 0.1 nats here."""
    num = 500
    data = plane(num)
    found = evaluate(Push(data.spec), data)
    entropy = 1 + math.log(2 * math.pi)
    assert found.method == "parzen"
    assert (found.num_particles, found.curve, found.num_samples) == (None, (), 10_000)
    assert found.log_likelihood == pytest.approx(-entropy, abs=0.1 + 4 / math.sqrt(num))
    assert found.standard_error == pytest.approx(1 / math.sqrt(num), rel=0.2)  # log p of D = 2 has variance 1
    values = found.to_json()
    assert 0.1 < values["parzen_sigma"] < 0.5


def test_a_sigma_at_the_edge_of_the_grid_is_warned_of() -> None:
    data = plane(100)
    narrow, fitting = (evaluate(Push(data.spec, scale), data, num_samples=500).measures[0] for scale in (1e-6, 1.0))
    assert narrow.name == fitting.name == "parzen_sigma"
    assert "at its edge: a likelier one may lie beyond it" in narrow.meaning
    assert "edge" not in fitting.meaning
    assert "around each of 500 samples" in fitting.meaning


def test_training_data_and_centroids_stand_beside_the_number() -> None:
    """Two tight clusters: two centres fit them as well as the data, and better than samples that are spread."""
    pair = Push(DataSpec("two", 2, "real"), 1.0)
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat(100, 1) + 0.1 * torch.randn(200, 2)
    found = evaluate(pair, ppgen.Dataset(DataSpec("two", 2, "real"), (x,), (x[:50],), (x[50:],)), num_samples=50)
    values = found.to_json()
    assert values["parzen_of_train"] > found.log_likelihood + 0.5
    assert values["parzen_of_centroids"] > found.log_likelihood + 0.5
    meanings = {measure.name: measure.meaning for measure in found.measures}
    assert "nats of 50 training data" in meanings["parzen_of_train"]
    assert "nats of 40 centres of k-means" in meanings["parzen_of_centroids"]  # five data for each, at least


def test_particles_are_not_used_and_the_global_random_state_stays() -> None:
    data = plane(50)
    pair, state = Push(data.spec), torch.get_rng_state()
    assert evaluate(pair, data, particles=1, num_samples=40) == evaluate(pair, data, particles=99, num_samples=40)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("num_samples", [0, 1, -3])
def test_too_few_samples_are_refused(num_samples: int) -> None:
    data = plane(20)
    with pytest.raises(UsageError, match=r"2 or more .* judged by them"):
        evaluate(Push(data.spec), data, num_samples=num_samples)


def test_bad_windows_are_refused_in_a_sentence() -> None:
    x = torch.randn(5, 2)
    for samples, sigma, message in (
        (torch.randn(5, 3), 1.0, r"got \(\(5, 3\), \(5, 2\)\)"),
        (x[:0], 1.0, "S at least 1"),
        (x, 0.0, "sigma > 0, got 0.0"),
        (x * math.nan, 1.0, "samples of a Parzen window hold a number that is not finite"),
    ):
        with pytest.raises(UsageError, match=message):
            parzen_log_likelihood(samples, x, sigma)
    with pytest.raises(UsageError, match="at least one sigma"):
        parzen_sigma(x, x, [])
    with pytest.raises(UsageError, match="no spread"):
        sigma_grid(torch.ones(5, 2), pictures=False)


def test_pixels_of_a_generator_have_no_bits_per_dimension() -> None:
    spec = DataSpec("greys", 4, "quantised", levels=5, image_shape=(2, 2))
    train, valid, test = ((torch.randint(5, (20, 4)) / 4,) for _ in range(3))
    assert evaluate(Push(spec), ppgen.Dataset(spec, train, valid, test), num_samples=30).bits_per_dim is None


@pytest.mark.thorough
def test_training_images_as_samples_score_as_published(require_data: Callable[[str], Path]) -> None:
    """242.5 within 3: 243 in Theis et al. (2016) for true data, 242.5 +- 2.1 by another implementation."""
    require_data("train-images-idx3-ubyte.gz")
    data = ppgen.load_data("mnist", binarize="none")
    samples = data.train[0][:10_000]
    sigma = parzen_sigma(samples, data.valid[0][:1000], PUBLISHED_SIGMAS)
    nats = parzen_log_likelihood(samples, data.test[0], sigma)
    assert sigma == pytest.approx(0.1668, abs=1e-4)
    assert abs(float(nats.mean()) - 242.5) < 3
    assert float(nats.std()) / 100 == pytest.approx(2.1, abs=0.1)
