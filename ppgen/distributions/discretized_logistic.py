"""Distributions that neither torch nor Pyro has."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.nn.functional import logsigmoid

from ppgen.arguments import at_least
from ppgen.distributions.log_dirichlet import _LogSimplex, _LogSoftmax

__all__ = ["DiscretizedLogistic", "Grid"]


class Grid(constraints.Constraint):
    """The numbers k / (levels - 1), k = 0..levels-1, as far as float32 can tell."""

    is_discrete = True
    event_dim = 0

    def __init__(self, levels: int) -> None:
        self.levels = levels
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        k = value * (self.levels - 1)
        return (k >= -1e-3) & (k <= self.levels - 1 + 1e-3) & ((k - k.round()).abs() < 1e-3)


class DiscretizedLogistic(TorchDistribution):
    """A logistic variable rounded to one of ``levels`` equidistant values in [0, 1].

    With v = levels - 1, s = exp(log_scale) and x = k / v, the bin of x is [a, b] = [x - 1/2v, x + 1/2v]; the
    first bin takes everything below it and the last everything above, so that all levels sum to one::

        P(x) = sigma((b - loc) / s) - sigma((a - loc) / s),        b = inf for x = 1, a = -inf for x = 0

    The difference is never formed. With A, B the standardized edges and D = B - A > 0,

        log P(x) = log sigma(B) + log sigma(-A) + log(1 - exp(-D)),

    which loses no digits in the tails or for wide scales. In nats; a probability, not a density.

    Args:
        loc: location on the scale of x, any shape.
        log_scale: log of the logistic scale s, any shape that broadcasts with it; kept as it is, so that one
            scale for many locs costs its own size.
        levels: number of values, at least 2.

    Raises:
        UsageError: there are fewer than two levels.

    Reference: Improved Variational Inference with Inverse Autoregressive Flow, Kingma et al., 2016.

    >>> x = torch.linspace(0, 1, 4)
    >>> DiscretizedLogistic(torch.tensor(0.3), torch.tensor(-1.0), levels=4).log_prob(x).exp().sum()
    tensor(1.)
    """

    arg_constraints = {"loc": constraints.real, "log_scale": constraints.real}  # noqa: RUF012  # torch's protocol
    has_rsample = False

    def __init__(self, loc: Tensor, log_scale: Tensor, levels: int, *, validate_args: bool | None = None) -> None:
        at_least("levels of DiscretizedLogistic", levels, 2)
        self.loc, _ = torch.broadcast_tensors(loc, log_scale)
        self.log_scale, self.levels = log_scale, levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The grid k / (levels - 1)."""
        return Grid(self.levels)

    @property
    def mean(self) -> Tensor:
        """E[x] = sum over k >= 1 of P(X >= k / v), divided by v; the shape of ``loc``."""
        v, inverse = self.levels - 1, (-self.log_scale).exp()
        edges = [(k - 0.5) / v for k in range(1, self.levels)]
        total = torch.zeros_like(self.loc)
        for edge in edges:  # one level at a time: no tensor is larger than loc
            total = total + torch.sigmoid((self.loc - edge) * inverse)
        return total / v

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each value, nats; ``value`` broadcasts with ``loc``."""
        if self._validate_args:
            self._validate_sample(value)
        half, inverse = 0.5 / (self.levels - 1), (-self.log_scale).exp()
        upper = logsigmoid((value + half - self.loc) * inverse)
        lower = logsigmoid((self.loc - value + half) * inverse)
        width = torch.log(-torch.expm1(-2 * half * inverse))
        first, last = value < half, value > 1 - half
        tails = upper.masked_fill(last, 0) + lower.masked_fill(first, 0)
        return tails + width.masked_fill(first | last, 0)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws on the grid, shape ``sample_shape + loc.shape``."""
        with torch.no_grad():
            loc, v = self.loc.expand(self._extended_shape(torch.Size(sample_shape))), self.levels - 1
            x = loc + self.log_scale.exp() * torch.rand_like(loc).logit()
            k: Tensor = (x * v).round().clamp(0, v)
            return k / v

    def expand(
        self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> DiscretizedLogistic:
        """The same distribution with its parameters expanded to ``batch_shape``."""
        new: DiscretizedLogistic = self._get_checked_instance(DiscretizedLogistic, _instance)  # type: ignore[no-untyped-call]
        new.loc, new.log_scale, new.levels = self.loc.expand(batch_shape), self.log_scale, self.levels
        super(DiscretizedLogistic, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new


for _registry in (biject_to, transform_to):
    _registry.register(_LogSimplex, lambda constraint: _LogSoftmax())
