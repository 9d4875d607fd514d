"""A flow as a density by itself: a Gaussian that is bent, then spread over where the data are.

    x = m + s * T(u),      u ~ N(0, I):      log p(x) = log N(u; 0, I) - log |det dT(u)| - sum_d log s_d      (nats)

m and s are parameters; in training they begin at the mean and the standard deviation of the data.

Reference: Normalizing Flows for Probabilistic Modeling and Inference, Papamakarios, Nalisnick, Rezende, Mohamed and
Lakshminarayanan, 2021, section 2.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppgen.data.spec import DataSpec
from ppgen.layers.dequantisation import Observed
from ppgen.layers.flows import Flow
from ppgen.pairs.pair import Pair

__all__ = ["FlowDensity", "FlowPair"]

_LEAST = 1e-2
"""Of a standard deviation that s begins at: of numbers that are constant."""


class FlowDensity(nn.Module):
    """p(x) of event shape (D,).

    Args:
        flow: T, without a context.
        loc: where m is until data are seen, (D,).
    """

    started: Tensor

    def __init__(self, flow: Flow, loc: Tensor) -> None:
        super().__init__()
        self.flow, self.loc, self.log_scale = flow, nn.Parameter(loc), nn.Parameter(torch.zeros_like(loc))
        self.register_buffer("started", torch.zeros((), dtype=torch.int64))

    def forward(self) -> Any:
        standard = dist.Normal(torch.zeros_like(self.loc), torch.ones_like(self.loc)).to_event(1)
        spread = dist.transforms.AffineTransform(self.loc, self.log_scale.exp(), event_dim=1)
        return dist.TransformedDistribution(self.flow(standard), [spread])

    @property
    def waits(self) -> bool:
        """Whether m and s have not been put anywhere."""
        return not bool(self.started)

    @torch.no_grad()
    def start_at(self, x: Tensor) -> None:
        """Put m and s where data, (N, D), are."""
        self.loc.copy_(x.mean(0))
        self.log_scale.copy_(x.std(0).clamp_min(_LEAST).log())
        self.started.fill_(1)


class FlowPair(Pair):
    """A flow as the density of data. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        x: (D,), observed, in the plate ``data``; of grey levels after ``y``, (D,), real, a latent

    To add one: hand on its flow, made for ``direction="scoring"``.

    Args:
        spec: what one datum is: real, or grey levels.
        flow: T, without a context.
        observed: how data are seen: as they are, or as levels of y; in logit space or not.
    """

    def __init__(self, spec: DataSpec, flow: Flow, observed: Observed) -> None:
        super().__init__(data_size=spec.num_data)
        self.observed, self.density = observed, FlowDensity(flow, observed.to_density(spec.centre))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            self.observed.observe(self.density(), x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            self.observed.infer(x)

    @property
    def waits_for_data(self) -> bool:
        """Whether training is to begin at the mean and the standard deviation of the data."""
        return self.density.waits

    def start_from(self, x: Tensor, *, seed: int) -> None:
        """Begin at data, (N, D), grey levels where the guide draws them in their cells."""
        self.density.start_at(self.observed.draw(x))
