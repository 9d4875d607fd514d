"""How a density of real numbers is one of data: of numbers as they are, or of grey levels that are dequantised.

Real data have the density itself, and log p(x) is exact. A grey level k of L is a cell of the unit interval, and the
density is that of a latent y whose level is seen,

    y ~ p(y),      k = floor(L y)                            the first and the last level take what lies beyond
    q(y | x):      y = (k + u) / L,                          u ~ U[0, 1)^D                           "uniform"
                                                             u = sigmoid(T(e; x)), e logistic        "variational"

with T a conditional flow of couplings that begins as nothing, so that u begins uniform. The weights p(y) / q(y | x) of
K particles bound the log-probability of levels, log p(x), as of any pair: by the ELBO, or tighter as K grows. What of u
is nearer to 0 or 1 than the type can tell beside k counts as that near.

The guide stays in [0, 1), so that as K grows the bound goes to the log of the integral of p(y) over the level's cell,
which are the bits per dimension of the literature. Of the first and the last level log p(x) is more, by what p has
below 0 and above 1: mass that the bound leaves out, never takes in, and that training moves into the cells.

In logit space p is a density of s = logit(alpha + (1 - 2 alpha) y): y lies in (-a, 1 + a), a = alpha / (1 - 2 alpha).

References: A note on the evaluation of generative models, Theis, van den Oord and Bethge, 2016 (uniform); Flow++, Ho,
Chen, Srinivas, Duan and Abbeel, 2019 (variational); Learning likelihoods with discretization, Hoogeboom, Cohen and
Tomczak, 2020 (K particles); Density estimation using real NVP, Dinh et al., 2017, section 4.1 (logit space).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn
from torch.distributions import AffineTransform, Transform, constraints
from torch.nn.functional import logsigmoid

from ppgen.data.spec import DataSpec
from ppgen.distributions.grey_levels import Cell, GreyLevel, cell_edges
from ppgen.errors import UsageError, setting, shown
from ppgen.layers.flows import flow

__all__ = ["Alpha", "Dequantisation", "LogitSpace", "Observed"]

Dequantisation = Literal["uniform", "variational", "none"]

Alpha = Annotated[float, Ge(0), Lt(0.5)]
"""The distance of logit space from 0 and 1; 0: none."""


class LogitSpace(Transform):
    """From s to y in (-a, 1 + a), sigmoid(s) = alpha + (1 - 2 alpha) y.

    Args:
        alpha: in [0, 1/2).
        margin: what sigmoid(s) and 1 - sigmoid(s) are at least; None: the least number of the type.

    >>> LogitSpace(0.05).inv(torch.tensor([0.0, 0.5, 1.0]))  # -log 19, 0, log 19
    tensor([-2.9444,  0.0000,  2.9444])
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = 1

    def __init__(self, alpha: float, margin: float | None = None) -> None:
        super().__init__()
        self.alpha, self.margin = alpha, margin

    def _call(self, x: Tensor) -> Tensor:
        least = self.margin or 0.0
        return (x.sigmoid().clamp(least, 1 - least) - self.alpha) / (1 - 2 * self.alpha)

    def _inverse(self, y: Tensor) -> Tensor:
        least = self.margin or torch.finfo(y.dtype).tiny
        low, high = (self.alpha + (1 - 2 * self.alpha) * side for side in (y, 1 - y))
        return low.clamp_min(least).log() - high.clamp_min(least).log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return logsigmoid(x) + logsigmoid(-x) - math.log(1 - 2 * self.alpha)


