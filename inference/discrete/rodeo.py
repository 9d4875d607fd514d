"""RODEO: leave-one-out, with control variates that a discrete Stein operator makes of surrogates of log w.

A_u draws unit u of the latents anew, given the others, and takes off what was: A_u h = E_u h - h, A = sum_u A_u. Under
the guide both have mean zero, whatever the function h (:mod:`ppgen.objectives.discrete.stein_operators`). For one layer
and the ELBO, with K >= 2, and the score s_u(z) = grad log q(z_u),

    grad = (1/K) sum_k grad log w_k
         + (1/K) sum_k sum_u [ log w_k  -  (1 / (K - 1)) sum_{j != k} (log w_j + c (A h_j)(z_j)) ] s_u(z_k)
         + (1/K) sum_k sum_u A_u(g_k s_u)(z_k),              A_u(g s_u)(z) = E_u[g s_u] - g(z) s_u(z).

The *surrogates* h_k and g_k of log w see the other particles, and not z_k. Unbiased at any of them: given all but z_j,
of which h_j and s_u(z_k) are made, A h_j has mean zero; given all but z_k, A_u(g_k s_u) has. The first takes noise off
the baseline; the second takes g_k off log w_k, and gives back what that takes off the expectation. Here

    h_k(y) = eta T_k(y) + r(b_k, T_k(y)),    b_k = (1 / (K - 1)) sum_{j != k} log w_j,
    T_k(y) = (1 / (K - 1)) sum_{j != k} G_j . (y - z_j),    G_j = d log w_j / d z_j (as in ``double_cv``),

and g_k is the like, with an eta and an r of its own. The neighbours of z_k are numbers T_k that r, a network, reads: it
costs no further run. r begins at zero, eta at 1 and c at 0: for K = 2 and one layer that is ``double_cv``, which has no
noise in the guide's gradient where log w is linear in z. All of it learns by descending |sum_k G_k|^2 for each datum,
G_k the gradient by particle k's natural parameters (:mod:`ppgen.objectives.discrete.learned_controls`).

The paper has A in the place of A_u. Its further terms, A_v(g s_u) = s_u A_v g for v != u, are noise that no eta makes
of the right size together with A_u(g s_u), where log w is linear (learned, 0.0037 in the place of 0.0026 below). And it
takes the mean over j of what r gives; here it is of what r reads, one evaluation in the place of K - 1.

**Layers.** A site's operators are given what the guide drew before it, and its T_k has the terms of the sites up to it.
The coefficient of site i gets (A h_k,m)(z_k,m) of the later sites m > i of its own particle too, whose mean is zero
given z_k,i; those of the other particles are taken off with c_i,m, which begins at 1 for m > i.

**Bounds of K particles.** With f_k and v_k,k as in :mod:`ppgen.objectives.discrete.score_function`, log w_k - b_k is
f - f_k - (v_k - v_k,k), and particle k's control variates have the weight d (f_k - v_k,k) / d b_k, which does not see
z_k either; for the ELBO 1/K. Reparameterized latents beside: as there. Bernoulli and one-hot categorical latents.

(Variances of the guide's gradient at K = 2, learned for 300 steps: 0.0026 on a belief network of two units, where
``double_cv`` has 0.09 and leaving one out 1.02; 0.8 against 16 and 3.2 with two units of three classes that move the
mean of a normal x.)

Shi, Zhou, Hwang, Titsias, Mackey: Gradient Estimation with Discrete Stein Operators, NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ppgen.arguments import Count, NonNegative, Sizes
from ppgen.layers.networks import MLP
from ppgen.objectives.discrete.baselines import LeaveOneOut
from ppgen.objectives.discrete.coupled_draws import Movable, States, slopes_of
from ppgen.objectives.discrete.learned_controls import LearnedControl
from ppgen.objectives.discrete.score_function import coefficient, own_slope
from ppgen.objectives.discrete.stein_operators import GibbsOperator
from ppgen.objectives.turns import State
from ppgen.pairs.latents import side_by_side
from ppgen.pairs.tracing import Batch, Draw, Particles, Program
from ppgen.registry import register_objective

__all__ = ["RODEO"]


@register_objective(
    "rodeo",
    summary="leave-one-out, with control variates by a discrete Stein operator, which learn",
    reference="Shi et al., Gradient estimation with discrete Stein operators",
    year=2022,
    link="https://arxiv.org/abs/2202.09497",
    tags=("estimator", "score function", "discrete"),
    tiny=lambda: RODEO(hidden=(4,)),
)
@dataclass(frozen=True, kw_only=True)
class RODEO(LearnedControl):
    """RODEO for ``bound`` with ``num_particles`` (K >= 2) particles.

    ``eta``: where both begin; ``hidden``: sizes of the tanh layers of the networks, ``()`` for linear ones.

    >>> import ppgen
    >>> pair = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(4, 2))
    >>> own = RODEO().parameters(pair, (torch.zeros(5, 3),))
    >>> own.others  # c, of the sites in one another's coefficients
    Parameter containing:
    tensor([[0., 1.],
            [0., 0.]], requires_grad=True)
    """

    min_particles = 2

    num_particles: Count = 2
    eta: NonNegative = 1.0
    hidden: Sizes = (10,)

    def drawn_by(self) -> Movable:
        return Movable(type(self).__name__)

    def draw(self, program: Program, batch: Batch, draw: Draw | None = None) -> Particles:
        with torch.enable_grad():
            return super().draw(program, batch, draw)

    def control(self, particles: Particles) -> Surrogates:
        return Surrogates(particles.log_w.detach(), len(particles.scored), self.eta, self.hidden)

    def gradients(
        self, particles: Particles, states: States, control: Surrogates, batch: Batch, state: State
    ) -> tuple[dict[str, Tensor], State]:
        log_w, bound = particles.log_w.detach(), self.reduction
        level = LeaveOneOut().predict(log_w, batch, None, state)  # b, (K, B)
        signal = coefficient(bound, log_w, log_w) - coefficient(bound, log_w, level)
        weight, made = own_slope(bound, log_w, level), self._made(particles, control, level)
        images = torch.stack([one.image for one in made])  # (L, K, B)
        found = {}
        for i, (name, one) in enumerate(zip(particles.scored, made, strict=True)):
            of_others = _others(weight * torch.tensordot(control.others[i], images, 1))
            kept = signal - of_others + weight * (images[i + 1 :].sum(0) - one.taken)  # (K, B)
            found[name] = kept[..., None] * states.score(particles, name) + weight[..., None] * one.given_back
        return found, state

    def noise(self, gradient: Tensor) -> Tensor:
        """|sum_k G_k|^2, of each datum: the variance by natural parameters that the particles have in common."""
        return gradient.sum(0).square().sum()

    def _made(self, particles: Particles, control: Surrogates, level: Tensor) -> list[_Made]:
        """What the operators make of the surrogates, of each discrete site."""
        expansion, made = torch.zeros_like(level), []
        for i, (name, slope) in enumerate(slopes_of(particles).items()):
            value = particles.guide_sites[name]["value"].detach()
            own, drawn = (side_by_side(particles, {name: numbers}) for numbers in (slope, value))
            others = _others(own)  # (K, B, F)
            expansion = expansion + (others * drawn).sum(-1) - _others((own * drawn).sum(-1))  # T_k(z_k), (K, B)
            operator, both = GibbsOperator(particles, name, others, type(self).__name__), partial(control, i, level)
            of_h, of_g = operator.differences(both, expansion).unbind(-1)
            taken = both(expansion[..., None])[..., 0, 1]
            made.append(_Made(operator.image(of_h), taken, operator.scored(of_g)))
        return made


@dataclass(frozen=True)
class _Made:
    """A h and g at what was drawn, (K, B), and E_u[g s_u] of every unit, (K, B, F)."""

    image: Tensor
    taken: Tensor
    given_back: Tensor


class Surrogates(nn.Module):
    """h and g of each of L sites: ``eta``, (L, 2), ``others``, which is c, (L, L), and the networks r.

    Args:
        log_w: log-weights, whose mean and standard deviation are the level and unit that r begins to count in.
        num_sites: L.
        eta: initial value.
        hidden: sizes of the networks' layers.
    """

    def __init__(self, log_w: Tensor, num_sites: int, eta: float, hidden: Sequence[int]) -> None:
        super().__init__()
        self.eta = nn.Parameter(torch.full((num_sites, 2), float(eta)))
        self.others = nn.Parameter(torch.ones(num_sites, num_sites).triu(1))
        self.level = nn.Parameter(log_w.mean())
        self.log_unit = nn.Parameter(log_w.std(unbiased=False).clamp_min(1.0).log())
        self.networks = nn.ModuleList(MLP(2, 2, hidden, "tanh") for _ in range(num_sites))
        for name, parameter in self.networks.named_parameters():
            if f".layers.{2 * len(hidden)}." in name:
                nn.init.zeros_(parameter)

    def forward(self, site: int, level: Tensor, expansion: Tensor) -> Tensor:
        """h and g at b, (K, B), and T, (K, B, F); in nats, (K, B, F, 2)."""
        unit = self.log_unit.exp()
        off = ((level - self.level) / unit)[..., None].expand_as(expansion)
        outputs: Tensor = self.networks[site](torch.stack([off, expansion / unit], -1))
        return self.eta[site] * expansion[..., None] + unit * outputs


def _others(numbers: Tensor) -> Tensor:
    """The mean over the other particles, (K, ...)."""
    return (numbers.sum(0) - numbers) / (len(numbers) - 1)
