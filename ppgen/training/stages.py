"""The stages of a training: which objective plays in which turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ppgen.errors import UsageError, shown
from ppgen.objectives.objective import Stage
from ppgen.training.options import TrainingOptions

__all__ = ["Span", "spans_of", "standing_in"]


@dataclass(frozen=True)
class Span:
    """A stage and its turns, from ``begin`` on and before ``end``."""

    stage: Stage
    begin: int
    end: int
    cursor: int
    """Batches that the stages before it have shown."""

    @property
    def moves(self) -> int:
        """Batches in one turn."""
        return sum(player.steps for player in self.stage.objective.players())

    def shown(self, turn: int) -> int:
        """Batches that are shown before a turn of it."""
        return self.cursor + (turn - self.begin) * self.moves


def spans_of(stages: Sequence[Stage], options: TrainingOptions, per_epoch: int) -> tuple[Span, ...]:
    """The stages, each with its share of the turns.

    Args:
        stages: in order.
        options: with the ``steps`` or the ``epochs`` of all of them.
        per_epoch: batches in one pass over the data.

    Raises:
        UsageError: there are fewer turns than stages, or several stages and a patience.
    """
    if options.patience is not None and len(stages) > 1:
        raise UsageError(
            f"patience waits for one objective to improve, and this training has {len(stages)} stages, each with its "
            "own: leave patience out."
        )
    spans: list[Span] = []
    whole, share, begin, cursor = sum(stage.share for stage in stages), 0.0, 0, 0
    for stage in stages:
        moves = sum(player.steps for player in stage.objective.players())
        length = options.steps or options.epochs * max(1, per_epoch // moves)
        turns = round(length * (share + stage.share) / whole) - round(length * share / whole)
        if turns < 1:
            raise UsageError(
                f"{length} steps leave stage {shown(stage.name)} of {len(stages)} without any: train for more epochs "
                "or steps."
            )
        spans.append(Span(stage, begin, begin + turns, cursor))
        share, begin, cursor = share + stage.share, begin + turns, cursor + turns * moves
    return tuple(spans)


def standing_in(spans: Sequence[Span], stage: int, began: int, turn: int) -> int:
    """The stage that a checkpoint at a turn stands in, which began at another.

    Raises:
        UsageError: there is no such stage, or it begins at another turn in a training of this length.
    """
    if stage >= len(spans):
        raise UsageError(
            f"the checkpoint stands in stage {stage + 1}, and this training has {len(spans)}: resume with the "
            "objective and the layers it was begun with."
        )
    span = spans[stage]
    if began != span.begin or (turn > span.end and span is not spans[-1]):
        raise UsageError(
            f"the checkpoint stands at turn {turn} in stage {shown(span.stage.name)}, which began at turn {began}, and "
            f"in a training of this length it goes from {span.begin} to {span.end}: resume with the epochs, steps and "
            "shares it was begun with."
        )
    return stage
