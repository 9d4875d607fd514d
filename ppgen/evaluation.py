"""Test log-likelihood by the K-sample bound, with its standard error, and the curve over K."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ppgen.data import Dataset
from ppgen.energy import EnergyPair
from ppgen.errors import UsageError
from ppgen.pair import Pair
from ppgen.partition import LogZ
from ppgen.partition import log_z as estimate_log_z
from ppgen.reductions import log_mean_exp
from ppgen.tracing import Batch
from ppgen.weights import log_weight_chunks

__all__ = ["Evaluation", "Point", "evaluate"]


@dataclass(frozen=True)
class Point:
    """The bound of ``num_particles``: its mean over data and that mean's standard error, in nats."""

    num_particles: int
    log_likelihood: float
    standard_error: float


@dataclass(frozen=True)
class Evaluation:
    """A test log-likelihood: a lower bound on log p(x) in expectation, in nats per datum, tighter as K grows.

    ``standard_error`` is over data: the standard deviation over sqrt(num_data). ``curve`` holds the bound at smaller K,
    from the same log-weights. ``bits_per_dim`` is given where pixels are quantised.

    Of an unnormalised pair the log-weights are those of p~(x) = Z p(x): ``log_z`` is what was subtracted, and
    ``standard_error`` holds its error too, the root of the sum of squares. An estimate of log Z is below it in
    expectation, so that the log-likelihood errs upward, by little where its error bar is small.
    """

    log_likelihood: float
    standard_error: float
    num_particles: int
    split: str
    num_data: int
    curve: tuple[Point, ...]
    bits_per_dim: float | None = None
    log_z: LogZ | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of the fields."""
        return asdict(self)


def evaluate(
    pair: Pair,
    data: Dataset,
    *,
    split: str = "test",
    particles: int = 1000,
    num_data: int | None = None,
    log_z: LogZ | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Evaluation:
    """Evaluate ``pair`` on a split of ``data``.

    Args:
        pair: trained or not, on the data's device.
        data: whose split.
        split: ``train``, ``valid`` or ``test``.
        particles: K of the bound.
        num_data: only the first so many data; None: all.
        log_z: of an unnormalised pair, from :func:`ppgen.log_z` with options of one's own; None: with its defaults.
        seed: of the draws; the global random state is left as it was.
        progress: show a progress bar.

    Raises:
        UsageError: K < 1, an unknown split, num_data not between 2 and the split's size, data that do not share the
            pair's log Z.
    """
    batch = data.split(split)
    total = len(batch[0]) if num_data is None else num_data
    if not 2 <= total <= len(batch[0]):
        raise UsageError(f"num_data must lie between 2 and {len(batch[0])} (the data in {split!r}), got {num_data!r}.")
    batch = tuple(part[:total] for part in batch)
    if isinstance(pair, EnergyPair):
        pair.check_one_log_z(batch[0])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes, batch = _sizes(particles), data.draw(batch)
        columns = [_bounds(log_w, sizes) for log_w in _weights(pair, batch, particles, progress)]
    values = torch.cat(columns, dim=1)  # (len(sizes), B)
    points = [
        Point(size, float(row.mean()), float(row.std() / math.sqrt(len(row))))
        for size, row in zip(sizes, values, strict=True)
    ]
    if not pair.normalised:
        log_z = log_z or estimate_log_z(pair, seed=seed, progress=progress)
        points = [_normalised(point, log_z) for point in points]
    last = points[-1]
    bits = (
        -last.log_likelihood / (data.spec.num_features * math.log(2)) if data.spec.observation == "quantised" else None
    )
    return Evaluation(last.log_likelihood, last.standard_error, particles, split, total, tuple(points), bits, log_z)


def _sizes(particles: int) -> list[int]:
    """1, 2, 5, 10, 20, 50, ... up to and with ``particles``."""
    if particles < 1:
        raise UsageError(f"particles must be at least 1, got {particles}.")
    steps = [m * 10**e for e in range(10) for m in (1, 2, 5)]
    return [*(size for size in steps if size < particles), particles]


def _weights(pair: Pair, batch: Batch, particles: int, progress: bool) -> Iterator[Tensor]:
    """Columns of log-weights, (K, rows), float64; under an exact guide all particles weigh the same: one is run."""
    for log_w in log_weight_chunks(pair, batch, 1 if pair.exact_guide else particles, progress=progress):
        yield log_w.double().expand(particles, -1)


def _normalised(point: Point, log_z: LogZ) -> Point:
    """The point of p = p~ / Z; the errors over data and of log Z are independent."""
    return replace(
        point,
        log_likelihood=point.log_likelihood - log_z.value,
        standard_error=math.hypot(point.standard_error, log_z.standard_error),
    )


def _bounds(log_w: Tensor, sizes: Sequence[int]) -> Tensor:
    """The bound of each size, averaged over as many disjoint groups of particles as there are; (len(sizes), B)."""
    rows = []
    for size in sizes:
        groups = log_w.shape[0] // size
        rows.append(log_mean_exp(log_w[: groups * size].reshape(size, groups, -1)).mean(0))
    return torch.stack(rows)
