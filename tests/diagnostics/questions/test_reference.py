"""References against posteriors that are known, and guides against references."""

import math

import pytest
import torch
from torch import Tensor

from ppgen.data import DataSpec, dataset_from
from ppgen.diagnostics import Diagnosis, diagnose
from ppgen.diagnostics.chains import ChainBudget, PosteriorChains, posterior_chains
from ppgen.diagnostics.marginals import Marginals, interval_errors
from ppgen.diagnostics.questions.reference import _by_chains
from ppgen.evaluation.case import Case
from ppgen.models import GAN, RBM, LinearGaussian
from ppgen.pairs.pair import Pair
from ppgen.posterior.arviz_bridge import convergence_of
from tests.discrete_doubles import Blend
from tests.doubles import Mixture, Shared
from tests.doubles import data as doubles_data

SPEC = DataSpec("numbers", 5, "real", num_data=1000)
SHORT = ChainBudget(warmup=80)


def line(scale: float = 1.0) -> tuple[LinearGaussian, Tensor]:
    """The exact guide of two correlated latents, its factor times ``scale``; and data. Model and data are always the
    same."""
    torch.manual_seed(0)
    x = torch.randn(20, 5)
    pair = LinearGaussian(SPEC, 2)
    with torch.no_grad():
        pair.weight[:, 1] = pair.weight[:, 0] + 0.5 * pair.weight[:, 1]
        pair.set_exact_guide()
        pair.guide_scale.diagonal().add_(math.log(scale))
        pair.guide_scale[1, 0] *= scale
    return pair, x


def asked(pair: Pair, x: Tensor, num_particles: int = 2000) -> Diagnosis:
    return diagnose(pair, dataset_from(x), split="train", num_particles=num_particles, questions=["reference"])


