"""Components of independent features, whose probabilities are maximised with pseudo-counts: those of naive Bayes.

    binary       prod_d Bernoulli(theta_cd)             theta_cd = (n_cd + a) / (n_c + 2 a)
    counts       Multinomial(n, theta_c)                theta_cv = (n_cv + a) / (sum_v n_cv + V a)
    categorical  prod_d Categorical(theta_cd)           theta_cdk = (n_cdk + a) / (n_c + L a),   x_d = k / (L - 1)
    real         prod_d N(m_cd, s_cd^2)                 s_cd^2 = variance + e max_d var(x_d),  var over all the data

n_c data of a component, n_cd of them with a one, n_cv occurrences of a word, n_cdk data at a level; a and e are given.
With a = 0 and e = 0 these are maxima of the likelihood, else those of its product with a Dirichlet's density.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.nn.functional import one_hot

from ppgen.distributions.bag_of_words import BagOfWords
from ppgen.distributions.components import Bernoullis, Components, DiagonalGaussians
from ppgen.errors import UsageError, setting

__all__ = ["Categoricals", "Levels", "Multinomials", "SmoothedBernoullis", "SmoothedGaussians"]

_LEAST = 1e-10
"""A probability that would be zero, whose logarithm is infinite."""


class SmoothedBernoullis(Bernoullis):
    """Independent binary features; ``locs`` are logits."""

    @classmethod
    def maximised(cls, weights: Tensor, statistics: Mapping[str, Tensor], regularisation: float) -> Self:
        ones = statistics["first"] + regularisation
        return cls((ones / (weights[:, None] + 2 * regularisation)).logit(_LEAST))


class SmoothedGaussians(DiagonalGaussians):
    """Gaussians with independent features; ``scales`` are standard deviations, as ``locs``."""

    @classmethod
    def maximised(cls, weights: Tensor, statistics: Mapping[str, Tensor], regularisation: float) -> Self:
        """Raises: UsageError: a variance is zero, and there is no smoothing."""
        first, second = (statistics[name] / weights[:, None] for name in ("first", "second"))
        mean, square = (statistics[name].sum(0) / weights.sum() for name in ("first", "second"))  # of all the data
        least = regularisation * (square - mean.square()).max()
        variances = (second - first.square()).clamp_min(0) + least
        if not bool((variances > 0).all()):
            component, feature = (int(found) for found in (variances <= 0).nonzero()[0])
            raise UsageError(
                f"feature {feature} does not vary within class {component}, and its variance is zero: give "
                f"{setting('M', 'var_smoothing', 1e-9)} or more, or leave the feature out."
            )
        return cls(first, variances.sqrt())


class Multinomials(Components):
    """Counts of words; ``locs`` are logits of their probabilities, (C, V).

    Args:
        locs: see above.
        length: words in each document, (B,); what a draw needs.
    """

    support: ClassVar[Any] = constraints.independent(constraints.nonnegative_integer, 1)

    def __init__(self, locs: Tensor, scales: Tensor | None = None, *, length: Tensor | None = None) -> None:
        super().__init__(locs, scales)
        self.length = length

    def table(self, x: Tensor) -> Tensor:
        return x @ self.locs.log_softmax(-1).mT + BagOfWords.log_orders(x).unsqueeze(-1)

    def at(self, c: Tensor) -> Any:
        length = self.locs.new_ones(()) if self.length is None else self.length
        return BagOfWords(self.locs.log_softmax(-1)[c], length.expand(c.shape))

    @property
    def means(self) -> Tensor:
        """Probabilities of words, (C, V)."""
        return self.locs.softmax(-1)

    @staticmethod
    def start_scales(locs: Tensor, scale: float) -> Tensor | None:
        return None

    @staticmethod
    def scales_of(covariances: Tensor) -> Tensor:
        raise UsageError("components of counts have no covariances but what their means tell: give none.")

    @staticmethod
    def statistics(x: Tensor, r: Tensor) -> dict[str, Tensor]:
        """sum_n r_nc x_n, (C, V)."""
        return {"first": r.mT @ x}

    @classmethod
    def maximised(cls, weights: Tensor, statistics: Mapping[str, Tensor], regularisation: float) -> Self:
        counts = statistics["first"] + regularisation
        return cls((counts / counts.sum(-1, keepdim=True).clamp_min(_LEAST)).clamp_min(_LEAST).log())


class Categoricals(Components):
    """Independent features of L levels, x_d = k / (L - 1); ``locs`` are logits, (C, D L), level by level."""

    num_levels: ClassVar[int] = 2

    @classmethod
    def of(cls, num_levels: int) -> type[Categoricals]:
        """The family of so many levels."""
        return type("Categoricals", (cls,), {"num_levels": num_levels})

    @classmethod
    def states(cls, x: Tensor) -> Tensor:
        """One-hot of each feature's level, (..., D) to (..., D L)."""
        levels = (x * (cls.num_levels - 1)).round().long().clamp(0, cls.num_levels - 1)
        states: Tensor = torch.eye(cls.num_levels, dtype=x.dtype, device=x.device)[levels].flatten(-2)
        return states

    @property
    def log_probs(self) -> Tensor:
        """log theta, (C, D, L)."""
        logits: Tensor = self.locs.unflatten(-1, (-1, self.num_levels))
        return logits.log_softmax(-1)

    def table(self, x: Tensor) -> Tensor:
        return self.states(x) @ self.log_probs.flatten(-2).mT

    def at(self, c: Tensor) -> Any:
        return Levels(self.log_probs[c])

    @property
    def means(self) -> Tensor:
        """E[x | c], (C, D)."""
        levels = torch.linspace(0, 1, self.num_levels, dtype=self.locs.dtype, device=self.locs.device)
        means: Tensor = self.log_probs.exp() @ levels
        return means

    @staticmethod
    def start_scales(locs: Tensor, scale: float) -> Tensor | None:
        return None

    @staticmethod
    def scales_of(covariances: Tensor) -> Tensor:
        raise UsageError("components of levels have no covariances: give none.")

    @classmethod
    def statistics(cls, x: Tensor, r: Tensor) -> dict[str, Tensor]:
        """Weighed data at each level, (C, D L)."""
        return {"first": r.mT @ cls.states(x)}

    @classmethod
    def maximised(cls, weights: Tensor, statistics: Mapping[str, Tensor], regularisation: float) -> Self:
        counts = statistics["first"] + regularisation
        total = weights[:, None] + cls.num_levels * regularisation
        return cls((counts / total).clamp_min(_LEAST).log())


class Levels(TorchDistribution):
    """Independent features x_d = k / (L - 1), of log-probabilities (..., D, L).

    >>> Levels(torch.tensor([[0.25, 0.75]]).log()).log_prob(torch.tensor([1.0])).exp()
    tensor(0.7500)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"log_probs": constraints.real}
    support = constraints.independent(constraints.unit_interval, 1)
    has_rsample = False

    def __init__(self, log_probs: Tensor, *, validate_args: bool | None = None) -> None:
        self.log_probs = log_probs
        super().__init__(log_probs.shape[:-2], log_probs.shape[-2:-1], validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats; ``value`` (..., D)."""
        levels = self.log_probs.shape[-1]
        states = one_hot((value * (levels - 1)).round().long(), levels)
        return (states * self.log_probs).sum((-2, -1))

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws, shape ``sample_shape + (..., D)``."""
        states: Tensor = dist.Categorical(logits=self.log_probs).sample(torch.Size(sample_shape))
        return states.to(self.log_probs) / (self.log_probs.shape[-1] - 1)

    def expand(self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None) -> Levels:
        """The same distribution with its parameters expanded to ``batch_shape``."""
        return Levels(self.log_probs.expand(*batch_shape, *self.log_probs.shape[-2:]))
