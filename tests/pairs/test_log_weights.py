"""Log-weights in chunks, and the test likelihood that is read from them."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor

import ppgen
from ppgen import DataSpec
from ppgen.evaluation import evaluate
from ppgen.models import VAE, LinearGaussian
from ppgen.pairs import log_weights as weights
from ppgen.pairs import looking
from ppgen.pairs.tracing import Program, run_particles
from tests import doubles


def _linear_gaussian(exact: bool) -> tuple[LinearGaussian, ppgen.Dataset]:
    data = ppgen.load_data("linear_gaussian", num_features=4, num_data=200)
    pair = LinearGaussian(data.spec, 2)
    if exact:
        pair.set_exact_guide()
    return pair, data


@pytest.mark.parametrize("cells", [8, 100, 160, 320, 480, 10**6])
def test_log_weights_under_the_exact_guide_are_the_evidence_in_every_chunking(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_CELLS", cells)
    pair, data = _linear_gaussian(exact=True)
    log_w = ppgen.log_weights(pair, data.test, 7)
    exact = pair.log_evidence(*data.test).detach()
    assert log_w.shape == (7, len(data.test[0]))
    assert torch.allclose(log_w, exact.expand_as(log_w), atol=1e-4)  # float32


def test_the_same_seed_gives_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, data = _linear_gaussian(exact=False)
    monkeypatch.setattr(weights, "_CELLS", 64)
    torch.manual_seed(1)
    one = ppgen.log_weights(pair, data.test, 5)
    torch.manual_seed(1)
    assert torch.equal(one, ppgen.log_weights(pair, data.test, 5))
    assert not torch.equal(one, ppgen.log_weights(pair, data.test, 5))


def test_a_global_latent_has_no_weight_of_a_datum() -> None:
    with pytest.raises(ppgen.UsageError, match="'mean' stands outside the data plate"):
        ppgen.log_weights(doubles.Shared(), (doubles.data(5),), 3)


def test_given_a_global_latent_the_mean_weight_is_the_predictive_density() -> None:
    """Of 20,000 particles: z-test for each of five data, false-alarm rate 1e-5 together."""
    pair, x = doubles.Shared(), doubles.data(5)
    (log_w,) = weights.log_weight_chunks(pair, (x,), 20_000, globals_given=True)
    spread = ((2 * pair.log_width).exp() + 1 + (2 * pair.log_noise).exp()).sqrt()
    exact = dist.Normal(pair.at, spread).log_prob(x[:, 0]).exp().detach()
    w = log_w.exp()
    assert bool(((w.mean(0) - exact).abs() < 4.8 * w.std(0) / math.sqrt(len(w))).all())


@pytest.mark.parametrize("large", [0, 10**6])
def test_without_a_data_plate_the_batch_is_one_datum(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_LARGE", large)

    def model(x: Tensor) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 3, dim=-1):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        pyro.sample("z", dist.Normal(0.0, 1.0))

    assert ppgen.log_weights(ppgen.pair_from(model, guide, data_plate=""), (torch.ones(3),), 6).shape == (6, 1)


@pytest.mark.parametrize("large", [0, 10**6])
def test_data_that_are_run_together_share_a_chunk_with_fewer_particles(
    large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guide with parameters for each of 5 data; a chunk of 30 numbers, one for each datum and particle, has 6."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    monkeypatch.setattr(looking, "_LARGE", large)
    monkeypatch.setattr(weights, "_CELLS", 30)
    pair = ppgen.pair_from(model, AutoNormal(model))
    (sizes,) = weights.read_particles(pair, (torch.zeros(5),), 14, lambda particles: particles.log_w.shape)
    assert sizes == [(6, 5), (6, 5), (2, 5)]


@pytest.mark.parametrize(("vectorized", "sizes"), [(True, [(4, 16)] * 2), (False, [(2, 32)] * 4)])
def test_particles_that_run_one_by_one_take_all_data_with_them(
    vectorized: bool, sizes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 8 particles of 32 data, each of a number, a chunk holds 64: as many data as can be where runs are many."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2, 1.0))

    monkeypatch.setattr(weights, "_CELLS", 64)
    pair = ppgen.pair_from(model, guide, vectorized=vectorized)
    first, *_ = weights.read_particles(pair, (torch.zeros(32),), 8, lambda particles: particles.log_w.shape)
    assert first == sizes


def test_a_weight_that_is_nan_names_its_datum() -> None:
    pair, data = _linear_gaussian(exact=False)
    x = data.test[0].clone()
    x[3, 0] = math.nan
    with pytest.raises(ppgen.UsageError, match="datum 3 is NaN"):
        ppgen.log_weights(pair, (x,), 2)


@pytest.mark.parametrize("num_particles", [0, -1])
def test_at_least_one_particle_is_asked_for(num_particles: int) -> None:
    pair, data = _linear_gaussian(exact=False)
    with pytest.raises(ppgen.UsageError, match=f"num_particles must be at least 1, got {num_particles}"):
        ppgen.log_weights(pair, data.test, num_particles)


def test_the_evaluation_of_the_exact_guide_is_the_mean_evidence_with_its_error_over_data() -> None:
    pair, data = _linear_gaussian(exact=True)
    exact = pair.log_evidence(*data.test).detach()
    before = torch.get_rng_state()
    result = evaluate(pair, data, particles=12)
    assert result.log_likelihood == pytest.approx(exact.mean().item(), abs=1e-4)
    assert result.standard_error == pytest.approx(exact.std().item() / len(exact) ** 0.5, rel=1e-3)
    assert [point.num_particles for point in result.curve] == [1, 2, 5, 10, 12]
    assert result.bits_per_dim is None
    assert torch.equal(before, torch.get_rng_state())


def test_the_curve_rises_with_k_and_ends_at_the_result() -> None:
    pair, data = _linear_gaussian(exact=False)
    result = evaluate(pair, data, particles=200)
    values = [point.log_likelihood for point in result.curve]
    assert values == sorted(values)
    assert values[-1] == result.log_likelihood
    assert result == evaluate(pair, data, particles=200)


def test_bits_per_dimension_are_minus_nats_over_dims_and_log_two() -> None:
    data = ppgen.load_data("digits", binarize="none")
    pair = VAE(data.spec, 2, hidden=(4,))
    result = evaluate(pair, data, particles=2, num_data=10)
    assert result.bits_per_dim == pytest.approx(-result.log_likelihood / (64 * math.log(2)))


@pytest.mark.parametrize("num_data", [1, 10_000])
def test_num_data_lies_within_the_split(num_data: int) -> None:
    pair, data = _linear_gaussian(exact=False)
    with pytest.raises(ppgen.UsageError, match=f"got {num_data}"):
        evaluate(pair, data, particles=1, num_data=num_data)


def test_a_chunk_holds_as_many_data_as_their_largest_site_allows() -> None:
    pair, data = _linear_gaussian(exact=True)
    one = run_particles(Program(pair.model, pair.guide), data.test, 1)
    assert weights.datum_width(one) == data.spec.num_features
    assert weights.rows_of(100, 10) == 2**22 // 1000
    assert weights.rows_of(2**22, 2) == 1


def test_a_chunk_holds_as_many_data_as_the_widest_layer_of_a_network_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sites of 6 numbers, and a hidden layer of 40: 3 data of 128 numbers."""
    pair, x, seen = VAE(DataSpec("bits", 6, "binary"), 2, hidden=(40,)), torch.ones(20, 6), list[int]()
    monkeypatch.setattr(weights, "_CELLS", 128)
    monkeypatch.setattr(looking, "_LARGE", 1)
    pair.decoder.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[-2]))
    assert ppgen.log_weights(pair, (x,), 1).shape == (1, 20)
    assert max(seen) == 3


def test_a_large_batch_is_never_run_as_a_whole_and_has_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, data = _linear_gaussian(exact=False)
    x, seen, model = data.train[0], [], pair.model
    monkeypatch.setattr(weights, "_CELLS", 64)

    def recorded(x: Tensor) -> None:
        seen.append(len(x))
        model(x)

    monkeypatch.setattr(pair, "model", recorded)
    torch.manual_seed(1)
    expected = ppgen.log_weights(pair, (x,), 5)
    assert max(seen) == len(x)
    seen.clear()
    monkeypatch.setattr(looking, "_LARGE", x.numel() - 1)
    torch.manual_seed(1)
    assert torch.equal(ppgen.log_weights(pair, (x,), 5), expected)
    assert looking.goes_apart(pair, (x,))
    assert max(seen) <= 64 // 4  # numbers of a chunk over those of a datum
