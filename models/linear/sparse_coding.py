"""Sparse coding: data are sums of a few columns of a dictionary, more of them than a datum has numbers.

    p(z)     = prod_j Laplace(z_j; 0, s^2 / l)      z: (H,); l: ``sparsity``
    p(x | z) = N(W z + c, s^2 I)                    x: (D,); |w_j| <= 1, c is held at the training mean

    q(z | x) = a point at  argmin_z  |x - c - W z|^2 / 2 + l |z|_1,     the lasso's code, by FISTA

The code is where p(z | x) is greatest, and ``elbo`` at it is log p(x, z): up to constants, minus the lasso's objective
over s^2. Its gradient with the code held is the whole one, since the code is at the objective's minimum: training
alternates codes and the dictionary, as Olshausen and Field do. ``em`` with ``hard=True`` takes both steps exactly: all
codes, then the W of least squares at them, the method of optimal directions under the bound; with ``decay`` it is the
online dictionary learning of Mairal et al. (2009). log p(x) has no closed form: what ``evaluate`` gives is log p(x, z)
at the code.

References: Emergence of Simple-Cell Receptive Field Properties by Learning a Sparse Code for Natural Images, Olshausen
and Field, 1996; Method of Optimal Directions for Frame Design, Engan, Aase and Husoy, 1999; Online Dictionary Learning
for Sparse Coding, Mairal, Bach, Ponce and Sapiro, 2009.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from torch import Tensor

from ppgen.arguments import Count, Positive
from ppgen.data import DataSpec
from ppgen.distributions.point import RoundedPoint
from ppgen.layers.sparse_codes import SparseCodes, fitted_dictionary
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["SparseCoding"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    return SparseCoding(DataSpec("tiny", 4, "real", num_data=20), 6, sparsity=0.3), (torch.randn(5, 4),)


@register_model(
    "sparse_coding",
    summary="sparse coding: an overcomplete dictionary, Laplace prior, the guide a point at the lasso's code by FISTA",
    reference="Olshausen and Field, Emergence of simple-cell receptive field properties by learning a sparse code",
    year=1996,
    link="https://doi.org/10.1038/381607a0",
    tags=("continuous", "point"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 3_000, "batch_size": 100, "lr": 1e-2}),
)
class SparseCoding(SparseCodes):
    """Sparse coding. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (H,), real, in the plate ``data``: the code
        x: (D,), observed, in the plate ``data``

    Parameter: ``weight`` (D, H), whose columns, those longer than 1 made as long as 1, are W.

    Args:
        spec: what one datum is: real.
        latent_dim: H.
        sparsity: l, beside which the squared error counts a half: codes are zero where no column's product with what is
            left of x exceeds it.
        noise: s; it moves neither codes nor W, but what log p(x, z) and draws are.
        iterations: steps of FISTA for a code, at most.

    Raises:
        UsageError: the data are not real, or a number is not positive.

    >>> pair = SparseCoding(DataSpec("numbers", 3, "real"), 5, sparsity=10.0)
    >>> pair.encode(torch.ones(1, 3))  # no product with a column of length one exceeds 10
    tensor([[0., 0., 0., 0., 0.]])
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 100,
        *,
        sparsity: Positive = 1.0,
        noise: Positive = 1.0,
        iterations: Count = 200,
    ) -> None:
        super().__init__(spec, latent_dim, sparsity, noise, iterations)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            self.draw_datum(self.draw_code(x), x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", RoundedPoint(self.encode(x), event_dim=1))  # type: ignore[no-untyped-call]  # (K, B, H)

    def encode(self, x: Tensor) -> Tensor:
        """The most probable code, (..., D) to (..., H), without gradient."""
        return self.best_codes(x)

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, z) at the most probable z, (B, D) to (B,), in nats."""
        return self.log_joint_at(x, self.encode(x))

    def expected_statistics(self, x: Tensor, *, hard: bool = True) -> dict[str, Tensor]:
        """Sums over data x, (B, D), in float64, at the most probable codes: ``zz`` A (H, H) and ``xz`` B (D, H)."""
        z, x = self.encode(x).double(), (x - self.loc).double()
        return {"count": x.new_full((), len(x)), "zz": z.T @ z, "xz": x.T @ z}

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The dictionary of least squares at the codes."""
        return {"weight": fitted_dictionary(self.weight, statistics).to(self.weight)}
