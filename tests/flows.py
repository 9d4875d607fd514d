"""Pairs made of flows, for the tests of what flows remember."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import transforms as T
from pyro.nn import AutoRegressiveNN, DenseNN
from torch import Tensor, nn

from ppgen.pairs.pair import Pair

WIDTH = 3


def _iaf() -> Any:
    return T.AffineAutoregressive(AutoRegressiveNN(WIDTH, [8]))


def _stable_iaf() -> Any:
    return T.AffineAutoregressive(AutoRegressiveNN(WIDTH, [8]), stable=True)


def _affine_coupling() -> Any:
    return T.AffineCoupling(1, DenseNN(1, [8], [WIDTH - 1, WIDTH - 1]))


def _spline_coupling() -> Any:
    return T.spline_coupling(WIDTH, hidden_dims=[8], count_bins=4)


def _spline(order: str) -> Callable[[], Any]:
    return lambda: T.Spline(WIDTH, count_bins=4, order=order)


INVERTIBLE: dict[str, Callable[[], Any]] = {
    "affine autoregressive": _iaf,
    "stable affine autoregressive": _stable_iaf,
    "affine coupling": _affine_coupling,
    "spline coupling": _spline_coupling,
    "linear spline": _spline("linear"),
    "quadratic spline": _spline("quadratic"),
    "spline autoregressive": lambda: T.spline_autoregressive(WIDTH, hidden_dims=[8], count_bins=4),
}
"""Flows of which any value can be scored."""

FORWARD: dict[str, Callable[[], Any]] = {
    "planar": lambda: T.Planar(WIDTH),
    "radial": lambda: T.Radial(WIDTH),
    "sylvester": lambda: T.Sylvester(WIDTH, 2),
    "block autoregressive": lambda: T.BlockAutoregressive(WIDTH, [4]),
    "neural autoregressive": lambda: T.neural_autoregressive(WIDTH, hidden_dims=[8], width=4),
}
"""Flows that score their own draws only."""

BACKWARD: dict[str, Callable[[], Any]] = {
    "masked autoregressive (inverse)": lambda: _iaf().inv,
    "planar (inverse)": lambda: T.Planar(WIDTH).inv,
}
"""Flows that score any value, made for likelihoods."""

FLOWS = {**INVERTIBLE, **FORWARD}


def flow(name: str) -> Any:
    """The flow with parameters away from where it starts, the same at each call."""
    with seeded():
        made = {**FLOWS, **BACKWARD}[name]()
        for parameter in module_of(made).parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape)
    return made


def module_of(transform: Any) -> nn.Module:
    """The module that holds the transform's parameters: itself, or what it is the inverse of."""
    found: nn.Module = transform if isinstance(transform, nn.Module) else transform.inv
    return found


@contextmanager
def seeded() -> Iterator[None]:
    """Within it random numbers are the same at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(13)
        yield


class FlowGuide(Pair):
    """z ~ N(0, I), x | z ~ N(W z, 1), and q(z | x) a flow of a normal that depends on x."""

    def __init__(self, name: str) -> None:
        super().__init__()
        with seeded():
            self.encoder, self.decoder = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.flow = flow(name)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(WIDTH), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            base = dist.Normal(self.encoder(x), 1.0).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [self.flow]))


class FlowLikelihood(Pair):
    """z ~ N(0, 1), x | z a flow of a normal; the guide is a normal of x."""

    def __init__(self, name: str) -> None:
        super().__init__()
        with seeded():
            self.encoder, self.decoder = nn.Linear(WIDTH, 1), nn.Linear(1, WIDTH)
        made = flow(name)
        self.flow, self.is_inverse = module_of(made), made is not module_of(made)

    @property
    def transform(self) -> Any:
        """From the normal to x."""
        return self.flow.inv if self.is_inverse else self.flow

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            base = dist.Normal(self.decoder(z), 1.0).to_event(1)
            pyro.sample("x", dist.TransformedDistribution(base, [self.transform]), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.encoder(x), 1.0).to_event(1))


def flow_data(rows: int = 60) -> Tensor:
    """(rows, WIDTH), always the same."""
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(5))


class OwnPrior(Pair):
    """The guide is the posterior: both are one flow of one normal, and x is independent of z."""

    def __init__(self, name: str, *, shared: bool) -> None:
        super().__init__()
        self.flow = flow(name)
        self.prior = self.flow if shared else flow(name)
        self.loc = nn.Parameter(torch.tensor([0.3, -0.2, 0.5]))
        self.prior_loc = nn.Parameter(self.loc.detach().clone())

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            base = dist.Normal(self.prior_loc, 1.0).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [self.prior]))
            pyro.sample("x", dist.Normal(torch.zeros_like(x), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.TransformedDistribution(dist.Normal(self.loc, 1.0).to_event(1), [self.flow]))


def site_of(fn: Any, value: Tensor) -> dict[str, Any]:
    """A site ``z`` as Pyro's traces have it."""
    return {"name": "z", "fn": fn, "value": value, "args": (), "kwargs": {}}
