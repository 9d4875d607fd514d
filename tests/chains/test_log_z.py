"""log Z: exact where it can be enumerated, within its own error bar where it is estimated."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.chains.annealing import adapted, annealed, annealed_steps, temperatures
from ppgen.chains.log_z import LogZ, _estimate
from ppgen.data import DataSpec
from ppgen.distributions.binary_states import binary_states
from ppgen.errors import UsageError
from ppgen.models import RBM, VAE


def machine(visible: int, hidden: int, seed: int = 0, spread: float = 0.5) -> RBM:
    """A random binary machine, float64; its base distribution has rates of its own."""
    torch.manual_seed(seed)
    pair = RBM(DataSpec("bits", visible, "binary", mean=0.1 + 0.8 * torch.rand(visible)), hidden).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, std=spread)
    return pair


def states(units: int) -> Tensor:
    """All states of ``units`` binary units, (2^units, units)."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * units).view(-1, units)


@pytest.mark.parametrize(("visible", "hidden"), [(3, 7), (7, 3), (5, 5), (2, 1)])
def test_exact_log_z_is_the_sum_over_all_states(visible: int, hidden: int) -> None:
    pair = machine(visible, hidden, spread=1.0)
    v, h = states(visible), states(hidden)
    energies = v @ pair.visible_bias[:, None] + h @ pair.hidden_bias + v @ pair.weight @ h.T  # (2^D, 2^H)
    found = ppgen.log_z(pair, exact=True)
    assert found == LogZ(found.value, 0.0, True)
    assert found.value == pytest.approx(float(energies.detach().logsumexp((0, 1))), abs=1e-12)


@pytest.mark.thorough
def test_fifty_machines_lie_within_three_standard_errors_of_the_truth() -> None:
    """Up to 20 hidden units. Of 50 normal errors, two or more beyond 3 standard errors: one time in 120."""
    far = 0
    for seed in range(50):
        sizes = torch.randint(1, 21, (2,), generator=torch.Generator().manual_seed(seed)).tolist()
        pair = machine(sizes[0] + 1, sizes[1], seed)
        found, exact = ppgen.log_z(pair, num_temperatures=1000, seed=seed), ppgen.log_z(pair, exact=True)
        far += abs(found.value - exact.value) > 3 * found.standard_error
    assert far <= 1


def test_the_error_bar_is_the_spread_of_repetitions() -> None:
    """30 repetitions: their standard deviation over the reported error leaves [0.6, 1.5] less than once in 1,000."""
    pair = machine(12, 8, spread=1.0)
    found = [ppgen.log_z(pair, num_temperatures=50, seed=seed) for seed in range(30)]
    values = torch.tensor([each.value for each in found])
    reported = torch.tensor([each.standard_error for each in found])
    assert 0.6 < float(values.std() / reported.square().mean().sqrt()) < 1.5


@pytest.mark.parametrize("spacing", ["piecewise", "linear"])
def test_the_mean_weight_is_unbiased_however_few_the_temperatures(spacing: Any) -> None:
    """A normal test at 4 standard errors: a false alarm in 16,000."""
    pair = machine(6, 4)
    with torch.no_grad():
        log_w = annealed(pair, pair.base_sample(20_000), temperatures(3, spacing)) + pair.base_log_z()
    ratio = (log_w - ppgen.log_z(pair, exact=True).value).exp()
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / math.sqrt(len(ratio))


def test_more_temperatures_give_a_smaller_error_and_more_even_weights() -> None:
    few, many = (ppgen.log_z(machine(12, 8, spread=1.0), num_temperatures=num) for num in (20, 500))
    assert many.standard_error < few.standard_error / 2
    assert many.effective_sample_size is not None
    assert few.effective_sample_size is not None
    assert few.effective_sample_size < many.effective_sample_size <= 100


def test_a_machine_without_weights_has_the_log_z_of_its_base() -> None:
    pair = RBM(DataSpec("bits", 5, "binary", mean=torch.rand(5)), 3).double()
    torch.nn.init.zeros_(pair.weight)
    found = ppgen.log_z(pair, num_temperatures=7, num_chains=4)
    truth = torch.nn.functional.softplus(pair.visible_bias).sum() + 3 * math.log(2)
    assert found.value == pytest.approx(float(truth.detach()), abs=1e-12)
    assert found.standard_error < 1e-12
    assert found.effective_sample_size == pytest.approx(4)


