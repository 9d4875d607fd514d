"""The criteria of energy-based pairs, which need no chain, against enumeration and quadrature."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import NCE, DenoisingScoreMatching, Pseudolikelihood, RatioMatching, ScoreMatching
from ppgen.models import RBM
from ppgen.objectives.energies import Criterion
from ppgen.pairs.tracing import Program
from ppgen.testing.sandbox import program_of
from tests.machines import KINDS, Machine, bernoulli, gaussian

DRAWS = 400
"""Of a z-test; with |z| < 5 for each of some twenty numbers false alarms are below 1 in 10,000."""


@pytest.fixture
def machine() -> Machine:
    return bernoulli()


def each(objective: Criterion, pair: RBM, v: Tensor) -> Tensor:
    return objective.criterion(pair, v, program_of(pair))


def conditionals(machine: Machine) -> Tensor:
    """p(v_i | all others) of every state and feature, (S, D), by summing over the states."""
    p, states = machine.probabilities(), machine.states
    found = torch.empty_like(states)
    for s, v in enumerate(states):
        for i in range(states.shape[1]):
            flipped = v.clone()
            flipped[i] = 1 - v[i]
            found[s, i] = p[s] / (p[s] + p[int(machine.index(flipped[None]))])
    return found


def gradient(pair: RBM, loss: Tensor) -> Tensor:
    return parameters_to_vector(torch.autograd.grad(loss, list(pair.parameters())))


def test_pseudolikelihood_is_the_sum_of_the_conditionals(machine: Machine) -> None:
    expected = -conditionals(machine).log().sum(1)
    torch.testing.assert_close(each(Pseudolikelihood(), machine.pair, machine.states).detach(), expected)


def test_ratio_matching_is_the_sum_of_squared_odds(machine: Machine) -> None:
    expected = (1 - conditionals(machine)).square().sum(1)
    torch.testing.assert_close(each(RatioMatching(), machine.pair, machine.states).detach(), expected)


@pytest.mark.parametrize("objective", [Pseudolikelihood(), RatioMatching()], ids=str)
def test_its_gradient_vanishes_where_the_data_are_the_models_own(machine: Machine, objective: Criterion) -> None:
    loss = machine.probabilities() @ each(objective, machine.pair, machine.states)
    assert float(gradient(machine.pair, loss).abs().max()) < 1e-12


@pytest.mark.parametrize("kind", [Pseudolikelihood, RatioMatching])
def test_a_part_of_the_features_stands_for_all(machine: Machine, kind: type[Criterion]) -> None:
    torch.manual_seed(0)
    pair, v = machine.pair, machine.states[[0, 5, 14]]
    some = kind(num_features=2)  # type: ignore[call-arg]  # each of the two has it
    draws = torch.stack([each(some, pair, v).detach() for _ in range(DRAWS)])
    off = draws.mean(0) - each(kind(), pair, v).detach()
    assert bool((off.abs() < 5 * draws.std(0) / math.sqrt(DRAWS) + 1e-12).all())


def test_a_flip_gains_what_the_free_energy_says(machine: Machine) -> None:
    pair, v, features = machine.pair, machine.states, torch.tensor([2, 0])
    torch.testing.assert_close(pair.flip_gains(v, features), super(RBM, pair).flip_gains(v, features))


def density(pair: RBM) -> tuple[Tensor, Tensor]:
    """A grid of one real feature, and p on it that sums to one."""
    grid = torch.linspace(-12, 12, 2001, dtype=torch.float64)[:, None]
    return grid, (-pair.free_energy(grid)).detach().softmax(0)


def test_score_matching_is_the_square_of_the_score_and_the_trace_of_its_slope() -> None:
    pair = gaussian().pair
    v = torch.tensor([[0.3], [-1.1]], dtype=torch.float64)

    def slope(at: Tensor) -> Tensor:
        step = 1e-5
        return -(pair.free_energy(at + step) - pair.free_energy(at - step)) / (2 * step)

    bend = -(pair.free_energy(v + 1e-4) - 2 * pair.free_energy(v) + pair.free_energy(v - 1e-4)) / 1e-8
    expected = (0.5 * slope(v).square() + bend).detach()
    torch.testing.assert_close(each(ScoreMatching(), pair, v).detach(), expected, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_score_matching_vanishes_where_the_data_are_the_models_own() -> None:
    pair = gaussian().pair
    grid, p = density(pair)
    assert float(gradient(pair, p @ each(ScoreMatching(), pair, grid)).abs().max()) < 1e-6


def test_projections_stand_for_the_trace() -> None:
    torch.manual_seed(1)
    pair = RBM(DataSpec("real", 3, "real"), hidden=2).double()
    with torch.no_grad():
        pair.weight.normal_()
    v = torch.randn(2, 3, dtype=torch.float64)
    draws = torch.stack([each(ScoreMatching(num_projections=2), pair, v).detach() for _ in range(DRAWS)])
    off = draws.mean(0) - each(ScoreMatching(), pair, v).detach()
    assert bool((off.abs() < 5 * draws.std(0) / math.sqrt(DRAWS) + 1e-12).all())


def test_denoising_is_at_its_least_where_the_model_is_the_noisy_datum() -> None:
    pair = RBM(DataSpec("real", 2, "real"), hidden=2).double()
    v = torch.tensor([[0.7, -0.4]], dtype=torch.float64)
    with torch.no_grad():
        pair.weight.zero_()
        pair.visible_bias.copy_(v[0])
        pair.layer.log_scale.fill_(math.log(0.3))  # type: ignore[operator]
    loss = each(DenoisingScoreMatching(scale=0.3), pair, v.expand(5, -1))
    torch.testing.assert_close(loss, torch.zeros_like(loss))


def test_denoising_has_the_value_that_normal_densities_give() -> None:
    """Of N(m, s^2) the score is -(x - m) / s^2, so that a datum's mean loss is a function of m, s and the noise."""
    torch.manual_seed(4)
    pair, m, s, scale, v = RBM(DataSpec("real", 1, "real"), hidden=2).double(), 0.4, 0.8, 0.5, 1.3
    with torch.no_grad():
        pair.weight.zero_()
        pair.visible_bias.fill_(m)
        pair.layer.log_scale.fill_(math.log(s))  # type: ignore[operator]
    x = torch.full((100_000, 1), v, dtype=torch.float64)
    draws = each(DenoisingScoreMatching(scale=scale), pair, x).detach()
    expected = 0.5 * ((scale * (v - m) / s**2) ** 2 + (1 - scale**2 / s**2) ** 2)
    assert float(draws.mean()) == pytest.approx(expected, abs=5 * float(draws.std()) / math.sqrt(len(draws)))


