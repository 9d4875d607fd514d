"""Calibration where the truth is known: exact guides pass, scaled ones fail by the computable amount."""

import math
from collections.abc import Callable

import pyro
import pytest
import torch
from scipy.stats import binom, norm
from torch import Tensor

from ppgen import fit, load_data
from ppgen.data import DataSpec, dataset_from
from ppgen.diagnostics import Diagnosis, diagnose
from ppgen.diagnostics.questions.calibration import interval_coverage, shapes
from ppgen.diagnostics.simulation import DENSITIES, Ranks, _check_numbers, simulated_ranks
from ppgen.diagnostics.uniformity import ecdf_band, interval_noise, uniformity_p
from ppgen.errors import UsageError
from ppgen.inference import ELBO, IWELBO, Beta
from ppgen.models import GAN, RBM, VAE, LinearGaussian
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from tests.doubles import Chain, Mixture, Shared
from tests.doubles import data as doubles_data

SPEC = DataSpec("numbers", 5, "real")
DATA = torch.randn(8, 5, dtype=torch.float64)


def line(latent_dim: int = 1, scale: float = 1.0, shift: float = 0.0) -> LinearGaussian:
    """The exact guide, its standard deviation times ``scale`` and its mean moved by ``shift`` of it."""
    pair = LinearGaussian(SPEC, latent_dim).double()
    pair.set_exact_guide()
    with torch.no_grad():
        sd = pair.guide_scale.diagonal().exp()
        pair.guide_loc.add_(shift * sd)
        pair.guide_scale.diagonal().add_(math.log(scale))
    return pair


def rank_probabilities(scale: float, num_draws: int, shift: float = 0.0) -> Tensor:
    """P(rank = r) of a truth t ~ N(0, 1) among draws of N(shift, scale^2), by quadrature over t."""
    t = torch.linspace(-9, 9, 1001, dtype=torch.float64).numpy()
    below = norm.cdf((t - shift) / scale)
    mass = binom.pmf(torch.arange(num_draws + 1).numpy()[:, None], num_draws, below) * norm.pdf(t) * (t[1] - t[0])
    return torch.from_numpy(mass.sum(1))


def asked(pair: Pair, x: Tensor = DATA) -> Diagnosis:
    return diagnose(pair.float(), dataset_from(x.float()), split="train", num_particles=2, questions=["calibration"])


def least_p(ranks: Ranks) -> float:
    """Over all quantities, corrected for their number."""
    p = uniformity_p(ranks.values, ranks.num_draws)
    return min(1.0, len(p) * float(p.min()))


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_an_exact_guide_is_calibrated(latent_dim: int) -> None:
    """An error beyond noise in at most 1 of 100 diagnoses; the seed is fixed."""
    finding = asked(line(latent_dim))["calibration"]
    assert finding.status == "good"
    assert finding.number == 0
    assert finding.details.p > 0.01
    assert finding.details.coverage["0.9"] == pytest.approx(0.9, abs=5 * (0.09 / 5000) ** 0.5)


@pytest.mark.parametrize("latent_dim", [1, 3])
@pytest.mark.parametrize(
    ("scale", "status"), [(1.0, "good"), (0.9, "good"), (0.8, "warn"), (0.7, "warn"), (0.6, "bad"), (0.5, "bad")]
)
def test_the_light_of_too_narrow_a_guide_goes_by_the_size_of_the_error(
    latent_dim: int, scale: float, status: str
) -> None:
    """V = 0, 0.05, 0.10, 0.16, 0.23, 0.31 among 39 draws, less a noise of 0.03, against 0.05 and 0.15: each is two
    standard errors of V, 0.007, or more from a limit; the seed is fixed."""
    assert asked(line(latent_dim, scale=scale))["calibration"].status == status


def test_a_departure_that_is_seen_and_small_is_no_cause_for_alarm() -> None:
    """c = 0.9 is told apart from an exact guide by 5,000 simulations, and its 90 % intervals hold 86 %."""
    finding = asked(line(scale=0.9))["calibration"]
    assert finding.details.p < 1e-4
    assert finding.status == "good"


@pytest.mark.parametrize("scale", [0.5, 0.6, 0.8])
def test_the_error_of_an_interval_is_the_closed_form_less_the_noise(scale: float) -> None:
    """Of one latent among 39 draws, by quadrature; within 4 standard errors of a difference of two shares."""
    difference = rank_probabilities(scale, 39).cumsum(0) - torch.arange(1, 41) / 40
    expected = float(difference.max() - difference.min())
    z = asked(line(scale=scale))["calibration"].details.quantities[0]
    noise = interval_noise(5000, 0.01 / 3)
    assert z.error + noise == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 5000))


