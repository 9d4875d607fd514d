"""log Z of documents of every length, by chains along which documents grow.

Of a replicated softmax over n words, with h its hidden units and g(h) = h c + logsumexp(b + W h),

    Z_n = sum_h exp(n g(h)):        the number of words n is an inverse temperature,

and p_n(h) ~ exp(n g(h)) leads from fair bits at n = 0, the empty document, to the longest one. Annealed importance
sampling along n has passed every length on the way, and the mean of its weights there is an unbiased estimate of that
Z_n / Z_0: one run serves all lengths. Between n and n + 1 words, one word more is tempered
(:class:`ppgen.layers.growing_documents.GrowingDocuments`).

From above: chains of lengths that are spread as those of the data, each where a long chain of its length stands, anneal
down to no words. By Jensen's inequality each chain's log Z_0 - log w' is above its log Z_n in expectation, and so is
their mean above that over data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.chains.annealing import Spacing, adapted, annealed, annealed_steps, temperatures
from ppgen.pairs.energy import SWEEPS, EnergyPair
from ppgen.pairs.path import GrowingPath, Path

__all__ = ["Grown", "grown"]


@dataclass(frozen=True, eq=False)
class Grown:
    """What chains gathered at each size: ``log_w`` (S, M) with log Z_0, float64, nats.

    ``sizes`` (S,), ascending, and ``shares`` (S,), of the data that are of that size. Of the chains that go down
    ``above_sizes``, (M,) or none, where they began, and ``above``, log Z_0 - log w'.
    """

    sizes: Tensor
    shares: Tensor
    log_w: Tensor
    above: Tensor
    above_sizes: Tensor


def grown(
    pair: EnergyPair,
    sizes: Tensor,
    num_temperatures: int,
    num_chains: int,
    spacing: Spacing,
    *,
    sandwich: bool = False,
    start: Tensor | None = None,
    progress: bool = False,
) -> Grown:
    """Anneal M chains through all sizes (B,) of data, and others down from them; see :func:`ppgen.log_z`.

    Raises:
        UsageError: T < 2; the pilot's weights are not finite.
    """
    different, counts = sizes.unique(return_counts=True)
    path = pair.growing()
    rungs = _rungs(path, different, num_temperatures, num_chains, spacing)  # (T' + 1,)
    first = path.base_sample(num_chains)
    reached = annealed_steps(path, first, rungs, progress=progress).cumsum(0)  # (T', M)
    log_w = reached[torch.searchsorted(rungs, different.to(rungs)) - 1] + path.base_log_z().double()
    shares = counts.double() / len(sizes)
    if not sandwich:
        return Grown(different, shares, log_w, log_w[0, :0], different[:0])
    places = (torch.arange(num_chains, device=sizes.device) + 0.5) / num_chains * len(sizes)
    chosen = sizes.sort().values[places.long()]  # (M,), spread as the data's
    down = torch.minimum(rungs.flip(0)[:, None], chosen.to(rungs))  # (T' + 1, M)
    above = -annealed(path, _settled(path, chosen, start), down, progress=progress)
    return Grown(different, shares, log_w, above + path.base_log_z().double(), chosen)


def _rungs(path: Path, sizes: Tensor, num: int, num_chains: int, spacing: Spacing) -> Tensor:
    """Numbers of words from 0 to the largest size, every one of ``sizes`` among them, in the type of a state.

    Those of temperatures b lie at (1 + n_max)^b - 1.
    """
    most = float(sizes[-1])

    def at(num: int, spacing: Spacing = "linear") -> Tensor:
        return torch.expm1(temperatures(num, spacing) * torch.log1p(torch.tensor(most)).double())

    rungs = adapted(path, num, num_chains, pilot=at) if spacing == "adaptive" else at(num, spacing)
    like = path.base_sample(1)
    every: Tensor = torch.cat([rungs[:-1].to(like), sizes.to(like)]).clamp_max(most).unique()
    return every


def _settled(path: GrowingPath, sizes: Tensor, start: Tensor | None) -> Tensor:
    """States of chains of so many words after 1,000 sweeps from ``start``, or from the base."""
    s = path.base_sample(len(sizes))
    if start is not None:
        s = path.state_at(start[torch.arange(len(sizes), device=start.device) % len(start)])
    for _ in range(SWEEPS):
        s = path.tempered_sweep(s, sizes.to(s))
    return s
