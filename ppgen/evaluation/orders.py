"""The exact log-likelihood of an autoregressive model in each of its orders.

    log p(x) = log (1/M) sum_m p_m(x)  >=  (1/M) sum_m log p_m(x)

of pairs that observe a :class:`ppgen.distributions.orders.OverOrders`; the left is the log-likelihood of ``evaluate``.
A Deep and Tractable Density Estimator. Benigno Uria, Iain Murray and Hugo Larochelle, 2014, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ppgen.distributions.orders import OverOrders
from ppgen.distributions.wrappers import core_of
from ppgen.evaluation.case import Case
from ppgen.evaluation.result import Measure
from ppgen.pairs.looking import looking
from ppgen.pairs.reductions import standard_error
from ppgen.pairs.rows import take_rows
from ppgen.pairs.traces import sites_of
from ppgen.pairs.tracing import Batch

__all__ = ["of_orders"]

_ROWS = 1000
"""Data at a time."""


def of_orders(case: Case) -> Iterator[Measure]:
    """``log_likelihood_of_order_1`` and so on, and ``log_likelihood_of_orders``, of pairs with several orders."""
    if not case.pair.has_weights or case.local_latents or not _mixtures(case, case.first(2)):
        return
    starts = range(0, case.num_data, _ROWS) if case.divisible else [0]
    parts = [_of_each(case, take_rows(case.batch, slice(start, start + _ROWS))) for start in starts]
    each = torch.cat(parts, 1)  # (M, B)
    for number, values in enumerate(each, start=1):
        meaning = f"nats per datum, exact, in order or masks {number} of {len(each)}"
        yield Measure(f"log_likelihood_of_order_{number}", float(values.mean()), standard_error(values), meaning)
    mixture = each.logsumexp(0) - torch.tensor(len(each)).double().log()
    meaning = f"nats per datum, exact: the log of the mean of the probabilities of {len(each)} orders or masks"
    yield Measure("log_likelihood_of_orders", float(mixture.mean()), standard_error(mixture), meaning)


def _of_each(case: Case, batch: Batch) -> Tensor:
    """Of every order, (M, B), float64, nats, summed over the sites that have several."""
    with looking(case.pair):
        return torch.stack([core.log_probs(value).double() for core, value in _mixtures(case, batch)]).sum(0)


def _mixtures(case: Case, batch: Batch) -> list[tuple[OverOrders, Tensor]]:
    with looking(case.pair, case.seed):
        sites = sites_of(case.pair.model, *batch).values()
    found = [(core_of(site["fn"]), site["value"]) for site in sites if site["is_observed"]]
    return [(core, value) for core, value in found if isinstance(core, OverOrders)]
