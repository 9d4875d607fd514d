"""Bits with one probability for each of their states, against the states one by one."""

import torch

from ppgen.distributions.binary_states import binary_states
from ppgen.distributions.joint_bernoulli import JointBernoulli
from tests.machines import FALSE_ALARM, p_value

LOGITS = torch.tensor([[0.3, -1.0, 0.8, 0.0], [1.5, 0.2, -0.4, 0.6]], dtype=torch.float64)


def test_each_state_has_the_probability_of_its_number() -> None:
    (states,) = binary_states(2, LOGITS)  # 00, 10, 01, 11
    found = JointBernoulli(LOGITS[:, None]).log_prob(states)  # (2, 4)
    torch.testing.assert_close(found, LOGITS.log_softmax(-1))


def test_its_mean_is_the_sum_over_states() -> None:
    p = LOGITS.softmax(-1)
    torch.testing.assert_close(JointBernoulli(LOGITS).mean, torch.stack([p[:, 1] + p[:, 3], p[:, 2] + p[:, 3]], 1))


def test_its_draws_have_these_probabilities() -> None:
    torch.manual_seed(0)
    draws = JointBernoulli(LOGITS).sample((20_000,))  # (S, 2, 2)
    numbers = (draws @ torch.tensor([1.0, 2.0], dtype=torch.float64)).long()
    for row, p in enumerate(LOGITS.softmax(-1)):
        assert p_value(numbers[:, row], p) > FALSE_ALARM


def test_expanded_it_has_a_row_for_each() -> None:
    wide = JointBernoulli(LOGITS).expand((5, 2))
    assert wide.batch_shape == (5, 2)
    assert wide.sample().shape == (5, 2, 2)
