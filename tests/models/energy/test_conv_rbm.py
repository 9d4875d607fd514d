"""The convolutional RBM against sums over all of its states, and loops over its units."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.models import ConvRBM

DRAWS = 20_000
KERNEL, POOL, HEIGHT, WIDTH = 2, 2, 3, 3


def machine(observation: str = "binary", filters: int = 2, width: int = WIDTH, **options: Any) -> ConvRBM:
    torch.manual_seed(4)
    size = HEIGHT * width
    spec = DataSpec("bits", size, observation, image_shape=(HEIGHT, width), mean=torch.rand(size))  # type: ignore[arg-type]
    pair = ConvRBM(spec, filters, kernel=KERNEL, pool=POOL, **options).double()
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.normal_(0.0, 0.6)
    return pair


def product(units: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=units)), dtype=torch.float64)


def hidden_pictures(pair: ConvRBM, width: int = WIDTH) -> list[Tensor]:
    """Every picture of hidden units, (filters, rows, columns), with at most one on in each block."""
    beyond = 2 * pair.padding - KERNEL + 1
    rows, columns = HEIGHT + beyond, width + beyond
    filters = len(pair.weight)
    blocks = list(itertools.product(range(filters), range(rows // POOL), range(columns // POOL)))
    found = []
    for choice in itertools.product(range(POOL**2 + 1), repeat=len(blocks)):
        h = torch.zeros(filters, rows, columns, dtype=torch.float64)
        for (f, i, j), on in zip(blocks, choice, strict=True):
            if on:
                h[f, POOL * i + (on - 1) // POOL, POOL * j + (on - 1) % POOL] = 1
        found.append(h)
    return found


def log_joint(pair: ConvRBM, v: Tensor, h: Tensor) -> float:
    """log p~(v, h) of a binary picture, (rows, columns), unit by unit."""
    weight, hidden_bias = pair.weight.detach(), pair.hidden_bias.detach()
    total = float((pair.visible_bias.detach() * v.flatten()).sum())  # one for each pixel, or one for all
    v = torch.nn.functional.pad(v, (pair.padding,) * 4)
    for f, i, j in h.nonzero().tolist():
        patch = v[i : i + KERNEL, j : j + KERNEL]
        total += float(hidden_bias[f] + (weight[f, 0] * patch).sum())
    return total


def of_every_hidden(pair: ConvRBM, v: Tensor, width: int = WIDTH) -> Tensor:
    picture = v.reshape(HEIGHT, width)
    return torch.tensor([log_joint(pair, picture, h) for h in hidden_pictures(pair, width)], dtype=torch.float64)


@pytest.mark.parametrize("width", [3, 5])
def test_the_free_energy_sums_the_hidden_units_out(width: int) -> None:
    pair = machine(width=width, filters=2 if width == 3 else 1)
    v = torch.rand(4, HEIGHT * width, dtype=torch.float64).round()
    expected = torch.stack([-of_every_hidden(pair, one, width).logsumexp(0) for one in v])
    torch.testing.assert_close(pair.free_energy(v).detach(), expected)


def test_the_free_energy_of_padded_pictures_with_one_bias_sums_the_hidden_units_out() -> None:
    """A picture of 3 x 3 with zeros about it has 4 x 4 hidden units, all of whose states are summed."""
    pair = machine(filters=1, padding=1, shared_bias=True)
    assert pair.visible_bias.shape == (1,)
    assert pair.pooled_shape == (1, 2, 2)
    v = torch.rand(3, 9, dtype=torch.float64).round()
    expected = torch.stack([-of_every_hidden(pair, one).logsumexp(0) for one in v])
    torch.testing.assert_close(pair.free_energy(v).detach(), expected)
    torch.testing.assert_close(pair.exact_log_z(), (-pair.free_energy(product(9))).logsumexp(0).detach())
    hidden = pair._hidden_part(torch.cartesian_prod(*[torch.arange(5)] * 4))
    torch.testing.assert_close(hidden.detach(), pair.exact_log_z())


def test_the_biases_begin_at_the_rates_of_the_data() -> None:
    """A bias for each pixel at its own rate, one for all at their mean."""
    spec = DataSpec("bits", 9, "binary", image_shape=(3, 3), mean=torch.linspace(0.1, 0.9, 9))
    torch.testing.assert_close(ConvRBM(spec, kernel=2).visible_bias.sigmoid(), spec.mean)
    shared = ConvRBM(spec, kernel=2, shared_bias=True)
    torch.testing.assert_close(shared.visible_bias.sigmoid(), torch.tensor([0.5]))


@pytest.mark.parametrize("width", [3, 5])
def test_the_means_are_those_of_the_posterior(width: int) -> None:
    pair = machine(width=width)
    v = torch.rand(HEIGHT * width, dtype=torch.float64).round()
    p = of_every_hidden(pair, v, width).softmax(0)
    pictures = torch.stack(hidden_pictures(pair, width))
    torch.testing.assert_close(pair.hidden_means(v).detach(), (p[:, None, None, None] * pictures).sum(0))
    pools = torch.nn.functional.max_pool2d(pictures, POOL).flatten(1)
    torch.testing.assert_close(pair.pooled(v).detach(), (p[:, None] * pools).sum(0))


def test_every_log_weight_is_minus_the_free_energy() -> None:
    pair, v = machine(), product(9)[::50]
    torch.testing.assert_close(
        ppgen.log_weights(pair, (v,), num_particles=3), -pair.free_energy(v).detach().expand(3, -1)
    )


def test_log_z_is_the_same_over_visible_and_over_hidden_states() -> None:
    pair = machine()
    expected = (-pair.free_energy(product(9))).logsumexp(0).detach()
    torch.testing.assert_close(pair.exact_log_z(), expected)  # 25 hidden states, and 512 visible ones
    many = machine(filters=4)
    torch.testing.assert_close(many.exact_log_z(), (-many.free_energy(product(9))).logsumexp(0).detach())


def test_a_sweep_takes_any_leading_dims_and_temperatures_of_their_own() -> None:
    pair, b = machine(), torch.linspace(0, 1, 3, dtype=torch.float64)[:, None]
    s = pair.base_sample(15).reshape(3, 5, 9)
    assert pair.tempered_sweep(s, b).shape == (3, 5, 9)
    row = torch.stack([pair.log_tempered(one, float(t)) for one, t in zip(s, b, strict=True)])
    torch.testing.assert_close(pair.log_tempered(s, b), row)


def test_real_pictures_have_the_free_energy_whose_integral_is_z() -> None:
    """By annealing from the base, within 5 standard errors."""
    pair = machine("real")
    with torch.no_grad():
        pair.layer.log_scale.zero_()  # type: ignore[operator]
        pair.weight.mul_(0.3)
        pair.visible_bias.fill_(0.5)
        pair.base_bias.fill_(0.5)
    found = ppgen.log_z(pair, num_temperatures=50, num_chains=100)
    assert found.value == pytest.approx(float(pair.exact_log_z()), abs=5 * found.standard_error)


def test_pooled_draws_have_the_pooled_means() -> None:
    torch.manual_seed(0)
    pair, v = machine(), torch.ones(9, dtype=torch.float64)
    draws = pair.sample_pooled(v.expand(DRAWS, -1)).mean(0)
    assert bool(((draws - pair.pooled(v)).abs() < 5 * 0.5 / math.sqrt(DRAWS)).all())


def test_filters_are_small_pictures() -> None:
    found = machine().filters()
    assert found is not None
    assert found.shape == (1, KERNEL, KERNEL, 2)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (DataSpec("bits", 9, "binary"), "no image_shape"),
        (DataSpec("grey", 9, "quantised", levels=3, image_shape=(3, 3)), "binary or real"),
        (DataSpec("bits", 16, "binary", image_shape=(4, 4)), "multiples of 2"),
    ],
)
def test_other_data_and_blocks_that_do_not_fit_are_refused(spec: DataSpec, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ConvRBM(spec, kernel=2)


def test_filters_beyond_the_picture_are_refused() -> None:
    with pytest.raises(UsageError, match="no picture: choose one below 2"):
        ConvRBM(DataSpec("bits", 9, "binary", image_shape=(3, 3)), kernel=2, padding=2)


def test_too_many_states_are_refused() -> None:
    pair = ConvRBM(DataSpec("bits", 64, "binary", image_shape=(8, 8)))
    with pytest.raises(UsageError, match="importance sampling"):
        pair.exact_log_z()
