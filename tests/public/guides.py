"""Guides that Pyro makes: messengers, autoregressive and normalizing flows, sparse Gaussians, easy guides."""

# The idioms as they are public: Pyro's decorators, modules and guides are untyped.
# mypy: disable-error-code="abstract, no-untyped-call"

from __future__ import annotations

from functools import partial

import pyro
import pyro.distributions as dist
import torch
from pyro.contrib.easyguide import EasyGuide
from pyro.distributions.transforms import iterated, planar
from pyro.infer.autoguide import (
    AutoGaussian,
    AutoHierarchicalNormalMessenger,
    AutoIAFNormal,
    AutoNormalizingFlow,
    AutoNormalMessenger,
    AutoRegressiveMessenger,
    init_to_mean,
)
from torch import Tensor, nn

from tests.public.case import FLOAT32, Case, Made

__all__ = ["CASES"]

GENES, FACTORS = 4, 2


def spots(counts: Tensor, index: Tensor, batches: Tensor) -> None:
    """Counts of genes at places of a tissue: abundances of cell types there, signatures of types, batch effects."""
    place = pyro.plate("obs_plate", len(index), dim=-2)
    types, genes = pyro.plate("types", FACTORS, dim=-1), pyro.plate("genes", GENES, dim=-1)
    with types:
        typical = pyro.sample("typical", dist.Gamma(3.0, torch.full((1, FACTORS), 2.0)))
    signatures = pyro.sample("signatures", dist.Gamma(2.0, torch.ones(FACTORS, GENES)).to_event(2))
    with genes:
        spread = pyro.sample("spread", dist.Exponential(torch.full((1, GENES), 3.0)))
    effects = pyro.sample("effects", dist.Gamma(20.0, 20 * torch.ones(batches.shape[1], GENES)).to_event(2))
    with place, types:
        abundance = pyro.sample("abundance", dist.Gamma(4 * typical, torch.tensor(4.0)))  # (B, types)
    mean = (abundance @ signatures) * (batches @ effects)  # (B, genes)
    alpha = 1 / spread.square().clamp(min=1e-3)
    with place, genes:
        pyro.sample("data_target", dist.GammaPoisson(alpha, alpha / mean), obs=counts)


def tissue() -> Made:
    guide = AutoHierarchicalNormalMessenger(spots, init_loc_fn=init_to_mean, init_scale=0.05)
    batch = torch.poisson(3 * torch.ones(6, GENES)), torch.arange(6), torch.eye(2)[torch.arange(6) % 2]
    return Made(spots, guide, batch)


def rides(times: Tensor, full_size: int) -> None:
    """Times of rides, each with a traffic of its own, subsampled; a guide shared over the plate of rides."""
    with pyro.plate("rides", full_size, subsample_size=len(times)):
        traffic = pyro.sample("traffic", dist.Normal(0.0, 1.0))
        speed = pyro.sample("speed", dist.LogNormal(0.2 * traffic, 0.5))
        pyro.sample("time", dist.Normal(4 / speed, 1.0), obs=times)


def amortized(guide: type[AutoNormalMessenger] | type[AutoRegressiveMessenger]) -> Made:
    times = torch.tensor([3.0, 4.5, 2.5, 6.0, 4.0, 3.5])
    return Made(rides, guide(rides, amortized_plates=("rides",)), (times, 30))


def slopes(x: Tensor, y: Tensor) -> None:
    """A line with a latent slope, intercept and noise, and no other."""
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    b = pyro.sample("b", dist.Normal(0.0, 2.0))
    noise = pyro.sample("noise", dist.LogNormal(-1.0, 0.5))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(a + b * x, noise), obs=y)


def line() -> tuple[Tensor, Tensor]:
    x = torch.linspace(-1, 2, 8)
    return x, 0.5 + x + torch.tensor([0.1, -0.2, 0.3, 0.0, -0.1, 0.2, -0.3, 0.1])


