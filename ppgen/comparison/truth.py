"""What estimates are held against: the evidence, and the exact gradient where the latents can be enumerated.

Of mixed pairs discrete latents are enumerated and Gaussian ones integrated (:mod:`ppgen.comparison.quadrature`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import pyro
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ppgen.comparison.options import Standard
from ppgen.comparison.quadrature import Quadrature, is_mixed
from ppgen.comparison.sources import at_hand
from ppgen.errors import UsageError, option
from ppgen.evaluation.bounds import evidence_of
from ppgen.measuring.repeats import Repeats
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.discrete.enumeration import Enumeration
from ppgen.pairs.log_weights import log_weights
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.reductions import log_mean_exp
from ppgen.pairs.tracing import Batch, Program, run_particles

__all__ = ["Evidence", "Truth", "check_standard", "in_precision", "truth_of"]

Method = Literal["enumerated", "quadrature", "closed form", "exact", "bound"]

_CLOSE = 1e-3
"""The error, in nats per datum, up to which log p(x) by quadrature is taken for exact."""


@dataclass(frozen=True)
class Evidence:
    """The mean over the batch of log p(x), in nats per datum.

    ``method``: ``"enumerated"``, a sum over all states of the latents, and ``"closed form"``, the pair's own
    ``log_evidence(*batch)``, (B,), are exact and ``standard_error`` is 0, and so is ``"exact"``, of a pair without
    latents or whose latents are all summed out; ``"quadrature"``, a sum over states and Gauss-Hermite nodes, is exact
    but for an error, by which more nodes changed it, the ``standard_error``; ``"bound"`` is a reference and not exact:
    the importance-weighted bound of ``num_particles`` particles, below log p(x) in expectation.
    """

    value: float
    standard_error: float
    method: Method
    num_particles: int | None = None

    @property
    def is_exact(self) -> bool:
        """Whether it is log p(x) itself."""
        return self.num_particles is None

    @property
    def how(self) -> str:
        """The method in words, with its error where it has one."""
        return f"{self.method}, to within {self.standard_error:.1g}" if self.method == "quadrature" else self.method


@dataclass(frozen=True)
class Truth:
    """The evidence and exact gradients by the name of their bound; ``evidence`` is None where no datum has its own.

    ``why_not_exact``: a sentence about the gradients that are missing.
    """

    evidence: Evidence | None
    gradients: Mapping[str, Repeats]
    why_not_exact: str = ""


def truth_of(
    pair: Pair,
    batch: Batch,
    bounds: Mapping[str, Reduction],
    particles: int,
    standard: Standard = "auto",
    seconds: float | None = None,
) -> Truth:
    """The evidence and the exact gradients of ``bounds``, per datum, all in float64 where the pair runs in it.

    Args:
        pair: at the point of training that is looked at; left as it is.
        batch: what the data set yields.
        bounds: by the name under which their gradient is returned; those that sum over too many states are left out.
        particles: of the reference, where the evidence is not exact.
        standard: by what, where one is asked for.
        seconds: that the exact gradients may take, judged by a first part of their sums; None: no limit.

    Raises:
        UsageError: the one that is asked for cannot be had, or not in time.
    """
    if pair.needs_log_z:
        return Truth(None, {}, "the model is known up to its normalising constant.")
    dtype = _precision(pair, batch)
    batch = in_precision(batch, dtype)
    with at_hand(pair, dtype), torch.random.fork_rng(), isolated(), pyro.validation_enabled(False):
        if standard == "run":
            return Truth(_evidence(pair, batch, particles), {}, "it was not asked for.")
        try:
            every = _summed(pair, batch, bounds, standard, seconds)
        except UsageError as error:
            _say_if_asked(standard, error)
            return Truth(_evidence(pair, batch, particles), {}, str(error))
        gradients, why_not = {}, ""
        for name, bound in bounds.items():
            try:
                gradients[name] = _gradient(pair, every, bound)
            except UsageError as error:
                _say_if_asked(standard, error)
                why_not = str(error)
        return Truth(_summed_evidence(every) or _evidence(pair, batch, particles), gradients, why_not)


def check_standard(
    pair: Pair, batch: Batch, bounds: Mapping[str, Reduction], standard: Standard, seconds: float | None
) -> None:
    """Look whether the exact gradients that are asked for can be had in time, as of :func:`truth_of`.

    Raises:
        UsageError: they cannot.
    """
    if pair.needs_log_z or standard not in ("enumeration", "quadrature"):
        return
    dtype = _precision(pair, batch)
    with at_hand(pair, dtype), torch.random.fork_rng(), isolated(), pyro.validation_enabled(False):
        try:
            _summed(pair, in_precision(batch, dtype), bounds, standard, seconds)
        except UsageError as error:
            _say_if_asked(standard, error)


def _say_if_asked(standard: Standard, error: UsageError) -> None:
    if standard != "auto":
        raise UsageError(f"exact={standard!r} cannot be had of this pair: {error}") from error


def _summed(
    pair: Pair, batch: Batch, bounds: Mapping[str, Reduction], standard: Standard, seconds: float | None
) -> Enumeration | Quadrature:
    """All states of the latents; of a mixed pair, or where it is asked for, beside a quadrature of the others.

    Raises:
        UsageError: there is neither, or it takes too long.
    """
    who, program = "the exact gradient", Program(pair.model, pair.guide)
    by_nodes = standard == "quadrature" or (standard == "auto" and is_mixed(program, batch))
    each = None if seconds is None else seconds / max(1, len(bounds))
    every = Quadrature.of(program, batch, who, each) if by_nodes else Enumeration.of(program, batch, who)
    if seconds is not None and (needed := _duration(pair, every, bounds)) > seconds:
        raise UsageError(
            f"{who} would take about {needed:.2g} seconds for {every.num_data} data, by a first part of its sums, and "
            f"{option('seconds', seconds)} is all it may take: give more, fewer data, or {option('exact', 'run')}."
        )
    return every


def _duration(pair: Pair, every: Enumeration | Quadrature, bounds: Mapping[str, Reduction]) -> float:
    """Seconds of the gradients, but of those that have too many terms, for which that is said."""
    parameters, total = [p for p in pair.parameters() if p.requires_grad], 0.0
    for bound in bounds.values():
        with suppress(UsageError), torch.enable_grad():
            total += every.duration(bound, parameters)
    return total


def _summed_evidence(every: Enumeration | Quadrature) -> Evidence | None:
    """log p(x) by the sum; None: it has not converged to ``_CLOSE``."""
    if isinstance(every, Enumeration):
        return Evidence(float(every.log_evidence().mean()), 0.0, "enumerated")
    log_p, error = every.log_evidence()
    return Evidence(float(log_p.mean()), error, "quadrature") if error < _CLOSE else None


def _precision(pair: Pair, batch: Batch) -> torch.dtype:
    """float64, or, where the code of the pair holds constants of another type, that of its parameters."""
    own = next(p.dtype for p in pair.parameters() if p.is_floating_point())
    with at_hand(pair, torch.float64), torch.random.fork_rng(), isolated(), torch.no_grad():
        try:
            run_particles(Program(pair.model, pair.guide), in_precision(batch, torch.float64), 1)
        except UsageError:
            return torch.float64  # which says so when the evidence is asked for
        except (RuntimeError, ValueError):
            return own
    return torch.float64


def in_precision(batch: Batch, dtype: torch.dtype) -> Batch:
    """The batch with its floating-point tensors and packed sequences in ``dtype``."""
    return tuple(part.to(dtype) if _is_floating(part) else part for part in batch)


def _is_floating(part: Any) -> bool:
    numbers = part.data if isinstance(part, PackedSequence) else part
    return torch.is_tensor(numbers) and numbers.is_floating_point()


def _gradient(pair: Pair, every: Enumeration | Quadrature, bound: Reduction) -> Repeats:
    named = {name: p for name, p in pair.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        value, found = every.gradient(bound, list(named.values()))
    means = {name: -gradient.reshape(1, -1) / every.num_data for name, gradient in zip(named, found, strict=True)}
    squares = {name: mean.square().sum(1) for name, mean in means.items()}
    return Repeats(means, squares, value.reshape(1) / every.num_data, torch.zeros(1), 1)


def _evidence(pair: Pair, batch: Batch, particles: int) -> Evidence | None:
    closed_form = getattr(pair, "log_evidence", None)
    if closed_form is not None:
        with torch.no_grad():
            exact: Tensor = closed_form(*batch)  # (B,); () is that of all data together, and no datum has its own
        return Evidence(float(exact.mean()), 0.0, "closed form") if exact.dim() else None
    try:
        kind = evidence_of(pair, batch)
        log_w = log_weights(pair, batch, 1 if kind == "exact" else particles)  # (K, B)
    except UsageError:
        return None
    if kind == "exact":
        return Evidence(float(log_w.mean()), 0.0, "exact")
    return Evidence(float(log_mean_exp(log_w).mean()), _error(log_w), "bound", particles)


def _error(log_w: Tensor) -> float:
    """The standard error of the mean over data of log (1/K) sum w, by the delta method."""
    weights = log_w.softmax(0) * len(log_w)  # w / mean w
    errors = weights.std(0) / math.sqrt(len(log_w))  # (B,)
    return float(errors.square().sum().sqrt() / log_w.shape[1])
