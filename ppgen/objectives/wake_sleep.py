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
from dataclasses import dataclass, replace

from torch import Tensor

from ppgen.errors import UsageError
from ppgen.objectives.bounds import Estimator
from ppgen.objectives.objective import with_gradient_of
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.reductions import weighted_sum
from ppgen.pairs.sampling import check_dreamable, dreamt, without_path
from ppgen.pairs.tracing import Batch, Draw, Particles, Program
from ppgen.pairs.transformed import NO_INVERSE

__all__ = ["Dreamer"]


_DREAMS = 10
"""How many dreams a pair is checked by: whether one lies outside of the guide's support hangs on the draw."""


@dataclass(frozen=True, kw_only=True)
class Dreamer(Estimator):
    """Wake and sleep phases for ``bound``, whose value it has.

    To add one: 1. a file in ``inference/`` with a frozen dataclass; 2. write :attr:`phases`; 3. register it.
    """

    unbiased_gradient = False
    per_datum = True

    @property
    @abstractmethod
    def phases(self) -> tuple[float, float]:
        """How much of the guide's wake phase, and of its sleep phase."""

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        particles = self.draw(program, batch)
        outcome, (_, sleep) = self.outcome(particles, self.estimate), self.phases
        if not sleep:
            return outcome
        dreams = dreamt(particles, type(self).__name__).log_q.sum()
        return replace(outcome, loss=with_gradient_of(outcome.loss, outcome.loss - sleep * particles.scale * dreams))

    def drawn_by(self) -> Draw:
        return without_path

    def estimate(self, particles: Particles) -> Tensor:
        """The bound, (B,), with the gradient of the wake phase."""
        log_w, (wake, _) = particles.log_w.detach(), self.phases
        taught = particles.log_p + wake * particles.log_q  # (K, B)
        return with_gradient_of(self.reduction.reduce(log_w), weighted_sum(self.reduction.weights(log_w), taught))

    def _check(self, particles: Particles) -> None:
        super()._check(particles)
        if not self.phases[1]:
            return
        name = type(self).__name__
        check_dreamable(particles, name)
        try:
            for _ in range(_DREAMS):
                _ = dreamt(particles, name).log_q
        except NO_INVERSE as error:
            raise UsageError(
                f"{name} asks the guide for the probability of dreamt latents, and a transform of it has no inverse to "
                "tell it by: use one that has, or an objective without a sleep phase ('rws' with sleep=0)."
            ) from error
        except UsageError:
            raise
        except ValueError as error:  # torch's own, of a value outside a support
            raise UsageError(
                f"{name} asks the guide for the probability of dreamt latents, and some lie outside of what it draws "
                "from: use an objective without a sleep phase ('rws' with sleep=0)."
            ) from error
