"""Functions of log-weights, and estimators of their gradients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, TypeAlias

import torch
from pydantic import BeforeValidator
from torch import Tensor

from ppgen.arguments import Words
from ppgen.errors import LatentsError, UsageError, setting
from ppgen.objectives.named import reader_of
from ppgen.objectives.objective import Objective, at_least, capability
from ppgen.objectives.takers import refusal
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.parts import run_in_parts
from ppgen.pairs.sites import check_reparameterized, check_scored, check_whole, is_latent
from ppgen.pairs.tracing import Batch, Draw, Particles, Program, run_particles, say_if_joint
from ppgen.registry import OBJECTIVES

__all__ = ["Bound", "BoundName", "Estimator", "Reduction", "check_smooth", "target_of"]


class Bound(Objective):
    """An objective that is a reduction of log-weights: one method, ``estimate``.

    Subclasses declare ``num_particles`` among their hyper-parameters.

    >>> import ppgen
    >>> pair, x = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real")), torch.zeros(4, 3)
    >>> bound = ppgen.inference.IWELBO(num_particles=8)
    >>> bound.estimate(bound.draw(Program(pair.model, pair.guide), (x,))).shape  # of each datum
    torch.Size([4])
    """

    needs_density = True
    splits_data = True
    at_a_time: ClassVar[int | None] = None
    """How many particles are run at a time, where that is set on an instance (:meth:`taking`); None: all."""

    num_particles: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, "num_particles", self.min_particles)

    @abstractmethod
    def estimate(self, particles: Particles) -> Tensor:
        """The bound of each datum, (K, B) -> (B,), in nats; its gradient is the estimator."""

    @property
    def target(self) -> Reduction | None:
        """The bound whose gradient is estimated, a function of log-weights; None where it is no such function."""
        return None

    @property
    def composed(self) -> Mapping[str, Any]:
        """Options by which an objective for other latents has this one's gradient for its own; empty: by none."""
        return {}

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        return self.outcome(self.draw(program, batch), self.estimate)

    def draw(self, program: Program, batch: Batch, draw: Draw | None = None) -> Particles:
        """The particles that the bound is a function of; ``draw`` in place of :meth:`drawn_by`."""
        draw = draw or self.drawn_by()
        if self.at_a_time is None:
            return run_particles(program, batch, self.total_particles, draw=draw)
        return run_in_parts(program, batch, self.total_particles, self.at_a_time, draw)

    def taking(self, particles: int) -> Objective:
        if not self.splits_particles or particles >= self.total_particles:
            return self
        return self._taking(particles)

    def _taking(self, particles: int) -> Objective:
        twin = self.holding({})
        object.__setattr__(twin, "at_a_time", particles)  # of a frozen dataclass
        return twin

    def drawn_by(self) -> Draw | None:
        """What latents take instead of samples, as in :func:`ppgen.pairs.tracing.run_particles`; None: samples."""
        return None

    def outcome(self, particles: Particles, estimate: Callable[[Particles], Tensor]) -> Outcome:
        """Minus the sum of the bounds by ``estimate``, (B,), times N / B, and of those outside the data plate."""
        value = estimate(particles)  # (B,)
        total, num_data = particles.scale * value.sum(), particles.scale * len(value)
        if particles.outside is not None:
            total = total + estimate(particles.outside).sum()
        return Outcome(-total, num_data, {"bound": total.detach() / num_data})

    @property
    def total_particles(self) -> int:
        """K of the (K, B) log-weights."""
        return int(self.num_particles)

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        try:
            self._check(run_particles(program, batch, 1, draw=self.drawn_by()))
        except LatentsError as error:
            raise UsageError(refusal(error, program, batch, Bound, self.composed)) from error

    def _check(self, particles: Particles) -> None:
        """What else it cannot do, read off one particle.

        Raises:
            UsageError: the pair has not what this objective needs.
        """
        if self.needs_rsample:
            check_reparameterized(particles.guide_sites, type(self).__name__)
        if self.per_datum:
            say_if_joint(particles)
            check_whole(particles.model_sites, particles.plate, type(self).__name__)
        if self.per_datum and particles.outside is not None:
            names = ", ".join(map(repr, particles.outside.latents)) or "an observed site"
            raise LatentsError(
                f"{type(self).__name__} takes its bound for each datum by itself, but {names} stands outside the "
                "data plate: move it inside."
            )
        if self.needs_discrete:
            latents = {name: site for name, site in particles.guide_sites.items() if is_latent(site)}
            outside = () if particles.outside is None else particles.outside.latents
            check_scored(latents, outside, type(self).__name__)


