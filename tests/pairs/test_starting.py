"""Where components start: at training data, once, before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.cluster import kmeans_plusplus
from sklearn.datasets import make_blobs
from torch import Tensor

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.inference import EM
from ppgen.models import GMM
from ppgen.pairs.starting import DataStart, Start
from ppgen.training.beginning import begin_at_data

BLOBS = torch.as_tensor(make_blobs(60, centers=5, n_features=2, center_box=(-20, 20), random_state=2)[0])
REAL, BINARY = DataSpec("points", 2, "real", num_data=60), DataSpec("bits", 6, "binary", num_data=60)


def begun(pair: GMM, x: Tensor, seed: int = 4) -> GMM:
    begin_at_data(pair, ppgen.data.as_dataset(x), seed)
    return pair


def fitted(pair: GMM, x: Tensor, epochs: int = 1, **options: Any) -> ppgen.Run:
    return ppgen.fit(pair, x, EM(hard=True), epochs=epochs, batch_size=60, seed=4, progress=False, **options)


@pytest.mark.parametrize("covariance", ["diagonal", "spherical", "full", "tied"])
def test_means_start_where_scikit_learns_seeding_puts_them(covariance: Any) -> None:
    pair = begun(GMM(REAL, 5, covariance=covariance, start="kmeans++").double(), BLOBS)
    expected = kmeans_plusplus(BLOBS.numpy(), 5, random_state=4)[0]
    torch.testing.assert_close(pair.means.detach(), torch.as_tensor(expected), rtol=0, atol=0)


def test_the_start_is_that_of_the_runs_seed() -> None:
    first, again, other = (begun(GMM(REAL, 5, start="data"), BLOBS, seed).means for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_hard_em_keeps_components_that_start_at_data_and_loses_some_that_start_around_the_mean() -> None:
    torch.manual_seed(0)
    with pytest.raises(UsageError, match="is left without data: take fewer components, or start them at data, start="):
        fitted(GMM(REAL, 5, covariance="spherical").double(), BLOBS)
    pair = GMM(REAL, 5, covariance="spherical", start="kmeans++").double()
    fitted(pair, BLOBS, epochs=8)
    assert float((pair.weights * 60).detach().min()) > 9  # of 12 data in each of five blobs, two of which touch


@pytest.mark.parametrize("start", ["data", "kmeans++"])
def test_binary_components_start_half_way_between_the_mean_and_different_data(start: Start) -> None:
    bits = (torch.rand(60, 6, generator=torch.Generator().manual_seed(1)) > 0.5).double()
    means = begun(GMM(BINARY, 4, start=start).double(), bits).means.detach()
    data = 2 * means - bits.mean(0)
    assert len(data.round().unique(dim=0)) == 4
    assert all(float((bits - datum).abs().amax(-1).min()) < 1e-12 for datum in data)


def test_latent_components_start_at_data_as_well() -> None:
    pair = begun(GMM(REAL, 5, bayesian=True, start="data").double(), BLOBS)
    assert all(float((BLOBS - mean).abs().amax(-1).min()) == 0 for mean in pair.means.detach())


def test_data_are_drawn_evenly_and_never_twice() -> None:
    """Of the values 0 (8 times), 1 and 2, a first draw is 0 in 8 of 10: 160 of 200 +- 4.5 sd of 5.7 (1 in 150,000)."""
    x = torch.tensor([0.0] * 8 + [1.0, 2.0])[:, None]
    firsts = [DataStart("data").chosen(x, 1, seed=seed).item() for seed in range(200)]
    assert 160 - 26 < firsts.count(0.0) < 160 + 26
    assert all(len(DataStart("data").chosen(x, 3, seed=seed).unique()) == 3 for seed in range(20))


@pytest.mark.parametrize("start", ["data", "kmeans++"])
@pytest.mark.parametrize(("rows", "differ"), [([0.0] * 9 + [1.0], 2), ([0.0, 1.0], 2)])
def test_fewer_different_data_than_components_are_refused(start: Start, rows: list[float], differ: int) -> None:
    x = torch.tensor(rows, dtype=torch.float64)[:, None]
    sentence = f"3 components that start at data need as many different data, got {len(rows)} of which {differ} differ"
    with pytest.raises(UsageError, match=sentence):
        fitted(GMM(DataSpec("few", 1, "real"), 3, start=start).double(), x)


def test_a_pair_starts_once() -> None:
    pair = GMM(REAL, 3, start="kmeans++").double()
    before = pair.waits_for_data
    fitted(pair, BLOBS, epochs=3)
    means = pair.means.detach().clone()
    begun(pair, BLOBS)
    assert torch.equal(pair.means, means)
    assert (before, pair.waits_for_data) == (True, False)
    placed = GMM(REAL, 1, start="data").double()
    placed.start_at([[1.0, 2.0]])
    assert begun(placed, BLOBS).means.tolist() == [[1.0, 2.0]]


def test_a_run_that_was_stopped_ends_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    whole, parts = (GMM(REAL, 4, start="kmeans++").double() for _ in range(2))
    fitted(whole, BLOBS, epochs=4)
    fitted(parts, BLOBS, epochs=2, out=tmp_path)
    again = GMM(REAL, 4, start="kmeans++").double()
    fitted(again, BLOBS, epochs=4, out=tmp_path, resume=True)
    assert torch.equal(again.means, whole.means)
    assert not again.waits_for_data


def test_a_start_draws_no_random_number_of_the_run() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    begun(GMM(REAL, 2, start="mean"), BLOBS.float())
    torch.set_rng_state(before)
    pair = GMM(REAL, 2, start="data")
    before = torch.get_rng_state()
    begun(pair, BLOBS.float())
    assert torch.equal(torch.get_rng_state(), before)


def test_parts_that_take_turns_are_all_started_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """And of very many data a part: with 4 of each, x of both, in order."""
    monkeypatch.setattr("ppgen.training.beginning._ROWS", 4)
    monkeypatch.setattr("ppgen.training.beginning._NUMBERS", 4)
    seen: list[Tensor] = []
    pair = GMM(DataSpec("line", 1, "real"), 1, start="data")
    monkeypatch.setattr(type(pair), "start_from", lambda self, x, *, seed: seen.append(x))
    one, other = (torch.arange(10.0) + first for first in (0, 100))
    data: Dataset = ppgen.data.as_dataset([one, other])
    begin_at_data(pair, data, 0)
    (x,) = seen
    assert len(x) == 8
    assert (x[:4] < 10).all()
    assert (x[4:] >= 100).all()
    assert torch.equal(x.flatten(), x.flatten().sort()[0])