@pytest.mark.parametrize("make", [lambda: Chain().land(), lambda: Mixture().land(), lambda: Shared().land_local()])
def test_exact_guides_of_two_layers_of_discrete_and_beside_global_latents_are_calibrated(
    make: Callable[[], Pair],
) -> None:
    """2,000 simulations each; false alarms: at most 1 in 1,000; the seed is fixed."""
    assert least_p(simulated_ranks(make(), (doubles_data(4),), 2000, 19)) > 0.001


def test_a_wrong_guide_of_a_discrete_latent_is_found() -> None:
    assert least_p(simulated_ranks(Mixture(), (doubles_data(4),), 2000, 19)) < 1e-6


@pytest.mark.parametrize(("scale", "shift"), [(0.6, 0.0), (0.5, 0.0), (1.5, 0.0), (1.0, 0.4)])
def test_ranks_are_distributed_as_quadrature_says(scale: float, shift: float) -> None:
    """The coverage of each interval within 5 standard errors of 4,000 simulations (1 in 1.7 million)."""
    ranks = simulated_ranks(line(scale=scale, shift=shift), (DATA,), 4000, 19)
    mass = rank_probabilities(scale, 19, shift)
    for level, cut in ((0.5, 5), (0.8, 2), (0.9, 1)):
        expected = float(mass[cut : 20 - cut].sum())
        error = (expected * (1 - expected) / 4000) ** 0.5
        assert float(interval_coverage(ranks, level)[0]) == pytest.approx(expected, abs=5 * error)


def test_the_band_that_is_shown_is_of_shares_about_the_diagonal() -> None:
    details = asked(line())["calibration"].details
    points, num = torch.tensor(details.points, dtype=torch.float64), details.num_simulations
    lower, upper = ecdf_band(num, details.num_draws)
    assert all(sum(counts) == num for counts in details.histograms.values())
    torch.testing.assert_close(torch.tensor(details.band.lower, dtype=torch.float64), lower / num - points)
    torch.testing.assert_close(torch.tensor(details.band.upper, dtype=torch.float64), upper / num - points)


def test_coverage_of_many_draws_is_that_of_the_docstring() -> None:
    """2 Phi(0.6 Phi^-1(0.95)) - 1 = 0.676; the ranks among 999 draws have it to 3 digits."""
    mass = rank_probabilities(0.6, 999)
    assert float(mass[50:950].sum()) == pytest.approx(2 * norm.cdf(0.6 * norm.ppf(0.95)) - 1, abs=2e-3)
    assert 2 * norm.cdf(0.6 * norm.ppf(0.95)) - 1 == pytest.approx(0.676, abs=5e-4)


@pytest.mark.parametrize(
    ("scale", "shift", "shape"),
    [(0.6, 0.0, "too narrow"), (1.7, 0.0, "too wide"), (1.0, -0.5, "too low"), (1.0, 0.5, "too high")],
)
def test_the_shape_of_the_ranks_names_what_is_wrong(scale: float, shift: float, shape: str) -> None:
    finding = asked(line(scale=scale, shift=shift))["calibration"]
    assert finding.status in ("warn", "bad")
    z = finding.details.quantities[0]
    assert (z.name, z.shape) == ("z", shape)
    assert z.p < 0.001


def test_an_overconfident_guide_is_told_so() -> None:
    """c = 0.5: U-shaped ranks, intervals that hold too little."""
    finding = asked(line(3, scale=0.5))["calibration"]
    assert finding.status == "bad"
    assert finding.details.histograms["z[0]"][0] > 2 * 5000 / 20
    assert finding.details.coverage["0.9"] < 0.65


def test_a_guide_that_is_the_prior_fails_by_the_densities_alone() -> None:
    """Each dimension of it is calibrated: z* and the draws both come from the prior. False alarms: 1 in 1,000."""
    pair = line(2)
    with torch.no_grad():
        for value in (pair.guide_weight, pair.guide_loc, pair.guide_scale):
            value.zero_()
    ranks = simulated_ranks(pair, (DATA,), 1000, 19)
    p = dict(zip(ranks.names, uniformity_p(ranks.values, 19).tolist(), strict=True))
    assert min(p["z[0]"], p["z[1]"]) > 0.0005
    assert max(p[name] for name in DENSITIES) < 1e-6
    assert "correlations" in asked(pair)["calibration"].advice


