"""The Hamiltonian evidence bound: the guide's draw, carried towards the posterior by one tempered trajectory.

The guide's draw u_0 ~ q(u | x), in unconstrained coordinates (:mod:`ppgen.chains.unconstrained`), and a momentum r_0 =
a_0^(-1/2) g, g ~ N(0, I), go through K leapfrogs of the target log p(u, x) itself, after each of which the momentum is
cooled,

    (u_k, r~_k) = leapfrog of log p(u, x) from (u_{k-1}, r_{k-1}),        r_k = (a_{k-1} / a_k)^(1/2) r~_k,

and nothing is refreshed. a_0 < ... < a_K = 1 are inverse temperatures,

    a_k^(-1/2) = 1 + (a_0^(-1/2) - 1)(1 - k^2 / K^2).

A leapfrog keeps volume, and the coolings together shrink it by a_0^(D/2), which is what the first step of g to r_0
widened: from (u_0, g) to (u_K, r_K) the Jacobian is 1, and

    log w = log p(u_K, x) + log N(r_K) - log q(u_0 | x) - log N(g)                                                 (1)

has E[w] = p(x) for the extended target p(u, x) N(r). So E[log w] <= log p(x); K = 0 is the ELBO. It is a normalising
flow that the model's own slope steers, and has D + 1 parameters: the logarithms of the step sizes, one for each
coordinate, and the logit of a_0, which are the objective's own. A longer trajectory need not tighten it: the target of
the momentum stays N(0, I), and an undamped trajectory does not come to rest.

The gradient is that of (1) along u_0 and g: unbiased, with second derivatives of log p, K of them a step. Of several
trajectories, independent, any bound may be taken.

Salimans, Kingma, Welling: Markov Chain Monte Carlo and Variational Inference: Bridging the Gap, ICML 2015, section 4.
Caterini, Doucet, Sejdinovic: Hamiltonian Variational Auto-Encoder, NeurIPS 2018, eq. 8 to 12 and algorithm 1, with
leapfrogs that begin with a drift of u: one slope each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from ppgen.arguments import Positive
from ppgen.chains.hamiltonian import drifting
from ppgen.chains.unconstrained import FreeLatents
from ppgen.objectives.moving import Moving, kinetic
from ppgen.registry import register_objective

__all__ = ["HamiltonianELBO"]


@register_objective(
    "hamiltonian_elbo",
    summary="bound of one tempered Hamiltonian trajectory from the guide's draw, a flow along the model's slope (HVAE)",
    reference="Caterini, Doucet and Sejdinovic, Hamiltonian variational auto-encoder",
    year=2018,
    link="https://arxiv.org/abs/1805.11328",
    tags=("bound", "pathwise", "markov chain"),
    tiny=lambda: HamiltonianELBO(num_leapfrogs=2, step_size=0.05),
)
@dataclass(frozen=True, kw_only=True)
class HamiltonianELBO(Moving):
    """``bound`` of ``num_particles`` trajectories of ``num_leapfrogs`` (K) steps each.

    ``step_size`` (e, in the unit of the unconstrained latents) and ``inverse_temperature`` (a_0) are where the learnt
    ones begin, or what they are with ``adaptive=False``.

    >>> import ppgen
    >>> pair, x = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"), latent_dim=2), torch.zeros(5, 3)
    >>> own = HamiltonianELBO().parameters(pair, (x,))
    >>> {name: tuple(parameter.shape) for name, parameter in own.named_parameters()}
    {'log_step_size': (2,), 'inverse_temperature': ()}
    """

    num_leapfrogs: Annotated[int, Ge(0)] = 4
    step_size: Positive = 0.1
    inverse_temperature: Annotated[float, Gt(0), Lt(1)] = 0.5

    def motion(self, num_coordinates: int) -> nn.Module:
        return _Trajectory(num_coordinates, self.step_size, self.inverse_temperature)

    def log_weights(self, free: FreeLatents, motion: Any) -> Tensor:
        log_w, num = free.particles.log_w, self.num_leapfrogs  # (K, B)
        if num == 0:
            return log_w
        g, warmth = torch.randn_like(free.start), motion.warmth(num)  # (K, B, D), (num + 1,)
        u, r = free.start, warmth[0] * g
        for cooling in warmth[1:] / warmth[:-1]:
            u, r = drifting(free.slope, u, r, motion.log_step_size.exp())
            r = cooling * r
        return log_w + free.log_joint(u) - free.log_joint_at_start + kinetic(g) - kinetic(r)


class _Trajectory(nn.Module):
    """Step sizes, (D,), and the inverse temperature at which the momentum begins."""

    def __init__(self, num_coordinates: int, step_size: float, inverse_temperature: float) -> None:
        super().__init__()
        self.log_step_size = nn.Parameter(torch.full((num_coordinates,), float(step_size)).log())
        self.inverse_temperature = nn.Parameter(torch.tensor(float(inverse_temperature)).logit())

    def warmth(self, num: int) -> Tensor:
        """a_k^(-1/2), the standard deviation of the momentum after k of ``num`` leapfrogs, (num + 1,)."""
        first: Tensor = self.inverse_temperature.sigmoid().rsqrt()
        share = torch.linspace(0, 1, num + 1, dtype=first.dtype, device=first.device)
        return 1 + (first - 1) * (1 - share.square())
