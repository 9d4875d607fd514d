"""The Hopfield net: its energy by the formula, its recall, and what diagnosis and page say of its patterns."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.chains.recall import recall, two_step_energy
from ppgen.data import DataSpec
from ppgen.distributions.binary_states import binary_states
from ppgen.errors import UsageError
from ppgen.inference import Hebb, PseudoInverse
from ppgen.models import Boltzmann, Hopfield
from ppgen.pairs.parameters import isolated
from ppgen.report.energy import recalled_patterns

D = 5


def all_of(units: int) -> Tensor:
    (states,) = binary_states(units, torch.zeros((), dtype=torch.float64))
    return states


def random_net(size: int = D, seed: int = 0, **options: Any) -> Hopfield:
    generator = torch.Generator().manual_seed(seed)
    pair = Hopfield(DataSpec("bits", size, "binary", mean=torch.full((size,), 0.3)), **options).double()
    for parameter in pair.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return pair


def by_hand(pair: Hopfield, x: Tensor) -> float:
    """E of one state, pair by pair of units."""
    weight, bias, s = pair.weight.detach(), pair.visible_bias.detach(), [2 * float(bit) - 1 for bit in x]
    both = (weight + weight.T) / 2
    pairs = sum(float(both[i, j]) * s[i] * s[j] for i in range(len(s)) for j in range(i + 1, len(s)))
    return -pairs - sum(float(bias[i]) * s[i] for i in range(len(s)))


def test_the_energy_is_that_of_the_formula() -> None:
    pair = random_net(temperature=0.7)
    expected = torch.tensor([by_hand(pair, x) for x in all_of(D)], dtype=torch.float64)
    torch.testing.assert_close(pair.energy(all_of(D)).detach(), expected)
    torch.testing.assert_close(pair.free_energy(all_of(D)).detach(), expected / 0.7)
    torch.testing.assert_close(pair.log_tempered(all_of(D), 1.0).detach(), -expected / 0.7)
    torch.testing.assert_close(pair.exact_log_z(), (-expected / 0.7).logsumexp(0))
    log_w = ppgen.log_weights(pair, (all_of(D),), num_particles=3)
    torch.testing.assert_close(log_w, -(expected / 0.7).expand(3, -1))


def test_it_is_a_boltzmann_machine_of_four_times_the_weights() -> None:
    pair, machine = random_net(temperature=0.7), Boltzmann(DataSpec("bits", D, "binary"), temperature=0.7).double()
    with isolated(), torch.no_grad():
        weight = (pair.weight + pair.weight.T) / 2
        weight = weight - weight.diagonal().diag()
        machine.weight.copy_(4 * weight)
        machine.visible_bias.copy_(2 * pair.visible_bias - 2 * weight.sum(1))
    found, expected = ((-one.free_energy(all_of(D))).softmax(0) for one in (pair, machine))
    torch.testing.assert_close(found, expected)


def test_the_path_begins_at_independent_units_of_the_datas_rates() -> None:
    pair = random_net()
    log_p = pair.log_tempered(all_of(D), 0.0)
    torch.testing.assert_close(pair.base_log_z(), log_p.logsumexp(0))
    torch.testing.assert_close(log_p.softmax(0) @ all_of(D), torch.full((D,), 0.3, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(5))
def test_asynchronous_recall_never_climbs_and_comes_to_rest(seed: int) -> None:
    """Over 40 starts in a net of 30 units, whose energies are of the order of 100: 1e-11 is rounding."""
    pair, x = random_net(30, seed), torch.rand(40, 30).round().double()
    way = pair.recall(x, num_sweeps=100)
    assert way.states.shape == (101, 40, 30)
    assert way.energies.shape == (101, 40)
    torch.testing.assert_close(way.energies, pair.energy(way.states).detach())
    assert float(way.energies.diff(dim=0).max()) < 1e-11
    assert float(way.energies[0].mean() - way.energies[-1].mean()) > 10
    assert bool(pair.remembers(way.end).all())
    flipped = way.end[:, None] + torch.eye(30, dtype=torch.float64) * (1 - 2 * way.end[:, None])  # (40, 30, 30)
    assert bool((pair.energy(flipped) > way.energies[-1][:, None]).all())  # a minimum among neighbours


@pytest.mark.parametrize("seed", range(5))
def test_synchronous_recall_never_climbs_in_the_two_step_energy_and_ends_in_cycles_of_two(seed: int) -> None:
    pair, x = random_net(30, seed), torch.rand(40, 30).round().double()
    way = pair.recall(x, num_sweeps=200, synchronous=True)
    assert way.energies.shape == (200, 40)
    assert float(way.energies.diff(dim=0).max()) < 1e-11
    assert torch.equal(way.states[-1], way.states[-3])
    rests = (way.states[-1] == way.states[-2]).all(-1)
    assert not bool(rests.all())  # some of these cycles have two states, whose own energies need not fall
    assert float(pair.energy(way.states).detach().diff(dim=0).max()) > 1e-3
    torch.testing.assert_close(way.energies[-1][rests], pair.energy(way.end).detach()[rests])


@pytest.mark.parametrize("synchronous", [False, True])
def test_with_fields_of_zero_units_stay_and_cycles_are_no_longer_than_two(synchronous: bool) -> None:
    """Couplings of -1, 0 and 1 have many such fields, without rounding."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        weight = torch.triu(torch.randint(-1, 2, (12, 12), generator=generator).double(), 1)
        weight, bias = weight + weight.T, torch.zeros(12, dtype=torch.float64)
        x = torch.randint(0, 2, (50, 12), generator=generator).double()
        way = recall(x, weight, bias, 60, synchronous=synchronous)
        assert bool((way.energies.diff(dim=0) <= 0).all())
        assert torch.equal(way.states[-1], way.states[-3 if synchronous else -2])
    still = recall(x, torch.zeros_like(weight), bias, 3, synchronous=synchronous)
    assert torch.equal(still.end, x)


