"""The likelihood follows the data's spec, and starts at the training mean."""

import math

import pytest
import torch
from pyro.distributions import Bernoulli, Multinomial, Normal

from ppgen.data import DataSpec
from ppgen.data.column import Column
from ppgen.distributions.discretized_logistic import DiscretizedLogistic
from ppgen.layers.likelihoods import likelihood

BINARY = DataSpec("pixels", 3, "binary")
REAL = DataSpec("numbers", 3, "real")
QUANTISED = DataSpec("greys", 3, "quantised", levels=5)
COUNTS = DataSpec("words", 3, "counts")
CATEGORY = DataSpec("towns", 3, "categorical")
COLUMNS = (
    Column("a", "real"),
    Column("town", "categorical", ("x", "y", "z")),
    Column("b", "binary"),
    Column("c", "real"),
)
MIXED = DataSpec("table", 6, "mixed", columns=COLUMNS)
DATUM = torch.tensor([3.0, 0.0, 2.0])


@pytest.mark.parametrize("spec", [BINARY, REAL, QUANTISED, COUNTS], ids=lambda spec: spec.observation)
def test_a_datum_is_one_event(spec: DataSpec) -> None:
    chosen = likelihood(spec)
    x_given_z = chosen(torch.zeros(7, 5, chosen.num_outputs), DATUM.expand(5, 3))  # K = 7, B = 5
    assert x_given_z.batch_shape == (7, 5)
    assert x_given_z.event_shape == (3,)


def test_binary_data_are_bernoulli() -> None:
    outputs, x = torch.tensor([-2.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 1.0])
    expected = Bernoulli(logits=outputs).log_prob(x).sum()
    torch.testing.assert_close(likelihood(BINARY)(outputs, x).log_prob(x), expected)


def test_real_data_are_gaussian_with_a_scale_for_each_feature() -> None:
    chosen = likelihood(REAL)
    log_scale = torch.tensor([-1.0, 0.0, 0.5])
    chosen.load_state_dict({"log_scale": log_scale})
    outputs, x = torch.tensor([-2.0, 0.0, 1.0]), torch.tensor([0.3, -4.0, 1.0])
    expected = Normal(outputs, log_scale.exp()).log_prob(x).sum()
    torch.testing.assert_close(chosen(outputs, x).log_prob(x), expected)


def test_quantised_data_are_discretized_logistic_with_a_scale_for_each_feature() -> None:
    chosen = likelihood(QUANTISED)
    log_scale = torch.tensor([-3.0, -2.0, 0.5])
    chosen.load_state_dict({"log_scale": log_scale})
    outputs, x = torch.tensor([-0.1, 0.5, 1.0]), torch.tensor([0.0, 0.25, 1.0])
    expected = DiscretizedLogistic(outputs, log_scale, 5).log_prob(x).sum()
    torch.testing.assert_close(chosen(outputs, x).log_prob(x), expected)


def test_quantised_data_start_with_a_standard_deviation_of_a_quarter_of_their_range() -> None:
    scale = likelihood(QUANTISED).get_parameter("log_scale").exp()  # of a logistic, whose variance is (pi scale)^2 / 3
    torch.testing.assert_close(math.pi * scale / 3**0.5, torch.full((3,), 0.25), rtol=0.02, atol=0)


