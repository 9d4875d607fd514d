"""What a set of K draws without replacement says of an expectation: weights of its states that leave no bias.

Let S be the set of the K draws and P_D(S) its probability where the domain is D. For a part T of S that is known,

    O(T) = P_{D - T}(S - T) / prod_{s in S - T} q(s)
         = sum over the orders s_1, s_2, .. of S - T of  prod_j 1 / q(D - T - {s_1, .., s_{j-1}}),

q not normalised anew where states are taken out of D. The leave-one-out ratio R and that of second order are

    q(s) R(S, s)         = q(s) P_{D - s}(S - s) / P_D(S)                   = O({s}) / O({})     = P(s first | S),
    q(t) R^{D - s}(S, t) = q(t) P_{D - s - t}(S - s - t) / P_{D - s}(S - s) = O({s, t}) / O({s}),

the last (1 - q(s)) P(t second | s first, S), and sum_s q(s) R(S, s) f(s) has the expectation of f (Murthy 1957).

**Numbers.** Up to 8 draws O is summed over subsets, the last draw first, at 2^K K / 2 terms:

    O(S) = 1,        O(T) = sum_{s in S - T} O(T + s) / q(D - T).

Beyond it is an integral: a clock of each state rings at the rate q(s), those of S before any of the others, of the mass
r = q(D - S), so that with a_s = q(s) / r

    P_{D - T}(S - T) = int_0^inf e^-t prod_{s in S - T} (1 - e^(-a_s t)) dt,

by the trapezoidal rule in y, t = exp(y - e^-y), whose step of 1/16 errs by 1e-10. In neither is anything subtracted:
q(s), r and a_s may be anything from 0 on, and q(D - T) = r + q(S - T), r being summed from what was not drawn.

Kool, van Hoof, Welling: Estimating Gradients for Discrete Random Variables by Sampling without Replacement, ICLR 2020,
sections 3 and 4, and the appendix on computing P(S), which has both. Murthy: Ordered and Unordered Estimators in
Sampling without Replacement, Sankhya 1957. Importance weights: Vieira, Estimating Means in a Finite Universe, 2017;
Duffield, Lund, Thorup: Priority Sampling, JACM 2007.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ppgen.objectives.discrete.without_replacement import Branches

__all__ = [
    "MOST_BY_SUBSETS",
    "Shares",
    "importance_shares",
    "orders_by_integral",
    "orders_by_subsets",
    "unordered_shares",
]

MOST_BY_SUBSETS = 8
"""Draws whose subsets are summed over; beyond it the integral is less work."""

_STEP = 1 / 16
"""Of the trapezoidal rule: with 1/10 it errs by 1e-9, with 1/20 by 1e-12."""

Orders: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""log O({}), (B,), log O({s}), (K, B), and log O({s, t}), (K, K, B), of states that have mass; its diagonal is free."""


@dataclass(frozen=True)
class Shares:
    """The weights of the states of a set in an expectation, and what they are where one state is known to be in it."""

    first: Tensor
    """W_s, (K, B): sum_s W_s f(s) has the expectation of f."""
    others: Tensor
    """V_st, (K, K, B), zero for s = t: q(s) f(s) + sum_t V_st f(t), over the sets that hold s, weighted by W_s / q(s),
    has it too; for f = 1: given s, sum_t V_st is 1 - q(s) in expectation."""

    def signal(self, f: Tensor) -> Tensor:
        """sum_t V_st (f(s) - f(t)), (K, B): given s, f(s) less E f in expectation, and zero where all f are equal."""
        return (self.others * (f[:, None] - f)).sum(1)


def unordered_shares(drawn: Branches) -> Shares:
    """W_s = q(s) R(S, s) and V_st = q(t) R^{D - s}(S, t)."""
    few = len(drawn.log_mass) <= MOST_BY_SUBSETS
    none, one, two = (orders_by_subsets if few else orders_by_integral)(drawn)
    return _shares(drawn, (one - none).exp(), (two - one[:, None]).exp())


def importance_shares(drawn: Branches) -> Shares:
    """W_s = q(s) / P(G_s > kappa) and V_st = W_t, kappa the greatest perturbed log-probability beyond the set.

    P(G_s > kappa) = 1 - exp(-e^(log q(s) - kappa)).
    """
    above = (drawn.log_mass - drawn.threshold).where(_is_drawn(drawn), math.inf)
    tiny = math.log(torch.finfo(above.dtype).eps)
    log_chance = torch.where(above < tiny, above, (-(-above.clamp_min(tiny).exp()).expm1()).log())
    first = (drawn.log_mass - log_chance).exp()
    return _shares(drawn, first, first.expand(len(first), *first.shape))


