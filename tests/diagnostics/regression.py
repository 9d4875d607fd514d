"""Bayesian linear regression in double precision: one number a datum, latents of all data, a known posterior."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppgen.data import Dataset
from ppgen.data.given import as_dataset
from ppgen.pairs.pair import Pair

__all__ = ["Regression", "table"]


def table(num: int = 30, seed: int = 2) -> tuple[Tensor, Tensor]:
    """x (N, 2) and y (N,), float64."""
    generator = torch.Generator().manual_seed(seed)
    x, noise = (torch.randn(num, size, generator=generator, dtype=torch.float64) for size in (2, 1))
    return x, x @ torch.tensor([1.0, -0.5], dtype=torch.float64) + noise[:, 0]


class Regression(Pair):
    """w ~ N(0, I), y | x ~ N(x w, 1); q(w) = N(m, S S'), at first the posterior, its factor times ``scale``.

    ``seen`` is what of y the model observes.
    """

    def __init__(
        self, x: Tensor, y: Tensor, *, scale: float = 1.0, seen: Callable[[Tensor], Tensor] = lambda y: y
    ) -> None:
        super().__init__(len(x))
        precision = torch.eye(x.shape[1], dtype=x.dtype) + x.T @ x
        factor = scale * torch.linalg.cholesky(precision.inverse())
        self.loc = nn.Parameter(torch.linalg.solve(precision, x.T @ seen(y)))
        self.lower, self.log_scale = nn.Parameter(factor.tril(-1)), nn.Parameter(factor.diagonal().log())
        self.seen = seen

    def model(self, x: Tensor, y: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(x.new_zeros(x.shape[1]), 1.0).to_event(1))  # (K, 1, D)
        with self.data_plate(x):
            pyro.sample("y", dist.Normal((x * w).sum(-1), 1.0), obs=self.seen(y))  # (K, B)

    def guide(self, x: Tensor, y: Tensor) -> None:
        scale_tril = self.lower.tril(-1) + self.log_scale.exp().diag_embed()
        pyro.sample("w", dist.MultivariateNormal(self.loc, scale_tril=scale_tril))

    @staticmethod
    def data(num: int = 30) -> Dataset:
        """The table, all of it to train."""
        return as_dataset(table(num))
