"""Rules of what a model observes and draws in turn: it reads what stands before, and nothing of what is to be drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from ppgen.distributions.autoregressive import Autoregressive, Conditionals, checked_order
from ppgen.distributions.binary_states import digits
from ppgen.distributions.completion import Completion
from ppgen.distributions.discretized_logistic import Grid
from ppgen.distributions.orders import OverOrders
from ppgen.distributions.wrappers import core_of
from ppgen.errors import blame
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated, swapped
from ppgen.pairs.rows import num_rows
from ppgen.pairs.sites import Site
from ppgen.pairs.traces import sites_of
from ppgen.pairs.tracing import Batch
from ppgen.testing.agreement import apart, close
from ppgen.testing.checks import CheckFailed, NotApplicable, pair_check
from ppgen.testing.samples import prior_sites
from ppgen.testing.sandbox import random_sites, rows

__all__ = [
    "check_draws_in_turn",
    "check_entropy_of_draws",
    "check_reads_earlier_features",
    "check_unread_observations",
]

_MOST = 5.0
"""Standard errors that a mean of draws may be off: 6 false alarms in 10 million."""

_STATES = 4_096
"""Of a datum, over all of which an entropy is summed."""


@pair_check("with nothing observed, the model draws x without reading the x it is given")
def check_unread_observations(pair: Pair, batch: Batch) -> None:
    """The law of a site does not change with the tensor of the batch that it observes: one that reads it scores x by x
    itself, and has no draws. x may be conditioned on where it is said: a point at itself, a ``Completion``; and its
    size, as that of a document, may be read.
    """
    with isolated():
        on_data = random_sites(sites_of(pair.model, *batch))
    if any(isinstance(site["fn"], dist.Unit) for site in on_data.values()):
        raise NotApplicable("the model has factor statements: its density is not normalised, and has no direct draws")
    for place, part in enumerate(batch):
        names = [name for name, site in on_data.items() if site["is_observed"] and _same(site["value"], part)]
        names = [name for name in names if not isinstance(core_of(on_data[name]["fn"]), dist.Delta | Completion)]
        if not names:
            continue
        try:
            before = prior_sites(pair, batch)
            after = prior_sites(pair, (*batch[:place], _other(part), *batch[place + 1 :]))
        except NotImplementedError as error:  # of Pyro, where a distribution has no sampler
            raise NotApplicable("cannot be judged until check_prior_samples holds", where=blame(error)) from error
        for name in names:
            _check_law(name, before[name], after[name], [*pair.parameters(), *pair.buffers(), *batch])


def _check_law(name: str, before: Site, after: Site, given: list[Any]) -> None:
    was, now = (site["fn"].log_prob(before["value"]) for site in (before, after))
    if not close(now, was, given=given).all():
        raise CheckFailed(
            f"with nothing observed, its law changes by {apart(now, was):.2g} nats with the x that the model is given "
            "and is to draw, so that it has no draws of its own",
            where=f"site {name!r} of the model",
            advice="draw its features in turn, each given those before (ppgen.distributions.autoregressive), or "
            "condition on another tensor of the batch",
        )


def _same(value: Any, part: Any) -> bool:
    tensors = torch.is_tensor(value) and torch.is_tensor(part) and not part.is_sparse
    return tensors and value.shape == part.shape and bool(torch.isclose(value, part, equal_nan=True).all())


def _other(x: Tensor) -> Tensor:
    """Other data of the same support and sizes: every datum's last dim one place on, or the data where it has one."""
    return x.roll(1, -1) if x.dim() > 1 and x.shape[-1] > 1 else x.roll(1, 0)


@pair_check("a feature that is drawn in turn reads those before it, and no others")
def check_reads_earlier_features(pair: Pair, batch: Batch) -> None:
    """Another value of feature j leaves the laws of j, and of those before it in the order, as they are: exactly, for
    every j, of two data in float64.
    """
    with _in_turn(pair, batch) as found:
        for name, conditionals, x in found:
            checked_order(conditionals.order, x.shape[-1])
            read = _look_ahead(conditionals, x)
            if read is not None:
                j, i = read
                which = "itself" if i == j else f"feature {j}, which is drawn after it"
                raise CheckFailed(
                    f"the law of feature {i} reads {which}",
                    where=f"site {name!r} of the model",
                    advice="mask what does not stand before a feature in the order, itself too",
                )


def _look_ahead(conditionals: Conditionals, x: Tensor) -> tuple[int, int] | None:
    """A feature and one that reads it, though it is no later; None: there is none."""
    before = conditionals(x).log_prob(x)  # (B, D)
    for place, j in enumerate(conditionals.order.tolist()):
        other = x.clone()
        other[..., j] = 1 - x[..., j]  # within {0, 1}, and levels of [0, 1]
        changed = (conditionals(other).log_prob(x) != before).flatten(0, -2).any(0)  # (D,)
        early = conditionals.order[: place + 1]
        if changed[early].any():
            return j, int(early[changed[early]][0])
    return None


