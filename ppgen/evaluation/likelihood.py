"""The log-likelihood of pairs whose model states a density, known whole or up to its normalising constant.

    log p(x) >= E[ log (1/K) sum_k w_k(x) ] - log Z,        log w_k = log p~(x, z_k) - log q(z_k | x),  z_k ~ q(z | x)

log Z is 0 for a normalised pair. For an unnormalised one it is estimated or enumerated (:mod:`ppgen.chains.log_z`), and
the first term is exact where the guide is, else a bound on -F(x) = log sum_z p~(x, z).

Importance Weighted Autoencoders. Yuri Burda, Roger Grosse and Ruslan Salakhutdinov, 2016, eq. 8.
"""

from __future__ import annotations

import math

from torch import Tensor

from ppgen.chains.log_z import LogZ
from ppgen.distributions.wrappers import core_of
from ppgen.evaluation.bounds import evidence_of
from ppgen.evaluation.case import Case
from ppgen.evaluation.result import Evaluation, Method, Point
from ppgen.pairs.reductions import standard_error
from ppgen.pairs.sites import is_factor
from ppgen.pairs.stacking import alone

__all__ = ["bound", "mean_and_error"]


def bound(case: Case) -> Evaluation:
    """The bound of K particles, less log Z, with its curve over K.

    Args:
        case: whose pair states a density, at least up to its constant.

    Raises:
        UsageError: K < 1, a log Z that is not that of the data.
    """
    spec, log_z = case.dataset.spec, case.log_z
    of_log_z = 0.0 if log_z is None else log_z.standard_error  # independent of the error over data
    points = []
    for size, values in case.log_likelihoods.items():
        mean, error = mean_and_error(values)
        points.append(Point(size, mean, math.hypot(error, of_log_z)))
    last = points[-1]
    nats, method = last.log_likelihood, _method(case, log_z)
    grey = spec.observation == "quantised" and _scores_levels(case)
    bits = -nats / (spec.num_features * math.log(2)) if grey else None
    return Evaluation(
        nats,
        last.standard_error,
        case.num_particles,
        case.split,
        len(case.bounds[case.num_particles]),
        tuple(points),
        bits,
        log_z,
        method,
    )


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean over data, (B,), and its standard error, sd / sqrt(B)."""
    return float(values.mean()), standard_error(values)


def _scores_levels(case: Case) -> bool:
    """Whether every observed site has a probability of levels: no density of them as real numbers, no log-probability
    of levels as rates of bits, and no x that is given, a point at itself."""
    observed = (site for site in case.one.model_sites.values() if site["is_observed"] and not is_factor(site))
    return all(core_of(alone(site)["fn"]).support.is_discrete for site in observed)


def _method(case: Case, log_z: LogZ | None) -> Method:
    found = evidence_of(case.pair, case.batch)
    if log_z is None or found != "exact":
        return found
    return "enumerated" if log_z.exact else "annealed"
