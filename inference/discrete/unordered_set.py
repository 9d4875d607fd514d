"""The unordered set estimator: K joint states drawn without replacement, weighted by what their order says no more of.

Let S be K distinct states of a datum's discrete latents, drawn without replacement from q(z | x), P_D(S) the
probability of this set, D all states, and f = log w. With the leave-one-out ratio and that of second order,

    R(S, s) = P_{D - s}(S - s) / P_D(S),        R^{D - s}(S, t) = P_{D - s - t}(S - s - t) / P_{D - s}(S - s)  (t != s),

and R^{D - s}(S, s) = 1,

    ELBO = E f = E sum_{s in S} q(s) R(S, s) f(s),                                                                  (1)

    grad ELBO = E sum_{s in S} [ grad q(s) R(S, s) (f(s) - b_s) + q(s) R(S, s) grad f(s) ],                         (2)

    b_s = sum_{t in S} q(t) R^{D - s}(S, t) f(t),

unbiased in value and gradient. q(s) R(S, s) is the probability that s was drawn first, given the set: (1) averages the
first draw over all orders of the set, which no other function of the set with that expectation can better. b_s is what
(1) says of E f by s, which is known, and the draws from the other states: it has the expectation E f whatever s, and
sum_s grad q(s) = 0. In (2) grad f leaves out grad log q(z | x), of the same expectation zero, so that at the exact
posterior, where f is the same in all states, the guide's gradient has no noise.

Where there are no more than K states it is the exact gradient of ``enumerate``; where none is likely to be drawn twice,
(2) is REINFORCE with leave-one-out. Its noise is below that one's, the more so the more of q's mass K states hold: no
draw is spent on a state that is known.

``estimator="importance"``: the importance-weighted estimator of sampling without replacement instead. With kappa the
(K + 1)-th greatest perturbed log-probability, q(s) R(S, s) becomes W_s = q(s) / P(G_s > kappa), in b_s too for t != s.
Unbiased. W_s do not sum to one, so that a constant in log w is noise of the value. Neither do the terms of b_s, where
f(s) is taken for what they lack of it, of mean zero given s: a constant is no noise of the gradient.

**Domain.** Bernoulli, one-hot and categorical latents, in any number of units and sites: states are not listed but
found by their greatest perturbed log-probabilities (:mod:`ppgen.objectives.discrete.without_replacement`), and P_D(S)
needs those of S alone (:mod:`ppgen.objectives.discrete.unordered`). The guide is run once for each discrete site beside
the K particles. Reparameterized latents after the discrete ones are drawn for each state, those before a discrete site
once for all states that go on from there, whose noise more states do not average: there leave-one-out, with K draws of
them, is below. The gradient is pathwise through them. The bound is the ELBO, a mean over
states; R is no weight for a function of several.

Kool, van Hoof, Welling: Estimating Gradients for Discrete Random Variables by Sampling without Replacement, ICLR 2020,
sections 3 (R and the estimator) and 4 (built-in control variate, importance weights).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.bounds import BoundName, Estimator
from ppgen.objectives.discrete.enumeration import check_local
from ppgen.objectives.discrete.unordered import Shares, importance_shares, unordered_shares
from ppgen.objectives.discrete.without_replacement import distinct_states
from ppgen.objectives.objective import Scheduled, with_gradient_of
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.tracing import Batch, Particles, Program
from ppgen.registry import register_objective

__all__ = ["UnorderedSet"]


@register_objective(
    "unordered_set",
    summary="distinct states drawn without replacement, averaged over the orders of their draws",
    reference="Kool, van Hoof and Welling, Estimating gradients for discrete random variables by sampling without "
    "replacement",
    year=2020,
    link="https://arxiv.org/abs/2002.06043",
    tags=("estimator", "score function", "discrete"),
    tiny=lambda: UnorderedSet(),
)
@dataclass(frozen=True, kw_only=True)
class UnorderedSet(Estimator):
    """The unordered set gradient of the ELBO with ``num_particles`` (K >= 2) distinct states.

    ``estimator``: ``"unordered"`` or ``"importance"``; see the module.

    Raises:
        UsageError: the bound is no mean of log-weights; when the pair is run: a latent without a reparameterized sample
            is no Bernoulli, OneHotCategorical or Categorical, there is none, or it stands outside the data plate.

    >>> import ppgen, torch
    >>> from ppgen.inference import Enumerate
    >>> pair, x = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(2,)), torch.ones(1, 3)
    >>> bias = pair.encoders[0].layers[-1].bias
    >>> losses = [one(pair.model, pair.guide)(x) for one in (UnorderedSet(num_particles=4), Enumerate())]
    >>> torch.testing.assert_close(*(torch.autograd.grad(loss, bias) for loss in losses))  # of all four states
    """

    needs_discrete = True
    needs_states = True
    per_datum = True
    needs_mean = "UnorderedSet"
    min_particles = 2

    num_particles: Scheduled[Count] = 4
    bound: BoundName = "elbo"
    estimator: Literal["unordered", "importance"] = "unordered"

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        particles, drawn = distinct_states(program, batch, self.total_particles, type(self).__name__)
        shares = (unordered_shares if self.estimator == "unordered" else importance_shares)(drawn)
        return self.outcome(particles, functools.partial(self.weighted, shares=shares))

    def weighted(self, particles: Particles, shares: Shares) -> Tensor:
        """(1), (B,), with the gradient (2)."""
        is_drawn = shares.first > 0
        log_w, score = particles.log_w, particles.log_q_of(particles.scored)  # (K, B)
        signal = shares.signal(log_w.detach().where(is_drawn, 0.0))
        log_w = with_gradient_of(log_w, log_w + (1 + signal) * score)
        return (shares.first * log_w.where(is_drawn, 0.0)).sum(0)

    def _check(self, particles: Particles) -> None:
        super()._check(particles)
        check_local(particles, type(self).__name__)
        for name in particles.scored:
            family_of(particles.guide_sites[name], type(self).__name__)