VISIBLES = {
    "gaussian": (DataSpec("reals", 3, "real"), {}),
    "categorical": (DataSpec("greys", 3, "quantised", levels=4), {}),
    "counts": (DataSpec("words", 5, "counts"), {"length": 6}),
}


@pytest.mark.parametrize("visible", VISIBLES)
def test_other_visible_layers_anneal_to_their_exact_log_z(visible: str) -> None:
    """Within 4 standard errors: a false alarm in 16,000 each."""
    spec, options = VISIBLES[visible]
    pair = RBM(spec, 4, visible=visible, **options).double()  # type: ignore[arg-type]  # a length
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    found, exact = ppgen.log_z(pair, num_temperatures=300), ppgen.log_z(pair, exact=True)
    assert abs(found.value - exact.value) < 4 * found.standard_error


@pytest.mark.parametrize("level", [0.0, 5000.0, -5000.0])
def test_error_and_effective_size_are_those_of_the_weights_however_large(level: float) -> None:
    """Weights 1, 3, 3, 1 times e^level: mean 2, variance 4 / 3, 8^2 / 20 effective ones."""
    found = _estimate(level + torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64).log(), 7)
    assert found.value == pytest.approx(level + math.log(2))
    assert found.standard_error == pytest.approx(math.sqrt(4 / 3) / 2 / 2)
    assert found.effective_sample_size == pytest.approx(64 / 20)
    assert (found.exact, found.num_temperatures, found.num_chains) == (False, 7, 4)


def test_the_seed_fixes_the_estimate_and_the_random_state_stays() -> None:
    pair, before = machine(5, 4), torch.get_rng_state()
    first, second, third = (ppgen.log_z(pair, num_temperatures=10, seed=seed) for seed in (3, 3, 4))
    assert first == second != third
    assert torch.equal(torch.get_rng_state(), before)


