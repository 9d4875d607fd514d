"""How well are data predicted that were left out? By the weights of each, never by training again.

Of held-out data,

    log p(x_n) = log E_{g, z ~ q} [ p(x_n, z | g) / q(z | x_n, g) ],        g: latents outside the data plate, if any

and of data that g was inferred from, by Pareto-smoothed importance sampling: with log p(x_n | g_s) by K particles of
z at each of S draws g_s,

    log p(x_n | x_-n) = log sum_s r_ns p(x_n | g_s) / sum_s r_ns,        r_ns = 1 / p(x_n | g_s), the largest smoothed

A datum's own latents are integrated out in both. Leaving x_n out of p(x_n | z_n) instead would take the posterior of
z_n for that of the others' data, which tell nothing of z_n: its ratios 1 / p(x_n | z_n) have no mean to speak of.
A pair without g is made of parameters, which no draw of anything integrates over: it has held-out data alone.

Vehtari, Gelman and Gabry, Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC, 2017.
Merkle, Furr and Rabe-Hesketh, Bayesian comparison of latent variable models: conditional versus marginal likelihoods,
2019 (why they are integrated out).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor

from ppgen.diagnostics.finding import Finding, KHat, Real, Status
from ppgen.diagnostics.question import asks
from ppgen.diagnostics.weights import k_threshold, pareto_k
from ppgen.errors import UsageError, shown
from ppgen.evaluation.case import Case
from ppgen.machine.graphs import traced
from ppgen.machine.progress import track
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.log_weights import log_weight_chunks
from ppgen.pairs.looking import looking, seeded
from ppgen.pairs.pair import check_density
from ppgen.pairs.places import ready
from ppgen.pairs.rows import num_rows
from ppgen.pairs.tracing import Batch, Program, run_particles
from ppgen.posterior.arviz_bridge import compare_elpd, elpd_data, loo_data

__all__ = ["LeftOut", "compare_runs", "held_out", "leave_one_out", "loo"]

_DRAWS, _PARTICLES, _DATA = 200, 20, 64
"""S, K and data of the question."""


def held_out(pair: Any, batch: Batch, *, num_particles: int = 1000, seed: int = 0, progress: bool = False) -> Any:
    """log p(x_n) of data that training did not see, as ArviZ's ``ELPDData``, whose ``pareto_k`` is of their weights.

    Args:
        pair: a pair that states a normalised density, or any module with ``model`` and ``guide``.
        batch: what the data set yields.
        num_particles: K, for each datum.
        seed: seeds the draws; the global random state is left as it was.
        progress: show a progress bar.

    Raises:
        UsageError: the pair is implicit or unnormalised; a log-weight is NaN (the datum is named); K is too small for a
            k-hat.
    """
    pair = as_pair(pair)
    check_density(pair.model, "the density of held-out data")
    with seeded(seed):
        chunks = log_weight_chunks(pair, batch, num_particles, globals_given=True, progress=progress)
        log_w = torch.cat(list(chunks), dim=1).double()  # (K, B)
    return elpd_data(
        log_w.logsumexp(0) - math.log(num_particles), pareto_k(log_w), num_particles, k_threshold(num_particles)
    )


def loo(
    pair: Any,
    batch: Batch,
    *,
    num_draws: int = _DRAWS,
    num_particles: int = _PARTICLES,
    seed: int = 0,
    progress: bool = False,
) -> Any:
    """log p(x_n | x_-n) of data that the guide's latents outside the data plate were inferred from, by ``az.loo``.

    The draws g_s are the guide's: where it is not the posterior, neither is the answer.

    Args:
        pair: a pair with latents outside the data plate.
        batch: of the training data.
        num_draws: S.
        num_particles: K, of each datum's own latents, for each draw.
        seed: seeds the draws; the global random state is left as it was.
        progress: show a progress bar.

    Raises:
        UsageError: the pair is implicit or unnormalised, or has no latents outside the data plate.
    """
    pair, batch = ready(pair, batch)
    check_density(pair.model, "leave-one-out")
    with looking(pair, seed), pyro.validation_enabled(False):
        program = Program(pair.model, pair.guide)

        def one(*batch: Any) -> Tensor:
            return _log_likelihood(program, batch, num_particles)

        first = one(*batch)  # also: so that nothing is left to find out while tracing
        another = traced(one, *batch)
        draws = track(range(1, num_draws), "leave-one-out", progress)
        return loo_data(torch.stack([first, *(another(*batch) for _ in draws)]))


def compare_runs(
    runs: Mapping[str, Any],
    *,
    split: str = "test",
    num_data: int | None = None,
    num_particles: int = 1000,
    seed: int = 0,
) -> Any:
    """The table of ``az.compare``, best first, of runs on the same data by their :func:`held_out` densities.

    ``elpd_diff`` (nats, summed over the data) comes with ``dse``, its standard error over data in pairs, which is far
    smaller than that of either density alone.

    Args:
        runs: two :class:`ppgen.Run` or more, by the names they have in the table.
        split: which data.
        num_data: the first so many; None: all.
        num_particles: K, for each datum.
        seed: seeds the draws, the same for all.

    Raises:
        UsageError: fewer than two runs, runs on other data, and as :func:`held_out`.
    """
    if len(runs) < 2:
        raise UsageError(f"a comparison needs two runs or more, got {len(runs)}.")
    batches = {name: run.data.rows(split, slice(num_data)) for name, run in runs.items()}
    first = next(iter(batches))
    for name, batch in batches.items():
        if batch[0].shape != batches[first][0].shape or not torch.equal(batch[0], batches[first][0]):
            raise UsageError(
                f"runs {shown(first)} and {shown(name)} have other {split} data: densities compare on the same data "
                "only."
            )
    found = {
        name: held_out(run.pair, batches[name], num_particles=num_particles, seed=seed) for name, run in runs.items()
    }
    return compare_elpd(found)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Of all data together, nats: log p of each given the others, its standard error, and the effective number of
    parameters; the k-hat of leaving each out; and the data of the largest, that first."""

    elpd_loo: Real
    standard_error: Real
    p_loo: Real
    k: list[KHat]
    worst: list[int]