def nursery(heights: Tensor) -> None:
    """Heights of plants in beds: a mean of all, a deviation of each bed, plants in a plate inside that of beds."""
    mean = pyro.sample("mean", dist.Normal(10.0, 5.0))
    with pyro.plate("beds", heights.shape[-1], dim=-1):
        bed = pyro.sample("bed", dist.Normal(mean, 2.0))
        with pyro.plate("plants", len(heights), dim=-2):
            pyro.sample("height", dist.Normal(bed, 1.0), obs=heights)


def gaussian() -> Made:
    heights = torch.tensor([[9.0, 12.0, 10.5], [8.0, 11.0, 9.5]])
    return Made(nursery, AutoGaussian(nursery, init_scale=0.3), (heights,), columns=False)


def walks(batch: Tensor, subsample: Tensor, full_size: int) -> None:
    """Three steps of each walk of a subsample; all of a walk's positions are one group of the guide."""
    with pyro.plate("walks", full_size, subsample=subsample):
        place = torch.zeros(len(subsample))
        for t in range(batch.shape[1]):
            place = pyro.sample(f"place_{t}", dist.Normal(place, 1.0))
            pyro.sample(f"seen_{t}", dist.Normal(place, 0.5), obs=batch[:, t])


class Walkers(EasyGuide):
    """A joint normal distribution of a walk's positions, of a network of what was seen."""

    def __init__(self) -> None:
        super().__init__(walks)
        self.network = nn.Linear(3, 3)

    def guide(self, batch: Tensor, subsample: Tensor, full_size: int) -> None:
        group = self.group(match="place_[0-9]*")
        with self.plate("walks", full_size, subsample=subsample):
            group.sample("states", dist.MultivariateNormal(self.network(batch), 0.2 * torch.eye(3)))


def easy() -> Made:
    batch = torch.randn(4, 3).cumsum(1)
    return Made(walks, Walkers(), (batch, torch.tensor([2, 5, 7, 11]), 12))


CASES = [
    Case(
        "spots",
        "cell2location: gamma and Poisson hierarchy over 'obs_plate' at dim -2, AutoHierarchicalNormalMessenger",
        tissue,
        weights="global",
        num_data=6,
        repeats=40,
        compiled=True,
        broken=FLOAT32,
        looped=True,
    ),
    Case(
        "rides_normal_messenger",
        "pyro.infer.autoguide.AutoNormalMessenger: amortized_plates and a subsampled plate",
        lambda: amortized(AutoNormalMessenger),
        num_data=6,
        scale=5.0,
        broken=FLOAT32,
    ),
    Case(
        "rides_autoregressive_messenger",
        "pyro.infer.autoguide.AutoRegressiveMessenger: priors moved by affine maps",
        lambda: amortized(AutoRegressiveMessenger),
        num_data=6,
        scale=5.0,
        broken=FLOAT32,
    ),
    Case(
        "line_iaf",
        "pyro.infer.autoguide.AutoIAFNormal: one module of the guide held under two names",
        lambda: Made(slopes, AutoIAFNormal(slopes, hidden_dim=[6]), line()),
        weights="global",
        num_data=8,
        compiled=True,
        broken=FLOAT32,
    ),
    Case(
        "line_planar",
        "pyro.infer.autoguide.AutoNormalizingFlow: iterated planar flows",
        lambda: Made(slopes, AutoNormalizingFlow(slopes, partial(iterated, 2, planar)), line()),
        weights="global",
        num_data=8,
        looped=None,
        broken=FLOAT32,
    ),
    Case(
        "nursery",
        "examples/eight_schools and pyro.infer.autoguide.AutoGaussian: nested plates, a sparse precision",
        gaussian,
        weights="global",
        num_data=3,
        broken=FLOAT32,
    ),
    Case(
        "walks",
        "pyro.contrib.easyguide: a group of sites as one auxiliary normal, subsample and full size as arguments",
        easy,
        num_data=4,
        scale=3.0,
        broken=FLOAT32,
    ),
]