@pair_check("what is drawn in turn follows the laws that score it")
def check_draws_in_turn(pair: Pair, batch: Batch) -> None:
    """Of draws x, and of y with y_i from the law of feature i at x, sum_i log p(x_i | before) - log p(y_i | before) has
    mean zero: to five standard errors, in float64.
    """
    with _in_turn(pair, batch) as found:
        for name, conditionals, x in found:
            drawn = Autoregressive(conditionals, x.shape[:-1]).sample((max(32, 5_000 // x.shape[-1]),))
            laws = conditionals(drawn)
            differences = (laws.log_prob(drawn) - laws.log_prob(laws.sample())).sum(-1).flatten()
            error = differences.std() / len(differences) ** 0.5
            if differences.mean().abs() > _MOST * error + 1e-9:
                raise CheckFailed(
                    f"log p(x) of its draws is off by {float(differences.mean()):.2g} nats (standard error "
                    f"{float(error):.2g}) of what its laws give",
                    where=f"site {name!r} of the model",
                    advice="let draw and complete follow forward",
                )


@pair_check("the log-probabilities of what is drawn in turn have the entropy that all its states give")
def check_entropy_of_draws(pair: Pair, batch: Batch) -> None:
    """Of draws x of the whole distribution, a mixture over orders too, -log p(x) has the mean H = -sum_x p(x) log p(x)
    and the variance sum_x p(x) (log p(x))^2 - H^2, summed over all states in float64: the mean is off by at most five
    standard errors, 6 false alarms in 10 million. It says nothing of real numbers, and of more than 4,096 states.
    """
    with _cores_in_turn(pair, batch) as found:
        for name, core, x in found:
            log_p = core.log_prob(_states(core, x))  # (S, B)
            surprise = -(log_p.exp() * log_p)
            entropy, variance = surprise.sum(0), (-surprise * log_p).sum(0) - surprise.sum(0) ** 2  # (B,)
            drawn = core.sample((5_000,))
            off = (-core.log_prob(drawn) - entropy).mean()
            error = variance.clamp_min(0).mean().div(5_000 * variance.numel()).sqrt()
            if off.abs() > _MOST * error + 1e-9:
                raise CheckFailed(
                    f"-log p(x) of its draws has a mean {float(off):.2g} nats (standard error {float(error):.2g}) from "
                    "the entropy of all states",
                    where=f"site {name!r} of the model",
                    advice="let sample draw from what log_prob scores, of several orders each as often as it weighs",
                )


def _states(core: Any, x: Tensor) -> Tensor:
    """All values of a datum, (S, 1.., D), for a distribution of batch shape (1..).

    Raises:
        NotApplicable: they cannot be counted, or are too many.
    """
    support, size = _members(core)[0].conditionals.support, x.shape[-1]
    levels = 2 if support is constraints.boolean else support.levels if isinstance(support, Grid) else None
    if levels is None or levels**size > _STATES:
        raise NotApplicable(f"what is drawn in turn has no states that can be counted, or more than {_STATES:,}")
    states = digits(torch.arange(levels**size), levels, size).to(x) / (levels - 1)
    return states.reshape(-1, *[1] * (x.dim() - 1), size).expand(-1, *x.shape)


@contextmanager
def _cores_in_turn(pair: Pair, batch: Batch) -> Iterator[list[tuple[str, Any, Tensor]]]:
    """What is drawn in turn at the model's sites, at two data in float64, and the values there."""
    pair.eval()
    with isolated(), torch.no_grad():
        cores = [core_of(site["fn"]) for site in random_sites(sites_of(pair.model, *batch)).values()]
    if not any(map(_members, cores)):
        raise NotApplicable("the model draws no features in turn (ppgen.distributions.autoregressive)")
    few = rows(batch, torch.arange(min(2, num_rows(batch)))) if all(map(torch.is_tensor, batch)) else batch
    named = {name: _double(value) for name, value in [*pair.named_parameters(), *pair.named_buffers()]}
    with isolated(), torch.no_grad(), swapped(pair, named):
        sites = random_sites(sites_of(pair.model, *map(_double, few)))
        valued = [(name, core_of(site["fn"]), site["value"]) for name, site in sites.items()]
        yield [(name, core, value) for name, core, value in valued if _members(core)]


@contextmanager
def _in_turn(pair: Pair, batch: Batch) -> Iterator[list[tuple[str, Conditionals, Tensor]]]:
    """The conditionals of :func:`_cores_in_turn`."""
    with _cores_in_turn(pair, batch) as found:
        yield [(name, one.conditionals, value) for name, core, value in found for one in _members(core)]


def _members(core: Any) -> list[Autoregressive]:
    return core.members if isinstance(core, OverOrders) else [core] if isinstance(core, Autoregressive) else []


def _double(value: Any) -> Any:
    return value.double() if torch.is_tensor(value) and value.is_floating_point() else value
