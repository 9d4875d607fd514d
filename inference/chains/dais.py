"""Differentiable annealed importance sampling: an evidence bound of annealed trajectories, without acceptance.

The guide's draw u_0 ~ q(u | x), in unconstrained coordinates (:mod:`ppgen.chains.unconstrained`), and a momentum
r_0 ~ N(0, I) are moved along T bridges from the guide to the posterior,

    log f_t(u) = (1 - b_t) log q(u | x) + b_t log p(u, x),        0 < b_1 < ... < b_T = 1,

each by L leapfrogs of step sizes e_t, one for each coordinate, which keep volume and are never refused, and a partial
refreshment of the momentum, for t = 1, ..., T,

    (u_t, s_t) = leapfrogs of f_t from (u_{t-1}, r_{t-1}),        r_t = c s_t + (1 - c^2)^(1/2) N(0, I).

With the time-reversed chain, from u_T ~ p(u, x) and s_T ~ N(0, I), as the model's side,

    log w = log p(u_T, x) - log q(u_0 | x) + sum_t [ log N(s_t) - log N(r_{t-1}) ],                                (1)

since refreshment leaves N(0, I) invariant and is its own reverse. So E[w] = p(x), and E[log w] <= log p(x) whatever
q, b, e, c and L are: with a Metropolis step in between, (1) would have no gradient. T = 0 is the ELBO. As T grows with
e of the order of T^(-1/4), E[log w] rises to log p(x) (Zhang et al., theorem 1, for refreshment in full); it need not
rise at each T, and does not where steps are too long to be stable.

The gradient is that of (1) along u_0, r_0 and the refreshments, all reparameterized: unbiased for theta, phi and for
the objective's own parameters log e_t, the logits of the widths b_t - b_{t-1}, and the logit of c, which ascend the
same bound. It goes through slopes of log p and log q: second derivatives of the pair's networks, T L of them a step,
each of the order of a gradient. K trajectories have independent weights, and any bound may be taken of them.

Geffner, Domke: MCMC Variational Inference via Uncorrected Hamiltonian Annealing, NeurIPS 2021, eq. 12 and algorithm 2.
Zhang, Hsu, Li, Finn, Grosse: Differentiable Annealed Importance Sampling and the Perils of Gradient Noise, NeurIPS
2021, algorithm 1 and eq. 9 (leapfrogs that begin with a drift; b_T = 1), without its minibatches of data.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from ppgen.arguments import Count, Positive
from ppgen.chains.hamiltonian import drifting
from ppgen.chains.unconstrained import FreeLatents
from ppgen.objectives.moving import Moving, kinetic
from ppgen.registry import register_objective

__all__ = ["DAIS"]


@register_objective(
    "dais",
    summary="bound of annealed trajectories from the guide to the posterior, their steps learnt (also UHA)",
    reference="Zhang et al., Differentiable annealed importance sampling and the perils of gradient noise",
    year=2021,
    link="https://arxiv.org/abs/2107.10211",
    tags=("bound", "pathwise", "markov chain"),
    tiny=lambda: DAIS(num_temperatures=2, step_size=0.05),
)
@dataclass(frozen=True, kw_only=True)
class DAIS(Moving):
    """``bound`` of ``num_particles`` (K) trajectories through ``num_temperatures`` (T) bridges.

    ``num_leapfrogs`` (L) at each; ``step_size`` (e, in the unit of the unconstrained latents) and ``persistence`` (c,
    the share of the momentum that is kept) are where the learnt ones begin, or what they are with ``adaptive=False``.

    >>> import ppgen
    >>> pair, x = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"), latent_dim=2), torch.zeros(5, 3)
    >>> {name: tuple(own.shape) for name, own in DAIS(num_temperatures=4).parameters(pair, (x,)).named_parameters()}
    {'log_step_size': (4, 2), 'spacing': (4,), 'persistence': ()}
    """

    num_temperatures: Annotated[int, Ge(0)] = 8
    num_leapfrogs: Count = 1
    step_size: Positive = 0.1
    persistence: Annotated[float, Gt(0), Lt(1)] = 0.9

    def motion(self, num_coordinates: int) -> nn.Module:
        return _Annealing(self.num_temperatures, num_coordinates, self.step_size, self.persistence)

    def log_weights(self, free: FreeLatents, motion: Any) -> Tensor:
        log_w = free.particles.log_w  # (K, B)
        if self.num_temperatures == 0:
            return log_w
        u, r, kept = free.start, torch.randn_like(free.start), motion.persistence.sigmoid()  # (K, B, D)
        for beta, e in zip(motion.betas, motion.log_step_size.exp(), strict=True):
            before = kinetic(r)
            u, r = drifting(partial(free.slope, power=beta), u, r, e, self.num_leapfrogs)
            log_w = log_w + before - kinetic(r)
            r = kept * r + (1 - kept.square()).sqrt() * torch.randn_like(r)
        return log_w + free.log_joint(u) - free.log_joint_at_start


class _Annealing(nn.Module):
    """Step sizes (T, D), where the bridges lie, (T,), and the share of the momentum that is kept."""

    def __init__(self, num: int, num_coordinates: int, step_size: float, persistence: float) -> None:
        super().__init__()
        self.log_step_size = nn.Parameter(torch.full((num, num_coordinates), float(step_size)).log())
        self.spacing = nn.Parameter(torch.zeros(num))
        self.persistence = nn.Parameter(torch.tensor(float(persistence)).logit())

    @property
    def betas(self) -> Tensor:
        """b_1 < ... < b_T = 1, (T,)."""
        return self.spacing.softmax(0).cumsum(0)
