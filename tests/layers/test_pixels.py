"""The laws of pixels, and draws that compute each place once against draws by a pass for every pixel."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from ppgen import DataSpec, Pair
from ppgen.distributions.autoregressive import Autoregressive
from ppgen.errors import UsageError
from ppgen.layers.pixels import PixelConditionals
from ppgen.models import PixelCNN, PixelRNN

GREY: dict[str, Any] = {"observation": "quantised", "levels": 4}
BITS: dict[str, Any] = {"observation": "binary"}


def pictures(shape: tuple[int, ...], observation: str, levels: int | None = None) -> DataSpec:
    size = int(torch.tensor(shape).prod())
    return DataSpec("pictures", size, observation, image_shape=shape, levels=levels, num_data=20)  # type: ignore[arg-type]


def small(name: str, shape: tuple[int, ...], kind: dict[str, Any], **options: Any) -> Any:
    """A pair in float64, away from where it starts."""
    spec, sizes = pictures(shape, **kind), {"num_filters": 6, "num_layers": 2, "first_kernel": 3}
    pair: Pair = PixelRNN(spec, **sizes, **options) if name == "rnn" else PixelCNN(spec, **sizes, **options)  # type: ignore[arg-type]
    torch.manual_seed(5)
    for parameter in pair.double().parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return pair


CASES: dict[str, Any] = {
    "gated": ("cnn", (3, 4), BITS, {}),
    "plain": ("cnn", (3, 4), BITS, {"gated": False}),
    "rnn": ("rnn", (3, 4), BITS, {}),
    "softmax": ("cnn", (3, 2, 3), GREY, {"levels": "softmax"}),
    "logistics": ("cnn", (2, 3), GREY, {"levels": "logistics", "num_components": 2, "dilations": (2,)}),
    "plain colours": ("cnn", (3, 2, 3), BITS, {"gated": False}),
    "rnn colours": ("rnn", (3, 2, 3), GREY, {"levels": "softmax"}),
}


def a_pass_for_every_pixel(conditionals: PixelConditionals, x: Tensor, num_given: int) -> Tensor:
    """The draws by definition, from the same random numbers."""
    x = x.clone()
    for feature in conditionals.order[num_given:].tolist():
        x[:, feature] = conditionals.law(conditionals.numbers(x)[:, [feature]]).sample()[:, 0]
    return x


@pytest.mark.parametrize("name", CASES)
def test_places_computed_once_give_the_draws_of_a_pass_for_every_pixel(name: str) -> None:
    model, shape, kind, options = CASES[name]
    conditionals = small(model, shape, kind, **options).conditionals
    given = Autoregressive(conditionals).sample((4,))
    for num_given in (0, 5, len(conditionals.order)):  # from the start, from within a row or a pixel, nothing
        torch.manual_seed(1)
        fast = conditionals.complete(given, num_given)
        torch.manual_seed(1)
        with torch.no_grad():
            slow = a_pass_for_every_pixel(conditionals, given, num_given)
        assert torch.equal(fast, slow)
        first = conditionals.order[:num_given]
        assert torch.equal(fast[:, first], given[:, first])


@pytest.mark.parametrize("name", CASES)
def test_log_p_is_the_sum_of_conditionals_that_are_shown_no_more_than_what_is_before(name: str) -> None:
    model, shape, kind, options = CASES[name]
    distribution = small(model, shape, kind, **options).distribution()
    conditionals, x = distribution.conditionals, distribution.sample((3,))
    shown, total = torch.zeros_like(x), torch.zeros(3).double()
    with torch.no_grad():
        for feature in conditionals.order.tolist():
            total += conditionals(shown).log_prob(x)[:, feature]
            shown[:, feature] = x[:, feature]
        torch.testing.assert_close(total, distribution.log_prob(x))


@pytest.mark.parametrize("name", ["gated", "plain", "rnn"])
def test_probabilities_of_all_binary_pictures_sum_to_one(name: str) -> None:
    model, _, kind, options = CASES[name]
    every = torch.tensor(list(product((0.0, 1.0), repeat=9))).double()
    log_p = small(model, (3, 3), kind, **options).distribution().log_prob(every)
    torch.testing.assert_close(log_p.exp().sum(), torch.tensor(1.0).double())
    assert log_p.std() > 0.1


@pytest.mark.parametrize("levels", ["softmax", "logistics"])
def test_probabilities_of_all_grey_pictures_sum_to_one(levels: str) -> None:
    every = torch.tensor(list(product(range(4), repeat=4))).double() / 3
    log_p = small("cnn", (2, 2), GREY, levels=levels).distribution().log_prob(every)
    torch.testing.assert_close(log_p.exp().sum(), torch.tensor(1.0).double())


@pytest.mark.parametrize("levels", ["softmax", "logistics"])
def test_the_256_levels_of_a_pixel_sum_to_one(levels: str) -> None:
    """At every pixel, given those before it; some logistics are narrower than a level."""
    pair = small("cnn", (2, 2), {"observation": "quantised", "levels": 256}, levels=levels)
    grid = torch.arange(256).double()[:, None] / 255
    with torch.no_grad():
        law = pair.conditionals.law(30 * pair.conditionals.numbers(torch.rand(1, 4).double()))
        torch.testing.assert_close(law.log_prob(grid).exp().sum(0), torch.ones(4).double())


def test_numbers_start_at_the_mean_of_the_data() -> None:
    mean = torch.tensor([0.2, 0.5, 0.9, 0.0])
    pair = PixelCNN(DataSpec("pictures", 4, "binary", image_shape=(2, 2), mean=mean), 4, num_layers=1)
    torch.testing.assert_close(pair.conditionals.bias.sigmoid().flatten(), mean.clamp_min(0.001))


@pytest.mark.parametrize("pair", [PixelCNN, PixelRNN])
@pytest.mark.parametrize(
    ("spec", "options", "sentence"),
    [
        (DataSpec("vectors", 4, "binary"), {}, "data 'vectors' have no image shape: give image_shape"),
        (DataSpec("numbers", 4, "real", image_shape=(2, 2)), {}, "and data 'numbers' are real"),
        (pictures((2, 2), **BITS), {"kernel": 4}, "kernel.* must be an odd whole number from 3 on, got 4"),
        (pictures((3, 2, 2), **BITS), {"num_filters": 2}, "num_filters for pictures of 3 colours must be at least 3"),
    ],
)
def test_what_it_is_no_model_of_is_refused(pair: Any, spec: DataSpec, options: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        pair(spec, **options)
