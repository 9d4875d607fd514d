"""Generalized expectation maximization: responsibilities of all states, and an M step of gradient steps.

    E step    theta_0 = theta,          r_s(x) = p(z_s | x, theta_0)        of every joint state of a datum's latents
    M step    steps along the gradient of    Q(theta) = sum_n sum_s r_s(x_n) log p(x_n, z_s | theta)

for pairs whose latents can be summed and whose M step has no closed form, a gating network's for one; where it has, and
the steps are enough, it is ``em``. log p(x) rises by at least what Q rises (Dempster, Laird and Rubin 1977, theorem 1),
so that with steps small enough to raise Q, on all of the data, it never falls. At theta_0 the gradient of Q is that of
log p(x) (Fisher's identity): with one step in a turn it is gradient ascent on log p(x) itself.

Which latents are summed: those that the model marks for enumeration, and the discrete ones of the guide, which has no
other part here and learns nothing. The value is -log p(x), exact, at the theta_0 that a turn begins with. Each step of
a turn has a batch of its own, of which r is taken at theta_0: the state holds that, and no responsibilities.

Dempster, Laird, Rubin: Maximum Likelihood from Incomplete Data via the EM Algorithm, JRSS B 1977, section 3 (GEM).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ppgen.arguments import Count
from ppgen.errors import UsageError
from ppgen.objectives.discrete.enumeration import Enumeration
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import AVERAGED, Outcome, Player, State
from ppgen.pairs.joint_states import joint_states
from ppgen.pairs.parameters import isolated, owner_of_kind, swapped
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles
from ppgen.registry import register_objective

__all__ = ["GEM"]


@register_objective(
    "gem",
    summary="generalized EM: responsibilities of all states, and an M step of gradient steps",
    reference="Dempster, Laird and Rubin, Maximum likelihood from incomplete data via the EM algorithm",
    year=1977,
    link="https://doi.org/10.1111/j.2517-6161.1977.tb01600.x",
    tags=("exact", "discrete", "mixture"),
    tiny=lambda: GEM(gradient_steps=2),
)
@dataclass(frozen=True, kw_only=True)
class GEM(Objective):
    """Generalized EM with ``gradient_steps`` in each M step.

    State: ``old.*``, theta_0, by the pair's names. Metrics: ``bound``, log p(x).

    >>> import ppgen
    >>> pair = ppgen.models.GMM(ppgen.DataSpec("numbers", 1, "real"), 2)
    >>> pair.start_at(means=[[-1.0], [1.0]])
    >>> x = torch.tensor([[-3.0], [-2.0], [3.0], [4.0]])
    >>> run = ppgen.fit(pair, x, GEM(gradient_steps=10), steps=50, lr=0.05, progress=False, eager=True)
    >>> pair.means.detach().round(decimals=1).flatten()
    tensor([-2.5000,  3.5000])
    """

    trains_guide = False
    needs_density = True
    shards = AVERAGED  # theta_0 is the same on every rank

    gradient_steps: Count = 5

    def players(self) -> tuple[Player, ...]:
        return (Player("expect", owns=()), Player("maximise", steps=self.gradient_steps))

    def initial_state(self, program: Program, batch: Batch) -> State:
        return {f"old.{name}": value.detach().clone() for name, value in self._pair(program).named_parameters()}

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        states = self._states(program, batch)
        table, num_data = self._table(states), states.scale * states.log_p.shape[-1]  # (S, B)
        if player == "expect":
            evidence = table.logsumexp(0)
            metrics = {"bound": evidence.detach().mean()}
            return Outcome(-states.scale * evidence.sum(), num_data, metrics, self.initial_state(program, batch))
        old = {name.removeprefix("old."): value for name, value in state.items()}
        with torch.no_grad(), swapped(self._pair(program), old), isolated():
            responsibilities = self._table(self._states(program, batch)).softmax(0)
        expected = (responsibilities * table).sum()
        return Outcome(-states.scale * expected, num_data, {}, state)

    def _pair(self, program: Program) -> nn.Module:
        return owner_of_kind(program.model, nn.Module, "GEM trains a pair", "make one by ppgen.pair_from(model, guide)")

    def _states(self, program: Program, batch: Batch) -> Particles:
        """A particle of each joint state of the guide's latents; one, where it has none."""
        one = run_particles(program, batch, 1)
        return Enumeration.of(program, batch, "GEM").particles() if one.latents else one

    def _table(self, states: Particles) -> Tensor:
        """log p(x, z_s), (S, B)."""
        return joint_states(states, "GEM").flatten(0, 1)

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        one = run_particles(program, batch, 1)
        if one.outside is not None:
            names = ", ".join(map(repr, one.outside.latents)) or "an observed site"
            raise UsageError(
                f"GEM takes the states of each datum's latents, and {names} stands outside the data plate: move it "
                "inside, or take 'elbo'."
            )
        if not (one.summed or one.latents):
            raise UsageError("GEM sums over the states of latents, and the pair has none: take 'elbo', exact here.")
        table = self._table(self._states(program, batch))
        summed = table.logsumexp(0)
        if one.summed and not one.latents and not torch.allclose(summed, one.log_p[0], rtol=1e-4, atol=1e-4):
            raise UsageError(
                "GEM takes states by their probabilities, and some are scaled by poutine.scale: leave it off."
            )
