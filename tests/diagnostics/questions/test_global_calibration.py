"""VSBC where the refitted guide can hold the posterior of a global latent, and where it cannot reach it."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor
from torch.nn.functional import softplus

import ppgen
import ppgen.diagnostics.questions.global_calibration as vsbc
from ppgen.data import Dataset, DataSpec
from ppgen.diagnostics.questions.global_calibration import global_shares
from ppgen.diagnostics.uniformity import symmetry_p
from ppgen.errors import UsageError
from ppgen.pairs.tracing import Program, run_particles
from tests.doubles import Line, Shared, data


def own(num: int) -> Dataset:
    """So many data in each split."""
    x = data(num)
    return Dataset(DataSpec("own", 1, "real"), (x,), (x,), (x,))


class AboveOne(Shared):
    """The guide's mean is above one, and five of six draws of the prior are not."""

    def guide(self, x: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(1 + softplus(self.at), self.log_width.exp()))  # (K, 1)
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.slope * x[:, 0] + self.pull * mean, self.log_scale.exp()))  # (K, B)


@pytest.mark.thorough
def test_a_guide_that_can_hold_the_posterior_is_symmetric() -> None:
    """Refits of a Gaussian guide to a Gaussian posterior. False alarms: 1 in 100; the seed is fixed."""
    shares, names, drift = global_shares(Shared(), (data(8),), 40)
    assert names == ["mean"]
    assert drift < 0.5  # the noise of 200 draws: 0.1
    assert float(symmetry_p(shares)) > 0.01
    assert float(shares.mean()) == pytest.approx(0.5, abs=4.5 * (1 / 12 / 40) ** 0.5)


@pytest.mark.thorough
def test_a_guide_held_to_one_side_is_found_there() -> None:
    """Too high: nearly all of g* below one lie in its lower half."""
    shares, *_ = global_shares(AboveOne(), (data(8),), 40)
    assert float(symmetry_p(shares)) < 0.01
    assert float(shares.mean()) < 0.3


class Two(Shared):
    """A further latent of the whole data set, of two numbers."""

    def model(self, x: Tensor) -> None:
        pyro.sample("pair", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        super().model(x)

    def guide(self, x: Tensor) -> None:
        pyro.sample("pair", dist.Normal(torch.ones(2), 1.0).to_event(1))
        super().guide(x)


def test_all_numbers_of_all_global_latents_stand_side_by_side() -> None:
    pair = Two()
    particles = run_particles(Program(pair.model, pair.guide), (data(4),), 5)
    numbers, names = vsbc._numbers(particles)
    assert sorted(names) == ["mean", "pair[0]", "pair[1]"]
    for column, name in zip(numbers.T, names, strict=True):
        site, _, index = name.partition("[")
        expected = particles.guide_sites[site]["value"].detach().double().flatten(1)[:, int(index.rstrip("]") or 0)]
        assert torch.equal(column, expected)


def test_a_refit_leaves_the_pair_as_it_was() -> None:
    pair = Shared()
    before = {name: value.clone() for name, value in pair.state_dict().items()}
    shares, *_ = global_shares(pair, (data(8),), 2, 3)
    assert shares.shape == (2, 1)
    assert all(torch.equal(value, before[name]) for name, value in pair.state_dict().items())
    assert all(value.grad is None for value in pair.parameters())


def test_a_refit_starts_near_the_truth() -> None:
    """Fifty steps up log q(g*), where q's mean is at 0.3 and its scale 0.6."""
    pair, x = Shared(), data(8)
    truth = torch.full((1, 1), 2.0, dtype=torch.float64)
    vsbc._towards(pair, (x,), {"mean": truth})
    assert float((pair.at.detach() - 2).abs()) < 0.5


def test_an_autoguide_has_no_density_of_the_truth_and_is_refitted_from_where_it_is() -> None:
    def model(x: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    shares, names, _ = global_shares(ppgen.pair_from(model, AutoNormal(model)), (torch.randn(6),), 2, 3)
    assert names == ["mean"]
    assert bool(shares.isfinite().all())


def test_a_refit_that_is_cut_short_drifts() -> None:
    """The first step of Adam moves the mean by 0.5, and its standard deviation is below 1."""
    *_, drift = global_shares(Shared(), (data(8),), 2, 1)
    assert drift > 0.5


def test_shares_and_drift_are_those_of_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """One data set, three dimensions, draws about a truth of 2 with standard deviations 2^(1/2), 2^(1/2) and 4."""
    truth = torch.full((3,), 2.0, dtype=torch.float64)
    draws = torch.tensor([[1.0, 3.0, -2.0], [2.0, 4.0, 2.0], [3.0, 5.0, 6.0]], dtype=torch.float64)
    again = draws + torch.tensor([0.25, 0.5, 3.0], dtype=torch.float64)
    fits = iter([(draws, ["a", "b", "c"]), (again, ["a", "b", "c"])])
    monkeypatch.setattr(vsbc, "_simulated", lambda pair, batch: (None, batch, truth, {}))
    monkeypatch.setattr(vsbc, "_towards", lambda pair, batch, given: None)
    monkeypatch.setattr(vsbc, "_fit", lambda pair, program, batch, num_steps: next(fits))
    shares, names, drift = global_shares(Shared(), (data(8),), 1)
    assert names == ["a", "b", "c"]
    torch.testing.assert_close(shares, torch.tensor([[1 / 2, 0.0, 1 / 2]], dtype=torch.float64))
    assert drift == pytest.approx(0.5)


def test_symmetric_shares_of_refits_that_drift_are_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = torch.linspace(0.01, 0.99, 40, dtype=torch.float64)[:, None]
    answers = {}
    for drift in (0.4, 0.6):
        monkeypatch.setattr(vsbc, "global_shares", lambda *given, drift=drift, **options: (shares, ["mean"], drift))
        answers[drift] = ppgen.diagnose(Shared(), own(20), questions=["global_calibration"])["global_calibration"]
    assert (answers[0.4].status, answers[0.4].advice) == ("good", "")
    assert answers[0.6].status == "unknown"
    assert "as many steps again move a guide by 0.6 of its standard deviations" in answers[0.6].meaning


@pytest.mark.parametrize(("affordable", "sets", "size"), [(10**9, 40, 20), (30 * 20, 30, 20), (16 * 5, 16, 5)])
def test_a_smaller_budget_first_makes_fewer_data_sets_and_then_smaller_ones(
    affordable: int, sets: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``affordable``: data of all sets together, of one number each."""
    cost = vsbc._STEPS * vsbc._PARTICLES * (1 + vsbc._OTHER)
    monkeypatch.setattr(vsbc, "_CELLS", affordable * cost)
    asked: dict[str, int] = {}

    def shares(pair: Shared, batch: tuple[Tensor], num: int, **options: bool) -> tuple[Tensor, list[str], float]:
        asked.update(sets=num, size=len(batch[0]))
        return torch.rand(num, 1, dtype=torch.float64), ["mean"], 0.1

    monkeypatch.setattr(vsbc, "global_shares", shares)
    found = ppgen.diagnose(Shared(), own(20), questions=["global_calibration"])["global_calibration"]
    assert asked == {"sets": sets, "size": size}
    assert f"{sets} simulated data sets of {size} data each" in found.meaning


def test_a_pair_without_global_latents_is_refused() -> None:
    with pytest.raises(UsageError, match="VSBC is for latents outside the data plate"):
        global_shares(Line(), (data(8),), 2)
