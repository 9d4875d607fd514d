"""Latents of the whole data set alone, and one number a datum: a Bayesian regression is diagnosed as any pair is."""

import pytest
import torch
from torch import Tensor

import ppgen
import ppgen.diagnostics.questions.global_calibration as vsbc
from ppgen.diagnostics.chains import ChainBudget, PosteriorChains, joint_chains
from ppgen.diagnostics.questions.global_calibration import global_shares
from ppgen.diagnostics.questions.reference import _guide_of_all
from ppgen.evaluation.case import Case
from ppgen.pairs.looking import looked_at, seeded
from ppgen.pairs.tracing import Batch, Program, run_particles
from tests.diagnostics.regression import Regression, table


@pytest.fixture(scope="module")
def chains() -> PosteriorChains:
    with seeded(0):
        return joint_chains(Regression(*table()), table(), ChainBudget(num_chains=2, warmup=60, num_draws=300))


@pytest.fixture
def drawn_before(chains: PosteriorChains, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is given these chains: whatever the guide, the posterior is the same."""
    monkeypatch.setattr("ppgen.diagnostics.questions.reference.joint_chains", lambda *given, **more: chains)


def test_a_site_of_one_number_a_datum_is_checked_as_any_other() -> None:
    found = ppgen.diagnose(
        Regression(*table()), Regression.data(), num_particles=200, questions=["posterior_predictive", "importance"]
    )
    assert found["importance"].status == "good"
    assert found["posterior_predictive"].status == "good"
    assert found["posterior_predictive"].details.num_data == 30


def test_chains_of_latents_that_all_data_share_draw_their_posterior(chains: PosteriorChains) -> None:
    """Five Monte Carlo standard errors."""
    pair, found = Regression(*table()), chains
    assert (found.draws.shape, found.names) == (torch.Size([2, 300, 1, 2]), ("w[0]", "w[1]"))
    sd = torch.linalg.vector_norm(pair.lower.tril(-1) + pair.log_scale.exp().diag(), dim=1)  # (D,)
    error = 5 * sd / found.effective_sample_size[0].sqrt()
    assert ((found.draws.mean((0, 1, 2)) - pair.loc).abs() < error).all()


@pytest.mark.usefixtures("drawn_before")
@pytest.mark.parametrize(("scale", "status"), [(1.0, "good"), (0.3, "bad")])
def test_a_guide_of_latents_that_all_data_share_is_held_against_nuts(scale: float, status: str) -> None:
    pair = Regression(*table(), scale=scale)
    found = ppgen.diagnose(pair, Regression.data(), questions=["reference"])["reference"]
    assert found.status == status
    assert "w, given all 30 training data," in found.meaning
    assert (found.details.method, found.details.data, found.details.names) == ("nuts", [], ["w[0]", "w[1]"])
    assert torch.tensor(found.details.interval_error["guide"]).shape == (1, 2)


def test_draws_of_the_posterior_weigh_all_alike() -> None:
    pair, data = Regression(*table()), Regression.data()
    batch = data.rows("train")
    case = Case(pair, data, "train", batch, num_particles=10, seed=0, progress=False)
    values, log_w = _guide_of_all(case, batch, looked_at(pair, batch))
    assert (values.shape, log_w.shape) == (torch.Size([1000, 1, 2]), torch.Size([1000, 1]))
    assert float(log_w.std()) < 1e-9


def test_more_than_nuts_may_cost_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppgen.diagnostics.questions.reference._WIDEST", 1)
    found = ppgen.diagnose(Regression(*table()), Regression.data(), questions=["reference"])["reference"]
    assert found.status == "unknown"
    assert "w have 2 numbers, given 30 data, which is more than the question may cost" in found.meaning


@pytest.mark.parametrize(
    "seen", [lambda y: y, lambda y: y[..., :], lambda y: 2 * y, lambda y: y.float().double()], ids=range(4)
)
def test_refits_do_not_hang_on_how_a_model_says_what_it_observes(seen: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same random numbers make the same data sets, whatever is observed of the batch."""
    observed: list[Tensor] = []
    plain = vsbc._fit

    def fit(pair: Regression, program: Program, batch: Batch, num_steps: int) -> tuple[Tensor, list[str]]:
        observed.append(looked_at_sites(program, batch)["y"]["value"])
        return plain(pair, program, batch, num_steps)

    monkeypatch.setattr(vsbc, "_fit", fit)
    torch.manual_seed(0)
    shares, names, _ = global_shares(Regression(*table(), seen=seen), table(), 1, 2)  # type: ignore[arg-type]
    assert names == ["w[0]", "w[1]"]
    assert bool(shares.isfinite().all())
    assert torch.equal(observed[0], observed[1])
    assert not torch.equal(observed[0], table()[1])
    assert float(observed[0].std()) < 5  # of the model itself, not twice its data


def looked_at_sites(program: Program, batch: Batch) -> dict[str, dict[str, Tensor]]:
    sites: dict[str, dict[str, Tensor]] = dict(run_particles(program, batch, 1).model_sites)
    return sites
