"""A density by a network's energy, on a Gaussian that keeps it normalisable.

    log p(v) = -E(v) - |v - m|^2 / (2 s^2) - log Z,        E(v) = network((v - m) / u), one number;  v real

    F(v) = E(v) + |v - m|^2 / (2 s^2)        (nats)

u is the length that the network sees as 1: what is much narrower it learns slowly, for networks begin smooth.
m is the mean of the training data and s given: E is what the density has beyond N(m, s^2), and a Z exists
whenever E falls no faster than linearly, as that of every network here does. There are no latents.

Tempered, b: E goes to b E; at b = 0 the density is the Gaussian. A sweep is one Hamiltonian move; of one leapfrog it is
the Metropolis-adjusted Langevin algorithm.

Reference: Implicit Generation and Modeling with Energy-Based Models, Du and Mordatch, 2019. The Gaussian factor: A
Theory of Generative ConvNet, Xie, Lu, Zhu and Wu, 2016.
"""

from __future__ import annotations

import math
from typing import Annotated

import pyro
import torch
from annotated_types import Len
from torch import Tensor

from ppgen.arguments import Count, Positive, Sizes
from ppgen.chains.hamiltonian import hamiltonian_move
from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.networks import Activation, Network, Networks
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["NeuralEnergy"]

_REACH = 10.0
"""Half of the width of the quadrature's grid, in units of s."""

_POINTS = {1: 20_001, 2: 1_201}
"""Of the grid in each dimension, by the number of dimensions."""

_EDGE = 20.0
"""Nats by which the density at the grid's edge is to be below its maximum."""


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    return NeuralEnergy(DataSpec("tiny", 2, "real", num_data=20), (4,), num_leapfrogs=2), (torch.randn(5, 2),)


