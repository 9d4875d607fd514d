"""Every registered pair becomes one graph: no Python, no read values, whatever the dtype."""

from math import prod

import pyro
import pytest
import torch
from torch import Tensor

import ppgen.models  # noqa: F401  # fills the registry
from ppgen.data import DataSpec
from ppgen.machine.graphs import graph_of
from ppgen.models import VAE
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated, swapped
from ppgen.pairs.tracing import Program, run_particles
from ppgen.registry import MODELS
from ppgen.testing.sandbox import with_density
from tests.marks import sampled


def check_traces(pair: Pair, batch: tuple[Tensor, ...]) -> None:
    """The graph of sum log w and its gradient gives what an eager run gives, on another batch too.

    A pair without a density is given unit normal noise.
    """
    names, parameters = zip(*pair.named_parameters(), strict=True)

    def step(values: list[Tensor], batch: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        with swapped(pair, dict(zip(names, values, strict=True))), isolated(), with_density(pair):
            log_w = run_particles(Program(pair.model, pair.guide), batch, 3).log_w
            return log_w, torch.autograd.grad(log_w.sum(), values)

    with pyro.validation_enabled(False):
        values = [value.detach().requires_grad_() for value in parameters]
        step(values, batch)  # the engine counts a pair's plates by one more run, the first time it sees it
        graph = graph_of(step, values, batch)
        for data in (batch, tuple(tensor.flip(0) for tensor in batch)):
            torch.manual_seed(1)
            expected = step(values, data)
            torch.manual_seed(1)
            torch.testing.assert_close(graph(values, data), expected)


@pytest.mark.parametrize("name", sampled(MODELS, 4))
def test_the_tiny_case_of_every_pair_traces(name: str) -> None:
    make = MODELS[name].tiny
    assert make is not None
    check_traces(*make())


@pytest.mark.parametrize("name", sampled(MODELS, 5))
def test_the_tiny_case_of_every_pair_traces_in_float64(name: str) -> None:
    make = MODELS[name].tiny
    assert make is not None
    pair, batch = make()
    check_traces(pair.double(), tuple(t.double() if t.is_floating_point() else t for t in batch))


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("levels", [None, 5])
def test_every_network_and_likelihood_of_the_vae_traces(network: str, levels: int | None) -> None:
    shape = (2, 3, 4)
    kind = "real" if levels is None else "quantised"
    spec = DataSpec("pictures", prod(shape), kind, image_shape=shape, levels=levels)  # type: ignore[arg-type]
    check_traces(VAE(spec, 2, hidden=(4,), network=network, channels=(2,)), (torch.rand(5, 24).round(),))