def test_a_datum_has_a_reference_where_every_latent_mixes_and_has_a_hundred_draws_a_chain() -> None:
    r_hat = torch.tensor([[1.05, 1.0], [1.06, 1.0], [1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    sizes = torch.tensor([[200.0, 201.0], [900.0, 900.0], [900.0, 199.0], [900.0, 900.0]])
    found = PosteriorChains(torch.zeros(2, 5, 4, 2), ("a", "b"), r_hat, sizes, 0)
    assert found.converged.tolist() == [True, False, False, True]


def first(x: Tensor) -> Tensor:
    """The data that the question is about, (4, D)."""
    rows: Tensor = dataset_from(x).train[0][:4]
    return rows


@pytest.fixture(scope="module")
def found() -> PosteriorChains:
    """Chains of the first data of :func:`line`."""
    pair, x = line()
    torch.manual_seed(1)
    return posterior_chains(pair, (first(x),), SHORT)


@pytest.fixture
def drawn_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is given independent draws of the posterior in the place of chains, whatever the guide."""
    pair, x = line()
    torch.manual_seed(1)
    with torch.no_grad():
        draws = pair.posterior(first(x)).sample((4, 250)).double()  # (M, S, B, F)
    ones = torch.ones(4, 2, dtype=torch.float64)
    found = PosteriorChains(draws, ("z[0]", "z[1]"), ones, 1000 * ones, 0)
    monkeypatch.setattr("ppgen.diagnostics.questions.reference.posterior_chains", lambda *given, **more: found)


@pytest.mark.thorough
def test_nuts_draws_the_posterior_of_every_datum_not_a_power_of_it(found: PosteriorChains) -> None:
    """Of a pair that knows N = 1,000: the plate's scale N / B must not enter. Five Monte Carlo standard errors."""
    pair, x = line()
    with torch.no_grad():
        exact = pair.posterior(first(x))
    draws, sd = found.draws.flatten(0, 1), exact.variance.sqrt().double()
    error = sd / found.effective_sample_size.sqrt()
    assert bool(found.converged.all())
    assert ((draws.mean(0) - exact.mean).abs() < 5 * error).all()
    assert ((draws.std(0) / sd - 1).abs() < 5 * (0.5 / found.effective_sample_size * 4).sqrt()).all()
    correlation = torch.corrcoef(draws[:, 0].T)[0, 1]
    cov = exact.covariance_matrix[0]
    assert float(correlation) == pytest.approx(float(cov[0, 1] / (cov[0, 0] * cov[1, 1]).sqrt()), abs=0.1)


@pytest.mark.thorough
@pytest.mark.usefixtures("drawn_exactly")
def test_an_exact_guide_agrees_with_the_reference() -> None:
    finding = asked(*line())["reference"]
    assert finding.status == "good"
    assert finding.details.method == "nuts"
    assert finding.details.data == [0, 1, 2, 3]


def test_the_draws_of_the_chains_weigh_one_together(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = torch.ones(4, 2, dtype=torch.float64)
    chains = PosteriorChains(torch.randn(2, 50, 4, 2).double(), ("a", "b"), ones, 900 * ones, 0)
    monkeypatch.setattr("ppgen.diagnostics.questions.reference.posterior_chains", lambda *given, **more: chains)
    pair, x = line()
    data = dataset_from(x)
    case = Case(pair, data, "train", data.rows("train"), num_particles=10, seed=0, progress=False)
    weight = _by_chains(case, (first(x),)).marginals.weight  # (M S, B)
    torch.testing.assert_close(weight.sum(0), torch.ones(4, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.slow
@pytest.mark.usefixtures("drawn_exactly")
def test_a_narrow_guide_is_as_far_off_as_the_closed_form_and_its_weights_mend_it() -> None:
    """W1 = 0.4 (2 / pi)^(1/2) = 0.32 standard deviations for c = 0.6, within the noise of about 1,000 draws."""
    finding = asked(*line(0.6), num_particles=20_000)["reference"]
    errors = {name: torch.tensor(error) for name, error in finding.details.wasserstein.items()}
    assert finding.status in ("warn", "bad")
    assert float(errors["guide"].mean()) == pytest.approx(0.4 * math.sqrt(2 / math.pi), abs=0.06)
    assert float(errors["weighted"].mean()) < 0.15


@pytest.mark.thorough
@pytest.mark.parametrize(("scale", "status"), [(0.9, "good"), (0.7, "warn"), (0.4, "bad")])
def test_the_light_of_too_narrow_a_guide_goes_by_the_probability_of_intervals(scale: float, status: str) -> None:
    """V = 0.05, 0.17, 0.41, and the largest of eight marginals up to 0.05 above it, against 0.15 and 0.3."""
    assert asked(*line(scale))["reference"].status == status


@pytest.mark.parametrize(("error", "status"), [(0.15, "good"), (0.1501, "warn"), (0.3, "warn"), (0.3001, "bad")])
def test_the_light_goes_by_the_error_beyond_noise(error: float, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppgen.diagnostics.questions.reference._beyond_noise", lambda errors, guide, found: error)
    assert asked(Mixture().float(), doubles_data(20).float())["reference"].status == status


def test_noise_is_that_of_two_samples_of_one_distribution() -> None:
    """The root mean square of V of N(0, 1) draws, 1,000 and 4,000, by halves of each; over 500 marginals, to 10 %."""
    one, other = (sample(torch.randn(num, 500, 1, dtype=torch.float64)) for num in (1000, 4000))
    found = interval_errors(one, other).square().mean().sqrt()
    halves = torch.stack([interval_errors(*each.halves()).square().mean() for each in (one, other)]).sum()
    torch.testing.assert_close(found, (halves / 4).sqrt(), rtol=0.1, atol=0)


def sample(values: Tensor) -> Marginals:
    return Marginals(values, torch.full_like(values[..., 0], 1 / len(values)))


def test_discrete_latents_are_held_against_the_exact_sum() -> None:
    x = doubles_data(20).float()
    exact, wrong = (asked(pair.float(), x)["reference"] for pair in (Mixture().land(), Mixture()))
    assert exact.status == "good"
    assert exact.details.num_states == 3
    assert max(exact.details.total_variation) < 1e-6
    pair, x = Mixture(), dataset_from(x).train[0][:4]
    off = (pair.log_joint(x.double()).softmax(0) - pair.log_guide(x.double()).exp()).abs().sum(0) / 2
    torch.testing.assert_close(torch.tensor(wrong.details.total_variation), off.float().detach(), rtol=0, atol=1e-5)
    assert wrong.number is not None
    assert exact.number is not None
    assert wrong.number > exact.number


def test_latents_beside_a_global_one_are_compared_given_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppgen.diagnostics.chains.ChainBudget", lambda: SHORT)
    assert asked(Shared().land_local().float(), doubles_data(20).float())["reference"].status == "good"


def test_chains_that_have_not_met_are_refused() -> None:
    """Three steps of warm-up and eight draws: too few effective draws for any datum."""
    pair, x = line()
    found = posterior_chains(pair, (x[:4],), ChainBudget(warmup=3, num_draws=8))
    assert not bool(found.converged.any())


def test_r_hat_tells_chains_apart() -> None:
    """Equal chains: 1 within noise. Two of four moved by 3: far above."""
    draws = torch.randn(4, 500, 2, dtype=torch.float64)
    draws[:2, :, 1] += 3
    r_hat, size = convergence_of(draws)
    assert float(r_hat[0]) < 1.02
    assert float(r_hat[1]) > 1.5
    assert float(size[0]) > 1000
    assert float(size[1]) < 50


def test_latents_of_both_kinds_have_no_reference() -> None:
    pair = Blend().float()
    finding = asked(pair, pair.datum.repeat(20, 1))["reference"]
    assert finding.status == "unknown"
    assert "'b', 'c' is discrete and 'y' continuous" in finding.meaning


@pytest.mark.parametrize("make", [lambda: RBM(DataSpec("p", 6, "binary"), 3), lambda: GAN(DataSpec("p", 6, "binary"))])
def test_it_does_not_arise_for_exact_guides_and_implicit_pairs(make: object) -> None:
    assert callable(make)
    assert asked(make(), torch.rand(5, 6).round()).findings == ()
