"""Annealing until the weights are worth enough, or a budget ends.

Annealed log-weights come near to normal ones, whose effective share of M chains is exp(-s^2), s^2 their variance, which
twice the temperatures about halve (Neal 2001, section 4). So while the share is below 1 / e, twice the temperatures
multiply the effective chains by exp(s^2 / 2), as much as twice the chains and more from s^2 = 2 log 2 on; above it no
temperatures make many of few chains, and chains are doubled. Each run is a fresh one: its weights are unbiased, though
which run is the last one was chosen by looking at their spread (``tests/chains/test_coverage.py`` holds the interval to
its word, that choice included).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from ppgen.chains.normaliser import LogZ
from ppgen.errors import UsageError

__all__ = ["BUDGET", "Run", "check_budget", "within"]

BUDGET = 8_000_000
"""Sweeps of a chain that an evaluation may take: runs of 10,000, 20,000 and 40,000 temperatures of 100 chains."""

Run: TypeAlias = Callable[[int, int], tuple[LogZ, Callable[[], LogZ]]]
"""Of so many temperatures and chains: log Z, and what adds the other side to it."""


def check_budget(budget: int | None, num_temperatures: int, num_chains: int) -> None:
    """Whether one run is within the budget.

    Raises:
        UsageError: it is not.
    """
    least = num_temperatures * num_chains
    if budget is not None and budget < least:
        raise UsageError(
            f"budget must be at least the {least:,} sweeps of one run ({num_temperatures:,} temperatures x "
            f"{num_chains:,} chains), got {budget:,}: raise it, or begin with fewer temperatures or chains."
        )


def within(budget: int | None, run: Run, num_temperatures: int, num_chains: int, sandwich: bool) -> LogZ:
    """The first run that is worth enough, or the last one that fits the budget, which then has its other side too."""
    most, spent = budget or 0, 0
    while True:
        found, with_upper = run(num_temperatures, num_chains)
        now = num_temperatures * num_chains
        spent += now
        if found.enough or spent + 2 * now > most:
            break
        spread = math.log(num_chains / (found.effective_sample_size or 1.0))
        if spread > 1:
            num_temperatures *= 2
        else:
            num_chains *= 2
    fell_short = budget is not None and not found.enough
    return replace(with_upper() if sandwich or fell_short else found, num_sweeps=spent)
