"""What an optimizer keeps of its parameters, as a checkpoint holds it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ppgen.errors import UsageError, shown
from ppgen.objectives.objective import Player

__all__ = ["check_slots", "slots_of"]

_SLOTS = {"step", "exp_avg", "exp_avg_sq"}
"""What Adam keeps of a parameter."""


def slots_of(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """An optimizer's state by parameter and slot, of tensors named ``index.slot``."""
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, slot = name.split(".")
        slots.setdefault(int(index), {})[slot] = value
    return slots


def check_slots(player: Player, slots: Mapping[int, Mapping[str, Tensor]], owned: list[Tensor], turn: int) -> None:
    """The optimizer's state is that of the parameters, each of which has moved in every turn.

    Raises:
        UsageError: it is not; the player is named.
    """
    steps = turn * player.steps
    expected = range(len(owned)) if steps else ()
    if sorted(slots) != list(expected) or not all(_is_of(slots[index], owned[index], steps) for index in expected):
        raise UsageError(
            f"the checkpoint's optimizer of player {shown(player.name)}, at turn {turn}, is not that of its "
            f"{len(owned)} parameters: the checkpoint was edited; restore it, or train again into another --out."
        )


def _is_of(slots: Mapping[str, Tensor], parameter: Tensor, steps: int) -> bool:
    """Whether these are Adam's slots of a parameter after so many steps."""
    return (
        set(slots) == _SLOTS
        and slots["step"].numel() == 1
        and int(slots["step"]) == min(steps, 2**24)  # float32 counts no further
        and all(slots[name].shape == parameter.shape for name in _SLOTS - {"step"})
    )
