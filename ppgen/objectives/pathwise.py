"""Mixed pairs by one rule: a pathwise part for latents that are reparameterized, a scored part for those that are not.

Write r for a guide's latents with a reparameterized sample, r = r(e; phi, what was drawn before), and d for the others,
in any order, and log w = log p(r, d, x) - log q(r, d | x). For a bound f of K particles let v_k = df / d log w_k, c_k =
v_k - dv_k / d log w_k, and f_k, v_k,k be f and v_k at what does not see particle k
(:mod:`ppgen.objectives.discrete.score_function`). Let grad hold e and d and follow parameters and r, and let grad_r
follow r alone, with the parameters of all densities held. Then grad E[f] = E[P + S], where

    S = sum_k ( f - f_k - (v_k - v_k,k) ) grad log q(d_k | ..)          the *scored part*, or what has its expectation,
    P = sum_k v_k grad ( log w_k + log q(d_k | ..) )                    the *pathwise part*,                     (1)

and for P any of these may stand, whatever estimates S:

    sum_k c_k grad_r log w_k + v_k d log p_k/dtheta,           ``dreg``, at any bound whose v_k has a derivative, (2)
    sum_k v_k grad_r log w_k + v_k d log p_k/dtheta,           ``stl``, where v_k is a constant, as (2) is there,

and ``gdreg``, which is (2) with the score dlog p/dtheta of a prior of some r made a path.

**Proof of (2).** log w + log q(d) is log p - log q(r), so that (1) is sum_k v_k of

    grad_r log w_k + grad_r log q(d_k | ..) + dlog p_k/dtheta - sum_i dlog q(r_ki | before)/dphi,

the last at fixed values. Given what was drawn before r_ki, v_k times its score has the expectation of the derivative of
E[ v_k ] by phi through the law of r_ki; that is a path as well, along which E[ v_k | r_ki ] has two slopes: of v_k,
which sees r_ki (and what r_ki is handed on to) through log w_k alone, and of the law of the d drawn after r_ki. So

    E[ v_k sum_i dlog q(r_ki | before)/dphi ] = E[ dv_k/dlog w_k grad_r log w_k + v_k grad_r log q(d_k | ..) ],

which, put in, leaves (2). If d is drawn before r, grad_r log q(d_k | ..) is zero and (2) is ``dreg`` at the d that
fell. If it is drawn after, log q(d) must stay in the log w of (2), though it is out of that of (1), and S follow the
path: without it c_k grad_r log q(d_k | ..) would be missing, whose expectation is not zero, as c_k sees d_k.

At the exact posterior log w is the same in all r and d: grad_r log w = 0, and S = 0 with leave-one-out. P by (2) and S
then have no noise in the guide's gradient, where (1) has that of the score of r.

Under a mean of log-weights, where v is a constant, the score of r has expectation zero at any scale of the user's
(``poutine.scale``); under another bound (2) needs log q as it is, and sites that are scaled are refused.

Roeder, Wu, Duvenaud: Sticking the Landing, NeurIPS 2017; Tucker, Lawson, Gu, Maddison: Doubly Reparameterized Gradient
Estimators, ICLR 2019, eq. 8, without d; Schulman, Heess, Weber, Abbeel: Gradient Estimation Using Stochastic
Computation Graphs, NeurIPS 2015, theorem 1, for (1). The composition with d is derived here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, TypeAlias

import torch
from pydantic import BeforeValidator
from torch import Tensor

from ppgen.arguments import Words
from ppgen.errors import UsageError, setting, shown
from ppgen.objectives.bounds import Estimator, Reduction
from ppgen.objectives.named import label_of, reader_of
from ppgen.objectives.objective import capability, with_gradient_of
from ppgen.pairs.reductions import weighted_sum
from ppgen.pairs.sites import check_unscaled, is_latent
from ppgen.pairs.tracing import Particles
from ppgen.registry import OBJECTIVES

__all__ = ["AlongPath", "Composed", "PathDerivative", "PathwiseName"]


@dataclass(frozen=True, kw_only=True)
class PathDerivative(Estimator, ABC):
    """A pathwise gradient of ``bound`` without the score of the guide; beside a scored part it is the ``pathwise`` one.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :meth:`along`; 3. register it.
    """

    needs_rsample = True
    splits_particles = True

    @abstractmethod
    def along(self, particles: Particles, v: Tensor, c: Tensor) -> Tensor:
        """What has the gradient P, (B,); its value is not read.

        Args:
            particles: any number M of them.
            v: d bound / d log w of each, (M, B).
            c: v_k - d v_k / d log w_k of each, (M, B).
        """

    def path_weights(self, bound: Reduction, log_w: Tensor) -> Tensor:
        """c of a bound, (K, B)."""
        return bound.path_weights(log_w)

    def estimate(self, particles: Particles) -> Tensor:
        log_w, bound = particles.log_w.detach(), self.reduction
        v, c = bound.weights(log_w), self.path_weights(bound, log_w)
        return with_gradient_of(bound.reduce(log_w), self.along(particles, v, c))

    @property
    def composed(self) -> dict[str, Any]:
        return {"pathwise": label_of(replace(self, **_defaults(type(self), "num_particles", "bound")))}

    def _check(self, particles: Particles) -> None:
        super()._check(particles)
        self.check_path(particles, type(self).__name__)

    def check_path(self, particles: Particles, needed_by: str) -> None:
        """Log q is as it is, where the bound is no mean of log-weights.

        Raises:
            LatentsError: a latent of the guide is scaled; it is named.
        """
        if self.unbiased_gradient and not self.reduction.is_mean and self.reduction.total_particles != 1:
            for site in filter(is_latent, particles.guide_sites.values()):
                check_unscaled(site, needed_by)


PathwiseName: TypeAlias = Annotated[
    str | PathDerivative | None,
    BeforeValidator(reader_of(PathDerivative, "pathwise gradient")),
    Words("a pathwise gradient without the guide's score, such as 'stl' or 'dreg', or None"),
]
"""A path derivative, or its registered name; None: the pathwise gradient as it is."""


@dataclass(frozen=True, kw_only=True)
class Composed(Estimator):
    """An estimator that is a scored part, its own, and a pathwise part, that of ``pathwise``.

    ``pathwise``: what reparameterized latents beside the scored ones have, 'stl', 'dreg' or 'gdreg', a registered name
    or a :class:`PathDerivative`, taken with this objective's bound and ``num_particles``; None: (1).

    Raises:
        UsageError: ``pathwise`` is biased under the bound, or cannot have it.
    """

    pathwise: PathwiseName = None

    @capability
    def splits_particles(self) -> bool:
        """That of the pathwise part."""
        return self.path is None or self.path.splits_particles

    def __post_init__(self) -> None:
        super().__post_init__()
        if (path := self.path) is not None and not path.unbiased_gradient:
            name, bound = shown(self._named), type(self.reduction).__name__
            raise UsageError(
                f"pathwise={name} of {type(self).__name__} leaves out the score of reparameterized latents, whose "
                f"expectation is not zero under {bound}, as its weights see them: take {self._unbiased()}."
            )

    @property
    def path(self) -> PathDerivative | None:
        """What the pathwise part is made by, of this bound; None: of log w as it is."""
        if self.pathwise is None:
            return None
        return _of_bound(OBJECTIVES[self.pathwise].cls() if isinstance(self.pathwise, str) else self.pathwise, self)

    def estimate(self, particles: Particles) -> Tensor:
        """The mean of the bounds of sets of K particles, (B,), with the pathwise part for gradient."""
        num, path = self.total_particles, self.path
        log_w, bound = _side_by_side(particles.log_w, num), self.reduction  # (K, S B), S sets
        size = particles.log_w.shape[1]
        if path is None:
            score = _side_by_side(particles.log_q_of(particles.scored), num)
            log_w = log_w + (score - score.detach())
        value: Tensor = bound.reduce(log_w).unflatten(0, (-1, size)).mean(0)
        if path is None:
            return value
        log_w = log_w.detach()
        v, c = (
            weights.unflatten(1, (-1, size)).transpose(0, 1).flatten(0, 1) * (num / particles.num_particles)
            for weights in (bound.weights(log_w), path.path_weights(bound, log_w))
        )
        return with_gradient_of(value, path.along(particles, v, c))

    def _check(self, particles: Particles) -> None:
        super()._check(particles)
        if (path := self.path) is None:
            return
        path.check_path(particles, f"pathwise={shown(self._named)} of {type(self).__name__}")
        latents = [name for name, site in particles.guide_sites.items() if is_latent(site)]
        if not any(particles.guide_sites[name]["fn"].has_rsample for name in latents):
            raise UsageError(
                f"pathwise={shown(self._named)} of {type(self).__name__} is for reparameterized latents beside those "
                f"that are scored, and the guide's ({', '.join(map(repr, latents))}) are all scored: leave it out."
            )

    @property
    def _named(self) -> str:
        return self.pathwise if isinstance(self.pathwise, str) else label_of(self.pathwise)  # type: ignore[arg-type]

    def _unbiased(self) -> str:
        """The registered ones without a bias under this bound."""
        kinds = {n: spec.cls for n, spec in OBJECTIVES.items() if issubclass(spec.cls, PathDerivative)}  # type: ignore[arg-type]
        found = [setting("O", "pathwise", name) for name, kind in kinds.items() if _can(kind(), self)]
        return " or ".join(found) or setting("O", "bound", "elbo")


@dataclass(frozen=True, kw_only=True)
class AlongPath(Reduction):
    """A function of log-weights whose derivative is c_k in the place of v_k; its value is not read."""

    num_particles: Any
    bound: Reduction
    path: PathDerivative

    @property
    def total_particles(self) -> int:
        return self.bound.total_particles

    @property
    def is_mean(self) -> bool:  # type: ignore[override]
        return self.bound.is_mean

    def reduce(self, log_w: Tensor) -> Tensor:
        return weighted_sum(self.path.path_weights(self.bound, log_w.detach()), log_w)


def _of_bound(path: PathDerivative, estimator: Any) -> PathDerivative:
    made: Any = path
    return replace(made, num_particles=estimator.num_particles, bound=estimator.bound)  # type: ignore[no-any-return]


def _can(path: Any, estimator: Any) -> bool:
    try:
        return _of_bound(path, estimator).unbiased_gradient
    except UsageError:
        return False


def _defaults(kind: Any, *names: str) -> dict[str, Any]:
    return {field.name: field.default for field in fields(kind) if field.name in names}


def _side_by_side(table: Tensor, num: int) -> Tensor:
    """Sets of ``num`` particles one after another, (S num, B), as sets of data side by side, (num, S B)."""
    return torch.cat(table.split(num), 1)
