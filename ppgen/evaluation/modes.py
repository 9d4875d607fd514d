"""Known modes: how many of them the samples reach, how many samples lie at one, and how evenly.

Of the data's modes c_m, m = 1..M, of scale s (:class:`ppgen.data.modes.Modes`), and samples x_i, i = 1..n:

    high quality    |x_i - c_m| <= 3 s for the nearest m
    covered         a mode with at least one high-quality sample
    reverse KL      sum_m h_m log(M h_m),  h_m the share of all samples whose nearest mode is m      (nats)

A perfect sampler in D dimensions has the share P(chi^2_D <= 9) of high-quality samples: 0.989 for D = 2; and, of n
samples, a reverse KL of (M - 1) / 2n in expectation.

PacGAN: The Power of Two Samples in Generative Adversarial Networks. Lin, Khetan, Fanti and Oh, 2018, section 4: 2,500
samples. The measures are those of VEEGAN, Srivastava et al. 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.data.modes import Modes
from ppgen.errors import UsageError
from ppgen.evaluation.case import Case
from ppgen.evaluation.result import Measure

__all__ = ["Coverage", "cover", "coverage"]

_SAMPLES = 2500
_RADIUS = 3.0
"""Standard deviations from a mode to its outermost high-quality sample."""


@dataclass(frozen=True, eq=False)
class Coverage:
    """Where samples (n, D) lie among modes: the share of each, (M,), and whether each sample is of high quality, (n,).

    ``nearest`` (n,) is the mode of each sample.

    >>> modes = Modes(torch.tensor([[0.0], [9.0]]), scale=1.0)
    >>> found = cover(torch.tensor([[-1.0], [2.0], [8.0], [5.0]]), modes)
    >>> found.nearest, found.high_quality, found.num_covered, found.reverse_kl
    (tensor([0, 0, 1, 1]), tensor([ True,  True,  True, False]), 2, 0.0)
    """

    nearest: Tensor
    high_quality: Tensor
    shares: Tensor

    @property
    def num_covered(self) -> int:
        """Modes with at least one high-quality sample."""
        return len(self.nearest[self.high_quality].unique())

    @property
    def reverse_kl(self) -> float:
        """KL(shares || uniform), in nats."""
        return float(torch.special.xlogy(self.shares, self.shares * len(self.shares)).sum())

    @property
    def reverse_kl_error(self) -> float:
        """Its standard error by the delta method, the root of Var_h[log h] / n; 0 at an even division."""
        logs = self.shares.log().where(self.shares > 0, 0)
        variance = (self.shares * logs.square()).sum() - (self.shares * logs).sum().square()
        return math.sqrt(max(0.0, float(variance)) / len(self.nearest))


def cover(samples: Tensor, modes: Modes) -> Coverage:
    """Assign ``samples``, (n, D), to their nearest modes.

    Raises:
        UsageError: no samples, or samples of another size than the modes.
    """
    centres = modes.centres.to(samples).double()
    if samples.dim() != 2 or not len(samples) or samples.shape[1] != centres.shape[1]:
        raise UsageError(f"modes in {centres.shape[1]} dimensions expect samples (n, D), got {tuple(samples.shape)}.")
    distance, nearest = torch.cdist(samples.double(), centres).min(1)  # (n,)
    counts = torch.bincount(nearest, minlength=len(centres)).double()
    return Coverage(nearest, distance <= _RADIUS * modes.scale, counts / len(samples))


def coverage(case: Case) -> Iterator[Measure]:
    """Modes covered, share of high-quality samples, and reverse KL, of data whose modes are known."""
    modes = case.data.modes
    if modes is None or not case.num_samples:
        return
    samples = case.samples[:_SAMPLES]
    found, num, (total, D) = cover(samples, modes), len(samples), modes.centres.shape
    share, of = float(found.high_quality.double().mean()), f"{num:,} samples"
    perfect = float(torch.special.gammainc(torch.tensor(D / 2), torch.tensor(_RADIUS**2 / 2)))
    yield Measure(
        "modes_covered",
        found.num_covered,
        None,
        f"of {total} modes, those with one of {of} or more within {_RADIUS:g} sd",
    )
    yield Measure(
        "high_quality_share",
        share,
        math.sqrt(share * (1 - share) / num),
        f"share of {of} within {_RADIUS:g} sd of their nearest mode; a perfect sampler has {perfect:.3f}",
    )
    yield Measure(
        "mode_reverse_kl",
        found.reverse_kl,
        found.reverse_kl_error,
        f"nats from how {of} divide among modes to an even division; a perfect sampler has {(total - 1) / 2 / num:.1g}",
    )
