"""What log-weights tell of the guide: exact values, and the tails of normal guides."""

import pytest
import torch

import ppgen
from ppgen.diagnostics import effective_sample_size, k_threshold, pareto_k, weight_perplexity
from ppgen.errors import UsageError
from tests.diagnostics.linear import data_of, exact, scaled


def normal_log_w(c: float, num: int, batch: int, seed: int = 0) -> torch.Tensor:
    """log p - log q for p = N(0, 1), q = N(0, c^2) in one dimension, from the pair's own log-weights."""
    torch.manual_seed(seed)
    pair = scaled(exact(torch.ones(1, 1)), c)
    return ppgen.log_weights(pair, data_of(pair, batch).test, num)


def test_equal_weights_are_worth_all_draws_and_have_no_tail() -> None:
    log_w = torch.full((200, 3), -7.0)
    torch.testing.assert_close(effective_sample_size(log_w), torch.full((3,), 200.0))
    torch.testing.assert_close(weight_perplexity(log_w), torch.full((3,), 200.0))
    assert pareto_k(log_w).tolist() == [0, 0, 0]


def test_one_weight_that_outweighs_all_is_worth_one_draw() -> None:
    log_w = torch.zeros(200, 1).index_fill(0, torch.tensor(3), 1e4)
    torch.testing.assert_close(effective_sample_size(log_w), torch.ones(1))
    torch.testing.assert_close(weight_perplexity(log_w), torch.ones(1))


def test_sizes_of_two_weights_are_those_by_hand() -> None:
    log_w = torch.tensor([[3.0], [1.0]], dtype=torch.float64).log()  # shares 3/4 and 1/4
    shares = torch.tensor([0.75, 0.25], dtype=torch.float64)
    torch.testing.assert_close(effective_sample_size(log_w), 1 / shares.square().sum()[None])
    torch.testing.assert_close(weight_perplexity(log_w), (-(shares * shares.log()).sum()).exp()[None])


def test_the_exact_posterior_has_no_tail() -> None:
    for pair in (exact(torch.randn(4, 2)), exact(torch.randn(4, 2)).float()):
        x = data_of(pair.double(), 20).test[0]
        log_w = ppgen.log_weights(pair, (x,), 1000)
        assert (pareto_k(log_w) <= 0.1).all()
        torch.testing.assert_close(effective_sample_size(log_w), torch.full((20,), 1000.0).to(log_w))


@pytest.mark.parametrize("c", [0.6, 0.5])
def test_a_normal_guide_of_c_times_the_scale_has_a_k_hat_of_one_less_c_squared(c: float) -> None:
    """With t ~ N(0, 1), P(w > y) is P(t^2 > u), u = 2 log y / (1 - c^2), which falls as exp(-u / 2) / sqrt(u): where
    the tail is cut, at 1.5 % of 40,000 draws (u = 5.9), the local k is (1 - c^2) / (1 + 1/u), within 15 % of its limit
    from below, and nearer beyond. 50 data of 600 tail draws: the mean k-hat has a standard error of (1 + k) /
    sqrt(600 * 50) = 0.01, six of which are the room above the limit."""
    k = float(pareto_k(normal_log_w(c, 40_000, 50)).mean())
    assert 0.85 * (1 - c**2) < k < 1 - c**2 + 0.06


def test_a_guide_wider_than_the_posterior_has_bounded_weights() -> None:
    """Ten data of 4,000 draws, each k-hat with a standard error near 0.1: all below 0.35, false alarms below 1e-3."""
    assert (pareto_k(normal_log_w(1.5, 4000, 10)) < 0.35).all()


def test_the_k_hat_of_a_datum_does_not_depend_on_the_batch() -> None:
    log_w = normal_log_w(0.7, 2000, 30)
    torch.testing.assert_close(pareto_k(log_w)[:4], pareto_k(log_w[:, :4]))


def test_the_threshold_grows_with_the_draws_up_to_seven_tenths() -> None:
    assert k_threshold(100) == 0.5
    assert k_threshold(10**6) == 0.7


def test_too_few_draws_for_a_tail_are_refused() -> None:
    with pytest.raises(UsageError, match="and 120 log-weights have 24: draw 125 particles or more"):
        pareto_k(torch.randn(120, 2))
    assert pareto_k(torch.randn(125, 2)).shape == (2,)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_datum_without_finite_weights_is_named(value: float) -> None:
    log_w = torch.randn(200, 3)
    log_w[5, 1] = value
    with pytest.raises(UsageError, match="datum 1 has a log-weight that is NaN"):
        pareto_k(log_w)


def test_log_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match=r"shape \(K, B\), got \(200,\)"):
        pareto_k(torch.randn(200))
