"""Coverage of known modes."""

import math

import pytest
import torch

from ppgen.data.modes import Modes
from ppgen.errors import UsageError
from ppgen.evaluation import cover, evaluate
from ppgen.models import VAE
from tests.implicit import Push, plane, ring

MODES = Modes(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]]), 1.0)


def test_a_mode_is_covered_by_one_sample_within_three_standard_deviations() -> None:
    found = cover(torch.tensor([[2.9, 0.0], [0.0, 6.9], [0.0, 13.1], [10.0, 12.99]]), MODES)
    assert found.nearest.tolist() == [0, 2, 2, 3]
    assert found.high_quality.tolist() == [True, False, False, True]
    assert found.num_covered == 2


def test_samples_of_low_quality_count_in_the_division_among_modes() -> None:
    found = cover(torch.tensor([[0.0, 0.0], [0.0, 4.0], [10.0, 4.0], [40.0, 40.0]]), MODES)
    assert found.shares.tolist() == [0.5, 0.25, 0.0, 0.25]
    assert found.reverse_kl == pytest.approx(math.log(4) - 1.5 * math.log(2))


def test_reverse_kl_is_zero_for_an_even_division_and_log_m_for_one_mode() -> None:
    assert cover(MODES.centres, MODES).reverse_kl == 0
    assert cover(MODES.centres[:1], MODES).reverse_kl == pytest.approx(math.log(4))


def test_a_perfect_sampler_covers_all_with_the_share_that_is_said() -> None:
    """P(chi^2_2 <= 9) = 1 - exp(-4.5) of 10^5 samples; 4 standard errors: false alarms 6 in 100,000."""
    data = ring(100_000)
    found = cover(data.test[0], data.modes or MODES)
    assert found.num_covered == 4
    share = float(found.high_quality.double().mean())
    assert share == pytest.approx(1 - math.exp(-4.5), abs=4 * math.sqrt(math.exp(-4.5) / 100_000))


def test_the_standard_error_of_reverse_kl_is_its_spread_over_samples() -> None:
    """Modes of unequal shares, 200 repetitions: an sd known to 5 percent, and a tolerance of 3 of these."""
    probabilities = torch.tensor([0.6, 0.2, 0.15, 0.05])
    found = [cover(MODES.centres[torch.multinomial(probabilities, 500, replacement=True)], MODES) for _ in range(200)]
    spread = float(torch.tensor([one.reverse_kl for one in found]).std())
    assert sum(one.reverse_kl_error for one in found) / 200 == pytest.approx(spread, rel=0.15)


def test_the_standard_error_of_reverse_kl_is_exact_where_a_mode_is_missed() -> None:
    """Shares 3/4, 1/4, 0, 0: Var[log h] = (3/4) (1/4) log(3)^2."""
    found = cover(MODES.centres[torch.tensor([0, 0, 0, 1])], MODES)
    assert found.reverse_kl_error == pytest.approx(math.sqrt(3 / 16 / 4) * math.log(3), rel=1e-12)


def test_evaluation_counts_the_modes_of_data_that_know_them() -> None:
    data = ring()
    found = evaluate(Push(data.spec, 0.7), data, num_samples=1000).to_json()
    samples_within = found["high_quality_share"]
    assert found["modes_covered"] == 4
    assert 0 < samples_within < 0.2  # a normal over the whole ring: most samples are off it
    assert found["high_quality_share_standard_error"] == pytest.approx(
        math.sqrt(samples_within * (1 - samples_within) / 1000)
    )
    assert "modes_covered_standard_error" not in found
    assert found["mode_reverse_kl"] < 0.02  # symmetric


def test_a_collapsed_generator_covers_one_mode() -> None:
    data = ring()
    pair = Push(data.spec, 0.01)
    with torch.no_grad():
        pair.loc.copy_(torch.tensor([1.0, 0.0]))
    found = evaluate(pair, data, num_samples=200).to_json()
    assert (found["modes_covered"], found["high_quality_share"]) == (1, 1.0)
    assert found["mode_reverse_kl"] == pytest.approx(math.log(4))


def test_pairs_with_a_density_are_counted_too_and_data_without_modes_are_not() -> None:
    known, unknown = ring(50), plane(50)
    of_vae = evaluate(VAE(known.spec, 2, hidden=(4,)), known, particles=2)
    assert {"modes_covered", "mmd_squared"} <= of_vae.to_json().keys()
    assert of_vae.method == "bound"
    assert not evaluate(VAE(unknown.spec, 2, hidden=(4,)), unknown, particles=2).measures
    assert "modes_covered" not in evaluate(Push(unknown.spec), unknown, num_samples=50).to_json()


def test_samples_of_another_size_are_refused() -> None:
    with pytest.raises(UsageError, match=r"modes in 2 dimensions expect samples \(n, D\), got \(5, 3\)"):
        cover(torch.randn(5, 3), MODES)
    with pytest.raises(UsageError, match="positive scale"):
        Modes(MODES.centres, 0.0)