class Observed(nn.Module):
    """Sites of data whose density is given: ``observe`` is a model's, ``infer`` the guide's, in the data plate.

    Sites:
        y: (D,), real, a latent; of grey levels alone
        x: (D,), observed

    Args:
        spec: what one datum is: real, or grey levels.
        dequantisation: how a level's cell is filled; of real data it is not looked at.
        alpha: of logit space; 0: the density is that of y, or of x, itself. None: 0.05 of data in [0, 1], else 0.
        hidden: sizes of the hidden layers of the networks of ``"variational"``.
        noise: for ``"variational"``, the distribution of logit u, of event shape (D,), of x, (B, D); None: the flow
            above.

    Raises:
        UsageError: the data are neither real nor grey levels, levels are not dequantised, real numbers are, or those of
            logit space are of any size.
    """

    def __init__(
        self,
        spec: DataSpec,
        dequantisation: Dequantisation = "uniform",
        alpha: float | None = None,
        hidden: tuple[int, ...] = (64,),
        noise: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.levels = spec.levels if spec.observation == "quantised" else None
        _check(spec, dequantisation, alpha)
        self.alpha = (0.05 if spec.in_unit_interval else 0.0) if alpha is None else alpha
        varied = self.levels is not None and dequantisation == "variational"
        self.noise = (noise or _Couplings(spec.num_features, hidden)) if varied else None

    def observe(self, density: Any, x: Tensor) -> None:
        """x, (B, D), or the levels that y falls into.

        Args:
            density: of event shape (D,): of x or y, in logit space where it is asked for.
        """
        if self.alpha:
            density = dist.TransformedDistribution(density, [LogitSpace(self.alpha)])
        if self.levels is None:
            pyro.sample("x", density, obs=x)  # (B, D)
            return
        y = pyro.sample("y", density)  # (K, B, D)
        pyro.sample("x", dist.Independent(GreyLevel(y, self.levels), 1), obs=x)  # (B, D)

    def infer(self, x: Tensor) -> None:
        """y, where there is one."""
        if self.levels is not None:
            pyro.sample("y", self._dequantised(x, self.levels))  # (K, B, D)

    def to_density(self, x: Tensor) -> Tensor:
        """Data, (..., D), as the density has them, levels at the middle of their cells."""
        if self.levels is not None:
            low, high = cell_edges(x, self.levels)
            x = (low + high) / 2
        moved: Tensor = LogitSpace(self.alpha).inv(x) if self.alpha else x
        return moved

    def draw(self, x: Tensor) -> Tensor:
        """Data, (B, D), as the density has them, levels where the guide draws them."""
        y = x if self.levels is None else self._dequantised(x, self.levels).sample()
        moved: Tensor = LogitSpace(self.alpha).inv(y) if self.alpha else y
        return moved

    def _dequantised(self, x: Tensor, levels: int) -> Any:
        """q(y | x)."""
        low, high = cell_edges(x, levels)
        if self.noise is None:
            return dist.Independent(Cell(low, high), 1)  # type: ignore[no-untyped-call]
        unit = LogitSpace(0.0, margin=levels * torch.finfo(x.dtype).eps)
        return dist.TransformedDistribution(self.noise(x), [unit, _IntoCell(low, 1 / levels)])


class _IntoCell(AffineTransform):
    """From the unit interval into a level's cell, which what lies there has for its support."""

    @property
    def codomain(self) -> Any:  # type: ignore[override]  # as torch overrides its own
        return constraints.interval(self.loc, self.loc + self.scale)


class _Couplings(nn.Module):
    """A flow of x that begins as nothing, from logistic noise."""

    def __init__(self, features: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.flow = flow(f"realnvp(num=2, hidden={[*hidden]})", features, features)

    def forward(self, x: Tensor) -> Any:
        return self.flow(dist.Logistic(torch.zeros_like(x), 1.0).to_event(1), x)


def _check(spec: DataSpec, dequantisation: Dequantisation, alpha: float | None) -> None:
    data, kind = f"data {shown(spec.name)}", spec.observation
    if kind not in ("real", "quantised"):
        levels = setting("D", "binarize", "none")
        raise UsageError(
            f"a flow is a density of real numbers, and {data} are {kind}: give it real data or grey levels"
            + (f", of pictures {levels}." if kind == "binary" else ".")
        )
    if kind == "quantised" and dequantisation == "none":
        raise UsageError(
            f"a flow is a density of real numbers, and {data} are grey levels, at which it would grow without bound: "
            f"{setting('M', 'dequantisation', 'uniform')} or 'variational' spreads each over its cell."
        )
    if kind == "real" and dequantisation == "variational":
        raise UsageError(f"dequantisation='variational' is that of grey levels, and {data} are real: leave it out.")
    if alpha and not spec.in_unit_interval:
        raise UsageError(
            f"logit space is that of numbers in [0, 1], and {data} are real numbers of any size, got alpha={alpha}: "
            "leave alpha out."
        )