def test_temperatures_are_spaced_as_published() -> None:
    """500 steps to 0.5, 4,000 to 0.9, 10,000 to 1."""
    betas = temperatures(14_500)
    assert betas[[0, 500, 4_500, 14_500]].tolist() == pytest.approx([0, 0.5, 0.9, 1], abs=1e-12)
    for num in (2, 3, 10, 777):
        steps = temperatures(num)
        assert len(steps) == num + 1
        assert steps[0] == 0
        assert steps[-1] == 1
        assert bool((steps.diff() > 0).all())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_temperatures": 1}, "num_temperatures must be at least 2, got 1"),
        ({"num_chains": 1}, "num_chains must be at least 2, got 1"),
        ({"spacing": "lineal"}, "unknown spacing of temperatures, 'lineal': did you mean 'linear'"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        ppgen.log_z(machine(3, 2), **options)


def test_enumeration_beyond_its_reach_is_refused_with_the_number() -> None:
    with pytest.raises(UsageError, match=r"2\*\*23 states, and at most 2\*\*22 .* annealed importance sampling"):
        ppgen.log_z(machine(30, 23), exact=True)


def test_a_normalised_pair_has_no_log_z_to_estimate() -> None:
    with pytest.raises(UsageError, match="got VAE, whose log Z is 0"):
        ppgen.log_z(VAE(DataSpec("bits", 4, "binary"), 2))


def test_an_unnormalised_pair_without_a_path_is_told_what_to_do() -> None:
    pair = VAE(DataSpec("bits", 4, "binary"), 2)
    pair.normalised = False  # type: ignore[misc]  # of this one
    with pytest.raises(UsageError, match="derive it from EnergyPair, or give evaluate your own log_z="):
        ppgen.log_z(pair)


def test_parameters_that_overflow_are_named_as_such() -> None:
    pair = machine(4, 3)
    with torch.no_grad():
        pair.visible_bias[0] = math.inf
    with pytest.raises(UsageError, match="of 100 chains ended with a weight that is not finite"):
        ppgen.log_z(pair, num_temperatures=5)


def a_random_machine(seed: int, scale: float = 1.0) -> RBM:
    torch.manual_seed(seed)
    pair = RBM(DataSpec("bits", 5, "binary"), 4).double()
    for parameter in (*pair.parameters(), pair.base_bias):
        torch.nn.init.normal_(parameter, 0.0, scale)
    return pair


def test_error_bars_cover_log_z_of_fifty_random_machines() -> None:
    """Of 50 estimates by 60 weights each, those within 3 of their errors, as 299 of 300 other machines' are; fewer than
    47 are one false alarm in 30,000."""
    within = []
    for seed in range(50):
        pair = a_random_machine(seed)
        found = ppgen.log_z(pair, num_temperatures=60, num_chains=60, seed=seed)
        within.append(abs(found.value - float(pair.exact_log_z())) < 3 * found.standard_error)
    assert sum(within) >= 47


def test_the_sides_of_a_sandwich_are_below_and_above_in_expectation() -> None:
    """Means over 100 machines of too few temperatures and chains, from exact draws of the model, by 4.5 errors."""
    states, betas = next(binary_states(5, torch.zeros((), dtype=torch.float64))), temperatures(3)
    below, above = [], []
    for seed in range(100):
        pair = a_random_machine(seed, scale=1.5)
        with torch.no_grad():
            base, exact = pair.base_log_z(), pair.exact_log_z()
            drawn = states[torch.multinomial(pair.log_tempered(states, 1.0).softmax(0), 3, replacement=True)]
            lower = _estimate(annealed(pair, pair.base_sample(3), betas) + base, 3).value
            upper = -_estimate(annealed(pair, drawn, betas.flip(0)) - base, 3).value
        below.append(float(exact) - lower)
        above.append(upper - float(exact))
    for gaps in map(torch.tensor, (below, above)):
        assert float(gaps.mean()) > 4.5 * float(gaps.std()) / 10


def test_a_sandwich_of_many_temperatures_is_narrow() -> None:
    pair = a_random_machine(0)
    found, exact = ppgen.log_z(pair, num_temperatures=300, sandwich=True), float(pair.exact_log_z())
    assert found.upper == pytest.approx(exact, abs=0.05)
    assert found.value == pytest.approx(exact, abs=0.05)
    assert found.upper_standard_error is not None


def test_adaptive_temperatures_spread_the_weights_less() -> None:
    pair = a_random_machine(3, scale=2.5)
    with torch.no_grad():
        torch.manual_seed(0)
        betas = adapted(pair, 40)
        spreads = {}
        for name, rungs in (("adaptive", betas), ("linear", temperatures(40, "linear")), ("usual", temperatures(40))):
            torch.manual_seed(1)
            spreads[name] = float(annealed_steps(pair, pair.base_sample(2_000), rungs).sum(0).std())
    assert (float(betas[0]), float(betas[-1]), len(betas)) == (0.0, 1.0, 41)
    assert bool((betas.diff() > 0).all())
    assert spreads["adaptive"] < min(spreads["linear"], spreads["usual"])
    once, again = (ppgen.log_z(pair, num_temperatures=40, spacing="adaptive") for _ in range(2))
    assert once == again


def test_few_effective_chains_are_warned_of() -> None:
    pair = a_random_machine(3, scale=4.0)
    few = ppgen.log_z(pair, num_temperatures=2, num_chains=50)
    assert few.effective_sample_size is not None
    assert few.effective_sample_size < 10
    assert f"rests on {few.effective_sample_size:.1f} of 50 chains" in few.warning
    assert few.flattery is not None
    assert few.flattery > few.standard_error
    said = f"errs towards flattery by up to {few.flattery:.2f} nats, with these chains, at 95 % by the spread"
    assert said in few.warning
    assert ppgen.log_z(pair, num_temperatures=1_000, num_chains=50).warning == ""
    assert ppgen.log_z(pair, exact=True).warning == ""


def test_temperatures_are_doubled_until_the_chains_are_worth_twenty() -> None:
    pair = a_random_machine(3, scale=4.0)
    found = ppgen.log_z(pair, num_temperatures=3, num_chains=100, budget=100_000)
    assert found.enough
    assert found.upper is None
    steps, run = [], 3
    while run < (found.num_temperatures or 0):
        steps.append(run)
        run *= 2
    assert run == found.num_temperatures
    assert (found.num_chains, found.num_sweeps) == (100, 100 * (sum(steps) + run))
    once = ppgen.log_z(pair, num_temperatures=3, num_chains=50)
    assert once == ppgen.log_z(pair, num_temperatures=3, num_chains=50, budget=None)
    assert once.num_sweeps == 150


def test_the_other_side_is_annealed_where_the_budget_ends(few_sweeps: None) -> None:
    pair = a_random_machine(3, scale=4.0)
    found = ppgen.log_z(pair, num_temperatures=2, num_chains=50, budget=299)
    assert (found.num_sweeps, found.enough) == (100, False)
    assert found.upper is not None
    assert found.upper_r_hat is not None
    assert found.flattery is not None
    truth = ppgen.log_z(pair, exact=True).value
    assert found.value < truth < found.value + found.flattery


def test_chains_that_stay_in_two_modes_are_told_by_their_r_hat() -> None:
    """Two states of equal energy that are left less than once in e^15 sweeps: no upper side alone is believed there."""
    pair = RBM(DataSpec("bits", 8, "binary"), 1).double()
    with torch.no_grad():
        pair.weight.fill_(8.0)
        pair.visible_bias.fill_(-4.0)
        pair.hidden_bias.fill_(-32.0)
    two = torch.tensor([[0.0] * 8, [1.0] * 8], dtype=torch.float64)
    apart = ppgen.log_z(pair, num_temperatures=20, num_chains=20, sandwich=True, start=two)
    one = ppgen.log_z(pair, num_temperatures=20, num_chains=20, sandwich=True, start=two[:1])
    assert apart.upper_r_hat is not None
    assert apart.upper_r_hat > 1.5
    assert not apart.mixed
    assert one.upper_r_hat is not None
    assert one.mixed  # what no chain has seen is told by none


@pytest.mark.parametrize("budget", [0, -1, 999_999])
def test_a_budget_of_less_than_one_run_is_refused(budget: int) -> None:
    sentence = r"budget must be at least the 1,000,000 sweeps of one run \(10,000 temperatures x 100 chains\), got"
    with pytest.raises(UsageError, match=sentence):
        ppgen.log_z(machine(3, 2), budget=budget)


def test_documents_of_several_lengths_have_one_interval_of_their_mean() -> None:
    """Of 40 repetitions of few temperatures: below 33 of 40 covered is a false alarm of 1 in 10,000."""
    pair, sizes = RBM(DataSpec("words", 5, "counts"), 4, length=3).double(), torch.tensor([2, 3, 5, 5])
    torch.manual_seed(0)
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    truth, covered = ppgen.log_z(pair, exact=True, sizes=sizes).value, 0
    for seed in range(40):
        found = ppgen.log_z(pair, num_temperatures=4, num_chains=20, sizes=sizes, seed=seed, spacing="linear")
        covered += (found.low or 0.0) <= truth <= (found.high or 0.0)
    assert covered >= 33


def test_an_evaluation_tells_the_other_side_and_the_warning() -> None:
    pair, x = a_random_machine(3, scale=4.0), torch.rand(20, 5, dtype=torch.float64).round()
    log_z = ppgen.log_z(pair, num_temperatures=2, sandwich=True)
    found = ppgen.evaluation.evaluate(pair, x, particles=1, log_z=log_z)
    assert found.lower is not None
    assert found.lower < found.log_likelihood
    assert log_z.upper_standard_error is not None
    error = float((pair.free_energy(x).detach().var() / 20 + log_z.upper_standard_error**2) ** 0.5)
    assert found.lower_standard_error == pytest.approx(error)
    assert f"at least {found.lower:.2f} ± {error:.2f} by log Z from above, {log_z.upper:.2f} ± " in found.sentence
    assert "Warning: log Z rests on" in found.sentence
    assert found == type(found).from_json(found.to_json())
