"""Are the latents used? Activity, KL and entropy of every unit (:mod:`ppgen.diagnostics.units`)."""

from __future__ import annotations

from dataclasses import dataclass

from ppgen.diagnostics.advice import advised
from ppgen.diagnostics.finding import Finding, Status
from ppgen.diagnostics.question import asks
from ppgen.diagnostics.units import Unit, units_of
from ppgen.errors import UsageError
from ppgen.evaluation.case import Case

__all__ = ["ACTIVE", "Units", "collapse"]

ACTIVE = 0.01
"""Burda et al. (2016): a unit is active if its activity exceeds it."""

_MOST, _LEAST = 0.9, 0.1
"""Shares of active units: a green light from the first, a red one up to the second."""

_NAMED = 10

_SOURCE = f"Burda et al. 2016, section 5.1: a unit is active above {ACTIVE}; the share asked for is ours"
_ADVICE = (
    "Idle units tell next to nothing of the datum. If the latents should tell more: [weigh the KL less ({beta} below "
    "1) or let it in slowly (a schedule of beta from 0 to 1), ]take a weaker decoder, or fewer latents[; by {iwelbo, "
    "vimco}, with several particles, more units stay active]."
)
_OF_ENERGY = (
    "Idle units tell next to nothing of the datum: take fewer of them, or train longer[ (by {cd, pcd, "
    "parallel_tempering}, with more sweeps between steps)]."
)


@dataclass(frozen=True, kw_only=True)
class Units:
    """How many units there are and how many active; the sum of their KL, nats (None where no unit has one); the names
    of the idle ones; and every unit."""

    active_units: int
    num_units: int
    kl: float | None
    idle: list[str]
    units: list[Unit]


@asks("Are the latents used?")
def collapse(case: Case) -> Finding[Units] | None:
    """The share of units whose activity exceeds 0.01, and the units that are idle, by name.

    Green from 0.9, red up to 0.1: the model then does without its latents. None for an implicit pair, whose guide
    infers nothing, and for one without latents of a datum.
    """
    if not case.pair.has_weights or not case.local_latents:
        return None
    if case.one.log_w.shape[1] < 2:
        raise UsageError(
            "whether a latent's mean moves with the datum takes two data or more, each with latents of its own."
        )
    units = units_of(case)
    idle = [unit for unit in units if unit.activity <= ACTIVE]
    share, kls = 1 - len(idle) / len(units), [unit.kl for unit in units if unit.kl is not None]
    status: Status = "good" if share >= _MOST else "warn" if share > _LEAST else "bad"
    return Finding(
        status=status,
        number=share,
        threshold=_MOST,
        direction="at least",
        quantity="share of active units",
        source=_SOURCE,
        meaning=f"share of the {len(units):,} units of the latents that are active: their mean moves with the datum, "
        f"over {case.num_data:,} {case.split} data{_named(idle)}",
        advice="" if status == "good" else advised(case, _OF_ENERGY if case.pair.needs_log_z else _ADVICE),
        details=Units(
            active_units=len(units) - len(idle),
            num_units=len(units),
            kl=sum(kls) if kls else None,
            idle=[unit.name for unit in idle],
            units=units,
        ),
    )


def _named(idle: list[Unit]) -> str:
    if not idle:
        return ""
    names = ", ".join(unit.name for unit in idle[:_NAMED])
    return f"; idle: {names}{f' and {len(idle) - _NAMED:,} more' if len(idle) > _NAMED else ''}"