@asks("Does no single datum move what was inferred from all?")
def leave_one_out(case: Case) -> Finding[LeftOut] | None:
    """The k-hat of leaving each training datum out. None for a pair without latents outside the data plate."""
    if not case.pair.has_density or not case.global_latents:
        return None
    case.check_spread(case.global_latents)
    case.check_all_data()
    batch = case.data.draw(case.data.rows("train", slice(min(case.num_data, _DATA))))
    found = loo(case.pair, batch, seed=case.seed, progress=case.progress)
    k, limit = torch.as_tensor(found.pareto_k.values), float(found.good_k)
    number = float(k.quantile(0.95))
    status: Status = "good" if number <= limit else "warn" if float(k.median()) <= limit else "bad"
    size = num_rows(batch)
    return Finding(
        status=status,
        number=number,
        threshold=limit,
        direction="at most",
        quantity="k-hat",
        source="Vehtari, Gelman and Gabry 2017; threshold of Vehtari et al. 2024",
        meaning=f"Pareto k-hat of leaving a datum out that 95% of {size} training data stay below, {_DRAWS} draws of "
        f"{', '.join(case.global_latents)}; {float(found.elpd_loo) / size:.2f} nats per left-out datum",
        advice=""
        if status == "good"
        else "These data are far from what the others tell: look at them, and give their "
        "density heavier tails, or leave them out in fact and train again.",
        details=LeftOut(
            elpd_loo=float(found.elpd_loo),
            standard_error=float(found.se),
            p_loo=float(found.p_loo),
            k=k.tolist(),
            worst=k.argsort(descending=True)[:10].tolist(),
        ),
    )


def _log_likelihood(program: Program, batch: Batch, num_particles: int) -> Tensor:
    """log p(x_n | g) at one draw g of the guide, by K particles of the datum's own latents: (B,), float64."""
    one = run_particles(program, batch, 1)
    if one.outside is None:
        raise UsageError("expected latents outside the data plate to leave data out of, found none: see held_out.")
    log_w = run_particles(program, batch, num_particles, one.held).log_w.double()  # (K, B)
    return log_w.logsumexp(0) - math.log(num_particles)
