"""Topic proportions by their logarithms."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.distributions.kl import register_kl
from torch.nn.functional import pad

__all__ = ["LogDirichlet"]


class _LogSimplex(constraints.Constraint):
    """Vectors whose exponentials sum to one, as far as float32 can tell."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return value.logsumexp(-1).abs() < 1e-4


class _LogSoftmax(Transform):
    """u in R^{T-1} to y = log softmax(u_1, ..., u_{T-1}, 0).

    dtheta_1 .. dtheta_{T-1} = prod_k theta_k du, so that in the measure of :class:`LogDirichlet` the log-Jacobian is 0.
    """

    domain = constraints.real_vector
    codomain = _LogSimplex()
    bijective = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _LogSoftmax)

    def _call(self, x: Tensor) -> Tensor:
        return pad(x, (0, 1)).log_softmax(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        return y[..., :-1] - y[..., -1:]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(x.shape[:-1])

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size((*shape[:-1], shape[-1] + 1))

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size((*shape[:-1], shape[-1] - 1))


class LogDirichlet(TorchDistribution):
    """y = log theta of theta ~ Dirichlet(concentration): shares so small that float32 has no number for them.

    Under a concentration of 0.02 a share is below 1e-38 with probability 0.17: put at the smallest number instead, its
    log-density is wrong by more than the rest of it says, and a guide learns to profit from that. Its logarithm is
    drawn without loss: with G_k ~ Gamma(a_k + 1) and U_k uniform, for which exp(g_k) ~ Gamma(a_k),

        y = g - logsumexp(g),        g_k = log G_k + log(U_k) / a_k        (Marsaglia and Tsang 2000, section 6)

    with the pathwise gradient of this transformation. The density is that with respect to the measure
    prod_k dtheta_k / theta_k on the simplex, the same for all concentrations, so that it drops out of log-weights:

        log p(y) = sum_k a_k y_k + log Gamma(sum_k a_k) - sum_k log Gamma(a_k)        (nats)

    Args:
        concentration: a, (..., T), positive.

    >>> y = LogDirichlet(torch.full((3,), 1e-3)).sample((5,))
    >>> bool(y.isfinite().all()), torch.allclose(y.exp().sum(-1), torch.ones(5))
    (True, True)
    """

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}  # noqa: RUF012
    support = _LogSimplex()
    has_rsample = True

    def __init__(self, concentration: Tensor, *, validate_args: bool | None = None) -> None:
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """E[y], (..., T)."""
        return self.concentration.digamma() - self.concentration.sum(-1, keepdim=True).digamma()

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws of log theta, shape ``sample_shape + (..., T)``, with a pathwise gradient."""
        concentration = self.concentration.expand(self._extended_shape(torch.Size(sample_shape)))
        log_uniform = torch.log1p(-torch.rand_like(concentration))
        draws = torch._standard_gamma(concentration + 1).log() + log_uniform / concentration
        return draws - draws.logsumexp(-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of log theta (..., T), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        a = self.concentration
        return (a * value).sum(-1) + a.sum(-1).lgamma() - a.lgamma().sum(-1)

    def expand(self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None) -> LogDirichlet:
        """The same distribution with its concentration expanded to ``batch_shape``."""
        new: LogDirichlet = self._get_checked_instance(LogDirichlet, _instance)  # type: ignore[no-untyped-call]
        new.concentration = self.concentration.expand(torch.Size(batch_shape) + self.event_shape)
        super(LogDirichlet, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new


@register_kl(LogDirichlet, LogDirichlet)  # type: ignore[untyped-decorator]  # torch has not typed it
def _kl_log_dirichlet(q: LogDirichlet, p: LogDirichlet) -> Tensor:
    """That of the Dirichlet distributions: a divergence does not change with the variable's name."""
    return torch.distributions.kl_divergence(
        torch.distributions.Dirichlet(q.concentration, validate_args=False),
        torch.distributions.Dirichlet(p.concentration, validate_args=False),
    )
