"""Distributions that neither torch nor Pyro has."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Transform, biject_to, constraints, transform_to
from torch.distributions.kl import register_kl
from torch.nn.functional import logsigmoid, pad

from ppgen.errors import UsageError, shown

__all__ = ["BagOfWords", "DiscretizedLogistic", "LogDirichlet", "draw_counts"]


class _Grid(constraints.Constraint):
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
        if levels < 2:
            raise UsageError(f"levels of DiscretizedLogistic must be at least 2, got {shown(levels)}.")
        self.loc, _ = torch.broadcast_tensors(loc, log_scale)
        self.log_scale, self.levels = log_scale, levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The grid k / (levels - 1)."""
        return _Grid(self.levels)

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


for _registry in (biject_to, transform_to):
    _registry.register(_LogSimplex, lambda constraint: _LogSoftmax())


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


class BagOfWords(TorchDistribution):
    """How often each word comes in a document of ``length`` words that are drawn alone: multinomial counts.

        log P(x) = log(n! / prod_v x_v!) + sum_v x_v log p_v,        n = sum_v x_v

    The first term, :meth:`log_orders`, is the number of sequences of words with these counts: without it the value is
    the log-probability of one such sequence. In nats. Unlike torch's ``Multinomial``, documents differ in length.

    Args:
        log_probs: log p_v of each word, (..., V), each row summing to one in probability.
        length: words in the document, n, of a shape that broadcasts with (...,).
    """

    arg_constraints = {"log_probs": constraints.real_vector, "length": constraints.nonnegative}  # noqa: RUF012
    has_rsample = False

    def __init__(self, log_probs: Tensor, length: Tensor, *, validate_args: bool | None = None) -> None:
        self.log_probs, self.length = log_probs, length
        shape = torch.broadcast_shapes(log_probs.shape[:-1], length.shape)
        super().__init__(shape, log_probs.shape[-1:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Whole numbers of at least zero, one for each word."""
        return constraints.independent(constraints.nonnegative_integer, 1)

    @property
    def probs(self) -> Tensor:
        """p_v, (..., V)."""
        return self.log_probs.exp()

    @property
    def mean(self) -> Tensor:
        """n p_v, (..., V)."""
        return self.length.unsqueeze(-1) * self.probs

    @staticmethod
    def log_orders(value: Tensor) -> Tensor:
        """log(n! / prod_v x_v!) of counts (..., V): (...,), in nats."""
        return torch.lgamma(value.sum(-1) + 1) - torch.lgamma(value + 1).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of counts (..., V), in nats; ``value`` broadcasts with ``log_probs``."""
        if self._validate_args:
            self._validate_sample(value)
        return self.log_orders(value) + (value * self.log_probs).sum(-1)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Counts of ``length`` words, shape ``sample_shape + (..., V)``."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            return draw_counts(self.probs.expand(shape), self.length.expand(shape[:-1]))

    def expand(self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None) -> BagOfWords:
        """The same distribution with its parameters expanded to ``batch_shape``."""
        new: BagOfWords = self._get_checked_instance(BagOfWords, _instance)  # type: ignore[no-untyped-call]
        batch_shape = torch.Size(batch_shape)
        new.log_probs, new.length = self.log_probs.expand(batch_shape + self.event_shape), self.length
        super(BagOfWords, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new


def draw_counts(probs: Tensor, length: Tensor) -> Tensor:
    """Multinomial counts (..., V) of ``length`` (...,) words, by log2(V) halvings of V with binomial draws.

    ``probs`` (..., V) need not sum to one.
    """
    num_words = probs.shape[-1]
    depth = max(num_words - 1, 0).bit_length()
    shares = [pad(probs, (0, 2**depth - num_words))]
    for _ in range(depth):
        shares.append(shares[-1].unflatten(-1, (-1, 2)).sum(-1))
    counts = length.unsqueeze(-1).to(probs)
    for children in reversed(shares[:-1]):
        halves = children.unflatten(-1, (-1, 2))  # (..., nodes, 2)
        left = torch.binomial(counts.contiguous(), halves[..., 0] / halves.sum(-1).clamp_min(1e-30))
        counts = torch.stack([left, counts - left], -1).flatten(-2)
    return counts[..., :num_words]