def test_two_steps_at_a_fixed_point_have_the_energy_of_the_formula() -> None:
    pair, x = random_net(), all_of(D)
    both = two_step_energy(x[:, None], x, *pair.fields()).detach()
    torch.testing.assert_close(both.diagonal(), pair.energy(x).detach())
    torch.testing.assert_close(both, both.T)


def test_recall_at_no_temperature_is_the_limit_of_gibbs_sweeps() -> None:
    pair, x = random_net(20, temperature=1e-9), torch.rand(30, 20).round().double()
    torch.testing.assert_close(pair.sweep(x), pair.recall(x, 1).end, rtol=0, atol=0)


def test_corrupted_digits_are_recalled() -> None:
    data = ppgen.load_data("digits", binarize="threshold")
    pair, x = Hopfield(data.spec), data.train[0]
    ppgen.fit(pair, data, PseudoInverse(num_patterns=8), epochs=1, progress=False)
    patterns = x[pair.remembers(x)]
    assert 8 <= len(patterns) < 16  # the stored ones, and what happens to be a fixed point beside them
    flipped = torch.where(torch.rand(patterns.shape) < 0.05, 1 - patterns, patterns)
    wrong = (pair.recall(flipped).end != patterns).float().mean()
    assert float(wrong) < 0.5 * float((flipped != patterns).float().mean())


def test_a_net_goes_the_whole_way(tmp_path: Path) -> None:
    x = torch.rand(30, 12).round()
    data = ppgen.dataset_from(x)
    x = data.train[0]
    run = ppgen.fit(Hopfield(data.spec), data, PseudoInverse(num_patterns=4), epochs=1, out=tmp_path / "run")
    pair: Any = run.pair
    remembered = int(pair.remembers(x).sum())
    assert remembered >= 4  # the stored ones, and what happens to be a fixed point beside them
    assert math.isfinite(run.evaluate(log_z=ppgen.log_z(pair, num_temperatures=50)).log_likelihood)
    found = run.diagnose(questions=["recall"], num_data=3)["recall"]
    assert found.details.num_remembered == remembered
    assert found.details.num_data == len(x)
    section = recalled_patterns(run)
    assert section is not None
    assert f"{remembered} of {len(x)} training data are remembered" in section.figures[0].caption
    again: Any = ppgen.load(tmp_path / "run", data=data).pair
    assert torch.equal(again.weight, pair.weight)


def test_a_diagnosis_says_that_too_many_patterns_were_stored() -> None:
    data = ppgen.load_data("digits", binarize="threshold")
    run = ppgen.fit(Hopfield(data.spec), data, Hebb(), epochs=1, progress=False)
    found = run.diagnose(questions=["recall"], num_data=10)["recall"]
    assert (found.status, found.number, found.details.num_remembered) == ("bad", None, 0)
    assert "'pseudo_inverse'" in found.advice


def test_what_was_stored_of_data_that_are_drawn_anew_is_not_known() -> None:
    data = ppgen.load_data("digits", binarize="dynamic")
    run = ppgen.fit(Hopfield(data.spec), data, PseudoInverse(num_patterns=4), epochs=1, progress=False)
    assert run.diagnose(questions=["recall"], num_data=10)["recall"].status == "unknown"


def test_any_objective_of_an_energy_trains_it_too() -> None:
    x = (torch.rand(200, 1) < 0.5).float().repeat(1, 4)
    pair = Hopfield(DataSpec("bits", 4, "binary"))
    ppgen.fit(pair, x, "pseudolikelihood", steps=50, lr=0.05, eager=True, progress=False)
    weight = pair.weight.detach()
    torch.testing.assert_close(weight, weight.T, rtol=0, atol=0)
    assert bool((weight + torch.eye(4) > 0).all())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Hopfield(DataSpec("numbers", 3, "real")), "bernoulli layer needs binary data, and .* are real"),
        (lambda: Hopfield(DataSpec("words", 3, "counts")), "bernoulli layer needs binary data, and .* are counts"),
        (lambda: Hopfield(DataSpec("bits", 3, "binary"), temperature=0.0), "temperature"),
        (lambda: ppgen.make_pair("hopfield", DataSpec("bits", 3, "binary"), hidden=4), "hidden"),
        (lambda: random_net().recall(torch.full((2, D), 0.5)), "what is recalled must hold 0 or 1, got 0.5"),
        (
            lambda: random_net().recall(torch.zeros(2, D + 1)),
            rf"recalls patterns of {D} bits, got x of shape \(2, {D + 1}\)",
        ),
        (lambda: random_net().recall(torch.zeros(2, D), 0), "num_sweeps"),
    ],
)
def test_what_it_cannot_take_is_refused(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()
