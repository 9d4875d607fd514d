"""The components of a mixture: p(x | c) of all C of them at once, and of the one that an index chooses.

    "diagonal"   N(m_c, diag(s_c)^2)                locs m (C, D), scales s (C, D)
    "spherical"  N(m_c, s_c^2 I)                    locs m (C, D), scales s (C, 1)
    "full"       N(m_c, S_c S_c')                   locs m (C, D), scales S (C, D, D), lower triangular
    "tied"       N(m_c, S S')                       locs m (C, D), scales S (1, D, D), lower triangular
    "bernoulli"  prod_d Bernoulli(sigmoid(l_cd))    locs l (C, D), no scales

Log-probabilities are looked up in the table log p(x | c), (B, C), which costs C evaluations a datum however many
particles there are, and whether c is drawn or enumerated.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from pyro.ops.indexing import Vindex
from torch import Tensor
from torch.nn.functional import softplus

from ppgen.errors import UsageError, setting

__all__ = [
    "Bernoullis",
    "Chosen",
    "Components",
    "DiagonalGaussians",
    "FullGaussians",
    "SphericalGaussians",
    "TiedGaussians",
]

_CERTAIN = 1e-10
"""How near to 0 and 1 EM lets a probability come, which as a logit would be infinite."""


class Components(ABC):
    """C distributions of x, (D,).

    Args:
        locs: (C, D), or (K, C, D) where each of K particles has its own.
        scales: see each family; with the same dims to the left.

    To add one: 1. write ``table`` and ``at``; 2. write how means and covariances become ``locs`` and ``scales``, and
    how free numbers become scales.
    """

    support: ClassVar[Any] = constraints.real_vector

    def __init__(self, locs: Tensor, scales: Tensor | None = None) -> None:
        self.locs, self.scales = locs, scales

    @abstractmethod
    def table(self, x: Tensor) -> Tensor:
        """log p(x | c) of every c: (..., B, D) to (..., B, C), in nats."""

    @abstractmethod
    def at(self, c: Tensor) -> Any:
        """p(x | c), of the batch shape of c."""

    @property
    def means(self) -> Tensor:
        """E[x | c], (..., C, D)."""
        return self.locs

    @staticmethod
    def locs_of(means: Tensor) -> Tensor:
        """The locs of components with these means, (C, D)."""
        return means

    @property
    def covariances(self) -> Tensor | None:
        """Variances (..., C, D) or matrices (..., C, D, D); None of components whose means tell them."""
        return None

    @staticmethod
    @abstractmethod
    def start_scales(locs: Tensor, scale: float) -> Tensor | None:
        """Scales of round components of this size, at locs (C, D); None of components without."""

    @staticmethod
    @abstractmethod
    def scales_of(covariances: Tensor) -> Tensor:
        """The scales of components with these covariances.

        Raises:
            UsageError: they are not positive, or such components have none.
        """

    @staticmethod
    @abstractmethod
    def statistics(x: Tensor, r: Tensor) -> dict[str, Tensor]:
        """What of data (B, D), weighed by r (B, C), their likelihood is maximised by, beside the weights: sums."""

    @classmethod
    @abstractmethod
    def maximised(cls, weights: Tensor, statistics: Mapping[str, Tensor], regularisation: float) -> Self:
        """The components of the greatest likelihood for data of these sums, ``weights`` sum_n r_nc, (C,).

        Args:
            regularisation: is added to every variance.

        Raises:
            UsageError: a covariance is singular.
        """

    @staticmethod
    def constrained(free: Tensor) -> Tensor:
        """Free numbers to scales."""
        return free.exp()

    @staticmethod
    def free(scales: Tensor) -> Tensor:
        """The inverse of :meth:`constrained`."""
        return scales.log()


class DiagonalGaussians(Components):
    """Gaussians with independent features; ``scales`` are standard deviations, as ``locs``."""

    scales: Tensor

    def table(self, x: Tensor) -> Tensor:
        z = _from_each(x, self.locs) / self.scales.unsqueeze(-3)  # (..., B, C, D)
        log_volume = self.scales.log().sum(-1).unsqueeze(-2)  # (..., 1, C)
        return -0.5 * z.square().sum(-1) - log_volume - _half_log_2pi(x)

    def at(self, c: Tensor) -> Any:
        return dist.Normal(_rows(self.locs, c), _rows(self.scales, c)).to_event(1)

    @property
    def covariances(self) -> Tensor:
        """Variances, (..., C, D)."""
        return self.scales.square()

    @staticmethod
    def start_scales(locs: Tensor, scale: float) -> Tensor | None:
        return torch.full_like(locs, scale)

    @staticmethod
    def statistics(x: Tensor, r: Tensor) -> dict[str, Tensor]:
        """sum_n r_nc x_n and sum_n r_nc x_n^2, (C, D) each."""
        return {"first": r.mT @ x, "second": r.mT @ x.square()}

    @classmethod
    def maximised(cls, weights: Tensor, statistics: Mapping[str, Tensor], regularisation: float) -> Self:
        first, second = (statistics[name] / weights[:, None] for name in ("first", "second"))
        variances = second - first.square() + regularisation
        _check_wide(variances.amin(-1), second.amax(-1))
        return cls(first, variances.sqrt())

    @staticmethod
    def scales_of(covariances: Tensor) -> Tensor:
        if not bool((covariances > 0).all()):
            raise UsageError(f"variances must be positive, and the least is {float(covariances.min()):g}.")
        return covariances.sqrt()


class SphericalGaussians(DiagonalGaussians):
    """Round Gaussians; ``scales`` are their standard deviations, (C, 1)."""

    def table(self, x: Tensor) -> Tensor:
        squares = _from_each(x, self.locs).square().sum(-1)  # (..., B, C)
        log_volume = x.shape[-1] * self.scales.log().squeeze(-1).unsqueeze(-2)  # (..., 1, C)
        return -0.5 * squares / self.scales.square().squeeze(-1).unsqueeze(-2) - log_volume - _half_log_2pi(x)

    @property
    def covariances(self) -> Tensor:
        """Variances, (..., C)."""
        return self.scales.square().squeeze(-1)

    @staticmethod
    def start_scales(locs: Tensor, scale: float) -> Tensor | None:
        return torch.full_like(locs[..., :1], scale)

    @classmethod
    def maximised(cls, weights: Tensor, statistics: Mapping[str, Tensor], regularisation: float) -> Self:
        first, second = (statistics[name] / weights[:, None] for name in ("first", "second"))
        variances = (second - first.square()).mean(-1, keepdim=True) + regularisation
        _check_wide(variances.squeeze(-1), second.amax(-1))
        return cls(first, variances.sqrt())

    @staticmethod
    def scales_of(covariances: Tensor) -> Tensor:
        return DiagonalGaussians.scales_of(covariances).unsqueeze(-1)


class FullGaussians(Components):
    """Gaussians with correlated features; ``scales`` are the Cholesky factors of covariances, (C, D, D)."""

    scales: Tensor

    def table(self, x: Tensor) -> Tensor:
        away = _from_each(x, self.locs).movedim(-3, -1)  # (..., C, D, B)
        z: Tensor = torch.linalg.solve_triangular(self.scales, away, upper=False)
        log_volume = self.scales.diagonal(dim1=-2, dim2=-1).log().sum(-1).unsqueeze(-2)  # (..., 1, C)
        return -0.5 * z.square().sum(-2).movedim(-1, -2) - log_volume - _half_log_2pi(x)

    def at(self, c: Tensor) -> Any:
        return dist.MultivariateNormal(_rows(self.locs, c), scale_tril=_rows(self.scales, c, dims=2))

    @property
    def covariances(self) -> Tensor:
        """Matrices, (..., C, D, D)."""
        return self.scales @ self.scales.mT

    @staticmethod
    def start_scales(locs: Tensor, scale: float) -> Tensor | None:
        return torch.diag_embed(torch.full_like(locs, scale))

    @staticmethod
    def statistics(x: Tensor, r: Tensor) -> dict[str, Tensor]:
        """sum_n r_nc x_n, (C, D), and sum_n r_nc x_n x_n', (C, D, D)."""
        return {"first": r.mT @ x, "second": torch.einsum("nc,nd,ne->cde", r, x, x)}

    @classmethod
    def maximised(cls, weights: Tensor, statistics: Mapping[str, Tensor], regularisation: float) -> Self:
        first, second = statistics["first"] / weights[:, None], statistics["second"] / weights[:, None, None]
        eye = torch.eye(first.shape[-1]).to(first)
        covariances = second - first[:, :, None] * first[:, None, :] + regularisation * eye
        _check_wide(torch.linalg.eigvalsh(covariances)[:, 0], second.diagonal(dim1=-2, dim2=-1).amax(-1))
        return cls(first, torch.linalg.cholesky(covariances))

    @staticmethod
    def scales_of(covariances: Tensor) -> Tensor:
        factors: Tensor
        factors, failed = torch.linalg.cholesky_ex(covariances)
        if bool(failed.any()):
            raise UsageError(
                f"covariance {int(failed.nonzero()[0])} is not positive definite: add a multiple of the identity to it."
            )
        return factors

    @staticmethod
    def constrained(free: Tensor) -> Tensor:
        """The diagonal's exponential, and what is below it."""
        return free.tril(-1) + torch.diag_embed(free.diagonal(dim1=-2, dim2=-1).exp())

    @staticmethod
    def free(scales: Tensor) -> Tensor:
        return scales.tril(-1) + torch.diag_embed(scales.diagonal(dim1=-2, dim2=-1).log())


