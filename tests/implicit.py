"""A pair without a density whose samples are of a known distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppgen.data import Dataset, DataSpec
from ppgen.data.modes import Modes
from ppgen.pairs.pair import Pair

__all__ = ["Push", "plane", "ring"]


class Push(Pair):
    """z ~ N(0, I) or uniform on [-1, 1]^D, x = loc + scale z; the guide is the prior.

    Sites:
        z: (D,), in the plate ``data``
        x: (D,), observed, in the plate ``data``
    """

    implicit: ClassVar[bool] = True

    def __init__(self, spec: DataSpec, scale: float = 1.0, *, uniform: bool = False) -> None:
        super().__init__(spec.num_data)
        self.uniform = uniform
        self.loc = nn.Parameter(torch.zeros(spec.num_features))
        self.scale = nn.Parameter(torch.tensor(scale))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = self._latent(x)  # (B, D)
            pyro.sample("x", dist.Delta(self.loc + self.scale * z, event_dim=1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            self._latent(x)

    def _latent(self, x: Tensor) -> Tensor:
        zero = x.new_zeros(x.shape[1])
        prior: Any = dist.Uniform(zero - 1, zero + 1) if self.uniform else dist.Normal(zero, 1.0)
        z: Tensor = pyro.sample("z", prior.to_event(1))
        return z


def plane(num: int = 500, num_features: int = 2, scale: float = 1.0) -> Dataset:
    """Normal data: a training, a validation and a test split of ``num`` each, no two alike."""
    splits = (scale * torch.randn(3, num, num_features)).unbind(0)
    train, valid, test = ((x,) for x in splits)
    return Dataset(DataSpec("plane", num_features, "real"), train, valid, test)


def ring(num: int = 500, scale: float = 0.05) -> Dataset:
    """Four modes at distance one from the origin."""
    centres = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    x = centres[torch.randint(4, (3, num))] + scale * torch.randn(3, num, 2)
    train, valid, test = ((part,) for part in x.unbind(0))
    return Dataset(DataSpec("ring", 2, "real"), train, valid, test, modes=Modes(centres, scale))
