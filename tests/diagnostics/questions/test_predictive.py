"""Predictive checks: exact where they are said to be, blind to nothing that is wrong by much."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ppgen.data import Dataset, DataSpec
from ppgen.diagnostics.questions.predictive import QUANTITIES, posterior_predictive, predictive_checks, prior_predictive
from ppgen.draws.samples import prior_samples
from ppgen.errors import UsageError
from ppgen.evaluation.case import Case
from ppgen.models import GAN, CycleGAN, LinearGaussian
from ppgen.registry import MODELS

SPEC = DataSpec("numbers", 4, "real")


def right_pair() -> LinearGaussian:
    pair = LinearGaussian(SPEC, 2)
    pair.set_exact_guide()
    return pair


def its_data(pair: LinearGaussian, num: int, seed: int) -> Tensor:
    return prior_samples(pair, (torch.zeros(1, 4),), num, seed=seed).x


def case_of(pair: Any, batch: tuple[Tensor, ...], spec: DataSpec = SPEC) -> Case:
    data = Dataset(DataSpec(**{**vars(spec), "num_data": None}), batch, batch, batch)
    return Case(pair=pair, data=data, split="test", batch=batch, num_particles=100, seed=0, progress=False)


def test_p_is_uniform_where_the_data_are_the_models_own() -> None:
    """A p-value of S = 39 sets is a multiple of 1/20; of 200 at most 0.2, a binomial(200, 0.2), 40 +- 23 at 4 sd."""
    pair = right_pair()
    ps = []
    for seed in range(200):
        x = its_data(pair, 20, 1000 + seed)
        quantity = {"mean": QUANTITIES["mean"]}
        ps.append(predictive_checks(pair, (x,), quantity, given="prior", num_sets=39, seed=seed)[0].p_value)
    assert 17 <= sum(p <= 0.2 for p in ps) <= 63  # false alarms: 1e-4


def test_fewer_data_are_looked_at_where_a_datum_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most so many numbers in all sets: here those of 500 sets of 7 data of 4 numbers."""
    monkeypatch.setattr("ppgen.diagnostics.questions.predictive._NUMBERS", 500 * 7 * 4)
    pair = right_pair()
    found = posterior_predictive(case_of(pair, (its_data(pair, 20, 0),)))
    assert found is not None
    assert found.details.num_data == 7


def test_p_is_counted_by_hand() -> None:
    pair = right_pair()
    x = torch.full((5, 4), 1e6)
    [check] = predictive_checks(pair, (x,), {"mean": QUANTITIES["mean"]}, given="prior", num_sets=99)
    assert check.observed == 1e6
    assert check.p_value == 2 / 100


def test_quantities_are_those_of_the_page() -> None:
    sets = torch.randn(3, 6, 4, dtype=torch.float64).clamp_min(0)
    expected = {
        "mean": [x.mean() for x in sets],
        "spread_within": [x.std(1, correction=0).mean() for x in sets],
        "spread_between": [x.mean(1).std(correction=0) for x in sets],
        "dependence": [torch.linalg.matrix_norm(x.T.cov(correction=0)) for x in sets],
        "zeros": [(x == 0).double().mean() for x in sets],
    }
    for name, quantity in QUANTITIES.items():
        torch.testing.assert_close(quantity(sets), torch.stack(expected[name]))


def test_data_of_one_number_each_have_every_quantity() -> None:
    for quantity in QUANTITIES.values():
        assert bool(quantity(torch.randn(3, 6, 1)).isfinite().all())


def test_questions_are_answered_well_by_the_right_model() -> None:
    pair = right_pair()
    case = case_of(pair, (its_data(pair, 200, 7),))
    for question in (prior_predictive, posterior_predictive):
        found = question(case)
        assert found is not None
        assert found.status == "good"  # false alarms: at most 0.05, seed fixed
        assert found.question == question.name


def test_a_model_whose_latents_left_the_prior_makes_data_again_but_not_new() -> None:
    """Data three times as wide in z: the guide follows them, the prior does not."""
    pair = right_pair()
    with torch.no_grad():
        pair.weight.mul_(10)
        pair.set_exact_guide()
        x = 3 * torch.randn(200, 2) @ pair.weight.T + torch.randn(200, 4)
    case = case_of(pair, (x,))
    again, new = posterior_predictive(case), prior_predictive(case)
    assert again is not None
    assert again.status == "good"
    assert new is not None
    assert new.status == "warn"
    assert "dependence" in new.meaning


def test_questions_arise_by_what_the_pair_is_capable_of() -> None:
    for name, spec in MODELS.items():
        assert spec.tiny is not None
        pair, batch = spec.tiny()
        case = case_of(pair, batch, pair.arguments["spec"])
        posterior, prior = posterior_predictive(case), prior_predictive(case)
        infers = bool(case.local_latents or case.global_latents)
        assert (posterior is not None) == (pair.normalised and pair.has_weights and infers), name
        outside = pair.normalised and not pair.implicit and bool(case.global_latents)
        given = name == "cyclegan"  # x is a function of the source
        assert (prior is not None) == (pair.normalised and not outside and not given), name


@pytest.mark.parametrize(
    ("pair", "options", "sentence"),
    [
        ("rbm", {"given": "prior"}, "makes no data from its prior"),
        ("gan", {"given": "posterior"}, "makes no data from its posterior"),
        ("vae", {"num_sets": 0}, "at least 1"),
        ("vae", {"quantities": {"all": lambda x: x}}, r"one number for each of 1 sets, \(1,\), got \(1, 5, 6\)"),
        ("vae", {"quantities": {"none": lambda x: 3}}, "got int"),
        ("vae", {"quantities": {"nan": lambda x: x.flatten(1).sum(1) / 0 * 0}}, "'nan' is NaN"),
    ],
)
def test_bad_input_is_one_sentence(pair: str, options: dict[str, Any], sentence: str) -> None:
    spec = MODELS[pair]
    assert spec.tiny is not None
    with pytest.raises(UsageError, match=sentence):
        predictive_checks(*spec.tiny(), **options)


def test_quantities_are_taken_of_data_of_any_shape_and_type() -> None:
    """One number each, and counts in a table of two rows, are the same to every quantity as their rows of features."""
    for x in (torch.arange(12.0).reshape(2, 6), torch.arange(24.0).reshape(2, 3, 2, 2)):
        flat = x.reshape(*x.shape[:2], -1)
        for name, quantity in QUANTITIES.items():
            assert torch.equal(quantity(x), quantity(flat)), name


def test_translations_of_given_sources_are_no_sample_of_sets() -> None:
    spec = DataSpec("image", 4, "real", source=SPEC, paired="held_out")
    batch = (torch.randn(6, 4), torch.randn(6, 4))
    assert prior_predictive(case_of(CycleGAN(spec, hidden=(3,)), batch, spec)) is None


def test_a_pair_without_a_posterior_is_not_told_of_one() -> None:
    found = prior_predictive(case_of(GAN(SPEC, 2, hidden=(3,)), (100 + torch.randn(8, 4),)))
    assert found is not None
    assert found.status == "warn"
    assert "Samples differ" in found.advice
    assert "posterior" not in found.advice