class TiedGaussians(FullGaussians):
    """Gaussians of one covariance; ``scales`` is its Cholesky factor, (1, D, D)."""

    def at(self, c: Tensor) -> Any:
        return FullGaussians(self.locs, self.scales.expand(*self.locs.shape, -1)).at(c)

    @property
    def covariances(self) -> Tensor:
        """The one matrix, (..., D, D)."""
        return (self.scales @ self.scales.mT).squeeze(-3)

    @staticmethod
    def start_scales(locs: Tensor, scale: float) -> Tensor | None:
        return torch.diag_embed(torch.full_like(locs[:1], scale))

    @staticmethod
    def statistics(x: Tensor, r: Tensor) -> dict[str, Tensor]:
        """sum_n r_nc x_n, (C, D), and sum_n x_n x_n', (1, D, D), whatever r."""
        return {"first": r.mT @ x, "second": (x.mT @ x)[None]}

    @classmethod
    def maximised(cls, weights: Tensor, statistics: Mapping[str, Tensor], regularisation: float) -> Self:
        first, total = statistics["first"] / weights[:, None], weights.sum()
        between = torch.einsum("c,cd,ce->de", weights, first, first)
        second = statistics["second"] / total
        covariance = second - between / total + regularisation * torch.eye(first.shape[-1]).to(first)
        _check_wide(torch.linalg.eigvalsh(covariance)[:, 0], second.diagonal(dim1=-2, dim2=-1).amax(-1))
        return cls(first, torch.linalg.cholesky(covariance))

    @staticmethod
    def scales_of(covariances: Tensor) -> Tensor:
        return FullGaussians.scales_of(covariances[None])


