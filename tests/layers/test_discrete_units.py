"""Layers of discrete units: blocks of an autoregressive layer against the product of conditionals, unit by unit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ppgen.distributions.autoregressive_bernoulli import AutoregressiveBernoulli
from ppgen.errors import UsageError
from ppgen.layers.discrete_units import AutoregressiveUnits, DiscreteUnits

LOGITS = torch.tensor([0.4, -0.7, 0.2, 0.9, -0.3], dtype=torch.float64)
WEIGHT = torch.linspace(-1.5, 1.5, 25, dtype=torch.float64).sin().reshape(5, 5)
STATES = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 5)
BLOCKS = {1: [0, 0, 0, 0, 0], 2: [0, 0, 0, 1, 1], 3: [0, 0, 1, 1, 2], 5: [0, 1, 2, 3, 4]}


def by_hand(z: Tensor, blocks: list[int]) -> Tensor:
    """log q(z) of one state, conditional by conditional."""
    total = torch.zeros((), dtype=torch.float64)
    for i in range(5):
        logit = LOGITS[i] + sum(WEIGHT[i, j] * (2 * z[j] - 1) for j in range(5) if blocks[j] < blocks[i])
        total = total + logsigmoid(logit if z[i] == 1 else -logit)
    return total


@pytest.mark.parametrize("num_blocks", BLOCKS)
def test_the_log_probability_is_the_product_of_the_conditionals(num_blocks: int) -> None:
    layer = AutoregressiveBernoulli(LOGITS, WEIGHT, num_blocks)
    expected = torch.stack([by_hand(z, BLOCKS[num_blocks]) for z in STATES])
    torch.testing.assert_close(layer.log_prob(STATES), expected)
    torch.testing.assert_close(expected.exp().sum(), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("num_blocks", BLOCKS)
def test_draws_have_the_probabilities_of_their_states(num_blocks: int) -> None:
    """Chi-square over 32 states of 50,000 draws: a false alarm of the four with probability 4e-4."""
    layer = AutoregressiveBernoulli(LOGITS, WEIGHT, num_blocks)
    draws = layer.sample((50_000,))
    index = (draws @ 2.0 ** torch.arange(4, -1, -1, dtype=torch.float64)).long()
    expected = 50_000 * layer.log_prob(STATES).exp()
    chi_square = ((torch.bincount(index, minlength=32) - expected).square() / expected).sum()
    assert chi_square < 66.6  # the 0.9999 quantile at 31 degrees of freedom


def test_one_block_is_a_layer_of_independent_units() -> None:
    one, many = AutoregressiveBernoulli(LOGITS, WEIGHT, 1), DiscreteUnits(5)(LOGITS)
    torch.testing.assert_close(one.log_prob(STATES), many.log_prob(STATES))


def test_a_new_autoregressive_layer_is_independent_and_its_weight_has_a_gradient() -> None:
    units = AutoregressiveUnits(5, 5).double()
    log_prob = units(LOGITS).log_prob(STATES)
    torch.testing.assert_close(log_prob, DiscreteUnits(5)(LOGITS).log_prob(STATES))
    (gradient,) = torch.autograd.grad(log_prob[3], units.weight)
    assert torch.equal(gradient != 0, torch.ones(5, 5).tril(-1).bool())


@pytest.mark.parametrize(("classes", "shape", "numbers"), [(2, (4,), 4), (3, (4, 3), 12)])
def test_units_turn_numbers_into_states_and_back(classes: int, shape: tuple[int, ...], numbers: int) -> None:
    units = DiscreteUnits(4, classes)
    fn = units(torch.zeros(7, 5, numbers))
    z = fn.sample()
    assert (units.state_shape, units.num_numbers) == (shape, numbers)
    assert (fn.batch_shape, fn.event_shape) == ((7, 5), shape)
    assert units.code(z).shape == (7, 5, numbers)
    assert units.code(z).unique().tolist() == ([-1.0, 1.0] if classes == 2 else [0.0, 1.0])


def test_the_code_of_autoregressive_units_is_that_of_binary_ones() -> None:
    z = torch.tensor([[1.0, 0.0, 1.0]])
    assert AutoregressiveUnits(3, 2).code(z).tolist() == DiscreteUnits(3).code(z).tolist() == [[1.0, -1.0, 1.0]]


def test_more_blocks_than_units_are_refused() -> None:
    with pytest.raises(UsageError, match="a layer of 3 units can be drawn in 1 to 3 blocks, got 4"):
        AutoregressiveUnits(3, 4)
    with pytest.raises(UsageError, match="num_classes must be a whole number of at least 2, got 1"):
        DiscreteUnits(3, 1)
