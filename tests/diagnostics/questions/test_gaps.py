"""The questions where the bound loses and how well log p(x) is known, on linear-Gaussian pairs of known answers."""

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.diagnostics import Budget, Diagnosis, Finding
from ppgen.diagnostics.questions.gaps import _error
from ppgen.models import GAN, RBM, LinearGaussian
from tests.diagnostics.linear import data_of, exact, scaled
from tests.diagnostics.test_local import HalfWrong


def weight() -> Tensor:
    return torch.randn(4, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def ask(pair: Any, data: Dataset, question: str) -> Finding:
    return ppgen.diagnose(pair, data, num_data=32, questions=[question])[question]


@pytest.fixture(scope="module")
def diagnosed() -> Diagnosis:
    """Both questions, of an exact guide."""
    pyro.set_rng_seed(0)
    pair = exact(weight())
    return ppgen.diagnose(pair, data_of(pair, 40), num_data=32, questions=["gaps", "sandwich"])


def test_an_exact_guide_leaves_nothing(diagnosed: Diagnosis) -> None:
    found = diagnosed["gaps"]
    assert found.status == "good"
    for part in ("inference_gap", "approximation_gap", "amortisation_gap"):
        assert getattr(found.details, part) == pytest.approx(0, abs=1e-4)


@pytest.mark.thorough
def test_an_overconfident_guide_loses_the_closed_form_by_amortisation() -> None:
    """KL = L (c^2 - 1 - 2 log c) / 2 of L = 2 latents; within 5 of the errors it reports."""
    pair = scaled(exact(weight()), 0.3)
    found = ask(pair, data_of(pair, 40), "gaps")
    expected = 0.3**2 - 1 - 2 * math.log(0.3)
    assert found.status == "warn"
    assert abs(found.details.amortisation_gap - expected) < 5 * found.details.standard_error
    assert found.details.approximation_gap == pytest.approx(0, abs=0.01)
    assert "not the family's" in found.advice


def test_a_mean_field_guide_loses_by_its_family_and_full_covariance_would_win_it() -> None:
    """KL of the best mean-field Gaussian: (sum_i log P_ii - log det P) / 2 for the posterior's precision P."""
    mixing = torch.tensor([[3.0, 3.0], [3.0, 3.2], [0.1, 0.0]], dtype=torch.float64)
    pair = exact(mixing)
    precision = torch.eye(2).double() + mixing.T @ mixing
    field = LinearGaussian(DataSpec("own", 3, "real"), 2, guide="mean_field").double()
    with torch.no_grad():
        for name in ("weight", "loc", "log_noise", "guide_weight", "guide_loc"):
            getattr(field, name).copy_(getattr(pair, name))
        field.guide_scale.copy_(-precision.diagonal().log() / 2)
    found = ask(field, data_of(pair, 40), "gaps")
    expected = float(precision.diagonal().log().sum() - torch.logdet(precision)) / 2
    assert expected > 1
    assert found.status == "warn"
    assert abs(found.details.approximation_gap - expected) < 5 * found.details.standard_error + 0.01
    assert found.details.amortisation_gap == pytest.approx(0, abs=5 * found.details.standard_error + 0.01)
    assert found.details.log_evidence == pytest.approx(found.details.elbo["full"], abs=0.01)
    assert "family's" in found.advice


def test_the_data_at_which_the_guide_is_wrong_are_named() -> None:
    x = torch.linspace(-2, 2, 20, dtype=torch.float64)[:, None]
    data = Dataset(DataSpec("halves", 1, "real"), (x,), (x,), (x,))
    found = ppgen.diagnose(HalfWrong(), data, questions=["gaps"])["gaps"]
    assert set(found.details.worst) == set(range(10, 20))
    assert found.details.amortisation_gap == pytest.approx(0.5, abs=0.1)


def test_the_sandwich_is_narrow_and_the_guides_own_bound_agrees(diagnosed: Diagnosis) -> None:
    found = diagnosed["sandwich"]
    assert found.status == "good"
    assert found.number == pytest.approx(0, abs=0.1)
    assert found.details.shortfall == pytest.approx(0, abs=0.1)


@pytest.fixture
def short_annealing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty powers and one leapfrog."""
    budget = Budget(num_powers=20, num_leapfrogs=1)
    monkeypatch.setattr("ppgen.diagnostics.questions.sandwich.Budget", lambda: budget)


@pytest.mark.usefixtures("short_annealing")
def test_a_guide_far_off_has_a_bound_that_is_seen_to_fall_short() -> None:
    pair = exact(weight())
    with torch.no_grad():
        pair.guide_loc.add_(4.0)
    found = ask(pair, data_of(pair, 40), "sandwich")
    assert found.status == "warn"
    assert found.details.shortfall > 1
    assert "too low" in found.advice


class Hole(HalfWrong):
    """The same, with no density at x = 0.5."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x[..., 0]), 1.0))
            loc = z.unsqueeze(-1) + torch.where(x == 0.5, torch.nan, 0.0)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


@pytest.mark.usefixtures("short_annealing")
@pytest.mark.parametrize("question", ["gaps", "sandwich"])
def test_a_datum_whose_density_is_not_finite_is_named(question: str) -> None:
    x = torch.tensor([[-1.0], [0.3], [1.0], [0.5], [2.0]], dtype=torch.float64)
    data = Dataset(DataSpec("holed", 1, "real"), (x,), (x,), (x,))
    found = ppgen.diagnose(Hole(), data, questions=[question])[question]
    assert (found.status, found.number) == ("unknown", None)
    assert "datum 3 " in found.meaning


@pytest.mark.parametrize("model", [RBM, GAN], ids=lambda model: model.__name__)
def test_they_do_not_arise_for_pairs_without_a_guide_to_judge(model: Any) -> None:
    observation: Any = "binary" if model is RBM else "real"
    x = torch.rand(8, 4).round()
    data = Dataset(DataSpec("bits", 4, observation), (x,), (x,), (x,))
    assert ppgen.diagnose(model(data.spec), data, questions=["gaps", "sandwich"]).findings == ()


def test_findings_can_be_written_as_json_and_come_back(diagnosed: Diagnosis) -> None:
    assert Diagnosis.from_json(diagnosed.to_json()).to_json() == diagnosed.to_json()


def test_the_error_of_a_mean_bound_is_that_of_draws_independent_over_particles_and_data() -> None:
    """Variances 2 and 8 of K = 2 log-weights of B = 2 data: the mean bound has (2 + 8) / K / B^2."""
    assert _error(torch.tensor([[0.0, 1.0], [2.0, 5.0]])) == pytest.approx(math.sqrt((2 + 8) / 2) / 2)
