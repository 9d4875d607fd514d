"""Do the Markov chains of an energy-based pair mix? Its samples, its training and its log Z all rest on it.

Chains that start at draws of the base distribution, far apart, are run side by side; of their free energies F(v_t), in
nats, the second half is kept, and

    R-hat    compares the spread between chains with that within them, split and rank-normalised; 1 where they agree
    ESS      how many independent draws the kept ones are worth

Whatever a single chain looks like, chains that have not forgotten where they began do not draw from the model. Of all
kept energies, ranked together, every chain then has as many in each tenth as another: its share is one tenth. The
weights of annealed importance sampling tell the same of the path to the model, by their effective sample size, and so
do the two sides of log Z, annealed up and down again: where they are far apart, chains miss a part of the model.

Rank-normalization, folding, and localization: an improved R-hat for assessing convergence of MCMC. Vehtari, Gelman,
Simpson, Carpenter and Bürkner, 2021: R-hat below 1.01, ESS above 100 for each chain, of four.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ppgen.chains.log_z import LogZ, log_z
from ppgen.diagnostics.advice import advised
from ppgen.diagnostics.finding import Finding, Real, Status
from ppgen.diagnostics.question import asks
from ppgen.evaluation.case import Case
from ppgen.machine.progress import track
from ppgen.pages.numbers import number
from ppgen.pairs.energy import EnergyPair, energy_pair
from ppgen.posterior.arviz_bridge import convergence_of

__all__ = ["Mixing", "energies_of_chains", "mixing", "shares_of_tenths"]

_CHAINS, _SWEEPS = 20, 2000
_TEMPERATURES, _ANNEALED = 2000, 100
_THRESHOLD, _BAD = 1.01, 1.1
_LEAST_DRAWS = 400
_SHOWN = 200
"""Points of a chain that are kept for a plot."""

_ADVICE = (
    "Take more sweeps for samples and between steps[ ({cd, pcd} with more of them, more persistent chains)][, "
    "{parallel_tempering} for the negative phase], and more temperatures for log Z; a smaller learning rate lets "
    "persistent chains follow."
)


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """R-hat of the free energies and how many independent draws they are worth; of the weights of annealing as much,
    and log Z from below and from above by them, nats; some free energies of each chain over all its sweeps, nats; and
    each chain's share of the pooled energies' tenths, from the lowest."""

    r_hat: Real
    effective_sample_size: Real
    annealed_effective_sample_size: float | None
    log_z: Real
    sweeps: int
    energies: list[list[Real]]
    log_z_upper: float | None = None
    shares: list[list[Real]] = field(default_factory=list)


@asks("Do the Markov chains mix?")
def mixing(case: Case) -> Finding[Mixing] | None:
    """R-hat of the free energies of 20 chains over the last 1,000 of 2,000 sweeps, and the weights of annealing.

    Green: R-hat below 1.01 and 400 effective draws; red: R-hat above 1.1. None for a pair that states a normalised
    density or none.

    Raises:
        UsageError: the pair is unnormalised and has no chains.
    """
    if not case.pair.needs_log_z:
        return None
    pair = energy_pair(case.pair, "the mixing of chains")
    energies = energies_of_chains(pair, case.progress)
    kept = energies[:, _SWEEPS // 2 :]
    r_hat, ess = (float(number) for number in convergence_of(kept[..., None]))
    annealed = log_z(pair, num_temperatures=_TEMPERATURES, num_chains=_ANNEALED, sandwich=True, seed=case.seed)
    well = r_hat <= _THRESHOLD and ess >= _LEAST_DRAWS
    status: Status = "good" if well else "bad" if not r_hat <= _BAD else "warn"
    return Finding(
        status=status,
        number=r_hat,
        threshold=_THRESHOLD,
        direction="at most",
        quantity="R-hat",
        source=f"Vehtari et al. 2021: R-hat below {_THRESHOLD} and {_LEAST_DRAWS} effective draws",
        meaning=f"R-hat of the free energy over the last {_SWEEPS // 2:,} sweeps of {_CHAINS} chains from the base "
        f"distribution, whose {_CHAINS * _SWEEPS // 2:,} states are worth {ess:,.0f} independent ones (at least "
        f"{_LEAST_DRAWS} for a yes); {_ANNEALED} weights of annealing over {_TEMPERATURES:,} temperatures are worth "
        f"{annealed.effective_sample_size:,.0f} equal ones{_sides(annealed)}",
        advice="" if status == "good" else advised(case, _ADVICE),
        details=Mixing(
            r_hat=r_hat,
            effective_sample_size=ess,
            annealed_effective_sample_size=annealed.effective_sample_size,
            log_z=annealed.value,
            sweeps=_SWEEPS,
            energies=energies[:, :: _SWEEPS // _SHOWN].tolist(),
            log_z_upper=annealed.upper,
            shares=shares_of_tenths(kept).tolist(),
        ),
    )


def _sides(found: LogZ) -> str:
    """How far log Z from above is from log Z from below, nats, and what speaks against them."""
    apart = "" if found.upper is None else f", and log Z from above is {number(found.upper - found.value)} nats higher"
    return f"{apart}. {found.warning.rstrip('.')}" if found.warning else apart


def shares_of_tenths(values: Tensor) -> Tensor:
    """Of each chain's values (chains, S), the share in each tenth of all, the lowest first: (chains, 10).

    A value that others have too, as energies of few states do, counts in all the tenths that they lie in.

    >>> shares_of_tenths(torch.arange(20.0).view(2, 10))[0]
    tensor([0.2000, 0.2000, 0.2000, 0.2000, 0.2000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000])
    """
    ordered, total = values.flatten().sort().values, values.numel()
    first = torch.searchsorted(ordered, values.contiguous())[..., None]  # (chains, S, 1)
    behind = torch.searchsorted(ordered, values.contiguous(), right=True)[..., None]
    edges = torch.arange(11) * total / 10
    within = (torch.minimum(behind, edges[1:]) - torch.maximum(first, edges[:-1])).clamp(min=0)
    return (within / (behind - first)).mean(1)


@torch.no_grad()
def energies_of_chains(pair: EnergyPair, progress: bool = False) -> Tensor:
    """F(v_t) of 20 chains from draws of the base distribution, (chains, sweeps), float64, nats."""
    s, energies = pair.base_sample(_CHAINS), []
    for _ in track(range(_SWEEPS), "chains", progress):
        s = pair.sweep(s)
        energies.append(pair.free_energy(pair.visible(s)).double())
    return torch.stack(energies, 1)
