"""Which optimizer moves the parameters, and what it keeps of them, as a checkpoint holds it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ppgen.errors import UsageError, option, shown
from ppgen.objectives.turns import Player
from ppgen.training.named import Named

__all__ = ["Optimizer", "laid_out_like", "slots_of"]


@dataclass(frozen=True)
class Optimizer(Named):
    """``AdamW(weight_decay=0.01)``: one of ``torch.optim``, with options of its own.

    The learning rate is the run's, and the betas are the player's unless they are given. It is fused where torch can,
    and does not look at the device, so that a CUDA graph can hold it; Adagrad, whose steps the host counts, is neither
    on a GPU. SGD has no dampening: its first step would be unlike all others, and a graph is one step.
    """

    what: ClassVar[str] = "an optimizer, such as SGD(momentum=0.9)"
    known: ClassVar[Sequence[Any]] = (
        torch.optim.Adam,
        torch.optim.AdamW,
        torch.optim.SGD,
        torch.optim.RMSprop,
        torch.optim.Adagrad,
    )
    reserved: ClassVar[Mapping[str, str]] = {
        "lr": "give the run's own lr",
        "dampening": "its first step would be unlike all others, and a graph is one step: lower lr",
        "maximize": "a loss is minimised: change its sign",
        **dict.fromkeys(
            ("params", "foreach", "fused", "capturable", "differentiable"), "training sets it: leave it out"
        ),
    }

    @classmethod
    def read(cls, value: Any) -> Self:
        """As :meth:`Named.read`.

        Raises:
            UsageError: as there, or the class refuses a value.
        """
        found = super().read(value)
        try:
            found.make([torch.zeros(())], Player(""), 1e-3)
        except (ValueError, RuntimeError) as error:
            raise UsageError(f"optimizer {found} cannot be made: {str(error).rstrip('.')}.") from error
        return found

    def make(self, parameters: Sequence[Tensor], player: Player, lr: float) -> torch.optim.Optimizer:
        """The optimizer of a player's parameters."""
        on_gpu = parameters[0].is_cuda
        settings = {"betas": player.betas, "fused": not on_gpu or self.can_be_captured, "capturable": on_gpu}
        takes = inspect.signature(self.kind).parameters
        fit = {name: value for name, value in settings.items() if name in takes}
        made: torch.optim.Optimizer = self.kind(list(parameters), lr=lr, **{**fit, **self.options})
        return made

    @property
    def can_be_captured(self) -> bool:
        """Whether a CUDA graph can hold its step: the host counts none."""
        return self.kind is not torch.optim.Adagrad

    def load(self, optimizer: torch.optim.Optimizer, slots: Mapping[str, Tensor], player: Player, turn: int) -> None:
        """Have an optimizer that was made here go on from what :func:`slots_of` gave after ``turn`` turns.

        Raises:
            UsageError: the slots are not those of the optimizer and of its parameters; the player is named.
        """
        steps, (group,) = turn * player.steps, optimizer.param_groups
        expected = self._kept(group["params"], player, steps)
        counts = [value for name, value in slots.items() if name.endswith(".step")]
        shapes, wanted = ({name: value.shape for name, value in kept.items()} for kept in (slots, expected))
        if shapes != wanted or any(int(count) != min(steps, 2**24) for count in counts):  # float32 counts no further
            raise UsageError(
                f"the checkpoint's optimizer of player {shown(player.name)}, at turn {turn}, is not that of its "
                f"{len(group['params'])} parameters: the checkpoint was edited; restore it, or train again into "
                f"another {option('out')}."
            )
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in slots.items():
            index, slot = name.split(".")
            state.setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

    def _kept(self, parameters: Sequence[Tensor], player: Player, steps: int) -> dict[str, Tensor]:
        """Slots like those after so many steps, which a twin has after one."""
        twins = [torch.zeros_like(parameter) for parameter in parameters]
        twin = self.make(twins, player, 1e-3)
        for parameter in twins if steps else ():
            parameter.grad = torch.zeros_like(parameter)
        twin.step()
        return slots_of(twin)


def slots_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What it keeps, by ``parameter.slot``."""
    state = optimizer.state_dict()["state"].items()
    return {f"{index}.{slot}": torch.as_tensor(value) for index, slots in state for slot, value in slots.items()}


def laid_out_like(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient with the parameter's strides, which a fused optimizer asks for; Inductor may choose others."""
    same = gradient.stride() == parameter.stride()
    return gradient if same else torch.empty_like(parameter).copy_(gradient)
