"""log Z of documents of every length, by chains along which documents grow.

Of a replicated softmax over n words, with h its hidden units and g(h) = h c + logsumexp(b + W h),

    Z_n = sum_h exp(n g(h)):        the number of words n is an inverse temperature,

and p_n(h) ~ exp(n g(h)) leads from fair bits at n = 0, the empty document, to the longest one. Annealed importance
sampling along n has passed every length on the way, and the mean of its weights there is an unbiased estimate of that
Z_n / Z_0: one run serves all lengths. Between n and n + 1 words, one word more is tempered
(:class:`ppgen.layers.growing_documents.GrowingDocuments`).

From above: chains of lengths that are spread as those of the data anneal down to no words. Each begins at a state that
the growing chains had at its length, drawn by their weights: at long documents the hidden units have modes that no
sweep leaves, and a chain that did not grow would stand in any of them. By Jensen's inequality the log Z_0 - log w' of a
draw of the model is above its log Z_n in expectation, and so is the mean of these above that over data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.chains.annealing import Spacing, adapted, annealed, temperatures, walk
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.path import Path

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
    progress: bool = False,
) -> Grown:
    """Anneal M chains through all sizes (B,) of data, and others down from them; see :func:`ppgen.log_z`.

    Raises:
        UsageError: T < 2; the pilot's weights are not finite.
    """
    different, counts = sizes.unique(return_counts=True)
    path = pair.growing()
    rungs = _rungs(path, different, num_temperatures, num_chains, spacing)  # (T' + 1,)
    reached = list(_reached(path, rungs, set(different.tolist()), num_chains, progress))
    shares = counts.double() / len(sizes)
    places = (torch.arange(num_chains if sandwich else 0, device=sizes.device) + 0.5) / num_chains * len(sizes)
    chosen = sizes.sort().values[places.long()]  # (M,) or none, spread as the data's
    of_size = dict(zip(different.tolist(), reached, strict=True))
    above = _down(path, rungs, chosen, [of_size[size] for size in chosen.tolist()], progress)
    return Grown(different, shares, torch.stack([log_w for log_w, _ in reached]), above, chosen)


def _reached(
    path: Path, rungs: Tensor, sizes: set[float], num_chains: int, progress: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """At each size log w with log Z_0, (M,), and the states that it weighs, (M, S)."""
    log_w = path.base_log_z().double().expand(num_chains)
    walked = walk(path, path.base_sample(num_chains), rungs, progress=progress)
    for size, (gain, states) in zip(rungs[1:].tolist(), walked, strict=True):
        log_w = log_w + gain.double()
        if size in sizes:
            yield log_w, states


def _down(path: Path, rungs: Tensor, sizes: Tensor, reached: Sequence[tuple[Tensor, Tensor]], progress: bool) -> Tensor:
    """log Z_0 - log w' of chains that begin at sizes (M,), each at one of the states that were reached there."""
    if not reached:
        return sizes.double()
    first = torch.stack([states[torch.multinomial(log_w.softmax(0), 1)[0]] for log_w, states in reached])
    down = torch.minimum(rungs.flip(0)[:, None], sizes.to(rungs))  # (T' + 1, M)
    return path.base_log_z().double() - annealed(path, first, down, progress=progress)


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
