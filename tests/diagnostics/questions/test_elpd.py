"""Densities of data left out, against closed forms."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from ppgen.data import Dataset, DataSpec
from ppgen.diagnostics.questions.elpd import _log_likelihood, compare_runs, held_out, leave_one_out, loo
from ppgen.errors import UsageError
from ppgen.evaluation.case import Case
from ppgen.models import LinearGaussian
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Program
from ppgen.registry import MODELS

SPEC = DataSpec("numbers", 1, "real")


class Means(Pair):
    """g ~ N(0, 1), z_n ~ N(g, 1), x_n ~ N(z_n, 1), with the exact posterior: x is N(g 1, 2 I) given g."""

    def __init__(self, spec: DataSpec = SPEC) -> None:
        super().__init__()

    def model(self, x: Tensor) -> None:
        g = pyro.sample("g", dist.Normal(x.new_zeros(()), 1.0))
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(g, 1.0))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        precision = 1 + len(x) / 2
        g = pyro.sample("g", dist.Normal(x.sum() / 2 / precision, precision**-0.5))
        with self.data_plate(x):
            pyro.sample("z", dist.Normal((g + x[:, 0]) / 2, 0.5**0.5))


def data() -> tuple[Tensor, ...]:
    return (1 + 2**0.5 * torch.randn(20, 1, dtype=torch.float64),)


def exact_loo(x: Tensor) -> Tensor:
    """log p(x_n | x_-n): a normal of mean and variance by the others."""
    precision = 1 + (len(x) - 1) / 2
    mean = (x.sum() - x) / 2 / precision
    exact: Tensor = dist.Normal(mean, math.sqrt(2 + 1 / precision)).log_prob(x)
    return exact


def test_loo_is_the_density_given_the_others() -> None:
    (x,) = data()
    found = loo(Means(), (x,), num_draws=4000, num_particles=1, seed=1)
    # z is integrated out exactly by one particle; a datum's ratios vary by p_n <= 0.3: error sqrt(exp(p_n) - 1) / 63
    torch.testing.assert_close(torch.tensor(found.loo_i.values), exact_loo(x[:, 0]), atol=0.06, rtol=0)
    assert found.pareto_k.values.max() < 0.7
    full = dist.Normal(x.sum() / 2 / 11, math.sqrt(2 + 1 / 11)).log_prob(x[:, 0]).sum()
    assert abs(float(found.p_loo) - float(full - exact_loo(x[:, 0]).sum())) < 0.15  # sum of 20 errors of 0.01 each


def test_held_out_is_the_evidence_under_an_exact_guide() -> None:
    pair = LinearGaussian(DataSpec("numbers", 3, "real"), 2).double()
    pair.set_exact_guide()
    x = torch.randn(6, 3, dtype=torch.float64)
    found = held_out(pair, (x,), num_particles=200)
    torch.testing.assert_close(torch.tensor(found.loo_i.values), pair.log_evidence(x).detach())
    assert float(found.elpd_loo) == pytest.approx(float(pair.log_evidence(x).sum().detach()))


def test_held_out_under_global_latents_is_their_predictive_density() -> None:
    """N(E g, Var g + 2); of 4,000 draws of g, whose weights differ by a tenth: four standard errors are 0.01."""
    (x,) = data()
    precision = 1 + len(x) / 2
    truth = dist.Normal(x.sum() / 2 / precision, (1 / precision + 2) ** 0.5).log_prob(x[:, 0])
    found = held_out(Means(), (x,), num_particles=4000)
    assert float(found.elpd_loo) / len(x) == pytest.approx(float(truth.mean()), abs=0.01)


def test_the_density_given_a_global_latent_is_a_mean_over_particles() -> None:
    """Under the exact guide each particle has it, so that one says what five say."""
    pair, x, found = Means(), data(), []
    for num in (1, 5):
        torch.manual_seed(0)
        found.append(_log_likelihood(Program(pair.model, pair.guide), x, num))
    torch.testing.assert_close(found[0], found[1])


def test_runs_are_ranked_by_their_exact_evidence() -> None:
    x = torch.randn(50, 3, dtype=torch.float64)
    spec = DataSpec("numbers", 3, "real")
    dataset = Dataset(spec, (x.float(),), (x.float(),), (x.float(),))
    pairs = {"narrow": LinearGaussian(spec, 1, noise=0.5), "right": LinearGaussian(spec, 1, noise=1.0)}
    for pair in pairs.values():
        torch.nn.init.constant_(pair.weight, 0.1)
        pair.set_exact_guide()
    table = compare_runs({n: SimpleNamespace(pair=p, data=dataset) for n, p in pairs.items()}, num_particles=200)
    assert list(table.index) == ["right", "narrow"]
    each = pairs["right"].log_evidence(x.float()) - pairs["narrow"].log_evidence(x.float())
    each = each.detach()
    assert float(table["elpd_diff"]["narrow"]) == pytest.approx(float(each.sum()), rel=1e-3)
    assert float(table["dse"]["narrow"]) == pytest.approx(math.sqrt(50) * float(each.std(correction=0)), rel=1e-3)


def test_leaving_out_arises_for_latents_outside_the_plate_alone() -> None:
    for name, spec in MODELS.items():
        assert spec.tiny is not None
        pair, batch = spec.tiny()
        found = leave_one_out(case_of(pair, batch, pair.arguments["spec"]))
        shared = name == "dp_mixture" or (name == "lda" and pair.arguments["topics"] == "dirichlet")
        assert (found is not None) == (shared or (name == "gmm" and pair.arguments["bayesian"]))


def test_an_outlier_is_named_worst() -> None:
    x = torch.cat([torch.randn(30, 1), torch.tensor([[25.0]])])
    found = leave_one_out(case_of(Means(), (x,), SPEC))
    assert found is not None
    assert found.details.worst[0] == 30


def case_of(pair: Pair, batch: tuple[Tensor, ...], spec: DataSpec) -> Case:
    dataset = Dataset(DataSpec(**{**vars(spec), "num_data": None}), batch, batch, batch)
    return Case(pair=pair, data=dataset, split="test", batch=batch, num_particles=100, seed=0, progress=False)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: loo(LinearGaussian(SPEC, 1), (torch.randn(3, 1),)), "found none: see held_out"),
        (lambda: held_out(*tiny("rbm")), "unnormalised"),
        (lambda: held_out(*tiny("gan")), "implicit"),
        (lambda: held_out(*tiny("vae"), num_particles=50), "25 draws in the tail"),
        (lambda: compare_runs({"one": None}), "two runs or more"),
    ],
)
def test_bad_input_is_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        call()


def test_runs_on_other_data_are_refused() -> None:
    sets = [Dataset(SPEC, (x,), (x,), (x,)) for x in (torch.zeros(3, 1), torch.ones(3, 1))]
    runs = {str(i): SimpleNamespace(pair=None, data=each) for i, each in enumerate(sets)}
    with pytest.raises(UsageError, match="other test data"):
        compare_runs(runs)


def tiny(name: str) -> Any:
    spec = MODELS[name]
    assert spec.tiny is not None
    return spec.tiny()
