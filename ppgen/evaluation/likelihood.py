"""The log-likelihood of pairs whose model states a density, known whole or up to its normalising constant.

    log p(x) >= E[ log (1/K) sum_k w_k(x) ] - log Z,        log w_k = log p~(x, z_k) - log q(z_k | x),  z_k ~ q(z | x)

log Z is 0 for a normalised pair. For an unnormalised one it is estimated or enumerated (:mod:`ppgen.partition`).

Importance Weighted Autoencoders. Yuri Burda, Roger Grosse and Ruslan Salakhutdinov, 2016, eq. 8.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ppgen.energy import EnergyPair
from ppgen.errors import UsageError
from ppgen.evaluation.result import Evaluation, Method, Point
from ppgen.evaluation.subject import Subject
from ppgen.partition import LogZ
from ppgen.partition import log_z as estimate_log_z
from ppgen.reductions import log_mean_exp
from ppgen.weights import log_weight_chunks

__all__ = ["bound", "mean_and_error"]


def bound(subject: Subject, log_z: LogZ | None = None) -> Evaluation:
    """The bound of K particles, less log Z, with its curve over K.

    Args:
        subject: whose pair states a density, at least up to its constant.
        log_z: of an unnormalised pair; None: estimated with the defaults of :func:`ppgen.log_z`.

    Raises:
        UsageError: K < 1, or data that do not share the pair's log Z.
    """
    pair, data = subject.pair, subject.data
    if isinstance(pair, EnergyPair):
        pair.check_one_log_z(subject.batch[0])
    sizes = _sizes(subject.particles)
    values = torch.cat([_bounds(log_w, sizes) for log_w in _weights(subject)], dim=1)  # (len(sizes), B)
    points = [Point(size, *mean_and_error(row)) for size, row in zip(sizes, values, strict=True)]
    if pair.normalised:
        _check_none(log_z)
    else:
        log_z = log_z or estimate_log_z(pair, seed=subject.seed, progress=subject.progress)
        points = [_normalised(point, log_z) for point in points]
    last = points[-1]
    nats, method = last.log_likelihood, _method(log_z)
    bits = -nats / (data.spec.num_features * math.log(2)) if data.spec.observation == "quantised" else None
    return Evaluation(
        nats,
        last.standard_error,
        subject.particles,
        subject.split,
        values.shape[1],
        tuple(points),
        bits,
        log_z,
        method,
    )


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean over data, (B,), and its standard error, sd / sqrt(B)."""
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def _check_none(log_z: LogZ | None) -> None:
    if log_z is not None:
        raise UsageError("log_z was given for a pair that is normalised, whose log Z is 0: leave it out.")


def _method(log_z: LogZ | None) -> Method:
    if log_z is None:
        return "bound"
    return "enumerated" if log_z.exact else "annealed"


def _sizes(particles: int) -> list[int]:
    """1, 2, 5, 10, 20, 50, ... up to and with ``particles``."""
    if particles < 1:
        raise UsageError(f"particles must be at least 1, got {particles}.")
    steps = [m * 10**e for e in range(10) for m in (1, 2, 5)]
    return [*(size for size in steps if size < particles), particles]


def _weights(subject: Subject) -> Iterator[Tensor]:
    """Columns of log-weights, (K, rows), float64; under an exact guide all particles weigh the same: one is run."""
    num = 1 if subject.pair.exact_guide else subject.particles
    for log_w in log_weight_chunks(subject.pair, subject.batch, num, progress=subject.progress):
        yield log_w.double().expand(subject.particles, -1)


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
