"""Local expectation gradients: the exact sum over the states of one unit at a time, the others as they were drawn.

For a unit d of a discrete site, with the probabilities q_s of its states s given what the guide drew before the site,

    grad E[f] = E [ grad f + sum_d sum_s (grad q_s) f(z with unit d at s) ],        f = log w

for one particle of the ELBO: each unit of a run is put at each of its states, and what comes of it is weighted as the
guide does. There is no noise from the unit itself, no score and no baseline, since sum_s grad q_s = 0; what remains is
the noise of the other units. A unit in which log w is the same has no gradient; for one unit it is ``enumerate``.

**Layers.** What the guide draws after the unit's site is drawn again by the noise of the run, from what the unit has
become (later reparameterized latents anew), so that it follows the law that f's mean is over. (The paper weighs the
states by the unit's Markov blanket instead, which needs the conditionals of all later layers; for one layer the two are
the same.) The gradient by a unit's logits is handed on to whatever they are made of.

**Bounds of K particles.** With A_k(b) = f_k(b) - v_k(b), the bound less particle k's weight in it at b in the place of
log w_k (:mod:`ppgen.objectives.discrete.score_function`), f above is A_k at the log-weight of particle k's unit at s.
Everything else of the gradient is that of the run.

For D units of C classes it costs K (1 + D (C - 1)) runs, which are one vectorized run, without gradients but in the
first: for latents of a few dozen units, whose joint states are too many to be summed. Bernoulli and one-hot categorical
latents.

Titsias, Lazaro-Gredilla: Local Expectation Gradients for Black Box Variational Inference, NeurIPS 2015, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.errors import UsageError, shown
from ppgen.objectives.bounds import BoundName
from ppgen.objectives.discrete.coupled_draws import Coupled, States
from ppgen.objectives.discrete.score_function import coefficient
from ppgen.objectives.objective import Scheduled, with_gradient_of
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.parameters import kept_buffers
from ppgen.pairs.sites import Site, per_datum
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles
from ppgen.registry import register_objective

__all__ = ["LocalExpectation"]


@register_objective(
    "local_expectation",
    summary="exact sum over the states of one unit at a time, the other units drawn",
    reference="Titsias and Lázaro-Gredilla, Local expectation gradients for black box variational inference",
    year=2015,
    link="https://arxiv.org/abs/1503.01494",
    tags=("estimator", "discrete"),
    tiny=lambda: LocalExpectation(),
)
@dataclass(frozen=True, kw_only=True)
class LocalExpectation(Coupled):
    """Local expectation gradients of ``bound`` with ``num_particles`` (K) runs.

    Raises:
        UsageError: when the pair is run: a latent without a reparameterized sample is neither Bernoulli nor
            OneHotCategorical, there is none, or it stands outside the data plate.

    >>> import ppgen
    >>> from ppgen.inference import Enumerate
    >>> pair, x = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(1,)), torch.ones(1, 3)
    >>> bias = pair.encoders[0].layers[-1].bias
    >>> losses = [objective(pair.model, pair.guide)(x) for objective in (LocalExpectation(), Enumerate())]
    >>> torch.testing.assert_close(*(torch.autograd.grad(loss, bias) for loss in losses))  # of a single unit
    """

    num_particles: Scheduled[Count] = 1
    bound: BoundName = "elbo"

    def _check(self, particles: Particles) -> None:
        super()._check(particles)
        for name in particles.scored:
            fn = particles.guide_sites[name]["fn"]
            if math.prod(fn.batch_shape) != particles.log_q.numel():
                raise UsageError(
                    f"{type(self).__name__} moves one unit of each datum at a time, but site {shown(name)} is in a "
                    f"further plate (batch shape {tuple(fn.batch_shape)}): make that dim an event by .to_event()."
                )

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        states = self.drawn_by()
        runs = self.draw(program, batch, states)
        outcome = self.outcome(runs, self.estimate)
        ascent = runs.scale * self._ascent(runs, states)
        return Outcome(with_gradient_of(outcome.loss, outcome.loss - ascent), outcome.num_data, outcome.metrics)

    def _ascent(self, runs: Particles, states: States) -> Tensor:
        """The sum over units and their states of q_s A(s): its gradient is that of the bound by the guide's logits."""
        own, moved = runs.log_w.detach(), _moved(runs)
        log_w = self._changed(runs, states, moved)  # by site, (M, K, B)
        total = own.new_zeros(())
        stays = coefficient(self.reduction, own, own)  # (K, B)
        for name, others in log_w.items():
            site = runs.guide_sites[name]
            odds = torch.stack([coefficient(self.reduction, own, other) for other in others]) - stays
            total = total + (odds * self._chances(site, moved[name], runs.plate)).sum()
        return total

    def _changed(self, runs: Particles, states: States, moved: Mapping[str, Tensor]) -> dict[str, Tensor]:
        sizes = [len(values) for values in moved.values()]
        program, num = runs.program, sum(sizes) * runs.num_particles
        with torch.no_grad(), kept_buffers(program.model, program.guide):
            log_w = run_particles(program, runs.batch, num, draw=_Changed(runs, states, moved)).log_w
        return dict(zip(moved, log_w.unflatten(0, (-1, runs.num_particles)).split(sizes), strict=True))

    def _chances(self, site: Site, moved: Tensor, plate: str | None) -> Tensor:
        """q_s of the unit that was moved, at where it is now, (M, K, B), with its gradient."""
        family = family_of(site, type(self).__name__)
        mean, shift = family.mean(site["fn"]), moved - site["value"]  # 1 or -1 where a unit has changed
        chance = torch.where(shift > 0, mean, 0.0)
        if family.binary:
            chance = chance + torch.where(shift < 0, 1 - mean, 0.0)
        return torch.stack([per_datum(site, plate, one).sum(-1) for one in chance])


def _moved(runs: Particles) -> dict[str, Tensor]:
    """By discrete site its values with one unit at another state, (M, K, ...): D (C - 1) of them."""
    sites = {name: runs.guide_sites[name] for name in runs.scored}
    return {name: family_of(site, "_moved").neighbours(site["fn"], site["value"]) for name, site in sites.items()}


@dataclass(frozen=True)
class _Changed:
    """Draws all runs with one unit changed, in the order of the sites and, for each, of ``moved``."""

    runs: Particles
    states: States
    moved: Mapping[str, Tensor]
    seen: list[str] = field(default_factory=list)

    def __call__(self, site: Site) -> Tensor:
        name, fn, drawn = site["name"], site["fn"], self.runs.guide_sites[site["name"]]["value"]
        every = sum(map(len, self.moved.values()))
        before = sum(len(self.moved[other]) for other in self.seen)
        if fn.has_rsample:
            own, anew = [], fn.rsample()
        else:
            self.seen.append(name)
            noise = torch.cat([self.states.noise[name]] * every)
            own, anew = [self.moved[name].flatten(0, 1)], self.states.state(family_of(site, name), fn, noise)
        after = every - before - sum(map(len, own)) // len(drawn)
        return torch.cat([anew[: before * len(drawn)], *own, *[drawn] * after])
