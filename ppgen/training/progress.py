"""How far a training has come, as a checkpoint holds it beside its tensors."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, AliasChoices, Field

from ppgen.errors import UsageError, shown
from ppgen.files.documents import Document, Seconds, WholeNumber

__all__ = ["Progress"]


def _check_sums(sums: dict[str, float]) -> dict[str, float]:
    names = {name.removesuffix("/count") for name in sums}
    for name in sorted(names):
        if name not in sums or not sums.get(f"{name}/count", 0) > 0:
            raise UsageError(f"expected {shown(name)} and a positive '{name}/count', got {sorted(sums)}")
    return sums


class Progress(Document):
    """How far a training has come: :meth:`ppgen.training.trainer.Trainer.facts`."""

    turn: WholeNumber
    cursor: WholeNumber
    sums: Annotated[dict[str, float], AfterValidator(_check_sums)]
    choices: dict[str, bool] = Field(default_factory=dict, validation_alias=AliasChoices("choices", "onednn"))
    """How it computes, see :class:`ppgen.training.choices.Choices`."""
    chosen: WholeNumber = 0
    """Which estimator is played, and ``costs``: the seconds of each, see :class:`ppgen.training.chooser.Chooser`."""
    costs: list[Seconds] = Field(default_factory=list)
    stage: WholeNumber = 0
    """Which it stands in, and ``began``: the turn at which that began."""
    began: WholeNumber = 0
