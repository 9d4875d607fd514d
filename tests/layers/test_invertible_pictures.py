"""Invertible layers of pictures, and flows of several scales: the way back, the Jacobian, the start at data."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from ppgen.errors import UsageError
from ppgen.layers.invertible_pictures import (
    ActNorm,
    Coupling,
    InvertibleConvolution,
    PictureLayer,
    PictureNoise,
    coupling_network,
)
from ppgen.layers.multi_scale import MultiScale

LAYERS: dict[str, Callable[[], PictureLayer]] = {
    "actnorm": lambda: ActNorm(3, 1, 1),
    "actnorm of each number": lambda: ActNorm(3, 4, 4),
    "convolution": lambda: InvertibleConvolution(3),
    "coupling": lambda: Coupling(1, coupling_network(1, 2, 5)),
    "coupling without hidden channels": lambda: Coupling(2, coupling_network(2, 1)),
}
FLOWS = {
    "one scale": ((4, 4), (5,), 2),
    "two scales": ((4, 4), (5, 3), 1),
    "two colours": ((2, 4, 4), (5, 3), 2),
    "three colours": ((3, 4, 4), (4, 4), 1),
    "oblong": ((1, 2, 4), (4,), 2),
}


def moved(module: nn.Module) -> nn.Module:
    """Away from where it starts: its parameters move by N(0, 1/4)."""
    for parameter in module.double().parameters():
        parameter.data += torch.randn_like(parameter) / 2
    return module


def check_change_of_variables(forward: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> None:
    """The second of what ``forward`` gives of x, (N, ...), is log |det| of the first's Jacobian, datum by datum."""
    log_det = forward(x)[1].expand(len(x))
    square = [jacobian(lambda v: forward(v[None])[0][0], one).reshape(one.numel(), -1) for one in x]
    torch.testing.assert_close(log_det, torch.linalg.slogdet(torch.stack(square)).logabsdet)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_undone_and_knows_its_jacobian(name: str) -> None:
    layer = LAYERS[name]()
    moved(layer)
    x = torch.randn(3, 3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(layer.inverse(layer(x)[0]), x)
    check_change_of_variables(layer, x)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_undone_and_knows_its_jacobian(name: str) -> None:
    shape, channels, depth = FLOWS[name]
    flow = MultiScale(shape, channels, depth)
    moved(flow)
    x = torch.randn(2, int(torch.tensor(shape).prod()), dtype=torch.float64)
    torch.testing.assert_close(flow.inverse(flow(x)[0]), x, rtol=1e-6, atol=1e-8)
    check_change_of_variables(flow, x)


def test_actnorm_begins_where_the_first_batch_has_mean_0_and_scale_1() -> None:
    """At every depth, since those before it begin first; and constants, which have no scale, are shifted alone."""
    flow, seen = MultiScale((2, 4, 4), (5, 3), 2).double(), []
    x = 3 + 2 * torch.randn(40, 32, dtype=torch.float64)
    flow.start_at(x)
    for layer in flow.modules():
        if isinstance(layer, ActNorm):
            layer.register_forward_hook(lambda layer, given, outputs: seen.append((layer, outputs[0])))
    flow(x)
    assert len(seen) == 2 * 2 + 1
    for layer, outputs in seen:
        dims = (0, 2, 3) if layer.shift.shape[1:] == (1, 1) else (0,)
        variance, mean = torch.var_mean(outputs, dims, correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean))
        torch.testing.assert_close(variance, torch.ones_like(variance))
    layer = ActNorm(1, 1, 1).double()
    layer.start_at(torch.full((4, 1, 2, 2), 7.0, dtype=torch.float64))
    assert (layer.shift.item(), layer.log_scale.item()) == (-7.0, 0.0)


def test_a_coupling_begins_as_nothing_and_a_convolution_as_a_rotation() -> None:
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    same, log_det = Coupling(2, coupling_network(2, 2, 8)).double()(x)
    assert torch.equal(same, x)
    assert log_det.tolist() == [0.0, 0.0]
    turned, log_det = InvertibleConvolution(4).double()(x)
    torch.testing.assert_close(turned.square().sum(1), x.square().sum(1), rtol=1e-5, atol=1e-5)  # made in float32
    assert abs(log_det.item()) < 1e-5


def test_a_coupling_keeps_the_first_channels() -> None:
    layer = Coupling(1, coupling_network(1, 2, 8))
    moved(layer)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    outputs = layer(x)[0]
    assert torch.equal(outputs[:, :1], x[:, :1])
    assert bool((outputs[:, 1:] != x[:, 1:]).all())


def test_noise_of_a_cell_begins_alike_everywhere() -> None:
    noise = PictureNoise((2, 3, 3))(torch.rand(4, 5, 18))
    assert noise.batch_shape == (4, 5)
    assert not noise.base_dist.loc.any()
    torch.testing.assert_close(noise.base_dist.scale.detach(), torch.full((4, 5, 18), -1.0).exp())


@pytest.mark.parametrize(("shape", "scales", "most"), [((28, 28), 3, "2 at most"), ((5, 4), 1, "none: cut or pad")])
def test_sides_that_cannot_be_halved_so_often_are_refused(shape: tuple[int, int], scales: int, most: str) -> None:
    with pytest.raises(UsageError, match=rf"pictures of {shape[0]} x {shape[1]} take {most}.* got {scales}"):
        MultiScale(shape, (2,) * scales, 1)