def test_a_guide_that_misses_correlations_fails_by_the_densities_alone() -> None:
    """The right mean and marginal variances, no covariance. False alarms in the marginals: 1 in 1,000."""
    pair = LinearGaussian(SPEC, 2).double()
    with torch.no_grad():
        pair.weight[:, 1] = pair.weight[:, 0] + 0.3 * pair.weight[:, 1]
        pair.set_exact_guide()
        sd = pair.posterior(DATA).variance[0].sqrt()
        pair.guide_scale.copy_(sd.log().diag())
    ranks = simulated_ranks(pair, (DATA,), 2000, 19)
    p = dict(zip(ranks.names, uniformity_p(ranks.values, 19).tolist(), strict=True))
    assert min(p["z[0]"], p["z[1]"]) > 0.0005
    assert max(p[name] for name in DENSITIES) < 1e-6


def test_the_answer_leaves_random_state_and_pair_alone() -> None:
    pair = VAE(DataSpec("pixels", 6, "binary"), 2, hidden=(4,)).train()
    x, before = torch.rand(5, 6).round(), torch.random.get_rng_state()
    first, second = (asked(pair, x) for _ in range(2))
    assert pair.training
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.to_json() == second.to_json()


def test_ranks_of_too_low_a_guide_lean_to_the_top() -> None:
    ranks = Ranks(torch.tensor([[9, 0], [9, 0], [8, 1]]), ("a", "b"), 9)
    assert shapes(ranks) == ["too low", "too high"]


@pytest.mark.parametrize("make", [lambda: RBM(DataSpec("p", 6, "binary"), 3), lambda: GAN(DataSpec("p", 6, "binary"))])
def test_it_does_not_arise_where_there_is_no_density_to_simulate_from(make: object) -> None:
    assert callable(make)
    assert asked(make(), torch.rand(5, 6).round()).findings == ()


def test_simulation_without_latents_of_a_datum_is_refused() -> None:
    with pytest.raises(UsageError, match="needs a normalised model"):
        simulated_ranks(RBM(DataSpec("p", 6, "binary"), 3), (torch.rand(5, 6).round(),), 10)


def test_a_guide_without_numbers_is_named() -> None:
    """The guide's distribution refuses a NaN first where Pyro's validation is on."""
    pair = line()
    with torch.no_grad():
        pair.guide_loc.fill_(torch.nan)
    with pyro.validation_enabled(False), pytest.raises(UsageError, match="simulated datum 0 has a NaN"):
        simulated_ranks(pair, (DATA,), 10)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("objective", "statuses"),
    [(ELBO(), ["good"]), (IWELBO(num_particles=5), ["good", "warn"]), (Beta(beta=0.3), ["bad"])],
    ids=["elbo", "iwelbo", "beta"],
)
def test_a_trained_guide_is_believed_and_an_overconfident_one_is_not(objective: Objective, statuses: list[str]) -> None:
    """Digits, 40 epochs. A weight of 0.3 on the KL teaches a posterior whose likelihood counts 3.3 times, and 90 %
    intervals hold about 65 %."""
    data = load_data("digits")
    pair = fit(VAE(data.spec, hidden=(50,)), data, objective, epochs=40, eager=True).pair
    finding = diagnose(pair, data, questions=["calibration"])["calibration"]
    assert finding.status in statuses
    assert (finding.details.coverage["0.9"] > 0.85) == (finding.status != "bad")


@pytest.mark.slow
def test_false_alarms_of_an_exact_guide_come_at_the_stated_rate() -> None:
    """200 repeats of 100 simulations, made in one run, at level 0.05 for each of 3 quantities, Bonferroni: at most
    Binomial(200, 0.05), 23 with 1 in 1,500.

    Of the dimensions of z alone, without correction, 400 tests: between 5 and 36 alarms (1 in 3,000).
    """
    pair, alarms, single = line(2), 0, 0
    for ranks in simulated_ranks(pair, (DATA,), 200 * 100, 19).values.split(100):
        p = uniformity_p(ranks, 19)
        alarms += int(4 * float(p.min()) <= 0.05)
        single += int((p[:2] <= 0.05).sum())
    assert alarms <= 23
    assert 5 <= single <= 36


def test_one_number_of_a_datum_that_is_nan_is_enough() -> None:
    draws = torch.zeros(5, 3, 2)
    draws[4, 1, 0] = torch.nan
    with pytest.raises(UsageError, match="simulated datum 11 has a NaN"):
        _check_numbers(draws, 10)
