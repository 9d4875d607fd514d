"""The bound of K particles and of fewer, from the same log-weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ppgen.arguments import at_least
from ppgen.pairs.log_weights import log_weight_chunks
from ppgen.pairs.looking import few_of, looked_at
from ppgen.pairs.pair import Pair
from ppgen.pairs.reductions import log_mean_exp
from ppgen.pairs.sites import is_point
from ppgen.pairs.tracing import Batch

__all__ = ["bounds", "bounds_of", "evidence_of", "sizes_to"]


def bounds(pair: Pair, batch: Batch, particles: int, *, progress: bool = False) -> dict[int, Tensor]:
    """log (1/k) sum_k w_k of each datum for k = 1, 2, 5, 10, 20, 50, ... and ``particles``: (B,) each, float64, nats.

    Where a datum's particles all weigh the same (:func:`evidence_of` says ``"exact"``), one is run. Latents outside the
    data plate are drawn from the guide, one draw a particle: the bound is then that on the log of their posterior
    predictive density.

    Raises:
        UsageError: ``particles`` < 1; guide and model disagree; a weight is NaN.
    """
    sizes, num = sizes_to(particles), 1 if evidence_of(pair, batch) == "exact" else particles
    chunks = log_weight_chunks(pair, batch, num, globals_given=True, progress=progress)
    values = [bounds_of(log_w.double().expand(particles, -1), sizes) for log_w in chunks]
    return dict(zip(sizes, torch.cat(values, dim=1), strict=True))


def evidence_of(pair: Pair, batch: Batch) -> Literal["exact", "point", "bound"]:
    """What a datum's log-weights say of its log p(x).

    ``"exact"``: all are log p(x), since no datum has a latent, or every one is summed out, or the guide is the
    posterior; and latents outside the data plate, if any, are held at one point, as parameters are.
    ``"point"``: the guide holds a latent at one point z' (AutoDelta), and the weight is log p(x, z'), the density of x
    and z' together, which is no bound on log p(x); or parameters of the datum are (:attr:`Pair.folds_in`). Of a latent
    that the model draws from countably many values p(x, z') is below p(x).
    ``"bound"``: their log-mean-exp is a bound.
    """
    one = looked_at(pair, few_of(pair, batch))
    latents = [one.guide_sites[name] for name in one.latents]
    if pair.folds_in:
        return "point"
    if not latents or pair.exact_guide:
        return "exact" if all(is_point(one.guide_sites[name]) for name in one.global_latents) else "bound"
    points = [name for name in one.latents if is_point(one.guide_sites[name])]
    held = any(not one.model_sites[name]["fn"].support.is_discrete for name in points)
    return "point" if held and not one.made_of else "bound"


def sizes_to(particles: int) -> list[int]:
    """1, 2, 5, 10, 20, 50, ... up to and with ``particles``."""
    at_least("particles", particles, 1)
    steps = [m * 10**e for e in range(10) for m in (1, 2, 5)]
    return [*(size for size in steps if size < particles), particles]


def bounds_of(log_w: Tensor, sizes: Sequence[int]) -> Tensor:
    """The bound of each size, averaged over as many disjoint groups of particles as there are; (len(sizes), B)."""
    rows = []
    for size in sizes:
        groups = log_w.shape[0] // size
        rows.append(log_mean_exp(log_w[: groups * size].reshape(size, groups, -1)).mean(0))
    return torch.stack(rows)