class Bernoullis(Components):
    """Independent binary features; ``locs`` are logits."""

    support = constraints.independent(constraints.boolean, 1)

    def table(self, x: Tensor) -> Tensor:
        return x @ self.locs.mT - softplus(self.locs).sum(-1).unsqueeze(-2)  # sum_d x_d l_cd - log(1 + exp(l_cd))

    def at(self, c: Tensor) -> Any:
        return dist.Bernoulli(logits=_rows(self.locs, c)).to_event(1)

    @property
    def means(self) -> Tensor:
        return self.locs.sigmoid()

    @staticmethod
    def start_scales(locs: Tensor, scale: float) -> Tensor | None:
        return None

    @staticmethod
    def statistics(x: Tensor, r: Tensor) -> dict[str, Tensor]:
        """sum_n r_nc x_n, (C, D)."""
        return {"first": r.mT @ x}

    @classmethod
    def maximised(cls, weights: Tensor, statistics: Mapping[str, Tensor], regularisation: float) -> Self:
        return cls((statistics["first"] / weights[:, None]).logit(_CERTAIN))

    @staticmethod
    def scales_of(covariances: Tensor) -> Tensor:
        raise UsageError("components of binary data have no covariances but what their means tell: give none.")

    @staticmethod
    def locs_of(means: Tensor) -> Tensor:
        """Logits, of means clipped to [0.001, 0.999] as in Burda et al., 2016."""
        return means.clamp(0.001, 0.999).logit()


