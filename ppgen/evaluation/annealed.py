"""log p(x) of a decoder by annealed importance sampling of the latents of each datum (:mod:`ppgen.chains.evidence`).

    log p(x) = log int p(z) p(x | z) dz,        p(x | z) the pair's own, or N(G(z), sigma^2 I) where it states none

The chains lead from the prior to the posterior, whatever the guide is. The number errs downward; how far it may is said
by the same chains in reverse on data that the model made, where the latents are known (bidirectional Monte Carlo). Of a
generator it is the likelihood with that noise: sigma belongs to the number, and small ones ask for many powers.

On the Quantitative Analysis of Decoder-Based Generative Models, Wu, Burda, Salakhutdinov and Grosse, ICLR 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ppgen.chains.evidence import evidence_bounds
from ppgen.errors import UsageError
from ppgen.evaluation.case import Case
from ppgen.evaluation.likelihood import mean_and_error
from ppgen.evaluation.result import Measure
from ppgen.pairs.noised import Noised
from ppgen.pairs.pair import Pair
from ppgen.pairs.rows import num_rows

__all__ = ["annealed_likelihood"]


def annealed_likelihood(case: Case) -> Iterator[Measure]:
    """Of the case's first data, where it asks for them: ``annealed_log_likelihood``, what its weights are worth,
    ``annealed_effective_size``, and ``annealed_gap``.

    Raises:
        UsageError: the pair states no density and no noise is given, or the reverse; or as
            :func:`ppgen.chains.evidence.evidence_bounds`.
    """
    asked = case.annealing
    if asked is None:
        return
    pair = _with_density(case.pair, asked.noise)
    batch = case.first(asked.num_data)
    simulated = min(asked.num_simulated, num_rows(batch))
    found = evidence_bounds(pair, batch, asked, num_simulated=simulated, progress=case.progress)
    num, noise = len(found.lower), "" if asked.noise is None else f" under noise of sigma {asked.noise:g} about G(z)"
    nats, error = mean_and_error(found.lower)
    of_chains = float(found.lower_error.square().sum().sqrt()) / num
    yield Measure(
        "annealed_log_likelihood",
        nats,
        math.hypot(error, of_chains),
        f"nats of {num:,} {case.split} data{noise}, by annealing of their latents in {asked.num_powers:,} powers, "
        f"{asked.num_chains:,} chains each; it errs downward, and its chains alone by ± {of_chains:.2g}",
    )
    worth, of_worth = mean_and_error(found.effective_sample_size)
    few = int((found.effective_sample_size < asked.num_chains / 2).sum())
    yield Measure(
        "annealed_effective_size",
        worth,
        of_worth,
        f"equal weights that those of the {asked.num_chains:,} chains of a datum are worth, the mean over data; the "
        f"least is {float(found.effective_sample_size.min()):.1f}, and {few:,} of {num:,} data have less than half: "
        "there the likelihood falls short most",
    )
    width, of_width = mean_and_error(found.simulated_upper - found.simulated_lower)
    yield Measure(
        "annealed_gap",
        width,
        of_width,
        f"nats between bounds from above and below on log p(x) of {simulated:,} data that the model made: as far "
        "either may be off",
    )


def _with_density(pair: Pair, noise: float | None) -> Pair:
    """The pair; one that states no density of x with noise about its draws."""
    if pair.implicit and noise is None:
        raise UsageError(
            f"log p(x) by annealing needs a density, and {type(pair).__name__} makes x = G(z): give it noise, "
            "annealing={'noise': 0.1} (--annealed --noise 0.1), the standard deviation of x about G(z)."
        )
    if not pair.implicit and noise is not None:
        raise UsageError(
            f"noise={noise:g} stands for a density where there is none, and {type(pair).__name__} states one: leave "
            "it out."
        )
    return pair if noise is None else Noised(pair, noise)
