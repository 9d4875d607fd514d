"""Annealing along a path of distributions: where its rungs lie, and what chains gather from rung to rung."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from ppgen.arguments import at_least, one_of
from ppgen.errors import UsageError
from ppgen.machine.progress import track
from ppgen.pairs.path import Path

__all__ = ["Spacing", "adapted", "annealed", "annealed_steps", "check_finite", "rungs", "temperatures", "walk"]

Spacing = Literal["piecewise", "linear", "adaptive"]

_SHARES, _KNOTS = (0.0, 500 / 14_500, 4_500 / 14_500, 1.0), (0.0, 0.5, 0.9, 1.0)
"""Salakhutdinov and Murray (2008): 500 steps up to 0.5, 4,000 up to 0.9, 10,000 up to 1; here shares of all steps."""

_PILOT = 200
"""Temperatures of the pilot run, at most; it takes as many chains as the run itself."""


def temperatures(num: int, spacing: Spacing = "piecewise") -> Tensor:
    """0 = b_0 < ... < b_num = 1, float64.

    Raises:
        UsageError: num < 2, or an unknown spacing.

    >>> temperatures(4, "linear").tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    one_of("unknown spacing of temperatures,", spacing, get_args(Spacing)[:2])
    at_least("num_temperatures", num, 2, ": thousands make the error bar small")
    steps = np.linspace(0.0, 1.0, num + 1)
    return torch.from_numpy(steps if spacing == "linear" else np.interp(steps, _SHARES, _KNOTS))


def adapted(path: Path, num: int, num_chains: int = 100, *, pilot: Callable[[int], Tensor] = temperatures) -> Tensor:
    """0 = b_0 < ... < b_num, float64, the denser the faster the chains' weights spread there.

    Args:
        path: the pair's.
        num: T.
        num_chains: of the pilot run.
        pilot: the rungs of the pilot run, of so many steps; they end where these do.

    Raises:
        UsageError: num < 2; the pilot's weights are not finite.
    """
    at_least("num_temperatures", num, 2, ": thousands make the error bar small")
    rungs = pilot(min(num, _PILOT))
    steps = annealed_steps(path, path.base_sample(num_chains), rungs)  # (T, M)
    check_finite(steps.sum(0))
    spread = steps.std(1)  # of each rung, s(b) times its width
    reached = np.concatenate([[0.0], np.cumsum(spread.cpu().numpy() + 1e-12)])
    return torch.from_numpy(np.interp(np.linspace(0.0, reached[-1], num + 1), reached, rungs.numpy()))


def rungs(path: Path, num: int, num_chains: int, spacing: Spacing | None) -> Tensor:
    """``num`` + 1 temperatures of that spacing; None: piecewise. Chains are those of a pilot run, if it takes one.

    Raises:
        UsageError: as :func:`temperatures` and :func:`adapted`.
    """
    return adapted(path, num, num_chains) if spacing == "adaptive" else temperatures(num, spacing or "piecewise")


Sweep: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Of states, (..., S), at a temperature: a scalar, or one for each chain."""


def annealed(path: Path, s: Tensor, betas: Tensor, *, sweep: Sweep | None = None, progress: bool = False) -> Tensor:
    """log w of each chain from its state, (..., S), along ``betas``: (...,), float64, nats.

    ``betas`` are (T + 1,), or of chains (M, S) with rungs of their own (T + 1, M). ``sweep`` leaves the distribution at
    each temperature invariant; None: the path's.
    """
    return annealed_steps(path, s, betas, sweep=sweep, progress=progress).sum(0)


def annealed_steps(
    path: Path, s: Tensor, betas: Tensor, *, sweep: Sweep | None = None, progress: bool = False
) -> Tensor:
    """The increments of :func:`annealed` at each rung, (T, ...)."""
    steps = torch.empty(len(betas) - 1, *s.shape[:-1], dtype=torch.float64, device=s.device)
    for step, (gain, _) in zip(steps, walk(path, s, betas, sweep=sweep, progress=progress), strict=True):
        step.copy_(gain)
    return steps


def walk(
    path: Path, s: Tensor, betas: Tensor, *, sweep: Sweep | None = None, progress: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """At each rung the increment of log w (...,), and the states (..., S) that all increments so far weigh."""
    sweep, betas = sweep or path.tempered_sweep, betas.to(s)
    rungs = betas.reshape(*betas.shape, *(1,) * (s.dim() - betas.dim()))  # (T + 1, ...), of the chains' dims
    for t in track(range(len(betas) - 1), "annealing", progress):
        before, after = path.log_tempered(s[None], rungs[t : t + 2])  # (...,) each
        s = sweep(s, betas[t + 1])
        yield after - before, s


def check_finite(log_w: Tensor) -> None:
    """Whether every chain has a weight.

    Raises:
        UsageError: some are not finite.
    """
    if not bool(log_w.isfinite().all()):
        raise UsageError(
            f"{int((~log_w.isfinite()).sum())} of {len(log_w)} chains ended with a weight that is not finite: the "
            "pair's parameters are not finite or far too large; train again with a smaller lr."
        )