@register_model(
    "neural_energy",
    summary="a density by a network's energy, with Hamiltonian or Langevin chains; real data",
    reference="Du and Mordatch, Implicit generation and modeling with energy-based models",
    year=2019,
    link="https://arxiv.org/abs/1903.08689",
    tags=("energy-based", "continuous"),
    tiny=_tiny,
    recommended=Recommended(
        "parallel_tempering",
        {"num_chains": 100, "num_temperatures": 6},
        {"steps": 4_000, "batch_size": 250, "lr": 0.01},
    ),
)
class NeuralEnergy(EnergyPair):
    """Density by a network's energy. One batch is ``(x,)``, x of shape (B, D), real.

    Sites:
        energy: (), a factor, in the plate ``data``: log p~(v)

    log Z is exact by quadrature for D = 1 and 2.

    Args:
        spec: what one datum is; its mean, where known, is m.
        hidden: sizes of the hidden layers.
        base_scale: s, in the data's unit: wider than the data, for chains start there and nothing lies beyond.
        unit: u, in the data's unit; of the order of the narrowest feature of the density where that is narrow. An
            untrained E is the steeper the smaller u, so that base_scale is to hold it.
        step_size: of a leapfrog, in the data's unit, within a fifth; of that order too.
        num_leapfrogs: of a sweep; 1: Langevin.
        metropolis: accept or refuse each move, which leaves p invariant; False: take each, as unadjusted Langevin
            dynamics do, whose limit is p up to an error of the order of the squared step size.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one; a smooth one.
        network: ``"mlp"``, or ``"conv"`` for data with an image shape; or what makes a network of the sizes of its
            input and its output.
        channels: channels of the convolutions of ``"conv"``.

    Raises:
        UsageError: data that are not real, or a size that is not positive.

    >>> import ppgen
    >>> pair = NeuralEnergy(DataSpec("ring", 2, "real"), hidden=(8,), base_scale=1.0)
    >>> for parameter in pair.parameters():
    ...     _ = torch.nn.init.zeros_(parameter)
    >>> round(ppgen.log_z(pair, exact=True).value / math.log(2 * math.pi), 4)  # of N(0, I) in two dimensions
    1.0
    """

    base_mean: Tensor

    def __init__(
        self,
        spec: DataSpec,
        hidden: Sizes = (128, 128),
        *,
        base_scale: Positive = 2.0,
        unit: Positive = 1.0,
        step_size: Positive = 0.1,
        num_leapfrogs: Count = 5,
        metropolis: bool = True,
        activation: Activation = "silu",
        network: Network = "mlp",
        channels: Annotated[Sizes, Len(1)] = (32, 64),
    ) -> None:
        if spec.observation != "real":
            raise UsageError(
                f"NeuralEnergy is a density of real data, which has a slope, and data {shown(spec.name)} are "
                f"{spec.in_words}: choose 'rbm', 'conv_rbm' or 'boltzmann', or load the data as real."
            )
        super().__init__(data_size=spec.num_data)
        self.observation = spec.observation
        self.base_scale, self.unit, self.step_size = base_scale, unit, step_size
        self.num_leapfrogs, self.metropolis = num_leapfrogs, metropolis
        self.reversible = metropolis
        self.network = Networks(spec, network, hidden, channels, activation).encoder(1)
        self.register_buffer("base_mean", spec.centre)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.factor("energy", -self.free_energy(x))  # (B,)

    def guide(self, x: Tensor) -> None:
        """Nothing: there are no latents."""

    def energy(self, v: Tensor) -> Tensor:
        """E(v), (..., D) -> (...,), in nats."""
        found: Tensor = self.network((v - self.base_mean) / self.unit).squeeze(-1)
        return found

    def free_energy(self, v: Tensor) -> Tensor:
        return -self.log_tempered(v, 1.0)

    def log_tempered(self, s: Tensor, b: Tensor | float) -> Tensor:
        return -b * self.energy(s) - ((s - self.base_mean) / self.base_scale).square().sum(-1) / 2

    def sweep(self, s: Tensor) -> Tensor:
        return self.tempered_sweep(s, 1.0)

    @torch.no_grad()
    def tempered_sweep(self, s: Tensor, b: Tensor | float) -> Tensor:
        return hamiltonian_move(
            lambda at: self.log_tempered(at, b), s, self.step_size, self.num_leapfrogs, metropolis=self.metropolis
        )

    @torch.no_grad()
    def base_sample(self, num: int) -> Tensor:
        mean = self.base_mean.expand(num, -1)
        return mean + self.base_scale * torch.randn_like(mean)

    def base_log_z(self) -> Tensor:
        each = math.log(self.base_scale) + 0.5 * math.log(2 * math.pi)
        return self.base_mean.new_tensor(len(self.base_mean) * each)

    @torch.no_grad()
    def exact_log_z(self) -> Tensor:
        """By quadrature on a grid, for one and two dimensions; the density is smooth, and nothing beyond the grid.

        Raises:
            UsageError: there are more dimensions, or the density reaches beyond the grid or is narrower than it.
        """
        size = len(self.base_mean)
        if size not in _POINTS:
            raise UsageError(
                f"exact log Z is a quadrature in 1 or 2 dimensions, and data have {size}: estimate it by annealed "
                "importance sampling (exact=False)."
            )
        half, points = _REACH * self.base_scale, _POINTS[size]
        axis = torch.linspace(-half, half, points, dtype=torch.float64).to(self.base_mean)
        grid = torch.cartesian_prod(*[axis + m for m in self.base_mean]).reshape(-1, size)  # (points, D)
        log_p = torch.cat([self.log_tempered(part, 1.0) for part in grid.split(2**17)])
        at_edge = ((grid - self.base_mean).abs() > 0.999 * half).any(-1)
        if bool(log_p[at_edge].max() > log_p.max() - _EDGE):
            raise UsageError(
                f"exact log Z sums within {_REACH:g} times base_scale={self.base_scale:g} of the mean, and the density "
                "reaches beyond: estimate it by annealed importance sampling (exact=False)."
            )
        every_second = log_p.reshape([points] * size)[(slice(None, None, 2),) * size]
        if bool((every_second.logsumexp(tuple(range(size))) + size * math.log(2) - log_p.logsumexp(0)).abs() > 0.01):
            raise UsageError(
                f"exact log Z is a sum over points {2 * half / (points - 1):.2g} apart, and the density is "
                "as narrow: choose a smaller base_scale, or annealed importance sampling (exact=False)."
            )
        return log_p.logsumexp(0) + size * math.log(2 * half / (points - 1))