def orders_by_subsets(drawn: Branches) -> Orders:
    """O by its recursion over subsets, from the whole set down."""
    is_drawn, num = _is_drawn(drawn), len(drawn.log_mass)
    masses, rest = drawn.log_mass.double().exp(), drawn.log_rest.double().exp()
    smallest = torch.finfo(masses.dtype).tiny
    found = torch.zeros_like(rest)[None]  # log O of the subsets of one size, (subsets, B)
    tables = [found]
    for out, more, following in _subsets(num, str(rest.device)):
        left = (out.to(masses) @ masses + rest).clamp_min(smallest).log()  # q(D - T), (subsets, B)
        terms = found[following].where(is_drawn[more], -math.inf)  # (subsets, K - size, B)
        found = (terms.logsumexp(1) - left).where(is_drawn[more].any(1), 0.0)
        tables.append(found)
    none, one = tables[-1][0], tables[-2]
    pairs = torch.zeros(num, num, dtype=torch.long, device=rest.device)
    first, second = torch.triu_indices(num, num, 1, device=rest.device)
    pairs[first, second] = pairs[second, first] = torch.arange(len(first), device=rest.device)
    return _like(drawn, none, one, tables[-3][pairs])


@functools.lru_cache(maxsize=64)
def _subsets(num: int, device: str) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Of the subsets T of each size, from num - 1 down to 0: which states are not in it, (subsets, K), as 0 and 1;
    their numbers, (subsets, K - size); and the places of T with each of these among the subsets of the next size."""
    by_size = [list(itertools.combinations(range(num), size)) for size in range(num + 1)]
    found = []
    for size in range(num - 1, -1, -1):
        place = {subset: i for i, subset in enumerate(by_size[size + 1])}
        more = [[s for s in range(num) if s not in subset] for subset in by_size[size]]
        following = [[place[tuple(sorted((*t, s)))] for s in m] for t, m in zip(by_size[size], more, strict=True)]
        out = [[float(s in m) for s in range(num)] for m in more]
        made = [torch.tensor(table, device=device) for table in (out, more, following)]
        found.append((made[0], made[1], made[2]))
    return found


def orders_by_integral(drawn: Branches) -> Orders:
    """O(T) = int e^-t prod_{s not in T} c_s / max(q(s), r) dt, c_s = (1 - e^(-a_s t)) / min(a_s, 1)."""
    is_drawn, num = _is_drawn(drawn).T[..., None], len(drawn.log_mass)  # (B, K, 1)
    last = math.log(num + 50 + 12 * math.sqrt(num))  # beyond it e^-t t^K is nothing
    y = torch.arange(-3.5, last, _STEP, dtype=torch.float64, device=drawn.log_mass.device)  # (X,)
    t = (y - (-y).exp()).exp()
    log_weights = t.log() + (-y).exp().log1p() - t + math.log(_STEP)
    log_a = (drawn.log_mass - drawn.log_rest).double().T[..., None].clamp_min(-600.0)  # below, c_s = t
    a = log_a.where(is_drawn, math.inf).exp()
    factors = (-(-a * t).expm1() / a.clamp_max(1.0)).where(is_drawn, 1.0)  # (B, K, X)
    integrand = factors.log().sum(1) + log_weights
    top = integrand.amax(-1, keepdim=True)
    whole, inverse = (integrand - top).exp(), factors.reciprocal()
    without = inverse * whole[:, None]
    scale = torch.maximum(drawn.log_mass, drawn.log_rest).double().where(_is_drawn(drawn), 0.0)  # (K, B)
    none = whole.sum(-1).log() + top[..., 0] - scale.sum(0)
    one, two = without.sum(-1).log().T, (without @ inverse.mT).log().permute(1, 2, 0)
    base = top[..., 0] - scale.sum(0)
    return _like(drawn, none, one + base + scale, two + base + scale[:, None] + scale)


def _like(drawn: Branches, none: Tensor, one: Tensor, two: Tensor) -> Orders:
    return none.to(drawn.log_mass), one.to(drawn.log_mass), two.to(drawn.log_mass)


def _shares(drawn: Branches, first: Tensor, others: Tensor) -> Shares:
    """Those of states with mass, and between two of them."""
    is_drawn = _is_drawn(drawn)
    apart = ~torch.eye(len(first), dtype=torch.bool, device=first.device)[..., None]
    others = others.where(apart & is_drawn & is_drawn[:, None], 0.0)
    return Shares(first.where(is_drawn, 0.0), others)


def _is_drawn(drawn: Branches) -> Tensor:
    """Which of the K have mass, (K, B): all but where there are fewer states."""
    return drawn.log_mass > -math.inf
