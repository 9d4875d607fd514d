"""Networks take any dims before the last, fit any picture, start as they say, and refuse the impossible."""

from functools import partial
from math import prod, sqrt
from typing import Any

import pytest
import torch
from pyro.distributions import Normal
from torch import nn

from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.layers.networks import ACTIVATIONS, MLP, BatchNorm, ConditionalNormal, ConvDecoder, ConvEncoder, Networks
from ppgen.layers.normalisation import PictureNorm
from ppgen.schedules import linear

SHAPES = [(8, 8), (28, 20), (7, 5), (1, 3), (3, 9, 10)]


def pictures(shape: tuple[int, ...], **options: Any) -> Networks:
    """Small networks for pictures of that shape."""
    spec = DataSpec("pictures", prod(shape), "binary", image_shape=shape)
    return Networks(spec, **{"hidden": (6, 5), "channels": (2, 3), **options})


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_encoder_and_decoder_fit_any_picture(network: str, shape: tuple[int, ...]) -> None:
    networks, features = pictures(shape, network=network), prod(shape)
    assert networks.encoder(4)(torch.zeros(7, features)).shape == (7, 4)
    assert networks.decoder(4, features)(torch.zeros(3, 7, 4)).shape == (3, 7, features)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_each_particle_and_datum_is_treated_alone(network: str) -> None:
    networks = pictures((4, 6), network=network)
    for module, size in ((networks.encoder(4).double(), 24), (networks.decoder(5, 24).double(), 5)):
        inputs = torch.randn(3, 2, size, dtype=torch.float64)
        one_by_one = torch.stack([torch.stack([module(row) for row in rows]) for rows in inputs])
        torch.testing.assert_close(module(inputs), one_by_one, rtol=1e-12, atol=1e-12)


def test_a_convolutional_encoder_sees_the_picture_row_major() -> None:
    """A pixel moves only those features whose 3 x 3 window covers it."""
    encoder = ConvEncoder((1, 4, 4), 1, channels=(1,), hidden=())
    x = torch.zeros(1, 16)
    corner = x.clone()
    corner[0, 15] = 1  # row 3, column 3: only the window centred at (2, 2) reaches it
    features = [encoder.convolutions(picture.reshape(1, 1, 4, 4)).flatten() for picture in (x, corner)]
    # rounding apart: fast convolutions (Winograd's) mix a tile's pixels and cancel them again
    assert ((features[0] - features[1]).abs() > 1e-5).tolist() == [False, False, False, True]


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_the_decoder_of_a_likelihood_with_two_numbers_a_pixel_fits(network: str) -> None:
    assert pictures((4, 6), network=network).decoder(5, 48)(torch.zeros(2, 5)).shape == (2, 48)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_the_decoder_starts_at_its_bias(network: str) -> None:
    bias = torch.randn(24)
    decoder = pictures((4, 6), network=network, hidden=(), channels=(2,)).decoder(5, 24, bias)
    for name, value in decoder.named_parameters():
        if "bias" not in name:
            nn.init.zeros_(value)
    torch.testing.assert_close(decoder(torch.randn(3, 5)), bias.expand(3, 24))


def test_the_decoder_mirrors_the_encoder() -> None:
    networks = Networks(DataSpec("x", 9, "binary"), hidden=(6, 5))
    widths = [
        [layer.out_features for layer in module.modules() if isinstance(layer, nn.Linear)]
        for module in (networks.encoder(4), networks.decoder(2, 9))
    ]
    assert widths == [[6, 5, 4], [5, 6, 9]]


def test_weights_start_glorot_uniform_and_biases_at_zero() -> None:
    layer = MLP(300, 200, hidden=()).layers[0]
    assert isinstance(layer, nn.Linear)
    bound = sqrt(6 / 500)
    assert 0.999 * bound < layer.weight.abs().max() <= bound  # 60,000 draws: missed with probability e^-60
    assert layer.weight.std().item() == pytest.approx(bound / sqrt(3), rel=0.02)  # 11 standard errors
    assert not layer.bias.any()


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_stands_between_layers_and_not_at_the_end(activation: str) -> None:
    layers = MLP(3, 2, hidden=(4, 5), activation=activation).layers
    kinds = [type(layer) for layer in layers]
    between = type(ACTIVATIONS[activation]())
    assert kinds == [nn.Linear, between, nn.Linear, between, nn.Linear]


def test_batch_norm_stands_before_every_activation() -> None:
    layers = MLP(3, 2, hidden=(4, 5), activation="relu", normalisation="batch").layers
    hidden = [nn.Linear, BatchNorm, nn.ReLU]
    assert [type(layer) for layer in layers] == [*hidden, *hidden, nn.Linear]


def test_batch_norm_of_convolutions_stands_before_every_activation() -> None:
    """By channels within pictures, and not at the encoder's first layer."""
    encoder = ConvEncoder((1, 5, 7), 2, channels=(3, 4), hidden=(6,), activation="relu", normalisation="batch")
    convolutions: Any = list(encoder.convolutions)
    dense: Any = list(encoder.dense.layers)
    assert [type(layer) for layer in convolutions[:-1]] == [nn.Conv2d, nn.ReLU, nn.Conv2d, PictureNorm, nn.ReLU]
    assert [type(layer) for layer in dense] == [nn.Linear, BatchNorm, nn.ReLU, nn.Linear]
    decoder: Any = ConvDecoder(2, (1, 5, 7), channels=(4, 3), hidden=(), activation="relu", normalisation="batch")
    assert [type(layer) for layer in decoder.dense[1:]] == [BatchNorm, nn.ReLU]
    between: Any = [PictureNorm, nn.ReLU]
    assert [type(layer) for layer in decoder.convolutions[1:-2]] == between
    assert decoder(torch.zeros(3, 2)).shape == (3, 35)