def test_counts_are_multinomial_of_as_many_words_as_the_document_has() -> None:
    outputs, x = torch.tensor([[-2.0, 0.0, 1.0]]), torch.tensor([[3.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
    x_given_z = likelihood(COUNTS)(outputs, x)
    expected = [Multinomial(int(row.sum()), logits=outputs[0]).log_prob(row) for row in x]
    torch.testing.assert_close(x_given_z.log_prob(x), torch.stack(expected))
    assert x_given_z.sample().sum(1).tolist() == [5, 1]


def test_the_initial_bias_of_counts_makes_their_shares_those_of_training() -> None:
    bias = likelihood(COUNTS).initial_bias(torch.tensor([1.0, 2.0, 5.0]))
    assert bias is not None
    torch.testing.assert_close(likelihood(COUNTS)(bias, DATUM).mean, 5 * torch.tensor([1.0, 2.0, 5.0]) / 8)


@pytest.mark.parametrize("spec", [BINARY, REAL], ids=lambda spec: spec.observation)
def test_the_initial_bias_makes_the_mean_the_training_mean(spec: DataSpec) -> None:
    mean = torch.tensor([0.1, 0.5, 0.9])
    chosen = likelihood(spec)
    bias = chosen.initial_bias(mean)
    assert bias is not None
    torch.testing.assert_close(chosen(bias, DATUM).mean, mean)


def test_the_initial_bias_of_quantised_data_is_the_mean_itself() -> None:
    mean = torch.tensor([0.1, 0.5, 0.9])
    assert likelihood(QUANTISED).initial_bias(mean) is mean


def test_the_mean_of_a_constant_pixel_is_clipped() -> None:
    chosen = likelihood(BINARY)
    bias = chosen.initial_bias(torch.tensor([0.0, 0.5, 1.0]))
    assert bias is not None
    torch.testing.assert_close(chosen(bias, DATUM).mean, torch.tensor([0.001, 0.5, 0.999]))


@pytest.mark.parametrize("spec", [BINARY, REAL, QUANTISED, COUNTS], ids=lambda spec: spec.observation)
def test_without_a_mean_there_is_no_initial_bias(spec: DataSpec) -> None:
    assert likelihood(spec).initial_bias(None) is None


@pytest.mark.parametrize("spec", [BINARY, REAL, QUANTISED, COUNTS], ids=lambda spec: spec.observation)
def test_a_likelihood_follows_its_module_to_float64(spec: DataSpec) -> None:
    x_given_z = likelihood(spec).double()(torch.zeros(2, 3, dtype=torch.float64), DATUM.double())
    assert x_given_z.log_prob(torch.zeros(2, 3, dtype=torch.float64)).dtype == torch.float64


def test_a_category_is_one_of_its_logits() -> None:
    outputs, x = torch.tensor([-2.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 1.0])
    torch.testing.assert_close(likelihood(CATEGORY)(outputs, x).log_prob(x), outputs.log_softmax(-1)[2])


def test_mixed_columns_are_independent_each_by_the_law_of_its_kind() -> None:
    chosen = likelihood(MIXED)
    chosen.load_state_dict({"parts.0.log_scale": torch.tensor([-1.0, 0.5])})
    outputs, x = torch.tensor([0.3, 2.0, -1.0, 0.0, 0.5, 1.5]), torch.tensor([0.1, 0.0, 1.0, 0.0, 1.0, 4.0])
    expected = (
        Normal(outputs[:2], torch.tensor([-1.0, 0.5]).exp()).log_prob(x[[0, 5]]).sum()
        + outputs[2:5].log_softmax(-1)[1]
        + Bernoulli(logits=outputs[5]).log_prob(x[4])
    )
    x_given_z = chosen(outputs, x)
    torch.testing.assert_close(x_given_z.log_prob(x), expected)
    torch.testing.assert_close(chosen(outputs.expand(4, 3, 6), x).log_prob(x.expand(3, 6)), expected.expand(4, 3))
    assert (x_given_z.batch_shape, x_given_z.event_shape) == ((), (6,))
    assert not bool(x_given_z.support.check(torch.tensor([0.1, 1.0, 1.0, 0.0, 1.0, 4.0])))
    assert not x_given_z.support.is_discrete


def test_draws_of_mixed_columns_have_the_mean_and_the_variance_that_are_said() -> None:
    """Within 5 standard errors of 20,000 draws; the variance too, whose error is that of squares."""
    torch.manual_seed(0)
    x_given_z = likelihood(MIXED)(torch.tensor([0.3, 2.0, -1.0, 0.0, 0.5, 1.5]), torch.zeros(6)).expand((2,))
    draws = x_given_z.sample((20_000,))
    assert draws.shape == (20_000, 2, 6)
    away = draws - x_given_z.mean
    assert (away.mean(0).abs() <= 5 * x_given_z.stddev / 20_000**0.5).all()
    assert ((away.square().mean(0) - x_given_z.variance).abs() <= 5 * away.square().std(0) / 20_000**0.5).all()


def test_the_initial_bias_of_mixed_columns_makes_the_mean_the_training_mean() -> None:
    mean = torch.tensor([1.5, 0.2, 0.3, 0.5, 0.9, -2.0])
    chosen = likelihood(MIXED)
    bias = chosen.initial_bias(mean)
    assert bias is not None
    torch.testing.assert_close(chosen(bias, mean).mean, mean)
