"""Weights of latents of the whole data set, where the posterior of them and of each datum's own is known."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.diagnostics import Finding, GlobalWeights, global_log_weights, pareto_k
from ppgen.errors import UsageError
from tests.diagnostics.linear import data_of, exact
from tests.doubles import Line, Shared, data


def landed(num: int, c: float = 1.0, pull: float = 1.0) -> tuple[Shared, Tensor]:
    """A pair at the posterior of ``num`` data; the guide's scale of the mean times ``c``, its pull on z times ``pull``.

    Where the pull is wrong, z's weights depend on the mean that they are given.
    """
    x = data(num)
    pair = Shared().land(x)
    with torch.no_grad():
        pair.log_width += math.log(c)
        pair.pull *= pull
    return pair, x


def found(pair: Shared, x: Tensor, num_particles: int) -> Finding:
    own = Dataset(DataSpec("own", 1, "real"), (x,), (x[:3],), (x[:3],))
    questions = ["global_importance"]
    return ppgen.diagnose(pair, own, num_particles=num_particles, questions=questions)["global_importance"]


@pytest.mark.parametrize("num", [5, 300])
def test_exact_guides_give_every_draw_the_evidence_of_all_data(num: int) -> None:
    pair, x = landed(num)
    weights = global_log_weights(pair, (x,), 130, 2)
    torch.testing.assert_close(weights.log_w, pair.log_evidence(x).expand(130), rtol=0, atol=1e-9)
    assert weights.noise < 1e-18
    assert float(pareto_k(weights.log_w[:, None])) == 0


@pytest.mark.parametrize("c", [0.6, pytest.param(0.5, marks=pytest.mark.thorough)])
def test_a_guide_of_c_times_the_scale_has_the_weights_of_one_dimension_whatever_the_number_of_data(c: float) -> None:
    """log w = log p(x) + log c + (1 - c^2) t^2 / 2 up to sign: with t the guide's standard normal draw,
    log N(c t; 0, 1) - log N(c t; 0, c^2), whose k is 1 - c^2 (test_weights)."""
    rest = []
    for num in (4, 200):
        pair, x = landed(num, c)
        rest.append(global_log_weights(pair, (x,), 130, 2).log_w - pair.log_evidence(x).detach())
    torch.testing.assert_close(*rest, rtol=0, atol=1e-8)
    t = ((rest[0] - math.log(c)) * 2 / (1 - c**2)).clamp_min(0).sqrt()
    assert bool((rest[0] > math.log(c) - 1e-9).all())
    assert float(t.square().mean()) == pytest.approx(1, abs=4.5 * (2 / 130) ** 0.5)  # a chi square; alarms 7e-6


@pytest.mark.thorough  # the weights are those of one dimension, as above, and what k-hat says of these, test_weights
@pytest.mark.parametrize("c", [0.6, 0.5])
def test_the_global_k_hat_of_a_narrow_guide_is_one_less_c_squared(c: float) -> None:
    """Of 4,000 draws the tail, 190, is cut at 4.7 %, t^2 > 3.9: the local k is (1 - c^2) / (1 + 1/3.9), within 20 % of
    its limit from below, and its standard error (1 + k) / sqrt(190) = 0.12. Three of these: false alarms 3e-3."""
    pair, x = landed(20, c)
    k = float(pareto_k(global_log_weights(pair, (x,), 4000, 2).log_w[:, None]))
    assert 0.8 * (1 - c**2) - 0.36 < k < 1 - c**2 + 0.36


def noise(num: int, num_particles: int) -> tuple[float, float]:
    """Under the exact q(g), whose weights are equal: the variance that particles add, and what it is said to be.

    Means over twelve seeds, since the common random numbers have one slope in the one dimension of g.
    """
    pair, x = landed(num, pull=0.5)
    every = [global_log_weights(pair, (x,), 10, num_particles, seed=seed) for seed in range(12)]
    return sum(float(weights.log_w.var()) for weights in every) / 12, sum(weights.noise for weights in every) / 12


def test_the_noise_of_local_latents_is_told() -> None:
    """The variance found is twelve chi squares of one degree: off by more than a factor of three once in 400."""
    found, told = noise(40, 30)
    assert 1 / 3 < told / found < 3


def test_with_common_random_numbers_noise_hardly_grows_with_the_data() -> None:
    """Draws of their own would have noise of N v / K, 16 times as much for 16 times the data."""
    (_, few), (_, many) = noise(20, 20), noise(320, 20)
    assert many < 6 * few


def test_the_mean_weight_is_the_evidence_by_few_particles() -> None:
    """Each w^ is unbiased: 200 weights of ten data, each two with particles of their own; a z-test of the means of
    two, false alarms 7e-6."""
    pair, x = landed(10, c=1.3, pull=0.5)
    log_w = torch.stack([global_log_weights(pair, (x,), 2, 3, seed=seed).log_w for seed in range(100)])
    w = (log_w - pair.log_evidence(x).detach()).exp().mean(1)
    assert abs(float(w.mean()) - 1) < 4.5 * float(w.std()) / 100**0.5


def test_a_good_guide_is_found_good_by_all_training_data() -> None:
    pair, x = landed(40)
    answer = found(pair, x, num_particles=130)
    assert (answer.status, answer.number, answer.advice) == ("good", 0, "")
    assert answer.details.num_data == 40
    assert "all 40 training data" in answer.meaning


@pytest.mark.parametrize(("d", "status"), [(0.4, "good"), (1.0, "warn"), (-0.8, "warn")])
def test_a_guide_off_to_a_side_is_told_by_what_its_weights_mend(d: float, status: str) -> None:
    """By d standard deviations: d^2 / 2 nats, half of the variance of 130 log-weights, d^2 chi^2_129 / 129; within
    five of its standard deviations, 0.62 times d^2 / 2. Their tail is a log-normal's, of a low k-hat."""
    pair, x = landed(40)
    with torch.no_grad():
        pair.at += d * pair.log_width.exp()
    answer = found(pair, x, num_particles=130)
    assert answer.details.misfit == pytest.approx(d**2 / 2, rel=0.62)
    assert answer.status == status
    assert (answer.quantity, answer.unit) == (("", "nats") if status == "warn" else ("k-hat", ""))


