"""The best that a guide could say of each datum: its answer moved until the bound is largest, datum by datum.

An amortised guide answers for a datum x with the parameters of distributions, lambda(x). Families are searched,
each datum by itself and from the guide's own answer on, and a third of all data together:

    own      every site's unconstrained parameters, moved:  lambda = T(T^-1(lambda(x)) + delta),  delta = 0 at first
    full     u ~ N(m, S S'), z = T(u): all continuous latents of a datum at once, with their correlations; m and S begin
             at the moments of draws of ``own``
    flow     u bent by one RealNVP flow, given a vector of each datum that is searched as the flow's networks are

Where the guide's sites do not depend on each other ``own`` is its whole family. Where they do, as in a hierarchy
q(z_1 | x) q(z_2 | z_1), the networks between the sites are kept and what they give is moved; the family's best is then
at least as good as what is found.

The gradients are pathwise with the score left out, so that they vanish at the exact posterior (Roeder et al. 2017);
sites without a pathwise gradient have the score function's, with the leave-one-out baseline.

Cremer, Li and Duvenaud, Inference suboptimality in variational autoencoders, ICML 2018. Roeder, Wu and Duvenaud,
Sticking the landing, NeurIPS 2017.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeAlias

import pyro
import torch
from annotated_types import Ge
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import transform_to

from ppgen.arguments import Count, Positive, check_fields
from ppgen.chains.posterior import Latents
from ppgen.diagnostics.richer import Bent, Full, Parameters
from ppgen.errors import UsageError, shown
from ppgen.machine.graphs import traced
from ppgen.machine.memory import keep_large_blocks
from ppgen.machine.progress import track
from ppgen.pairs.latents import side_by_side
from ppgen.pairs.looking import looking
from ppgen.pairs.pair import check_explicit
from ppgen.pairs.places import ready
from ppgen.pairs.rows import num_rows
from ppgen.pairs.sites import is_latent
from ppgen.pairs.traces import sites_of
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles
from ppgen.pairs.transformed import NO_INVERSE

__all__ = ["LocalWeights", "Search", "Shifts", "local_log_weights", "moved"]

Shifts: TypeAlias = Mapping[tuple[str, str], Tensor]
"""By site and parameter: what is added to the unconstrained parameter, of its shape without particles."""

_BLOCK = 100
"""Particles run at a time."""

_FLAT = 1e-3
"""Nats per unit of a parameter: Adam takes no full step along slopes below it, which at an exact guide are rounding."""

_WIDEST = 512
"""Numbers of a datum's latents up to which a full covariance is searched."""

_WIDEST_OF_FLOWS = 64
"""And a flow."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How much local optimisation may cost: ``num_steps`` of Adam with ``num_particles``, for each family, half of them
    for a flow.

    ``lr`` is the first learning rate; it falls to zero in a straight line.

    Raises:
        UsageError: num_steps < 1, num_particles < 2 (the baseline leaves one out), or lr <= 0.
    """

    num_steps: Count = 400
    num_particles: Annotated[int, Ge(2)] = 16
    lr: Positive = 0.1

    def __post_init__(self) -> None:
        check_fields(self, "a search")


@dataclass(frozen=True)
class LocalWeights:
    """Log-weights (K, B), float64, nats, of the guide as it is, and of the best found for each datum.

    ``own`` is ``amortised`` where the search ended with a lower bound than it began with, over all data.
    ``full`` is None where a latent of the data is discrete, or there are more than 512 numbers of them; ``flow`` there,
    too, and where there is one number alone or more than 64. It is ``full`` where its search found nothing better.

    >>> import ppgen
    >>> pair, x = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(2,)), torch.ones(2, 3)
    >>> found = local_log_weights(pair, (x,), num_particles=5, search=Search(num_steps=2))
    >>> found.amortised.shape, bool(found.own.mean() >= found.amortised.mean()), found.full  # its latents are discrete
    (torch.Size([5, 2]), True, None)
    """

    amortised: Tensor
    own: Tensor
    full: Tensor | None
    flow: Tensor | None = None


