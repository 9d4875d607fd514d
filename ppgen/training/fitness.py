"""Whether a pair, an objective, data and the options of a training go together, found out before its first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppgen.data import Dataset
from ppgen.errors import UsageError, shown
from ppgen.machine.ranks import Ranks
from ppgen.objectives.objective import Objective
from ppgen.pairs.looking import goes_apart, looked_at
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import kept_buffers
from ppgen.pairs.tracing import Batch, automatic_guides, divides

__all__ = ["check_amortised", "check_patience", "is_comparable"]


def is_comparable(objective: Objective, report: Mapping[str, float]) -> bool:
    """Whether a validation has a number that falls as training goes well: a bound, or the loss of a single player that
    measures the fit."""
    return "bound" in report or (objective.measures_fit and len(objective.players()) == 1)


def check_patience(objective: Objective, data: Dataset, report: Mapping[str, float]) -> None:
    """Stopping early needs such a number, and data to take it of.

    Raises:
        UsageError: one of them is missing.
    """
    if not is_comparable(objective, report):
        several = "the loss of one of its players, which rises when the other gains"
        what = several if len(objective.players()) > 1 else "a loss that is no measure of fit"
        raise UsageError(
            f"patience waits for validation to improve, and {type(objective).__name__} validates {what}: leave "
            "patience out."
        )
    if not any(part.valid for part in data.parts):
        raise UsageError(
            f"patience waits for validation to improve, and data {shown(data.spec.name)} hold nothing out: "
            "give validation data, ppgen.data.as_dataset(x, valid=...), or leave patience out."
        )


def check_amortised(pair: Pair, examples: Sequence[Batch], num_data: int, ranks: Ranks) -> None:
    """Minibatches are for guides that are functions of a datum; an autoguide has parameters for each of the first B.

    Raises:
        UsageError: the guide has parameters for each datum, and data or ranks share them; to the pair a batch is one
            datum, and there are several ranks.
    """
    for batch in examples:
        if ranks.size > 1:
            with kept_buffers(pair.model, pair.guide):
                apart = goes_apart(pair, batch)
            if not apart:
                raise UsageError(
                    f"{ranks.size} ranks cut each batch in parts, and to {type(pair).__name__} a batch is one datum: "
                    "give the model a data plate, or train in one process."
                )
        if automatic_guides(pair.guide) and len(batch[0]) < num_data * ranks.size:
            one = looked_at(pair, batch)
            if one.latents and one.plate is not None and not divides(one):
                raise UsageError(
                    f"the guide has parameters for each datum ({', '.join(one.latents)}), and batches of "
                    f"{len(ranks.shard(batch[0]))} of {num_data} data would share them: train with "
                    f"batch_size={num_data}{' in one process' if ranks.size > 1 else ''}, or with a guide that is a "
                    "function of a datum."
                )
