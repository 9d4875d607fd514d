"""Guides of transformed densities with parameters of their own, registered by ``pyro.module``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as T
import torch
from torch import Tensor, nn

from tests.public.case import Case, Made

__all__ = ["CASES"]


class Bent(nn.Module):
    """Two coordinates seen through a bend, x ~ N((z1, z2 + z1^2 / 2), 0.5^2), and a flow after a normal guide."""

    def __init__(self, flow: Any) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 4)
        self.flow = flow

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            bent = torch.stack([z[..., 0], z[..., 1] + z[..., 0].square() / 2], -1)
            pyro.sample("x", dist.Normal(bent, 0.5).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        pyro.module("flow", self.flow)
        with pyro.plate("data", len(x)):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            base = dist.Normal(0.5 * loc, 0.5 * (0.3 * log_scale).exp()).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [self.flow]))


def bent(flow: Callable[[], Any]) -> Made:
    pair = Bent(flow())
    return Made(pair.model, pair.guide, (torch.tensor([[0.3, 0.5], [-1.0, 0.8], [1.2, 0.1], [0.0, -0.7], [0.6, 1.4]]),))


def through_functions() -> Made:
    """The same, as two functions that close over their networks."""
    encoder, flow = nn.Linear(2, 4), T.conditional_affine_autoregressive(2, context_dim=2, hidden_dims=[5])

    def model(x: Tensor) -> None:
        with pyro.plate("points", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z + z.flip(-1).square() / 3, 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder_net", encoder)
        pyro.module("flow_net", flow)
        with pyro.plate("points", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            base = dist.Normal(0.5 * loc, 0.5 * (0.3 * log_scale).exp()).to_event(1)
            pyro.sample("z", dist.ConditionalTransformedDistribution(base, [flow]).condition(x))

    return Made(model, guide, (torch.tensor([[0.3, 0.5], [-1.0, 0.8], [1.2, 0.1], [0.0, -0.7]]),))


CASES = [
    Case(
        "bent_iaf",
        "examples/dmm/dmm.py --num-iafs and tutorial/normalizing_flows_intro.ipynb: affine autoregressive",
        lambda: bent(lambda: T.affine_autoregressive(2, hidden_dims=[6])),
        num_data=5,
    ),
    Case(
        "bent_planar",
        "tutorial/normalizing_flows_intro.ipynb: planar flows, whose inverse is what their cache remembers",
        lambda: bent(lambda: T.planar(2)),
        num_data=5,
        compiled=True,
    ),
    Case(
        "bent_coupling",
        "tutorial/normalizing_flows_intro.ipynb: affine coupling",
        lambda: bent(lambda: T.affine_coupling(2, hidden_dims=[6])),
        num_data=5,
    ),
    Case(
        "bent_spline",
        "tutorial/normalizing_flows_intro.ipynb: spline coupling",
        lambda: bent(lambda: T.spline_coupling(2, hidden_dims=[6], count_bins=4, bound=4.0)),
        num_data=5,
        compiled=True,
    ),
    Case(
        "flow_of_functions",
        "tutorial/normalizing_flows_intro.ipynb: a conditional flow in raw functions that close over modules",
        through_functions,
        num_data=4,
    ),
]
