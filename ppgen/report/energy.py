"""Sections of the report for energy-based pairs: log Z, chains, free energies; None for any other pair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from ppgen.chains.normaliser import LogZ
from ppgen.chains.recall import AssociativeMemory, memory_of
from ppgen.pages.charts import Vectors, plot_panels
from ppgen.pages.elements import COLUMNS, Figure, Section, figure_of
from ppgen.pages.look import look_of
from ppgen.pages.numbers import counted, number, plus_minus
from ppgen.pairs.energy import SWEEPS, energy_pair
from ppgen.pairs.looking import looking, seeded
from ppgen.report.parts import pictured, shown_data

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["free_energies", "log_normaliser", "markov_chains", "recalled_patterns"]

_AFTER = (0, 1, 10, 100, SWEEPS)
"""Sweeps after which the chains are shown."""

_SAMPLES = 200
_REMEMBERED, _FLIPPED = 10_000, 0.2
_DATA = 1000


def _is_energy(run: Run) -> bool:
    return run.pair.has_chains


def log_normaliser(run: Run) -> Section | None:
    """The log Z that the log-likelihood was less by, and what tells whether to believe it."""
    found = None if run.evaluation is None else run.evaluation.log_z
    if found is None:
        return None
    value, error = plus_minus(found.value, found.standard_error)
    facts = {"log Z": f"{value} nats"}
    if found.sizes is not None:
        facts["of which"] = f"the mean over data, of {found.sizes[0]:,} to {found.sizes[-1]:,} words"
    if found.exact:
        return Section("Normalising constant", "By enumeration: exact.", facts={"": facts}, group="Fit")
    if found.num_chains is not None:
        facts |= {"standard error": f"{error} nats", **_of_chains(found)}
    text = (
        "By annealed importance sampling. The estimate is below log Z in expectation, so that the log-likelihood errs "
        "upward; with a small error bar and an effective sample size of the weights of 20 or more, by little."
    )
    if found.upper is not None:
        text += " Reverse annealing from the model's own chains errs the other way: the truth is between the two."
    if found.warning:
        text += f" Warning: {found.warning}"
    return Section("Normalising constant", text, facts={"": facts}, group="Fit")


def _of_chains(found: LogZ) -> dict[str, str]:
    """Facts about annealed weights."""
    of = f"{found.num_chains or 0:,}"
    facts = {
        "temperatures": f"{found.num_temperatures or 0:,}",
        "chains": of,
        "effective sample size of the weights": f"{number(found.effective_sample_size or 0.0, 1)} of {of}",
    }
    if found.num_sweeps is not None:
        facts["sweeps of a chain, of all runs"] = f"{found.num_sweeps:,}"
    if found.low is not None and found.high is not None and found.flattery is not None:
        facts["log Z at 95 %"] = f"{number(found.low)} to {number(found.high)} nats, by the chains' weights"
        facts["the log-likelihood may be too high by"] = f"{number(found.flattery)} nats at 95 %"
    if found.upper is not None:
        above = plus_minus(found.upper, found.upper_standard_error or 0.0)
        agree = "" if found.upper_r_hat is None else f"; its chains began where R-hat is {number(found.upper_r_hat)}"
        facts["log Z from above"] = f"{above[0]} ± {above[1]} nats, by reverse annealing{agree}"
    return facts


@pictured("Chains", applies=_is_energy)
def markov_chains(run: Run) -> Iterator[Figure]:
    """Markov chains on their way, from where training left them, or from the base distribution."""
    pair = energy_pair(run.pair, "a picture of chains")
    with looking(pair, seed=0):
        states = pair.visible(pair.chain_states(COLUMNS, run.chains, _AFTER))
    places = f"{', '.join(f'{n:,}' for n in _AFTER[:-1])} and {_AFTER[-1]:,}"
    start = "at a draw of the base distribution" if run.chains is None else "where training left it"
    yield look_of(run.data).rows(
        {counted(n, "sweep"): v for n, v in zip(_AFTER, states, strict=True)},
        f"{COLUMNS} chains after {places} sweeps.",
        f"States of {COLUMNS} chains, each of which starts {start}.",
    )


@pictured("Recall", applies=lambda run: isinstance(run.pair, AssociativeMemory))
def recalled_patterns(run: Run) -> Iterator[Figure]:
    """Patterns that are remembered, corrupted, and what is recalled from there."""
    pair = memory_of(run.pair, "a picture of recall")
    with looking(pair, seed=0):
        x = pair.datum(run.data.draw(run.data.rows("train", slice(_REMEMBERED))))
        held = x[pair.remembers(x)]
        patterns = (held if len(held) else x)[:COLUMNS]
        corrupted = torch.where(torch.rand_like(patterns) < _FLIPPED, 1 - patterns, patterns)
        groups = {"patterns": patterns, "a fifth of the bits flipped": corrupted}
        groups["recalled"] = pair.recall(corrupted).end
    of = f"{len(held):,} of {len(x):,} training data are remembered: an update leaves them as they are."
    caption = f"{of} Recall begins at {'them' if len(held) else 'training data'} with a fifth of the bits flipped."
    yield look_of(run.data).rows(groups, caption, f"{caption} It goes down in energy, one unit after another.")


@pictured("Free energies", applies=_is_energy, group="Fit")
def free_energies(run: Run) -> Iterator[Figure]:
    """Free energies of data against those of samples."""
    pair = energy_pair(run.pair, "a histogram of free energies")
    with seeded(0):
        train, test = (run.data.draw((split[0][:_DATA],))[0] for split in (run.data.train, run.data.shown))
    with looking(pair, seed=0):
        groups = {"training data": train, shown_data(run): test}
        groups["samples"] = pair.draw_data((train,), _SAMPLES, run.chains).x
        found = {name: pair.free_energy(v) for name, v in groups.items()}
    panels = {name: [Vectors(value[:, None], series)] for series, (name, value) in enumerate(found.items())}
    means = ", ".join(f"{name} {number(float(value.mean()))}" for name, value in found.items())
    caption = (
        f"Free energies in nats, each known up to log Z; means: {means}. Data held out well above training data: the "
        "pair overfits. Samples apart from both: the chains are not where the data are."
    )
    yield figure_of(plot_panels(panels), f"Histograms of free energies; means: {means}.", caption)
