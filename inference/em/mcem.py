"""Monte Carlo EM: the model learns from latents that Markov chains bring to the posterior; the guide is not trained.

    E step    z_0 ~ q(z | x),   z_t ~ T(z_t | z_{t-1}),   T with the limit p(z | x)
    :mod:`ppgen.chains.posterior` M step    one step of   d/dtheta (1/K) sum_k log p(x, z_T^k)

By Fisher's identity d log p(x)/dtheta = E_{p(z | x)} d log p(x, z)/dtheta, so that at the chains' limit this is the
gradient of the evidence itself; after T transitions it is that of where they have come, and is declared biased. The
value is E log p(x, z_T), which bounds nothing: it lacks the entropy of z_T. Chains begin at the guide's draws, or with
``from_prior`` at the model's own, and not where they ended when a datum was last seen.

Continuous latents move by Hamiltonian Monte Carlo, whose step size follows the rate of acceptance; discrete latents by
one flip of a unit in each transition, so that many units want many transitions.

Wei, Tanner: A Monte Carlo Implementation of the EM Algorithm, JASA 1990. The baseline of Kingma, Welling:
Auto-Encoding Variational Bayes, ICLR 2014, appendix E (10 leapfrogs, step size tuned to 90 % acceptance).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from ppgen.arguments import Count, NonNegative, Positive
from ppgen.chains.posterior import LatentChains
from ppgen.errors import UsageError
from ppgen.objectives.bounds import Bound
from ppgen.objectives.objective import Scheduled
from ppgen.objectives.turns import AVERAGED, Outcome, State
from ppgen.pairs.rows import like_data
from ppgen.pairs.sampling import prior_latents
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles
from ppgen.registry import register_objective

__all__ = ["MCEM"]


@register_objective(
    "mcem",
    summary="Monte Carlo EM: the model learns from posterior chains (HMC, or flips of discrete units)",
    reference="Wei and Tanner, A Monte Carlo implementation of the EM algorithm",
    year=1990,
    link="https://doi.org/10.1080/01621459.1990.10474930",
    tags=("markov chain", "discrete", "biased"),
    tiny=lambda: MCEM(num_particles=2, num_transitions=2, num_leapfrogs=2),
)
@dataclass(frozen=True, kw_only=True)
class MCEM(Bound):
    """Monte Carlo EM with ``num_particles`` (K) chains for each datum.

    ``num_transitions`` (T), each of ``num_leapfrogs`` leapfrogs of size ``step_size``, which changes by
    exp(``adaptation`` * (rate of acceptance - ``acceptance``)) a step; 0 keeps it. ``from_prior``: where chains begin.

    State: ``step_size``, (). Metrics: ``log_joint``, the value; ``acceptance``, its rate.

    >>> import ppgen
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"))
    >>> run = ppgen.fit(pair, torch.randn(20, 3), MCEM(num_leapfrogs=2), steps=2, eager=True)
    >>> bool(pair.loc.any()), bool(pair.guide_loc.any())  # the model has learned, and the guide is where it was
    (True, False)
    """

    is_bound = False
    unbiased_gradient = False
    per_datum = True
    trains_guide = False
    splits_data = False  # the step size follows the whole batch
    shards = AVERAGED

    num_particles: Scheduled[Count] = 1
    num_transitions: Count = 1
    num_leapfrogs: Count = 10
    step_size: Positive = 0.1
    acceptance: Annotated[float, Gt(0), Lt(1)] = 0.9
    adaptation: NonNegative = 0.05
    from_prior: bool = False

    def initial_state(self, program: Program, batch: Batch) -> State:
        return {"step_size": torch.tensor(self.step_size).to(like_data(batch))}

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        particles = self.draw(program, batch)
        chains = LatentChains(particles, type(self).__name__)
        z = prior_latents(particles) if self.from_prior else chains.start()
        z, rates = chains.transitions(z, state["step_size"], self.num_leapfrogs, self.num_transitions)
        rate = rates.mean()
        outcome = self.outcome(run_particles(program, batch, self.total_particles, z), self.estimate)
        step_size = state["step_size"] * (self.adaptation * (rate - self.acceptance)).exp()
        metrics = {"log_joint": outcome.metrics["bound"], "acceptance": rate}
        return Outcome(outcome.loss, outcome.num_data, metrics, {"step_size": step_size})

    def estimate(self, particles: Particles) -> Tensor:
        """The mean of log p(x, z) over particles, (B,), in nats."""
        return particles.log_p.mean(0)

    def _check(self, particles: Particles) -> None:
        super()._check(particles)
        if not particles.latents:
            raise UsageError("MCEM moves the latents of data by chains, and the guide has none: use 'elbo'.")
        chains = LatentChains(particles, type(self).__name__)
        chains.transition(chains.start(), torch.tensor(self.step_size).to(particles.log_p), 1)
