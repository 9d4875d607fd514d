"""The conservative log-likelihood beside an annealed one: what chains make of the first data from above log Z.

A log Z from above rests on where long chains stand, this on the data alone (:mod:`ppgen.chains.raising`). The two
log-likelihoods of the same data are apart by what annealing from below flatters, and by what this one loses.

Accurate and conservative estimates of MRF log-likelihood using reverse annealing. Burda, Grosse, Salakhutdinov, 2015.
"""

from __future__ import annotations

from collections.abc import Iterator

from ppgen.chains.annealing import rungs
from ppgen.chains.log_z import LogZ
from ppgen.chains.raising import raised
from ppgen.evaluation.case import Case
from ppgen.evaluation.likelihood import mean_and_error
from ppgen.evaluation.result import Measure
from ppgen.pairs.energy import energy_pair

__all__ = ["conservative"]

_DATA, _CHAINS = 50, 4


def conservative(case: Case) -> Iterator[Measure]:
    """``raise_log_likelihood`` and ``raise_gap`` where log Z has an upper side and a chain's state is a datum."""
    log_z = case.log_z
    if log_z is None or log_z.upper is None or log_z.num_temperatures is None or log_z.sizes is not None:
        return
    pair = energy_pair(case.pair, "reverse annealing")
    if pair.has_own_state:
        return
    batch = case.first(_DATA)
    v = pair.datum(batch)
    spacing = None if isinstance(case.asked_log_z, LogZ) else case.asked_log_z.get("spacing")
    betas = rungs(pair, log_z.num_temperatures, log_z.num_chains or 2, spacing)
    found = raised(pair, v, betas, _CHAINS, progress=case.progress)
    flattering = -pair.free_energy(v).detach().double() - log_z.value
    how = (
        f"of the first {len(v):,} {case.split} data, in {log_z.num_temperatures:,} temperatures, {_CHAINS} chains each"
    )
    yield Measure(
        "raise_log_likelihood",
        *mean_and_error(found),
        f"nats {how}, annealed down from the data: it errs downward, for the distribution that annealing ends at",
    )
    gap, error = mean_and_error(flattering - found)
    yield Measure(
        "raise_gap",
        gap,
        error,
        "nats from there up to the log-likelihood of the same data by log Z: how far that flatters, and what annealing "
        "down loses",
    )
