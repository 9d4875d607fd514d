"""Data-parallel training: what becomes, on several ranks, of everything that a step takes and gives.

One rule for each, and this is the place where it is kept. Of a batch of B rows rank r has B_r, its weight is B_r / B:

    rows                    those of the batch of one process, cut into contiguous parts; B_r differ by at most one. All
                            of them for a player that moves nothing: what is assigned, each rank makes by itself
    random numbers          each rank's own, from (seed, rank); rank 0 has those of one process
    gradients, report       sum_r (B_r / B) g_r: those of the whole batch, where the loss is a mean over data
    buffers, state          old + sum_r (B_r / B) (new_r - old): running means and baselines are the whole batch's
    chains                  each rank's own part of them, along the axis that the objective names
    whole numbers           equal on all ranks, and exchanged by none (a count of batches)

Parameters, optimizers, buffers and averaged state begin as rank 0 has them and stay equal to the bit: every rank moves
them by the same numbers. What a loss sees of a batch beyond a mean over data (batch normalisation, a kernel's mean over
pairs of data) it sees of a rank's rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ppgen.errors import UsageError, shown
from ppgen.machine.ranks import Ranks
from ppgen.machine.seeds import derived
from ppgen.objectives.choosing import Choosing
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import State
from ppgen.training.learner import Learner
from ppgen.training.steps import StepResult

__all__ = ["Sharing"]


@dataclass
class Sharing:
    """How ``ranks`` train a learner with an objective; see the module. Of one rank everything is as it is."""

    ranks: Ranks
    objective: Objective
    _sizes: dict[str, int] = field(default_factory=dict)
    """Chains in all, by the name of their state."""

    def check(self, smallest: int) -> None:
        """Every rank has data of every batch.

        Raises:
            UsageError: the smallest batch has fewer rows than there are ranks; or an objective chooses by time.
        """
        if self.ranks.size > 1 and isinstance(self.objective, Choosing):
            raise UsageError(
                f"{type(self.objective).__name__} chooses by the seconds of one process, and there are "
                f"{self.ranks.size} ranks, which might choose differently: train with one of its estimators, or with "
                "one process."
            )
        if smallest < self.ranks.size:
            raise UsageError(
                f"a batch of {smallest} data leaves {self.ranks.size - smallest} of {self.ranks.size} ranks without "
                f"any: train with a batch_size of at least {self.ranks.size} (and as many data), or with fewer ranks."
            )

    def begin(self, learner: Learner, state: State) -> State:
        """Give all ranks what rank 0 has; returns this rank's state.

        Raises:
            UsageError: the ranks have other parameters; the objective does not say what becomes of its state, or has
                fewer chains than there are ranks.
        """
        if self.ranks.size == 1:
            return state
        if state and self.objective.shards is None:
            raise UsageError(
                f"{type(self.objective).__name__} carries {', '.join(map(shown, state))} from step to step, and does "
                "not say what becomes of it on several ranks: set its `shards`, or train in one process."
            )
        tensors = {**learner.values(), **{f"state {name}": value for name, value in state.items()}}
        self.ranks.check_alike({f"parameter {n}": [*value.shape, str(value.dtype)] for n, value in tensors.items()})
        self.ranks.spread(tensors.values())
        self._sizes = {name: state[name].shape[axis] for name, axis in self._axes.items() if name in state}
        for name, size in self._sizes.items():
            if size < self.ranks.size:
                raise UsageError(
                    f"{size} {name} leave {self.ranks.size - size} of {self.ranks.size} ranks without any: give the "
                    f"objective at least {self.ranks.size}, or train with fewer ranks."
                )
        return self.part(state)

    def begin_random(self, seed: int) -> None:
        """Give each rank random numbers of its own; rank 0 keeps what it has."""
        if not self.ranks.first:
            torch.manual_seed(self.seed(seed))

    def seed(self, seed: int, *more: int) -> int:
        """The seed of a rank's own random numbers; rank 0 has the run's."""
        return seed if self.ranks.first else derived(seed, "rank", self.ranks.rank, *more)

    def part(self, state: State) -> State:
        """This rank's state, of that of the whole."""
        axes = self._axes if self.ranks.size > 1 else {}
        return {n: self.ranks.shard(value, axes[n]).clone() if n in axes else value for n, value in state.items()}

    def whole(self, state: State) -> State:
        """That of the whole, on every rank."""
        sizes = self._sizes.items()
        return {**state, **{name: self.ranks.joint(state[name], num, self._axes[name]) for name, num in sizes}}

    def mean(self, stepped: StepResult, state: State, buffers: Mapping[str, Tensor], weight: float) -> StepResult:
        """What all ranks go on with, of what this rank's step gave.

        Args:
            stepped: by this rank.
            state: before the step.
            buffers: before the step, by name.
            weight: B_r / B.
        """
        if self.ranks.size == 1:
            return stepped
        gradients, report, following, written = stepped
        old = {**{n: buffers[n] for n in written}, **{f"state {n}": v for n, v in state.items() if n not in self._axes}}
        new = {**written, **{f"state {name}": value for name, value in following.items()}}
        old = {name: value for name, value in old.items() if value.is_floating_point()}
        changes = [torch.where(new[name] == value, 0, new[name] - value) for name, value in old.items()]  # inf stays
        shared = self.ranks.mean([*gradients, *report.values(), *changes], weight)
        split = len(gradients) + len(report)
        moved = {name: v + change for (name, v), change in zip(old.items(), shared[split:], strict=True)}
        return (
            shared[: len(gradients)],
            dict(zip(report, shared[len(gradients) : split], strict=True)),
            {name: moved.get(f"state {name}", value) for name, value in following.items()},
            {name: moved.get(name, value) for name, value in written.items()},
        )

    def whose(self, where: str, numbers: Sequence[Tensor]) -> str:
        """Where a number is not finite, as the first rank says whose own are not.

        Args:
            where: what this rank would say.
            numbers: this rank's loss and norm of the gradient, which tell whether it is here.
        """
        is_here = not all(bool(torch.isfinite(number)) for number in numbers)
        found = self.ranks.gathered((is_here, where))
        rank = max(range(len(found)), key=lambda at: found[at][0])
        return where if self.ranks.size == 1 else f"on rank {rank} {found[rank][1]}"

    def random(self, device: torch.device) -> dict[str, Tensor]:
        """The random numbers' state on every rank: ``random.cpu`` that of rank 0, ``random.cpu.1``, and so on."""
        own = {"random.cpu": torch.get_rng_state()}
        if device.type == "cuda":
            own["random.cuda"] = torch.cuda.get_rng_state(device)
        each = {name: self.ranks.each(state) for name, state in own.items()}
        return {_of_rank(name, rank): state for name, states in each.items() for rank, state in enumerate(states)}

    def set_random(self, tensors: Mapping[str, Tensor], device: torch.device, seed: int, turn: int) -> None:
        """Go on with this rank's random numbers; of a rank that had none, with others from (seed, rank, turn) on."""
        cpu, cuda = (_of_rank(name, self.ranks.rank) for name in ("random.cpu", "random.cuda"))
        if cpu not in tensors and not self.ranks.first:
            torch.manual_seed(self.seed(seed, turn))
            return
        torch.set_rng_state(tensors[cpu])
        if device.type == "cuda" and cuda in tensors:
            torch.cuda.set_rng_state(tensors[cuda], device)

    @property
    def _axes(self) -> Mapping[str, int]:
        return self.objective.shards or {}


def _of_rank(name: str, rank: int) -> str:
    return f"{name}.{rank}" if rank else name