def test_a_narrow_guide_is_found_bad_and_told_not_to_be_reweighted() -> None:
    pair, x = landed(40, c=0.2)
    answer = found(pair, x, num_particles=130)
    assert answer.status == "bad"
    assert answer.number is not None
    assert answer.number > 0.7
    assert "Do not reweight" in answer.advice


def test_a_high_k_hat_that_may_be_noise_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppgen.diagnostics.questions.global_importance._NOISE", 1e-6)
    pair, x = landed(20, c=0.2, pull=0.5)
    answer = found(pair, x, num_particles=130)
    assert answer.details.noise_share > 1e-6
    assert answer.status == "unknown"
    assert "more particles" in answer.advice


def test_too_few_draws_for_a_tail_leave_the_question_unanswered() -> None:
    answer = found(*landed(5), num_particles=120)
    assert (answer.status, answer.number) == ("unknown", None)
    assert "draw 125 particles or more" in answer.meaning


def test_data_that_cost_too_much_leave_it_unanswered_rather_than_a_part_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ppgen.diagnostics.questions.global_importance._CELLS", 10**6)
    answer = found(*landed(40), num_particles=200)
    assert (answer.status, answer.number) == ("unknown", None)
    assert "need all 40 training data" in answer.meaning


def test_a_guide_of_pyros_own_is_asked_with_what_it_makes_its_latents_of() -> None:
    """An autoguide's latents are made of one auxiliary draw; without latents of data there is no noise."""

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.guide = AutoNormal(self.model)

        def model(self, x: Tensor) -> None:
            mean = pyro.sample("mean", dist.Normal(x.new_zeros(()), 1.0))
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    x = data(9)[:, 0]
    pair = Mean()
    pair.guide(x)
    pair.double()
    with torch.no_grad():
        pair.guide.locs.mean.copy_(x.sum() / 10)
    pair.guide.scales.mean = torch.tensor(10**-0.5, dtype=torch.float64)
    weights = global_log_weights(pair, (x,), 130, 2)
    covariance = torch.eye(9, dtype=x.dtype) + 1
    exact_value = dist.MultivariateNormal(torch.zeros_like(x), covariance).log_prob(x)
    torch.testing.assert_close(weights.log_w, exact_value.expand(130), rtol=0, atol=1e-6)


def test_a_datum_with_a_nan_is_named() -> None:
    pair, x = landed(5)
    x[3] = math.nan
    with pytest.raises(UsageError, match="training datum 3 is NaN"):
        global_log_weights(pair, (x,), 2, 2)


def test_the_random_state_is_left_as_it_was_and_the_seed_decides() -> None:
    pair, x = landed(5, pull=0.5)
    before = torch.get_rng_state()
    one, two, other = (global_log_weights(pair, (x,), 5, 4, seed=seed).log_w for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_a_pair_without_global_latents_is_not_asked_and_is_refused() -> None:
    line = exact(torch.randn(3, 2))
    assert ppgen.diagnose(line, data_of(line, 20), questions=["global_importance"]).findings == ()
    with pytest.raises(UsageError, match="expected latents outside the data plate"):
        global_log_weights(Line(), (data(8),), 2)


@pytest.mark.parametrize(("draws", "particles"), [(1, 5), (5, 1)])
def test_a_single_draw_or_particle_is_refused(draws: int, particles: int) -> None:
    with pytest.raises(UsageError, match="must be at least 2"):
        global_log_weights(Shared(), (data(8),), draws, particles)


def test_equal_weights_have_no_noise_to_share() -> None:
    same = torch.zeros(3, dtype=torch.float64)
    weights = GlobalWeights(log_w=same, without=torch.stack([same, same]), num_particles=2, num_data=1, num_latents=1)
    assert weights.noise_share == 0
