"""Chains that mix and chains that cannot; samples that are like the data and samples that are not."""

import math

import numpy as np
import pytest
import torch

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.diagnostics import Finding
from ppgen.diagnostics.questions.mixing import energies_of_chains, shares_of_tenths
from ppgen.models import RBM
from tests.doubles import Energy
from tests.implicit import Push, plane, ring

SPEC = DataSpec("bits", 6, "binary")


def mixing(coupling: float) -> Finding:
    """Of a machine of 6 and 6 units: with a large coupling, where all are off or all on, it stays."""
    pair = RBM(SPEC, 6)
    with torch.no_grad():
        pair.weight.fill_(coupling)
        pair.visible_bias.copy_(0.3 * torch.arange(6) - 3 * coupling)
        pair.hidden_bias.fill_(0.2 - 3 * coupling)
    x = torch.rand(20, 6).round()
    return ppgen.diagnose(pair, Dataset(SPEC, (x,), (x,), (x,)), questions=["mixing"])["mixing"]


def test_independent_units_mix_at_once() -> None:
    found = mixing(0.0)
    assert found.status == "good"
    assert found.details.effective_sample_size > 10_000  # of 20,000 independent draws
    shares = torch.tensor(found.details.shares)
    assert shares.shape == (20, 10)
    assert bool(((shares - 0.1).abs() < 6 * math.sqrt(0.09 / 1000)).all())
    assert abs(found.details.log_z_upper - found.details.log_z) < 0.05
    assert "log Z from above is " in found.meaning


def test_shares_in_tenths_are_those_of_the_pooled_ranks() -> None:
    """Against numpy's quantiles where no value is there twice; values that are, in equal parts."""
    values = torch.rand(7, 30)
    edges = np.quantile(values.numpy(), np.arange(1, 10) / 10, method="inverted_cdf")
    tenths = np.searchsorted(edges, values.numpy())  # 0..9
    expected = np.stack([np.bincount(one, minlength=10) / 30 for one in tenths])
    np.testing.assert_allclose(shares_of_tenths(values).numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(shares_of_tenths(torch.zeros(3, 5)).numpy(), 0.1, atol=1e-6)


def test_energies_of_chains_are_in_double_precision() -> None:
    """Their differences are what R-hat and effective sizes are made of."""
    assert energies_of_chains(RBM(SPEC, 2)).dtype == torch.float64


def test_chains_that_stay_where_they_began_do_not_mix() -> None:
    found = mixing(3.0)
    assert found.status == "bad"
    assert "parallel_tempering" in found.advice
    assert max(max(one) for one in found.details.shares) > 0.19


@pytest.mark.parametrize(
    ("r_hat", "ess", "status"),
    [
        (1.01, 400.0, "good"),
        (1.01, 399.0, "warn"),
        (1.1, 900.0, "warn"),
        (1.11, 900.0, "bad"),
        (math.nan, 900.0, "bad"),
    ],
)
def test_the_light_goes_by_r_hat_and_effective_draws(
    r_hat: float, ess: float, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppgen.diagnostics.questions.mixing._SWEEPS", 200)
    monkeypatch.setattr("ppgen.diagnostics.questions.mixing._TEMPERATURES", 2)
    monkeypatch.setattr(
        "ppgen.diagnostics.questions.mixing.convergence_of",
        lambda draws: torch.tensor([r_hat, ess], dtype=torch.float64),
    )
    assert mixing(0.0).status == status


@pytest.mark.parametrize(("scale", "status"), [(1.0, "good"), (2.0, "warn")])
def test_samples_of_the_datas_distribution_are_like_the_data_and_wider_ones_are_not(scale: float, status: str) -> None:
    """False alarms of the test: one in twenty; the seed is fixed."""
    torch.manual_seed(1)
    data = plane(500)
    found = ppgen.diagnose(Push(data.spec, scale), data, questions=["likeness", "importance", "collapse"])
    assert len(found.findings) == 1
    assert found["likeness"].status == status
    assert "states no density" in found.left_out


def test_a_mode_without_samples_is_found_bad_and_the_advice_is_about_modes() -> None:
    """All samples at one of four modes."""
    torch.manual_seed(1)
    data = ring(300)
    pair = Push(data.spec, 0.05)
    with torch.no_grad():
        pair.loc.copy_(torch.tensor([1.0, 0.0]))
    found = ppgen.diagnose(pair, data, questions=["likeness"])["likeness"]
    assert (found.status, found.number, found.threshold) == ("bad", 1, 4)
    assert "1 of 4 modes have samples" in found.meaning
    assert found.advice.startswith("No sample reaches some of the data's modes")
    assert "guide" not in found.advice


def test_an_unnormalised_pair_without_chains_is_told_what_is_missing() -> None:
    class Bare(Energy):
        normalised = False

    data = plane(20, num_features=1)
    found = ppgen.diagnose(Bare().float(), data, questions=["mixing"])["mixing"]
    assert found.status == "unknown"
    assert "free_energy(v) and sweep(v), got Bare" in found.meaning


def test_a_pair_with_a_density_is_not_asked_for_its_samples_nor_one_with_none_for_its_chains() -> None:
    x = torch.rand(20, 6).round()
    data = Dataset(SPEC, (x,), (x,), (x,))
    assert ppgen.diagnose(ppgen.models.VAE(SPEC, 2, hidden=(4,)), data, questions=["mixing", "likeness"]).findings == ()
    assert "known up to a constant" in ppgen.diagnose(RBM(SPEC, 2), data, questions=["likeness"]).left_out