@pytest.mark.parametrize("n", [1, 3])
def test_nce_of_a_model_that_is_its_own_noise_tells_data_by_their_share_alone(n: int) -> None:
    """log(1 + n) of a datum, and log(1 + 1 / n) of each of the n draws of noise."""
    pair = bernoulli().pair
    with torch.no_grad():
        pair.weight.zero_()
        pair.hidden_bias.zero_()
        pair.visible_bias.copy_(pair.base_bias)
    found = each(NCE(num_noise=n), pair, torch.ones(2, 4, dtype=torch.float64)).detach()
    torch.testing.assert_close(found, torch.full_like(found, math.log(1 + n) + n * math.log(1 + 1 / n)))


def test_the_gradient_of_nce_vanishes_at_the_truth_its_log_z_included(machine: Machine) -> None:
    torch.manual_seed(2)
    pair, objective = machine.pair, NCE(num_noise=2)
    own: Any = objective.parameters(pair, (machine.states,))
    program = Program(pair.model, pair.guide, own)
    with torch.no_grad():
        own.log_z.copy_(pair.exact_log_z())
    leaves = [*pair.parameters(), *own.parameters()]
    gradients = torch.stack(
        [
            parameters_to_vector(
                torch.autograd.grad(objective.criterion(pair, machine.draw(50), program).mean(), leaves)
            )
            for _ in range(DRAWS)
        ]
    )
    z = gradients.mean(0) / (gradients.std(0) / math.sqrt(DRAWS))
    assert float(z.abs().max()) < 5


def test_nce_learns_log_z() -> None:
    machine = bernoulli(scale=1.0)
    data, objective = machine.draw(4000).float(), NCE(num_noise=20)
    run = ppgen.fit(machine.pair.float(), data, objective, steps=400, lr=0.01, seed=0, eager=True)
    assert run.metrics[-1]["log_z"] == pytest.approx(float(machine.pair.exact_log_z()), abs=0.15)


@pytest.mark.parametrize(
    ("objective", "kind", "what"),
    [
        (Pseudolikelihood(), "gaussian", "of binary data, and RBM is one of real data"),
        (RatioMatching(), "counts", "of binary data, and RBM is one of counts data"),
        (ScoreMatching(), "bernoulli", "of real data, and RBM is one of binary data"),
        (DenoisingScoreMatching(), "categorical", "of real data, and RBM is one of quantised data"),
    ],
)
def test_it_refuses_data_that_it_is_not_for(objective: Criterion, kind: str, what: str) -> None:
    pair = KINDS[kind]().pair
    with pytest.raises(UsageError, match=what):
        objective.check(program_of(pair), (torch.ones(2, pair.layer.num_features),))