def local_log_weights(
    pair: Any, batch: Batch, num_particles: int = 1000, search: Search | None = None, *, progress: bool = False
) -> LocalWeights:
    """Log-weights of the guide's answers at ``batch``, and of locally optimised ones.

    Latents outside the data plate are drawn from the guide once and held.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``.
        batch: what the data set yields, ``(x,)`` or ``(x, y)``.
        num_particles: K of the log-weights.
        search: None: the default one.
        progress: show progress bars.

    Raises:
        UsageError: the pair is implicit or has no data plate, a site's distribution has parameters that cannot be
            moved (the site is named), or a log-weight is not finite (the datum is named).
    """
    (pair, batch), search = ready(pair, batch), search or Search()
    check_explicit(pair, "local optimisation")
    keep_large_blocks()
    with looking(pair), pyro.validation_enabled(False):
        family, few = _Own(Program(pair.model, pair.guide), batch), search.num_particles
        zero = family.start()
        amortised = _blocks(lambda num: family.run(zero, num).log_w, num_particles)
        best = _ascend(lambda shifts: family.bound(shifts, few), zero, search, "local guides", progress)
        own = _blocks(lambda num: family.run(best, num).log_w, num_particles)
        if float(own.mean()) < float(amortised.mean()):  # the search found nothing better than the guide's own answers
            best, own = zero, amortised
        if family.narrow:
            return LocalWeights(amortised, own, None)
        gaussians = Full(family, best)
        covariances, full = _searched(gaussians, num_particles, search, "covariances", progress)
        if not 1 < gaussians.mean.shape[-1] <= _WIDEST_OF_FLOWS:
            return LocalWeights(amortised, own, full)
        fewer = replace(search, num_steps=max(1, search.num_steps // 2), lr=search.lr / 5)
        _, flow = _searched(Bent(gaussians, covariances), num_particles, fewer, "flows", progress)
        return LocalWeights(amortised, own, full, flow if float(flow.mean()) > float(full.mean()) else full)


def _searched(family: Full, num_particles: int, search: Search, what: str, progress: bool) -> tuple[Parameters, Tensor]:
    """The best parameters of a family, and log-weights at them."""
    chains = family.chains(search.num_particles)
    found = _ascend(
        lambda values: family.log_weights(values, chains).mean(0).sum(), family.start(), search, what, progress
    )
    return found, _blocks(lambda num: family.log_weights(found, family.chains(num)), num_particles)


def _ascend(
    bound: Callable[[Parameters], Tensor], start: Parameters, search: Search, what: str, progress: bool
) -> Parameters:
    """Where Adam comes from ``start`` by the gradient of ``bound``."""
    names = list(start)

    def gradient(*values: Tensor) -> list[Tensor]:
        with torch.enable_grad():
            leaves = [value.detach().requires_grad_() for value in values]
            value = bound(dict(zip(names, leaves, strict=True)))
            return list(torch.autograd.grad(-value, leaves, allow_unused=True, materialize_grads=True))

    values = [start[name].clone() for name in names]
    step = traced(gradient, *values)
    optimizer = torch.optim.Adam(values, lr=search.lr, eps=_FLAT)
    for done in track(range(search.num_steps), what, progress):
        optimizer.param_groups[0]["lr"] = search.lr * (1 - done / search.num_steps)
        for value, slope in zip(values, step(*values), strict=True):
            value.grad = slope
        optimizer.step()
    return dict(zip(names, values, strict=True))


def _blocks(read: Callable[[int], Tensor], num: int) -> Tensor:
    sizes = [min(_BLOCK, num - done) for done in range(0, num, _BLOCK)]
    log_w = torch.cat([read(size).double() for size in sizes])
    finite = log_w.isfinite().all(0)
    if not bool(finite.all()):
        raise UsageError(f"a log-weight of datum {int((~finite).nonzero()[0])} is not finite: look at the guide there.")
    return log_w


class _Own:
    """The guide with its parameters moved at each datum."""

    def __init__(self, program: Program, batch: Batch) -> None:
        self.program, self.batch = program, batch
        self.one = run_particles(program, batch, 1)
        if self.one.plate is None or self.one.log_w.shape[1] != num_rows(batch):
            raise UsageError("local optimisation is for each datum, and the pair has no data plate around its latents.")

    @property
    def narrow(self) -> bool:
        """Whether there is no full-covariance family above this one."""
        sites = [self.one.guide_sites[name] for name in self.one.latents]
        return side_by_side(self.one).shape[-1] > _WIDEST or any(site["fn"].support.is_discrete for site in sites)

    def start(self) -> Parameters:
        sites, shifts = sites_of(self.program.guide, *self.batch), {}
        for name in self.one.latents:
            for parameter, value in _unconstrained(name, sites[name]["fn"]):
                shifts[name, parameter] = torch.zeros_like(value)
        return shifts

    def run(self, shifts: Shifts, num: int, given: Latents | None = None) -> Particles:
        def local_guide(*batch: Tensor) -> None:
            with _Moved(shifts):
                self.program.guide(*batch)

        local_guide.structure_of = self.program.guide  # type: ignore[attr-defined]  # looked at once, not at each call
        program = Program(self.program.model, local_guide)
        return run_particles(program, self.batch, num, {**self.one.held, **(given or {})})

    def bound(self, shifts: Parameters, num: int) -> Tensor:
        """The sum over data of the bound, whose gradient is an estimate of the bound's."""
        drawn = self.run(shifts, num)
        values = {name: drawn.guide_sites[name]["value"] for name in drawn.latents}
        try:
            log_q = self.run({key: shift.detach() for key, shift in shifts.items()}, num, values).log_q
        except NO_INVERSE:  # a flow that scores what it drew alone: the score stays in
            log_q = drawn.log_q
        log_w = drawn.log_p - log_q  # (K, B)
        signal = (log_w - log_w.mean(0)).detach() / (num - 1)
        return (log_w.mean(0) + (signal * drawn.log_q_of(drawn.scored)).sum(0)).sum()


class _Moved(Messenger):
    """Latent sites are drawn from distributions with moved parameters."""

    def __init__(self, shifts: Shifts) -> None:
        super().__init__()
        self.shifts = shifts

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        mine = {parameter: shift for (name, parameter), shift in self.shifts.items() if name == msg["name"]}
        if mine and is_latent(msg):
            msg["fn"] = moved(msg["fn"], mine)


_INSTEAD = {"probs": "logits", "covariance_matrix": "scale_tril", "precision_matrix": "scale_tril"}
"""Parameters that say what another one says."""


def moved(fn: Any, shifts: Mapping[str, Tensor]) -> Any:
    """The distribution with ``shifts`` added to its unconstrained parameters, by name.

    >>> import pyro.distributions as dist
    >>> moved(dist.Normal(0.0, 1.0).to_event(0), {"loc": torch.tensor(2.0), "scale": torch.tensor(0.0)}).loc
    tensor(2.)
    """
    if hasattr(fn, "base_dist") and not fn.arg_constraints:
        wrapper = copy.copy(fn)
        wrapper.base_dist = moved(fn.base_dist, shifts)
        return wrapper
    values = {}
    for name, shift in shifts.items():
        transform = transform_to(fn.arg_constraints[name])
        values[name] = transform(transform.inv(getattr(fn, name)) + shift)
    taken = inspect.signature(type(fn).__init__).parameters
    others = {name: getattr(fn, name) for name in taken if hasattr(fn, name) and name not in {*_INSTEAD, *values}}
    return type(fn)(**values, **others)


def _unconstrained(site: str, fn: Any) -> Iterator[tuple[str, Tensor]]:
    """The names and unconstrained values of a distribution's parameters."""
    while hasattr(fn, "base_dist") and not fn.arg_constraints:
        fn = fn.base_dist
    try:
        constraints = {name: each for name, each in fn.arg_constraints.items() if not each.is_discrete}
        names = [name for name in constraints if _INSTEAD.get(name) not in constraints]
        for name in names:
            yield name, transform_to(constraints[name]).inv(getattr(fn, name))
    except NotImplementedError as error:  # of torch, where a constraint has no transform
        raise UsageError(
            f"site {shown(site)} of the guide is drawn from {type(fn).__name__}, whose parameters have no "
            "unconstrained form: local optimisation cannot move them; use a distribution of location and scale, or of "
            "logits."
        ) from error
