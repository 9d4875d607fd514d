"""Gibbs sampling: latents of all the data move by the pair's own conditionals; what is learned is their mean.

    z_s ~ T(z_s | z_{s-1}),        T with the limit p(z | x)
    theta = theta( (1 / S) sum_s s(z_s) ),        over the S sweeps after the first ``burn_in``

A training without a gradient: after each step the pair has the mean of what the sweeps have kept so far, and before
there is any the last sweep's.

For LDA the topics of single words are drawn. From p(theta) p(beta) prod_di theta_d,z_di beta_z_di,w_di, with the shares
theta integrated out, and in each sweep once

    beta_t | z              ~ Dirichlet(eta + n_t),                              n_tv: words v of topic t
    z_di | z_d without i, beta  proportional to  (alpha_t + n_dt) beta_t,w_di     n_dt: d's other words of topic t

both exact conditionals of p(z, beta | w): partially collapsed Gibbs sampling, whose z have the limit p(z | w), that of
the fully collapsed sampler. It draws beta where that integrates it out, too, and so can draw documents side by side.
Kept is n_tv, so that the pair's topics are the mean of E[beta | z_s] = (eta + n_t) / (V eta + n_t.), but for a change
of n_t. between sweeps; with ``learn_prior`` also log alpha, after one fixed-point step on the likelihood of n_dt,

    alpha_t <- alpha_t sum_d [psi(n_dt + alpha_t) - psi(alpha_t)] / sum_d [psi(n_d + alpha_0) - psi(alpha_0)]

which is stochastic EM, and its mean a stochastic approximation.

Finding scientific topics, Griffiths and Steyvers, PNAS 2004 (eq. 5, fully collapsed). Sparse partially collapsed MCMC
for parallel inference in topic models, Magnusson, Jonsson, Villani and Broman, 2018 (section 3). Estimating a Dirichlet
distribution, Minka, 2000 (eq. 55).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.errors import UsageError
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Outcome, Player, State
from ppgen.pairs.conditionals import conditional_pair
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import register_objective

__all__ = ["Gibbs"]

_KEPT = "kept."


@register_objective(
    "gibbs",
    summary="Gibbs sampling by the pair's conditionals: latents of all the data move, and no gradient is taken",
    reference="Griffiths and Steyvers, Finding scientific topics",
    year=2004,
    link="https://doi.org/10.1073/pnas.0307752101",
    tags=("markov chain", "topics"),
    tiny=lambda: Gibbs(burn_in=1),
)
@dataclass(frozen=True, kw_only=True)
class Gibbs(Objective):
    """Gibbs sampling, one sweep over all the data a step: a batch is all of them.

    Args:
        burn_in: sweeps of which nothing is kept.
        learn_prior: learn the parameters of the latents' prior, too, and not only what they tell of the data.

    State: z, by the pair's names; ``num_sweeps``, (); ``kept.*``, means of the pair's statistics. Metrics:
    ``log_predictive``, how well a datum is told by the rest of z, in nats; of held-out data, at the pair's parameters.

    >>> import ppgen, torch
    >>> x = torch.tensor([[3.0, 2.0, 0.0, 0.0], [0.0, 0.0, 2.0, 4.0]])
    >>> pair = ppgen.models.LDA(ppgen.DataSpec("words", 4, "counts", num_data=2), 2)
    >>> run = ppgen.fit(pair, x, Gibbs(burn_in=5), steps=20, batch_size=2, progress=False)
    >>> torch.allclose(pair.topics.sum(-1), torch.ones(2))
    True
    """

    is_bound = False
    unbiased_gradient = False
    measures_fit = False
    needs_conditionals = True
    whole_epochs = True

    burn_in: Count = 100
    learn_prior: bool = True

    def players(self) -> tuple[Player, ...]:
        return (Player("all", owns=()),)

    def initial_state(self, program: Program, batch: Batch) -> State:
        pair = conditional_pair(program.model, type(self).__name__)
        with torch.no_grad():
            state, kept = pair.gibbs_start(*batch)
        num_sweeps = torch.zeros((), dtype=torch.float64, device=batch[0].device)
        return {**state, **_named(kept), "num_sweeps": num_sweeps}

    @torch.no_grad()
    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        pair, size = conditional_pair(program.model, type(self).__name__), float(len(batch[0]))
        if not getattr(pair, "training", True):  # held-out data have no part in the chain
            value = pair.log_predictive(*batch).mean()
            return Outcome(-value * size, size, {"log_predictive": value}, state)
        now, latest, told = pair.gibbs_sweep(state, *batch, learn_prior=self.learn_prior)
        num_sweeps = state["num_sweeps"] + 1
        share = 1 / (num_sweeps - self.burn_in).clamp_min(1)  # of the latest in the mean: all of it until one is kept
        kept = {name: state[name] + share.to(value) * (value - state[name]) for name, value in _named(latest).items()}
        values = pair.gibbs_parameters({name: kept[_KEPT + name] for name in latest})
        metrics = {"log_predictive": told.mean()}
        return Outcome(-told.sum(), size, metrics, {**now, **kept, "num_sweeps": num_sweeps}, values)

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        pair = conditional_pair(program.model, type(self).__name__)
        size, shown = getattr(pair, "data_size", None), len(batch[0])
        if size is not None and shown != size:
            raise UsageError(
                f"Gibbs moves the latents of all {size} data of {type(pair).__name__} in a step, got a batch of "
                f"{shown}: train with batch_size={size}."
            )
        with torch.no_grad():
            pair.gibbs_start(*batch)


def _named(statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {_KEPT + name: value for name, value in statistics.items()}
