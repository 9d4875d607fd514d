"""Traversal of codes: which path goes where, and that all else is held."""

import pyro
import pytest
import torch
from torch import Tensor, nn

from ppgen.data import DataSpec
from ppgen.draws import code_traversal, interpolation
from ppgen.draws.codes import has_codes
from ppgen.draws.paths import has_paths
from ppgen.errors import UsageError
from ppgen.models import GAN, RBM, CycleGAN, InfoGAN
from tests.implicit import Push

_ROW = (torch.zeros(1, 2),)


def linear(*rows: tuple[float, ...]) -> Tensor:
    """Weights (2, inputs) of a generator."""
    return torch.tensor(rows)


def with_weights(pair: GAN | InfoGAN, weight: Tensor) -> GAN | InfoGAN:
    """The pair, whose generator is that linear map."""
    layer = next(module for module in pair.generator.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        layer.weight.copy_(weight)
        assert layer.bias is not None
        layer.bias.zero_()
    return pair


def test_numbers_come_by_how_far_they_move_a_draw() -> None:
    """x = (3 z_1, z_0 / 2): from the 0.02 to the 0.98 quantile, 4.11 standard deviations."""
    pair = with_weights(GAN(DataSpec("plane", 2, "real"), 2, hidden=()), linear((0.0, 3.0), (0.5, 0.0)))
    walk = code_traversal(pair, _ROW, columns=5)
    assert walk.labels == ("z[1]", "z[0]")
    assert walk.reach == pytest.approx((3 * 4.107, 0.5 * 4.107), rel=0.1)  # quantiles of 1,000 draws
    first, second = walk.means
    assert torch.equal(first[:, 1], first[:1, 1].expand(5))  # the other number is held
    assert bool((first[1:, 0] > first[:-1, 0]).all())
    assert torch.equal(second[:, 0], second[:1, 0].expand(5))


def test_a_category_goes_through_its_values_and_comes_first() -> None:
    pair = InfoGAN(DataSpec("plane", 2, "real"), 1, num_categories=3, num_uniform=1, hidden=())
    with_weights(pair, linear((1.0, 2.0, 3.0, 0.0, 0.0), (0.0, 0.0, 0.0, 9.0, 5.0)))  # c, u, z
    walk = code_traversal(pair, _ROW, columns=4)
    assert walk.labels[0] == "c"
    assert set(walk.labels) == {"c", "u", "z"}
    assert walk.means[0][:, 0].tolist() == [1.0, 2.0, 3.0]
    assert [len(path) for path in walk.means] == [3, 4, 4]
    assert code_traversal(pair, _ROW, rows=1).labels == ("c",)


def test_a_seed_makes_the_same_paths_and_the_global_state_stays() -> None:
    pair, state = Push(DataSpec("plane", 2, "real")), torch.get_rng_state()
    once, again = (code_traversal(pair, _ROW, seed=3) for _ in range(2))
    assert torch.equal(once.means[0], again.means[0])
    assert torch.equal(torch.get_rng_state(), state)


def test_draws_of_an_implicit_pair_are_interpolated_on_a_turn_or_a_line() -> None:
    pyro.set_rng_seed(0)
    for uniform in (False, True):
        path = interpolation(Push(DataSpec("plane", 2, "real"), uniform=uniform), _ROW, rows=2, columns=3)
        assert path.rotated is not uniform
        ends = path.means[:, 0] + path.means[:, 2]
        torch.testing.assert_close(path.means[:, 1], ends / (2 if uniform else 2**0.5))


def test_a_source_is_given_and_no_code() -> None:
    """What a translation is made of is no draw: there is nothing to move along a prior, nor a way between two draws."""
    plane = DataSpec("plane", 2, "real")
    pair = CycleGAN(DataSpec("image", 2, "real", source=plane, paired="held_out"), hidden=(4,))
    given = (torch.zeros(1, 2), torch.zeros(1, 2))
    assert not has_codes(pair, given)
    assert not has_paths(pair, given)
    for draw in (code_traversal, interpolation):
        with pytest.raises(UsageError, match=r"no latent of a datum is drawn|found none"):
            draw(pair, given)
    assert has_codes(GAN(plane, 2, hidden=()), _ROW)


def test_what_has_no_prior_is_refused() -> None:
    with pytest.raises(UsageError, match="prior"):
        code_traversal(RBM(DataSpec("bits", 2, "binary"), 3), _ROW)
