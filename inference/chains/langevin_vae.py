"""A VAE whose model learns at latents that Langevin steps have brought nearer to the posterior than the guide's draws.

The guide q(z | x; phi) is trained by the evidence bound, and its draws start T Metropolis-adjusted Langevin steps at
the posterior, in unconstrained coordinates u (:mod:`ppgen.chains.posterior`), with the pair held fixed,

    u' = u + e^2/2 d log p(u, x)/du + e N(0, I),      accepted with probability min(1, p(u', x) q(u | u')
                                                                                       / p(u, x) q(u' | u)),

a Hamiltonian move of one leapfrog. Where they end the model learns:

    phi:    d/dphi E[log p(x, z_0) - log q(z_0 | x)],       z_0 ~ q(z | x), pathwise
    theta:  E d/dtheta log p(x, z_T)

By Fisher's identity d log p(x)/dtheta = E_{p(z | x)} d log p(x, z)/dtheta: theta's gradient is that of the evidence at
the chains' limit, however poor the guide is, and that of the evidence bound at T = 0. In between it is the gradient of
no function, so it counts as biased. The value is the evidence bound at z_0, a lower bound at every T: it says how far
the guide is, and may fall while log p(x) rises, since the model is no longer held to posteriors that the guide can
meet. ``mcem`` is the same without training the guide.

Step sizes follow the rate of acceptance, towards 0.574, where the algorithm is the fastest in high dimensions.

Hoffman: Learning Deep Latent Gaussian Models with Markov Chain Monte Carlo, ICML 2017, section 2 and algorithm 1, with
one leapfrog a move. (Taniguchi, Iwasawa, Kumagai, Matsuo: Langevin Autoencoders, NeurIPS 2022, run the chain on the
guide's parameters instead.) Roberts, Rosenthal: Optimal Scaling of Discrete Approximations to Langevin Diffusions,
JRSS B 1998.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from ppgen.arguments import Count, NonNegative, Positive
from ppgen.chains.posterior import LatentChains
from ppgen.errors import UsageError
from ppgen.objectives.bounds import Bound
from ppgen.objectives.objective import Scheduled, with_gradient_of
from ppgen.objectives.turns import AVERAGED, Outcome, State
from ppgen.pairs.rows import like_data
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles
from ppgen.registry import register_objective

__all__ = ["LangevinVAE"]


@register_objective(
    "langevin_vae",
    summary="the guide by the evidence bound, the model where Langevin steps take the guide's draws",
    reference="Hoffman, Learning deep latent Gaussian models with Markov chain Monte Carlo",
    year=2017,
    link="https://proceedings.mlr.press/v70/hoffman17a.html",
    tags=("bound", "markov chain", "biased"),
    tiny=lambda: LangevinVAE(num_particles=2, num_steps=2),
)
@dataclass(frozen=True, kw_only=True)
class LangevinVAE(Bound):
    """``num_steps`` (T) Langevin steps from each of ``num_particles`` draws of the guide.

    ``step_size`` (e) changes by exp(``adaptation`` * (rate of acceptance - ``acceptance``)) a step; 0 keeps it.

    State: ``step_size``, (). Metrics: ``bound``, at the guide's draws; ``acceptance``, its rate.

    >>> import ppgen
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"))
    >>> run = ppgen.fit(pair, torch.randn(20, 3), LangevinVAE(num_steps=2), steps=2, eager=True)
    >>> bool(pair.loc.any()), bool(pair.guide_loc.any())  # both have learned
    (True, True)
    """

    unbiased_gradient = False
    needs_rsample = True
    per_datum = True
    splits_data = False  # the step size follows the whole batch
    shards = AVERAGED

    num_particles: Scheduled[Count] = 1
    num_steps: Annotated[int, Ge(0)] = 10
    step_size: Positive = 0.1
    acceptance: Annotated[float, Gt(0), Lt(1)] = 0.574
    adaptation: NonNegative = 0.05

    def initial_state(self, program: Program, batch: Batch) -> State:
        return {"step_size": torch.tensor(self.step_size).to(like_data(batch))}

    def estimate(self, particles: Particles) -> Tensor:
        return self._moved(particles, torch.tensor(self.step_size).to(particles.log_p))[0]

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        particles, rates = self.draw(program, batch), []

        def estimate(particles: Particles) -> Tensor:
            value, rate = self._moved(particles, state["step_size"])
            rates.append(rate)
            return value

        outcome = self.outcome(particles, estimate)
        step_size = state["step_size"] * (self.adaptation * (rates[0] - self.acceptance)).exp()
        return replace(outcome, metrics={**outcome.metrics, "acceptance": rates[0]}, state={"step_size": step_size})

    def _moved(self, particles: Particles, step_size: Tensor) -> tuple[Tensor, Tensor]:
        """The bound at the guide's draws, (B,), with both gradients, and the rate of acceptance, ()."""
        chains = LatentChains(particles, type(self).__name__)
        z, rate = chains.start(), step_size.new_tensor(self.acceptance)
        if self.num_steps:
            z, rates = chains.transitions(z, step_size, 1, self.num_steps)
            rate = rates.mean()
        at_end = run_particles(particles.program, particles.batch, particles.num_particles, z)
        value, for_guide = particles.log_w, particles.with_fixed(model=True).log_w  # (K, B)
        return with_gradient_of(value.mean(0), (for_guide + at_end.log_p).mean(0)), rate

    def _check(self, particles: Particles) -> None:
        super()._check(particles)
        if not particles.latents:
            raise UsageError("LangevinVAE moves the latents of each datum, and the guide has none: use 'elbo'.")
        self.estimate(particles)