class Chosen(TorchDistribution):
    """p(x | c): the component that each of some indices chooses.

    Args:
        components: all of them.
        c: indices, of the batch shape.

    >>> components = Bernoullis(torch.tensor([[0.0, 0.0], [5.0, -5.0]]))
    >>> Chosen(components, torch.tensor([0, 1])).log_prob(torch.tensor([1.0, 0.0]))
    tensor([-1.3863, -0.0134])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(self, components: Components, c: Tensor, *, validate_args: bool | None = None) -> None:
        self.components, self.c = components, c
        super().__init__(c.shape, components.locs.shape[-1:], validate_args=validate_args)

    @constraints.dependent_property(event_dim=1)
    def support(self) -> Any:
        """That of the components."""
        return self.components.support

    @property
    def mean(self) -> Tensor:
        """E[x | c], (*batch, D)."""
        return _rows(self.components.means, self.c)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value | c), in nats; ``value`` (..., D) broadcasts with the indices."""
        if self._validate_args:
            self._validate_sample(value)
        return Vindex(self.components.table(value))[..., self.c]  # type: ignore[no-any-return]

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws, shape ``sample_shape + batch_shape + (D,)``."""
        draws: Tensor = self.components.at(self.c).sample(torch.Size(sample_shape))
        return draws

    def expand(self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None) -> Chosen:
        """The same distribution with its indices expanded to ``batch_shape``."""
        new: Chosen = self._get_checked_instance(Chosen, _instance)  # type: ignore[no-untyped-call]
        new.components, new.c = self.components, self.c.expand(batch_shape)
        super(Chosen, new).__init__(new.c.shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new


def _check_wide(narrowest: Tensor, size: Tensor) -> None:
    """Check the least variance of each component, (C,), against rounding of squares of a ``size``, (C,).

    Raises:
        UsageError: it is no more.
    """
    singular = ~(narrowest > 100 * torch.finfo(size.dtype).eps * size)
    if bool(singular.any()):
        raise UsageError(
            f"the covariance of component {int(singular.nonzero()[0])} is singular, as of data fewer than their "
            "numbers or that do not vary in some direction, and the likelihood has no maximum: give "
            f"{setting('M', 'regularisation', 1e-6)} or more, take fewer components, or start elsewhere."
        )


def _from_each(x: Tensor, locs: Tensor) -> Tensor:
    """x - m_c for every c, (..., B, C, D)."""
    return x.unsqueeze(-2) - locs.unsqueeze(-3)


def _rows(values: Tensor, c: Tensor, dims: int = 1) -> Tensor:
    """Values (C, ...) at the indices c, (*c.shape, ...); of (K, C, ...) those of each particle, c (..., K, B)."""
    if values.dim() > dims + 1:
        values = values.unsqueeze(-2 - dims)  # (K, 1, C, ...)
    return Vindex(values)[(..., c, *(slice(None),) * dims)]  # type: ignore[no-any-return]


def _half_log_2pi(x: Tensor) -> float:
    return 0.5 * x.shape[-1] * math.log(2 * math.pi)
