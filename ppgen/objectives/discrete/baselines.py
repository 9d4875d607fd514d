"""Baselines of score-function gradients: what stands in the place of a particle's own log-weight.

A baseline b_k predicts log w_k from what does not see z_k. The learning signal of particle k is then how much it adds
to a bound f that the baseline would not have added,

    f(log w_1, ..., log w_K) - f(log w_1, ..., b_k, ..., log w_K),

for the ELBO (log w_k - b_k) / K. Whatever b_k is, it leaves the gradient's expectation as it was
(:mod:`ppgen.objectives.discrete.score_function`); the closer it predicts, the less its variance.

    none                b_k = 0
    moving_average      a running mean of the log-weights of earlier steps
    leave_one_out       the mean of the other particles' log-weights (the geometric mean of their weights)
    learned             a network of x, trained to predict log w, and the running mean of what it misses
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from ppgen.arguments import Share, Sizes, Words, check_fields, one_of
from ppgen.layers.networks import MLP
from ppgen.objectives.turns import State
from ppgen.pairs.rows import is_data, like_data, num_rows
from ppgen.pairs.tracing import Batch

__all__ = [
    "BASELINES",
    "Baseline",
    "Learned",
    "LeaveOneOut",
    "MovingAverage",
    "NoBaseline",
    "baseline_named",
    "features_of",
    "stacked",
]


@dataclass(frozen=True, kw_only=True)
class Baseline(ABC):
    """What predicts a log-weight without its particle.

    To add one: 1. a frozen dataclass here with :meth:`predict`; 2. what it learns, in :meth:`parameters`, or carries
    from step to step, in :meth:`initial_state` and :meth:`next_state`; 3. a name in ``BASELINES``.
    """

    min_particles: ClassVar[int] = 1
    carries: ClassVar[bool] = False
    """Whether it has a state, which begins at log-weights of an extra draw."""

    @abstractmethod
    def predict(self, log_w: Tensor, batch: Batch, own: nn.Module | None, state: State) -> Tensor:
        """b_k, (K, B) or what broadcasts to it, in nats.

        Args:
            log_w: (K, B), without gradient.
            batch: of B data.
            own: the module that :meth:`parameters` made; None in Pyro's SVI, which trains the pair's parameters alone.
            state: what the last step handed on.
        """

    def parameters(self, batch: Batch) -> nn.Module:
        """What it learns, for data like ``batch``; mostly empty."""
        return nn.Module()

    def initial_state(self, log_w: Tensor) -> State:
        """The state of the first step if it ``carries`` one, by log-weights of draws that no step uses, (K, B)."""
        return {}

    def next_state(self, log_w: Tensor, predicted: Tensor, state: State) -> State:
        """What the next step gets, by this step's log-weights, (K, B), and what was predicted of them."""
        return state

    def unit(self, state: State) -> Tensor | float:
        """What learning signals are divided by: 1 leaves the gradient unbiased."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class NoBaseline(Baseline):
    """b_k = 0."""

    def predict(self, log_w: Tensor, batch: Batch, own: nn.Module | None, state: State) -> Tensor:
        return torch.zeros_like(log_w)


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(Baseline):
    """The mean of the other particles' log-weights, or (``arithmetic``) the logarithm of the mean of their weights."""

    min_particles: ClassVar[int] = 2

    arithmetic: bool = False

    def predict(self, log_w: Tensor, batch: Batch, own: nn.Module | None, state: State) -> Tensor:
        num = len(log_w) - 1
        if not self.arithmetic:
            return (log_w.sum(0) - log_w) / num
        itself = torch.eye(num + 1, dtype=torch.bool, device=log_w.device)[..., None]
        others = log_w.masked_fill(itself, -torch.inf)  # (K, K, B), a row without its own
        return others.logsumexp(1) - torch.tensor(num).to(log_w).log()


@dataclass(frozen=True, kw_only=True)
class MovingAverage(Baseline):
    """The running mean c of log-weights, c <- decay c + (1 - decay) mean(log w).

    With ``normalise``, signals are divided by max(1, the running standard deviation of log w - b). State: ``centre``,
    (), which starts at the mean of a draw of its own at the first batch; with ``normalise`` also ``variance``, ().
    """

    carries: ClassVar[bool] = True

    decay: Share = 0.8
    normalise: bool = False

    def __post_init__(self) -> None:
        check_fields(self, f"the {type(self).__name__} baseline")

    def predict(self, log_w: Tensor, batch: Batch, own: nn.Module | None, state: State) -> Tensor:
        return state["centre"].expand(log_w.shape)

    def initial_state(self, log_w: Tensor) -> State:
        centre = log_w.mean()
        return {"centre": centre} | ({"variance": (log_w - centre).square().mean()} if self.normalise else {})

    def next_state(self, log_w: Tensor, predicted: Tensor, state: State) -> State:
        missed = log_w - predicted
        centre = state["centre"] + (1 - self.decay) * missed.mean()
        if not self.normalise:
            return {"centre": centre}
        variance = state["variance"].lerp(missed.square().mean(), 1 - self.decay)
        return {"centre": centre, "variance": variance}

    def unit(self, state: State) -> Tensor | float:
        return state["variance"].sqrt().clamp_min(1.0) if self.normalise else 1.0


@dataclass(frozen=True, kw_only=True)
class Learned(MovingAverage):
    """C(x) + c: a dense network of x, trained by least squares, and the running mean c of what it misses.

    ``hidden``: sizes of the network's layers of tanh units.
    """

    hidden: Sizes = (100,)

    def predict(self, log_w: Tensor, batch: Batch, own: nn.Module | None, state: State) -> Tensor:
        centre = super().predict(log_w, batch, own, state)
        return centre if own is None else centre + own(features_of(batch)).reshape(log_w.shape[1], -1).sum(1)

    def parameters(self, batch: Batch) -> nn.Module:
        return MLP(features_of(batch).shape[1], 1, self.hidden, "tanh").to(like_data(batch))


BaselineName: TypeAlias = Annotated[str | Baseline, Words("a baseline, or the name of one")]

BASELINES: Mapping[str, Baseline] = {
    "none": NoBaseline(),
    "moving_average": MovingAverage(),
    "leave_one_out": LeaveOneOut(),
    "learned": Learned(),
}


def baseline_named(name: Any, needed_by: str) -> Baseline:
    """The baseline of that name, or ``name`` itself if it is one.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(name, Baseline):
        return name
    one_of(f"expected a baseline of {needed_by}, got", name, BASELINES)
    return BASELINES[name]


def stacked(states: Sequence[State]) -> State:
    """The states of the layers as one: each tensor gains a first dim L."""
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def features_of(batch: Batch) -> Tensor:
    """All that the batch says of each datum, in the dtype of its first tensor: (B, F)."""
    size = num_rows(batch)
    return torch.cat([part.reshape(size, -1).to(like_data(batch)) for part in batch if is_data(part, size)], 1)