def target_of(objective: Objective) -> Reduction | None:
    """The bound whose gradient an objective estimates; None: it estimates that of no function of log-weights."""
    target: Reduction | None = objective.target
    return target


class Reduction(Bound):
    """A bound that is a function of the log-weights alone, so that any estimator of its gradient can serve it.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Least(Reduction):  # the least log-weight: a bound below the ELBO
    ...     is_smooth = False
    ...     num_particles: int = 2
    ...     def reduce(self, log_w):
    ...         return log_w.min(0).values
    >>> Least().weights(torch.tensor([[1.0, 4.0], [3.0, 2.0]]))
    tensor([[1., 0.],
            [0., 1.]])
    """

    splits_particles = True
    is_mean = False
    """Whether it is the mean of the log-weights, whose expectation is the same at any K."""
    is_smooth: ClassVar[bool] = True
    """Whether v_k has a derivative; where it jumps, no doubly reparameterized gradient is had from it."""

    @property
    def target(self) -> Reduction:
        return self

    @abstractmethod
    def reduce(self, log_w: Tensor) -> Tensor:
        """The bound, (K, B) -> (B,)."""

    def weights(self, log_w: Tensor) -> Tensor:
        """v_k = d bound / d log w_k, (K, B) -> (K, B); here by differentiation; bounds override it."""
        derivative: Tensor = torch.func.grad(lambda log_w: self.reduce(log_w).sum())(log_w)
        return derivative

    def path_weights(self, log_w: Tensor) -> Tensor:
        """c_k = v_k - d v_k / d log w_k, (K, B) -> (K, B): the weights of the doubly reparameterized gradient.

        Here by K forward derivatives; bounds with a closed form override it.
        """

        def own_slope(direction: Tensor) -> Tensor:  # d v_k / d log w_k, (B,)
            slope: Tensor = torch.func.jvp(self.weights, (log_w,), (direction,))[1]
            return (slope * direction).sum(0)

        each = torch.eye(len(log_w), dtype=log_w.dtype, device=log_w.device)[..., None].expand(-1, -1, log_w.shape[1])
        slopes: Tensor = torch.func.vmap(own_slope)(each)  # (K, B)
        return self.weights(log_w) - slopes

    def estimate(self, particles: Particles) -> Tensor:
        return self.reduce(particles.log_w)


class Estimator(Bound):
    """A gradient estimator that serves several bounds: its hyper-parameter ``bound`` is one of them.

    ``bound`` is a registered name or a :class:`Reduction`; it is taken with this objective's ``num_particles``. Unless
    a subclass says otherwise the estimate is the bound with its pathwise gradient.

    >>> import ppgen
    >>> ppgen.inference.STL(bound="iwelbo", num_particles=8).reduction
    IWELBO(num_particles=8)
    """

    needs_mean: ClassVar[str] = ""
    """What of it needs a bound that is a mean of log-weights, such as the ELBO; empty: nothing."""

    bound: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.needs_mean and not self.reduction.is_mean:
            raise UsageError(
                f"{self.needs_mean} is for a bound that is a mean of log-weights, such as 'elbo', got {self.bound!r}: "
                f"give {setting('O', 'bound', 'elbo')}, or use 'vimco', which takes any."
            )

    @property
    def reduction(self) -> Reduction:
        """The bound whose gradient is estimated."""
        if isinstance(self.bound, str):
            return OBJECTIVES[self.bound].cls(num_particles=self.num_particles)  # type: ignore[no-any-return]
        return self.bound.holding({"num_particles": self.num_particles})  # type: ignore[no-any-return]

    @property
    def target(self) -> Reduction | None:
        return self.reduction

    @property
    def total_particles(self) -> int:
        return self.reduction.total_particles

    def estimate(self, particles: Particles) -> Tensor:
        return self.reduction.reduce(particles.log_w)

    @capability
    def is_bound(self) -> bool:
        """That of the bound."""
        return self.reduction.is_bound

    @capability
    def per_datum(self) -> bool:
        """That of the bound."""
        return self.reduction.per_datum


def check_smooth(estimator: Estimator) -> None:
    """The bound's weights v_k have a derivative, which a doubly reparameterized gradient takes.

    Raises:
        UsageError: they jump.
    """
    if not estimator.reduction.is_smooth:
        name = type(estimator.reduction).__name__
        raise UsageError(
            f"{type(estimator).__name__} differentiates the weights of its bound, and those of {name} jump where two "
            f"log-weights are equal: train with {name}() itself, or take bound='iwelbo'."
        )


BoundName: TypeAlias = Annotated[
    str | Reduction,
    BeforeValidator(reader_of(Reduction, "bound")),
    Words("a function of log-weights such as 'elbo' or 'iwelbo'"),
]
"""A bound, or its registered name."""
