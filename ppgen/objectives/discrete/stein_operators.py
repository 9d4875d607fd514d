"""The Gibbs operator of a discrete site: what it makes of a function has mean zero, whatever the function.

Given what the guide drew before it, a site z has independent units u. With E_u h(z) the mean of h over unit u, the
others as they are, E[E_u h] = E[h], so that under the guide

    E[(A_u h)(z)] = 0,        A_u h = E_u h - h,        A = sum_u A_u,                                               (1)

for every h: A_u is the step of a Gibbs sampler that draws unit u anew, less the identity, a discrete Stein operator. It
takes h at the neighbours of z that differ from it in one unit. For h(y) = H(T(y)), T linear in y with the slope J, they
are at T(z) - J_u . z_u + J_f for the state f of unit u: numbers that H reads, and no run of the pair. By

    D_f = H(T with unit u at f) - H(T without unit u),       pi = E[z],                                              (2)

for each number f of z (a binary unit has one, a one-hot unit one for each class), they are

    (A h)(z) = sum_f (pi_f - z_f) D_f,        E_u[h grad_l log q] = Cov[z_u] D_u,                                    (3)

as grad_l log q(z) = z - pi by the natural parameters l, and what all states of a one-hot unit have in common drops out.

Shi, Zhou, Hwang, Titsias, Mackey: Gradient Estimation with Discrete Stein Operators, NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ppgen.pairs.discrete_families import DiscreteFamily, family_of
from ppgen.pairs.latents import set_apart, side_by_side
from ppgen.pairs.sites import Site
from ppgen.pairs.tracing import Particles

__all__ = ["GibbsOperator"]


@dataclass(frozen=True)
class GibbsOperator:
    """A and A_u at the values of one discrete site, for functions H(T(y)).

    Args:
        particles: K of them.
        name: of the site.
        slope: J, (K, B, F).
        needed_by: who asks, for errors.
    """

    particles: Particles
    name: str
    slope: Tensor
    needed_by: str

    def differences(self, function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
        """D of (2), (K, B, F), or (K, B, F, ...) of several functions at once.

        Args:
            function: H, elementwise but for particles and data: (K, B, F) to (K, B, F), or to (K, B, F, ...).
            at: T at the values, (K, B).
        """
        share = self._family.share(self._value, self._apart(self.slope))
        without = at[..., None] - self._side_by_side(share)
        return function(without + self.slope) - function(without)

    def image(self, differences: Tensor) -> Tensor:
        """(A h)(z) by D, (K, B)."""
        return ((self._side_by_side(self._mean - self._value)) * differences).sum(-1)

    def scored(self, differences: Tensor) -> Tensor:
        """E_u[h grad_l log q] by D, (K, B, F)."""
        return self._side_by_side(self._family.spread(self._mean, self._apart(differences)))

    @property
    def _site(self) -> Site:
        return self.particles.guide_sites[self.name]

    @property
    def _family(self) -> DiscreteFamily:
        return family_of(self._site, self.needed_by)

    @property
    def _value(self) -> Tensor:
        value: Tensor = self._site["value"].detach()
        return value

    @property
    def _mean(self) -> Tensor:
        return self._family.mean(self._site["fn"]).detach().expand_as(self._value)

    def _side_by_side(self, numbers: Tensor) -> Tensor:
        return side_by_side(self.particles, {self.name: numbers})

    def _apart(self, numbers: Tensor) -> Tensor:
        return set_apart(self.particles, numbers, {self.name: self._value})[self.name]
