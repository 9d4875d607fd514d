"""Markovian score climbing: the guide climbs its score at posterior draws that a chain keeps from step to step.

Each datum has a state z, which a kernel of S particles moves: conditional importance sampling (iterated
sampling-importance-resampling),

    z^1 = z,    z^2, ..., z^S ~ q(z | x),    w_i = p(x, z^i) / q(z^i | x),    z <- z^J,   J = i with chance w~_i,

whose limit is p(z | x) at any S >= 2, also while it is *used* by the guide that it teaches. Both players follow its
particles, weighted,

    guide:   sum_i w~_i d log q(z^i | x)/dphi        descends KL(p(z | x) || q)
    model:   sum_i w~_i d log p(x, z^i)/dtheta       ascends log p(x), by Fisher's identity

and if z is a draw of the posterior, these are without bias at every S: E sum_i w~_i f(z^i) = E_{p(z | x)} f. (``rws``
with ``sleep=0`` has the same sums without the state, and a bias of order 1/S for ever.) The bias that is left is that
of a chain that has not come to its limit; it vanishes as steps go on, for steps of the parameters that become small,
and is declared. The value is the importance-weighted bound of the S - 1 fresh particles. No latent needs a
reparameterized sample.

The state is that of all the data, in their order: a batch is all of them. Held-out data, and Pyro's own loops, which
keep no state, begin at a draw of the guide, where it is the wake phase of ``rws``.

Naesseth, Lindsten, Blei: Markovian Score Climbing: Variational Inference with KL(p || q), NeurIPS 2020, algorithms 1
and 2 (the kernel and the climb). There the guide's score is taken at z^J alone; the sum over particles is its mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.errors import UsageError
from ppgen.objectives.bounds import Bound
from ppgen.objectives.objective import with_gradient_of
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.parameters import owner
from ppgen.pairs.reductions import log_mean_exp, weighted_sum
from ppgen.pairs.sites import side_axis
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles
from ppgen.registry import register_objective

__all__ = ["MarkovianScoreClimbing"]


@register_objective(
    "markovian_score_climbing",
    summary="KL(p || q) for the guide at posterior draws that a chain of each datum keeps from step to step",
    reference="Naesseth, Lindsten and Blei, Markovian score climbing",
    year=2020,
    link="https://arxiv.org/abs/2003.10374",
    tags=("markov chain", "discrete", "biased"),
    tiny=lambda: MarkovianScoreClimbing(num_particles=3),
)
@dataclass(frozen=True, kw_only=True)
class MarkovianScoreClimbing(Bound):
    """Conditional importance sampling of ``num_particles`` (S >= 2) particles, the state of each datum among them.

    State: ``z.NAME`` of each latent, (1, B, ...), B all the data.

    Raises:
        UsageError: when the pair is run: a batch is not all the data, the guide has no latents, or one of them stands
            outside the data plate.

    >>> import ppgen, torch
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real", num_data=20))
    >>> objective = MarkovianScoreClimbing(num_particles=4)
    >>> run = ppgen.fit(pair, torch.randn(20, 3), objective, steps=2, batch_size=20, eager=True, progress=False)
    >>> bool(pair.loc.any() and pair.guide_loc.any())
    True
    """

    unbiased_gradient = False
    per_datum = True
    splits_data = False  # the state is that of the whole batch
    whole_epochs = True
    min_particles = 2

    num_particles: Count = 10

    def initial_state(self, program: Program, batch: Batch) -> State:
        with torch.no_grad():
            drawn = _values(run_particles(program, batch, 2))
        return {f"z.{name}": value[:1] for name, value in drawn.items()}

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        begins = not getattr(owner(program.model), "training", True)  # held-out data have no part in the chain
        with torch.no_grad():
            values = _values(self.draw(program, batch))
        first = {n: value[:1] if begins else state[f"z.{n}"] for n, value in values.items()}
        given = {name: torch.cat([first[name], value[1:]]) for name, value in values.items()}
        particles = run_particles(program, batch, self.total_particles, given)
        outcome = self.outcome(particles, self.estimate)
        return replace(outcome, state=state if begins else _moved(particles, given))

    def estimate(self, particles: Particles) -> Tensor:
        """The bound of all particles but the first, (B,), in nats, with the gradient of the chain's weighted scores."""
        log_w = particles.log_w.detach()
        taught = weighted_sum(log_w.softmax(0), particles.log_p + particles.log_q)
        return with_gradient_of(log_mean_exp(log_w[1:]), taught)

    def _check(self, particles: Particles) -> None:
        super()._check(particles)
        name, size = type(self).__name__, particles.log_w.shape[1]
        if not particles.latents or particles.made_of:
            raise UsageError(f"{name} moves the guide's latents by chains, and it draws none of its own: use 'elbo'.")
        if particles.scale != 1:
            total = round(particles.scale * size)
            raise UsageError(
                f"{name} keeps the latents of each of {total} data from step to step, got a batch of {size}: train "
                f"with batch_size={total}, or with 'rws', which keeps none."
            )


def _values(particles: Particles) -> dict[str, Tensor]:
    return {name: particles.guide_sites[name]["value"].detach() for name in particles.latents}


def _moved(particles: Particles, given: dict[str, Tensor]) -> State:
    """Of each datum one of its particles, with the chance of its weight."""
    log_w = particles.log_w.detach()
    chosen = (log_w - torch.empty_like(log_w).exponential_().log()).argmax(0)  # (B,), by Gumbel's noise
    state = {}
    for name, value in given.items():
        shape = [1] * value.dim()
        axis = side_axis(particles.guide_sites[name], particles.plate, value)
        if axis is not None:
            shape[axis] = len(chosen)
        state[f"z.{name}"] = value.take_along_dim(chosen.reshape(shape), 0)
    return state
