"""Chains of an energy-based pair: where they start, where they stand, and that they come to the pair's distribution."""

from pathlib import Path
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

import ppgen
from ppgen import draws
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import CD, PCD, ParallelTempering
from ppgen.models import RBM
from ppgen.objectives.objective import Objective
from ppgen.pairs.energy import SWEEPS
from ppgen.pairs.looking import looking


def machine() -> RBM:
    """A random machine of 4 visible and 3 hidden units."""
    pair = RBM(DataSpec("bits", 4, "binary"), 3)
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter)
    return pair


def walked(pair: RBM, num: int, *, seed: int = 0, **options: Any) -> Tensor:
    with looking(pair, seed):
        return pair.chain_states(num, **options)


class Beside(RBM):
    """A chain's state is v and the hidden units it was drawn from, side by side: (..., 4 + 3)."""

    exact_guide: ClassVar[bool] = False

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """Off by a half: the bound on -F(v) is not tight."""
        with self.data_plate(x):
            pyro.sample("h", dist.Bernoulli(logits=self._terms(x)[0] + 0.5).to_event(1))

    def state_at(self, v: Tensor) -> Tensor:
        return torch.cat([v, v.new_zeros(*v.shape[:-1], 3)], -1)

    def visible(self, s: Tensor) -> Tensor:
        return s[..., :4]

    def sweep(self, s: Tensor) -> Tensor:
        return self.state_at(super().sweep(self.visible(s)))

    def base_sample(self, num: int) -> Tensor:
        return self.state_at(super().base_sample(num))

    def log_tempered(self, s: Tensor, b: Tensor | float) -> Tensor:
        return super().log_tempered(self.visible(s), b)

    def tempered_sweep(self, s: Tensor, b: Tensor | float) -> Tensor:
        return self.state_at(super().tempered_sweep(self.visible(s), b))


def beside(like: RBM) -> Beside:
    pair = Beside(DataSpec("bits", 4, "binary"), 3)
    pair.load_state_dict(like.state_dict())
    return pair


def numbered(v: Tensor) -> Tensor:
    """The number of each state, (..., 4) -> (...,)."""
    return (v @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long()


def test_samples_follow_the_distribution_of_the_pair() -> None:
    """A chi-square test of 4,000 independent chains at a false-alarm rate of 1 in 10,000."""
    pair = machine()
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)  # (16, 4)
    p = (-pair.free_energy(states)).detach().double().softmax(0)
    x = draws.prior_samples(pair, (states,), 4000).x
    found = numbered(x).bincount(minlength=16)
    statistic = ((found - 4000 * p).square() / (4000 * p)).sum()
    assert float(p.min()) * 4000 > 5
    assert float(statistic) < chi2.ppf(1 - 1e-4, 15)


def test_chains_start_where_they_are_told_and_go_on() -> None:
    pair, start = machine(), torch.rand(3, 4).round()
    states = walked(pair, 5, start=start, after=(0, 2, 7))
    assert states.shape == (3, 5, 4)
    assert torch.equal(states[0], start[[0, 1, 2, 0, 1]])
    assert torch.equal(states[1], walked(pair, 5, start=start, after=(2,))[0])
    assert torch.equal(states[2], walked(pair, 5, start=start, after=(7,))[0])


def test_the_seed_fixes_the_chains_and_the_random_state_stays() -> None:
    pair, before = machine(), torch.get_rng_state()
    first, again, other = (walked(pair, 50, after=(3,), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_pictures_draw_by_chains_and_reconstruct_by_a_sweep() -> None:
    pair, x = machine(), torch.rand(9, 4).round()
    drawn = draws.prior_samples(pair, (x,), 6, start=x, seed=3)
    assert drawn.of_x == "Markov chains after 1,000 sweeps from its persistent chains"
    assert draws.prior_samples(pair, (x,), 6).of_x.endswith("sweeps from draws of its base distribution")
    assert torch.equal(drawn.x, walked(pair, 6, start=x, after=(SWEEPS,), seed=3)[0])
    again = draws.reconstructions(pair, (x,), seed=3)
    assert torch.equal(again.x, walked(pair, 9, start=x, after=(1,), seed=3)[0])


def test_a_run_keeps_its_chains_and_a_loaded_one_has_them_again(tmp_path: Path) -> None:
    data = ppgen.load_data("digits")
    options: dict[str, Any] = {"steps": 3, "eager": True}
    run = ppgen.fit(RBM(data.spec, 3), data, PCD(num_chains=7), out=tmp_path, **options)
    assert run.chains is not None
    assert run.chains.shape == (7, 64)
    again = ppgen.load(tmp_path).chains
    assert again is not None
    assert torch.equal(again, run.chains)
    assert ppgen.fit(RBM(data.spec, 3), data, CD(), **options).chains is None


def test_tempered_chains_of_a_run_are_those_of_the_model_itself() -> None:
    data = ppgen.load_data("digits")
    tempered = ParallelTempering(num_chains=5, num_temperatures=3)
    run = ppgen.fit(RBM(data.spec, 3), data, tempered, steps=2, eager=True)
    assert run.chains is not None
    assert torch.equal(run.chains, run.state["chains"][-1])
    assert run.chains.shape == (5, 64)


@pytest.mark.parametrize("objective", [CD(), PCD(num_chains=7), ParallelTempering(num_chains=7, num_temperatures=3)])
def test_a_chain_of_other_states_trains_as_that_of_the_data_does(objective: Objective) -> None:
    x = (torch.rand(20, 4) < 0.5).float()
    plain = machine()
    pairs = [plain, beside(plain)]
    for pair in pairs:
        ppgen.fit(pair, (x,), objective, steps=3, eager=True, seed=1)
    assert torch.equal(pairs[0].weight, pairs[1].weight)


def test_a_chain_of_other_states_gives_the_same_samples_and_log_z() -> None:
    plain, x = machine(), torch.rand(9, 4).round()
    other = beside(plain)
    assert torch.equal(draws.prior_samples(other, (x,), 5).x, draws.prior_samples(plain, (x,), 5).x)
    assert torch.equal(draws.reconstructions(other, (x,)).x, draws.reconstructions(plain, (x,)).x)
    options: dict[str, Any] = {"num_temperatures": 10, "num_chains": 5}
    assert ppgen.log_z(other, **options) == ppgen.log_z(plain, **options)


def test_an_inexact_guide_bounds_the_free_energy_and_evaluate_says_so() -> None:
    plain, x = machine(), (torch.rand(50, 4) < 0.5).float()
    exact = ppgen.evaluation.evaluate(plain, (x,), split="train", log_z=ppgen.log_z(plain, exact=True))
    found = ppgen.evaluation.evaluate(
        beside(plain), (x,), split="train", particles=500, log_z=ppgen.log_z(plain, exact=True)
    )
    assert (exact.method, found.method) == ("enumerated", "bound")
    one, *_, last = [point.log_likelihood for point in found.curve]
    assert one < last < exact.log_likelihood + 1e-2
    assert last == pytest.approx(exact.log_likelihood, abs=0.05)


def test_there_is_no_prior_to_walk_along() -> None:
    with pytest.raises(UsageError, match="latents have a prior to draw from, got RBM, which is unnormalised"):
        draws.latent_traversal(machine(), (torch.rand(9, 4).round(),))