def test_the_features_of_an_encoder_are_what_its_last_layer_is_given() -> None:
    torch.manual_seed(0)
    encoder, x = ConvEncoder((1, 5, 7), 2, channels=(3,), hidden=(6,)), torch.randn(4, 3, 35)
    assert encoder.features(x).shape == (4, 3, 6)
    torch.testing.assert_close(encoder.dense.layers[-1](encoder.features(x)), encoder(x))


def test_a_conditional_normal_reads_loc_and_then_log_scale() -> None:
    z = ConditionalNormal(nn.Identity())(torch.tensor([[1.0, -2.0, 0.5, -1.0]]))
    expected = Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, -1.0]).exp())
    value = torch.tensor([0.3, 0.4])
    torch.testing.assert_close(z.log_prob(value), expected.log_prob(value).sum(-1, keepdim=True))


def test_the_convolutional_decoder_restores_odd_extents() -> None:
    decoder = ConvDecoder(2, (1, 5, 7), channels=(4, 3), hidden=())
    assert decoder.seed_shape == (4, 2, 2)
    assert decoder(torch.zeros(2)).shape == (35,)


class Wide(nn.Module):
    """A network of one's own: a layer of the sizes that it is given."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.sizes = (num_inputs, num_outputs)


def test_a_network_of_ones_own_is_made_of_the_sizes_of_its_input_and_its_output() -> None:
    for make in (Wide, lambda num_inputs, num_outputs: Wide(num_inputs, num_outputs)):
        networks = pictures((4, 6), network=make)
        made: list[Any] = [networks.encoder(5), networks.decoder(2, 48)]
        assert [network.sizes for network in made] == [(24, 5), (2, 48)]


def test_a_partial_of_a_network_is_that_network() -> None:
    networks = pictures((4, 6), network=partial(MLP, hidden=(7,), activation=nn.GELU))
    torch.manual_seed(0)
    made = networks.encoder(5)
    torch.manual_seed(0)
    torch.testing.assert_close(made.state_dict(), MLP(24, 5, (7,), "gelu").state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_an_activation_of_ones_own_stands_where_one_with_a_name_would(network: str) -> None:
    own, named = (
        pictures((4, 6), network=network, activation=one) for one in (partial(nn.LeakyReLU, 0.2), "leaky_relu")
    )
    for one, other in zip(own.encoder(3).modules(), named.encoder(3).modules(), strict=True):
        assert repr(one) == repr(other)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"network": nn.ReLU()}, "network=ReLU() cannot be called with (24, 2): ReLU.forward() takes 2"),
        ({"network": lambda num_inputs, num_outputs: num_outputs}, "network=<function <lambda>"),
        ({"network": 3}, "network must be the name of a network, or what makes one of the sizes of its input and"),
        ({"network": linear(0, 1, 2)}, "network must be the name of a network, or what makes one of the sizes of"),
        ({"network": Wide, "batch_norm": True}, "batch_norm is that of the networks mlp, conv, and got network=<class"),
        ({"activation": nn.ReLU()}, "activation=ReLU() cannot be called with (): ReLU.forward() missing 1 required"),
        ({"activation": 1.0}, "activation must be the name of an activation, or what makes one, such as torch.nn.ReLU"),
        ({"network": "cnv"}, "expected the name of a network, got 'cnv': did you mean 'conv'?"),
        ({"hidden": 200}, "hidden must be a list of whole numbers of at least 1, got 200: write [200]."),
        ({"hidden": (200, 0)}, "hidden must be a list of whole numbers of at least 1, got (200, 0)."),
        ({"hidden": (2.5,)}, "hidden must be a list of whole numbers of at least 1, got (2.5,)."),
        ({"hidden": "200"}, "hidden must be a list of whole numbers of at least 1, got '200'."),
        ({"channels": ()}, "channels must be a list of whole numbers of at least 1 (at least 1 of them), got ()."),
        ({"activation": "tahn"}, "expected the name of an activation, got 'tahn': did you mean 'tanh'?"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        pictures((4, 6), **options).encoder(2)
    assert str(error.value).startswith(sentence)


def test_convolutions_need_pictures() -> None:
    with pytest.raises(UsageError, match=r"network='conv' needs pictures, but data 'x' have no image_shape"):
        Networks(DataSpec("x", 9, "binary"), network="conv")


def test_a_random_shift_moves_each_picture_by_itself_in_training_alone() -> None:
    """By up to a pixel each way, at every offset; zeros come in."""
    x = torch.arange(1.0, 25.0).expand(400, 24)
    shift = pictures((4, 6)).random_shift(1)
    offsets = [(down, across) for down in (0, 1, 2) for across in (0, 1, 2)]
    padded = nn.functional.pad(x[0].view(4, 6), (1, 1, 1, 1))
    moved = {padded[down : down + 4, across : across + 6].reshape(-1) for down, across in offsets}
    seen = [next(i for i, one in enumerate(moved) if torch.equal(one, row)) for row in shift(x)]
    assert set(seen) == set(range(9))
    torch.testing.assert_close(shift.eval()(x), x)


@pytest.mark.parametrize(
    ("most", "shape", "message"),
    [(-1, (4, 6), "most must be a whole number of at least 0, got -1"), (2, None, "no image_shape")],
)
def test_a_shift_that_cannot_be_is_refused(most: int, shape: tuple[int, ...] | None, message: str) -> None:
    networks = Networks(DataSpec("rows", 24, "binary", image_shape=shape))
    with pytest.raises(UsageError, match=message):
        networks.random_shift(most)
