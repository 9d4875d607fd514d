"""Markov chains of unnormalised pairs: their samples, and how they move."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ppgen.pairs.energy import EnergyPair

__all__ = ["SWEEPS", "chain_states"]

SWEEPS = 1000
"""Sweeps between a chain's start and what is called a sample."""


def chain_states(
    pair: EnergyPair, num: int, *, start: Tensor | None = None, after: Sequence[int] = (SWEEPS,), seed: int = 0
) -> Tensor:
    """Where ``num`` chains stand after so many sweeps each.

    Args:
        pair: trained or not.
        num: of the chains.
        start: (M, D), gone through in turn, such as the persistent chains of a run; None: draws of the base
            distribution of the annealing path.
        after: numbers of sweeps, ascending; 0 is the start.
        seed: of the sweeps; the global random state is left as it was.

    Returns:
        (len(after), num, D).
    """
    states, done = [], 0
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        v = pair.base_sample(num) if start is None else start[torch.arange(num, device=start.device) % len(start)]
        for sweeps in after:
            for _ in range(sweeps - done):
                v = pair.sweep(v)
            states.append(v)
            done = sweeps
    return torch.stack(states)
