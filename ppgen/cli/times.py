"""Times on the command line: ``90``, ``90s``, ``1.5m``, ``2h``."""

from __future__ import annotations

import re

from ppgen.errors import UsageError, shown

__all__ = ["seconds_of"]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(budget: str | None) -> float | None:
    """What ``--budget`` says, in seconds; None where it is not given.

    Raises:
        UsageError: it is no time above zero.

    >>> seconds_of("90"), seconds_of("1.5m"), seconds_of(None)
    (90.0, 90.0, None)
    """
    if budget is None:
        return None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{0,9})?)([smh]?)", budget)
    if found is None or float(found[1]) == 0:
        raise UsageError(f"--budget expects a time above zero, such as 90s, 30m or 2h, got {shown(budget)}.")
    return float(found[1]) * _UNITS[found[2]]
