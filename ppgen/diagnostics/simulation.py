"""Ranks of the truth among the guide's draws, for data that the model itself made.

    z*, x ~ p(z, x),        z_1, ..., z_L ~ q(z | x)

If q(z | x) is p(z | x), then z* and the z_l are exchangeable given x, and so is any function of them and x: the rank of
f(z*, x) among the f(z_l, x) is uniform on 0, ..., L (:mod:`ppgen.diagnostics.uniformity`). An amortised guide is
trained once and tested on as many simulated data as one likes, without a refit.

The functions f are every dimension of the latents, and the two log-densities log p(x, z) and log p(x | z): a guide
that ignores x and draws from the prior passes the test in each dimension, and so does one that has the right marginals
and no correlations; neither passes that of a function of z *and* x. The log-densities are rounded to a thousandth of a
nat, so that the same latents, scored twice, tie.

Latents outside the data plate stay at one draw of the guide, for data and draws alike: what is tested is the guide of
a datum's own latents, given those.

Talts, Betancourt, Simpson, Vehtari and Gelman, Validating Bayesian inference algorithms with simulation-based
calibration, 2018. Modrák, Moon, Kim, Bürkner, Huurre, Faltejsková, Gelman and Vehtari, Simulation-based calibration
checking for Bayesian computation: the choice of test quantities shapes sensitivity, Bayesian Analysis, 2025.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppgen.diagnostics.uniformity import randomised_ranks
from ppgen.errors import UsageError
from ppgen.machine.progress import track
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.latents import latent_names, side_by_side
from ppgen.pairs.log_weights import read_particles
from ppgen.pairs.looking import looking
from ppgen.pairs.pair import check_density
from ppgen.pairs.rows import in_turn, num_rows, take_rows
from ppgen.pairs.sampling import dreamt
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles

__all__ = ["DENSITIES", "Ranks", "simulated_ranks"]

DENSITIES = ("log p(x, z)", "log p(x | z)")

_GRID = 1e-3
_AT_ONCE = 500
"""Data that are simulated at once."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """Ranks of N truths among L draws each.

    ``values`` (N, Q), int64; ``names`` of the Q quantities: latents such as ``z[3]``, then :data:`DENSITIES`;
    ``num_draws`` L.
    """

    values: Tensor
    names: tuple[str, ...]
    num_draws: int

    @property
    def num_latents(self) -> int:
        """How many of the quantities are latents; they come first."""
        return len(self.names) - len(DENSITIES)


def simulated_ranks(
    pair: Any, batch: Batch, num_simulations: int, num_draws: int = 99, *, progress: bool = False
) -> Ranks:
    """The ranks of the latents of ``num_simulations`` data that the model makes among draws of its guide at them.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``.
        batch: what the data set yields. Of x only the shape is used; the rest (labels) is gone through in turn.
        num_simulations: N.
        num_draws: L; with L + 1 a multiple of 20 the usual central intervals hold a whole number of ranks.
        progress: show a progress bar.

    Raises:
        UsageError: the pair states no normalised density, has no latents in a data plate, observes what the batch
            does not hold, or gives a NaN for one of the simulated data (it is named).
    """
    pair = as_pair(pair)
    check_density(pair.model, "simulation-based calibration")
    every, program = in_turn(batch, num_simulations), Program(pair.model, pair.guide)
    shared, ranks, names = dict[str, Tensor](), list[Tensor](), list[str]()
    for first in track(range(0, num_simulations, _AT_ONCE), "simulated data", progress):
        wanted = take_rows(every, slice(first, first + _AT_ONCE))
        pair.prepare(*wanted)
        with looking(pair):
            dream = dreamt(run_particles(program, wanted, 1, shared), "simulation-based calibration")
        _check_local(dream, num_rows(wanted))
        shared, names, start = dream.held, latent_names(dream), sum(map(len, ranks))
        blocks = read_particles(pair, dream.batch, num_draws, _quantities, given=shared)
        draws = torch.cat([torch.cat(block) for block in blocks], 1)  # (L, rows, Q)
        _check_numbers(draws, start)
        ranks.append(randomised_ranks(draws, _quantities(dream)[0]))
    return Ranks(torch.cat(ranks), (*names, *DENSITIES), num_draws)


def _quantities(particles: Particles) -> Tensor:
    """The functions of latents and datum whose ranks are taken, (K, B, Q), float64."""
    densities = torch.stack([particles.log_p, particles.log_likelihood], -1).double()  # (K, B, 2)
    return torch.cat([side_by_side(particles).double(), (densities / _GRID).round()], -1)


def _check_local(dream: Particles, num: int) -> None:
    if not dream.latents or dream.log_q.shape[1] != num:
        raise UsageError(
            "simulation-based calibration needs latents in the data plate, which an amortised guide infers of any "
            "datum, and the pair has none: a guide of latents of the whole data set is tested by refits."
        )


def _check_numbers(draws: Tensor, start: int) -> None:
    broken = draws.isnan().any(-1).any(0)
    if bool(broken.any()):
        raise UsageError(
            f"simulated datum {start + int(broken.nonzero()[0])} has a NaN among its latents or log-densities: look at "
            "the guide's output for data such as the model makes."
        )
