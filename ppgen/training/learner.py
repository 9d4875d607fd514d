"""All that training changes of a pair and its objective, and how it is saved and loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from ppgen.errors import UsageError, shown
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Player, State
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Batch, Program

__all__ = [
    "Learner",
    "check_state",
    "checked_values",
    "fixed_and_moving",
    "load_learner",
    "load_state",
    "state_of",
    "under",
    "untied",
]


class Learner(nn.Module):
    """A pair and its objective's own module: all that training changes. Names are ``pair.*`` and ``objective.*``."""

    pair: Pair

    def __init__(self, pair: Pair, own: nn.Module, data_size: int | None = None) -> None:
        super().__init__()
        self.pair = pair
        self.objective = own
        self.data_size = data_size

    @property
    def program(self) -> Program:
        """The pair's model and guide, with the objective's module."""
        return Program(self.pair.model, self.pair.guide, self.objective, self.data_size)

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers, each once: one that has several names (tied weights) has the first of them."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def values(self) -> dict[str, Tensor]:
        """The tensors as numbers, which share their memory."""
        return {name: value.detach() for name, value in self.tensors().items()}

    def arguments(self, player: Player) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What a step of the player is given first (:mod:`ppgen.training.steps`): the values it owns, and the others.

        Raises:
            UsageError: as :meth:`owned_by`.
        """
        values, owned = self.values(), self.owned_by(player)
        return {n: values[n] for n in owned}, {n: value for n, value in values.items() if n not in owned}

    def owned_by(self, player: Player) -> dict[str, nn.Parameter]:
        """The player's trainable parameters by name; none of a player who owns nothing.

        Raises:
            UsageError: there are none.
        """
        if not player.owns:
            return {}
        every = {n: p for n, p in self.named_parameters() if p.requires_grad}
        others = _under(player.but, every)
        named = {name: every[name] for name in _under(player.owns, every) if name not in others}
        if not named:
            whose = "" if player.owns == ("",) else f" of player {shown(player.name)} ({', '.join(player.owns)}*)"
            raise UsageError(
                f"there is nothing to train, no parameter{whose} that requires a gradient: give the pair parameters, "
                "nn.Parameter or pyro.param, or make some trainable again."
            )
        return named


def _under(prefixes: Sequence[str], names: Collection[str]) -> list[str]:
    """Those of the names that are given whole or by a prefix; a whole name is no prefix: weight_1 is no weight_10."""
    begins = tuple(prefix for prefix in prefixes if prefix not in names)
    return [name for name in names if name in prefixes or name.startswith(begins)]


def fixed_and_moving(schedules: Mapping[str, float]) -> tuple[dict[str, int], dict[str, float]]:
    """Schedules' values: whole numbers, for each of which there is a graph, and those that a graph is given."""
    fixed = {name: value for name, value in schedules.items() if isinstance(value, int)}
    return fixed, {name: value for name, value in schedules.items() if name not in fixed}


def load_learner(
    pair: Pair, objective: Objective, tensors: Mapping[str, Tensor], batch: Batch, prefix: str = "learner."
) -> Learner:
    """The pair, and the objective's own module for data like ``batch``, with the parameters of a checkpoint.

    They are those that training goes on from, or the best ones, whose names begin with ``best.``.

    Raises:
        UsageError: they do not fit.
    """
    learner = Learner(pair, objective.parameters(pair, batch))
    load_state(learner, under(prefix, tensors))
    return learner


def state_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a checkpoint's steps would hand to the next one."""
    return under("state.", tensors)


def load_state(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load a state dict whose names and shapes must be the module's; of names that are tied, the first is enough.

    Raises:
        UsageError: they are not; the first that differs is named.
    """
    module.load_state_dict(check_state(module, tensors))


def check_state(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict that :func:`load_state` loads.

    Raises:
        UsageError: as there.
    """
    own = module.state_dict()
    first = {id(value): name for name, value in reversed(module.state_dict(keep_vars=True).items())}
    tied = {name: first[id(value)] for name, value in module.state_dict(keep_vars=True).items()}
    tensors = {**{name: tensors[known] for name, known in tied.items() if known in tensors}, **tensors}
    for name in own.keys() | tensors.keys():
        expected = tuple(own[name].shape) if name in own else "nothing"
        got = tuple(tensors[name].shape) if name in tensors else "nothing"
        if expected != got:
            raise UsageError(
                f"the checkpoint does not fit: parameter {shown(name)} should be {expected} and is {got}; "
                "load it with the model and options it was trained with."
            )
    for name, _ in module.named_parameters():
        if not bool(torch.isfinite(tensors[name]).all()):
            raise UsageError(f"the checkpoint's parameter {shown(name)} is not finite: it was edited; restore a copy.")
    return dict(tensors)


def checked_values(own: State, found: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Of a checkpoint's state what has the names of one's own, on a device.

    Raises:
        UsageError: something is missing, or of another shape or type.
    """
    for name, value in own.items():
        if name not in found or found[name].shape != value.shape or found[name].dtype != value.dtype:
            got = f"{tuple(found[name].shape)} {found[name].dtype}" if name in found else "nothing"
            raise UsageError(
                f"the checkpoint's state {shown(name)} is {got}, this run's is {tuple(value.shape)} {value.dtype}: "
                "resume with the objective's options and batch size it was trained with."
            )
    return {name: found[name].to(device) for name in own}


def untied(module: nn.Module) -> dict[str, Tensor]:
    """The module's state dict with each tensor once, under the first of its names."""
    known = {id(value): (name, value) for name, value in reversed(module.state_dict(keep_vars=True).items())}
    return {name: value.detach() for name, value in reversed(known.values())}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by what follows."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
