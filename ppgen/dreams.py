"""Wake-sleep: the model learns from what the guide infers of data, the guide from what the model dreams.

With particles z_k ~ q(z | x) and normalised weights v_k = d f / d log w_k of a bound f, the *wake* phase ascends

    model:   sum_k v_k grad log p(x, z_k)               the bound's own gradient, unbiased
    guide:   sum_k v_k grad log q(z_k | x)              descends KL(p(z | x) || q), estimated by self-normalised weights

and the *sleep* phase, at a dream (x', z') ~ p(x, z) for each datum of the batch,

    guide:   grad log q(z' | x')                        descends E_p(x') KL(p(z | x') || q), unbiased for it.

The guide's two phases descend the other divergence than the bound does, KL(p || q) for KL(q || p): they agree on where
it is zero. So the guide's gradient is not the bound's, and is declared biased. It needs no path through a latent and no
baseline, and it does not weaken as K grows.

Each phase is cut off from the parameters of the other: latents are held fixed in the wake phase, dreams in the sleep
phase. One loss therefore holds all of it, and one optimizer takes the step of both; parameters that model and guide
share get the sum. Weights are normalised for each datum by itself: log-weights summed over a batch first are those of
one joint latent, and all but one particle vanish.

Hinton, Dayan, Frey, Neal: The Wake-Sleep Algorithm for Unsupervised Neural Networks, Science 1995; Bornschein, Bengio:
Reweighted Wake-Sleep, ICLR 2015, section 2.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from pyro import poutine
from torch import Tensor

from ppgen.errors import UsageError, shown
from ppgen.objective import Estimator, Outcome, State, with_gradient_of
from ppgen.reductions import weighted_sum
from ppgen.sites import Site, is_latent
from ppgen.tracing import Batch, Particles, Program, run_particles

__all__ = ["Dreamer", "dreamt", "prior_latents"]


@dataclass(frozen=True, kw_only=True)
class Dreamer(Estimator):
    """Wake and sleep phases for ``bound``, whose value it has.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :attr:`phases`; 3. register it.
    """

    unbiased_gradient: ClassVar[bool] = False
    per_datum: ClassVar[bool] = True

    @property
    @abstractmethod
    def phases(self) -> tuple[float, float]:
        """How much of the guide's wake phase, and of its sleep phase."""

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        particles = self.draw(program, batch, _without_path)
        outcome, (_, sleep) = self.outcome(particles, self.estimate), self.phases
        if not sleep:
            return outcome
        _check_dreamable(particles, type(self).__name__)
        try:
            dreams = dreamt(particles, type(self).__name__).log_q.sum()
        except KeyError as error:
            raise UsageError(
                f"{type(self).__name__} asks the guide for the probability of dreamt latents, and a transform of it "
                "has no inverse to tell it by: use one that has, or an objective without a sleep phase ('rws' with "
                "sleep=0)."
            ) from error
        return replace(outcome, loss=with_gradient_of(outcome.loss, outcome.loss - sleep * particles.scale * dreams))

    def estimate(self, particles: Particles) -> Tensor:
        """The bound, (B,), with the gradient of the wake phase."""
        log_w, (wake, _) = particles.log_w.detach(), self.phases
        taught = particles.log_p + wake * particles.log_q  # (K, B)
        return with_gradient_of(self.reduction.reduce(log_w), weighted_sum(self.reduction.weights(log_w), taught))


def _check_dreamable(particles: Particles, needed_by: str) -> None:
    """The guide draws each latent by itself: it can be asked for the probability of latents that it did not draw."""
    made_of = [n for n, s in particles.guide_sites.items() if s["infer"].get("is_auxiliary") and not s["is_observed"]]
    if any(particles.guide_sites[name]["mask"] is not False for name in made_of):
        raise UsageError(
            f"{needed_by} asks the guide for the probability of dreamt latents, and it makes them of auxiliary site "
            f"{shown(made_of[0])}, which a dream has not: use a guide that draws each latent by itself, or an "
            "objective without a sleep phase ('rws' with sleep=0)."
        )


def dreamt(particles: Particles, needed_by: str) -> Particles:
    """(x', z') ~ p(x, z), one for each datum, as one particle at the batch x': its ``log_q`` is log q(z' | x'), (1, B).

    No gradient flows into the dream. What the batch holds beside x (labels) stays as it is.

    Raises:
        UsageError: the model observes what the batch does not hold as it is, so that the guide cannot be shown a dream.
    """
    batch, places = particles.batch, _places(particles.model_sites, particles.batch, needed_by)
    drawn = _sampled(particles, 1)
    dream = list(batch)
    for place, name in places.items():
        dream[place] = drawn[name].reshape(batch[place].shape)
    return run_particles(particles.program, tuple(dream), 1, {name: drawn[name] for name in _latents(particles)})


def prior_latents(particles: Particles) -> dict[str, Tensor]:
    """z ~ p(z), as many as there are particles, by site name, (K, B, ...), without gradients."""
    drawn = _sampled(particles, particles.num_particles)
    return {name: drawn[name] for name in _latents(particles)}


def _latents(particles: Particles) -> list[str]:
    return [name for name, site in particles.model_sites.items() if is_latent(site)]


def _sampled(particles: Particles, num: int) -> dict[str, Tensor]:
    """What ``num`` runs of the model with nothing observed draw at its sites, (num, ..., B, ...).

    Latents outside the data plate stay where the first ``num`` particles have them.
    """
    runner = particles.runner.anew(num)
    with torch.no_grad():
        sites = runner.at(poutine.uncondition(particles.program.model), _outside(particles, num))
    return {name: torch.as_tensor(sites[name]["value"]) for name in particles.model_sites}


def _outside(particles: Particles, num: int) -> dict[str, Tensor]:
    names = [] if particles.outside is None else particles.outside.latents
    return {name: particles.guide_sites[name]["value"][:num].detach() for name in names}


def _places(sites: Mapping[str, Site], batch: Batch, needed_by: str) -> dict[int, str]:
    """Which tensor of the batch each observed site observes."""
    found = {}
    for name, site in sites.items():
        if site["is_observed"] and not site["infer"].get("is_auxiliary", False):
            place = next((i for i, part in enumerate(batch) if part is site["value"]), None)
            if place is None:
                raise UsageError(
                    f"{needed_by} shows the guide what the model dreams, and site {shown(name)} observes a tensor "
                    "that is not one of the batch's own: observe a tensor of the batch as it is, or use an objective "
                    "without a sleep phase ('rws' with sleep=0)."
                )
            found[place] = name
    if not found:
        raise UsageError(
            f"{needed_by} shows the guide what the model dreams, and the model observes nothing: use an objective "
            "without a sleep phase ('rws' with sleep=0)."
        )
    return found


def _without_path(site: Any) -> Tensor | None:
    """A sample without a gradient, where the distribution's own would have one."""
    sample: Tensor | None = site["fn"].sample() if site["fn"].has_rsample else None
    return sample
