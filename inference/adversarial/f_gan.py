"""f-GAN: any f-divergence by its variational bound, the critic's output passed through an activation of its own.

    D_f(p_data || p_g) = E_g[f(p_data(x) / p_g(x))]  >=  E_data[T(x)] - E_z[f*(T(x'))],        T = g(v)

    f*(t) = sup_u (u t - f(u)),  the convex conjugate

    L_c = E_z[f*(T(x'))] - E_data[T(x)],        L_g = -E_z[f*(T(x'))],  or -E_z[T(x')] with ``alternative``

v is the critic's raw output (f in the module of :mod:`ppgen.objectives.adversarial`; f is the divergence's generator
here), and g maps it, increasing, into the domain of the conjugate f*. f is convex with f(1) = 0, but for ``gan``, whose
f(1) = -log 4. The bound is tight at T = f'(p_data / p_g), where -L_c is the divergence, so that L_g is the divergence
but for a term without G.

    name               f(u)                                g(v)                      f*(t)
    kl                 u log u                             v                         exp(t - 1)
    reverse_kl         -log u                              -exp(-v)                  -1 - log(-t)
    pearson            (u - 1)^2                           v                         t^2 / 4 + t
    neyman             (1 - u)^2 / u                       1 - exp(-v)               2 - 2 sqrt(1 - t)
    squared_hellinger  (sqrt u - 1)^2                      1 - exp(-v)               t / (1 - t)
    jensen_shannon     u log u - (u + 1) log((u + 1) / 2)  log 2 - log(1 + exp(-v))  -log(2 - exp t)
    gan                u log u - (u + 1) log(u + 1)        -log(1 + exp(-v))         -log(1 - exp t)
    total_variation    |u - 1| / 2                         tanh(v) / 2               t

``kl`` is KL(p_data || p_g), ``reverse_kl`` KL(p_g || p_data), ``jensen_shannon`` 2 JS, ``gan`` 2 JS - log 4 (nats);
``pearson`` E_g[(p_data / p_g - 1)^2], ``neyman`` E_data[(p_g / p_data - 1)^2] (no unit). ``gan`` is ``minimax``, and
its alternative ``nonsaturating``. The conjugate of ``pearson`` takes f on negative u too, which matters below t = -2.

f-GAN: Training Generative Neural Samplers using Variational Divergence Minimization, Nowozin, Cseke and Tomioka,
NeurIPS 2016, eq. 6, section 3.2, tables 1, 2 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn.functional import softplus

from ppgen.objectives.adversarial import Adversarial
from ppgen.objectives.objective import capability
from ppgen.registry import register_objective

__all__ = ["DIVERGENCES", "FGAN", "Divergence"]


@dataclass(frozen=True)
class Divergence:
    """What an f-divergence makes of raw outputs v, (B,) -> (B,)."""

    activation: Callable[[Tensor], Tensor]
    """T = g(v)."""
    conjugate: Callable[[Tensor], Tensor]
    """f*(g(v)), of v itself: simpler than f*, and finite for longer."""
    unit: str = ""


DIVERGENCES: Mapping[str, Divergence] = {
    "kl": Divergence(lambda v: v, lambda v: (v - 1).exp(), "nats"),
    "reverse_kl": Divergence(lambda v: -(-v).exp(), lambda v: v - 1, "nats"),
    "pearson": Divergence(lambda v: v, lambda v: v.square() / 4 + v),
    "neyman": Divergence(lambda v: 1 - (-v).exp(), lambda v: 2 - 2 * (-v / 2).exp()),
    "squared_hellinger": Divergence(lambda v: 1 - (-v).exp(), lambda v: v.exp() - 1),
    "jensen_shannon": Divergence(lambda v: math.log(2) - softplus(-v), lambda v: softplus(v) - math.log(2), "nats"),
    "gan": Divergence(lambda v: -softplus(-v), softplus, "nats"),
    "total_variation": Divergence(lambda v: v.tanh() / 2, lambda v: v.tanh() / 2),
}
"""Those of the table, by name."""

Name = Literal["kl", "reverse_kl", "pearson", "neyman", "squared_hellinger", "jensen_shannon", "gan", "total_variation"]


@register_objective(
    "f_gan",
    summary="adversarial: an f-divergence of one's choice by its variational bound",
    reference="Nowozin, Cseke and Tomioka, f-GAN",
    year=2016,
    link="https://arxiv.org/abs/1606.00709",
    tags=("adversarial", "biased"),
    tiny=lambda: FGAN(hidden=(4,), divergence="squared_hellinger"),
)
@dataclass(frozen=True, kw_only=True)
class FGAN(Adversarial):
    """``divergence``: a name of the table; ``alternative``: the generator maximises E[T(x')] rather than E[f*(T(x'))].

    The alternative has the same fixed points (section 3.2), and a gradient that does not vanish where draws are
    rejected.

    >>> import torch
    >>> FGAN(divergence="pearson").critic_loss(torch.tensor([2.0]), torch.tensor([-2.0]))  # -1 - 2
    tensor(-3.)
    """

    divergence: Name = "jensen_shannon"
    alternative: bool = False

    @capability
    def unit(self) -> str:
        return DIVERGENCES[self.divergence].unit

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        chosen = DIVERGENCES[self.divergence]
        return chosen.conjugate(fake).mean() - chosen.activation(real).mean()

    def generator_loss(self, fake: Tensor) -> Tensor:
        chosen = DIVERGENCES[self.divergence]
        return -(chosen.activation if self.alternative else chosen.conjugate)(fake).mean()
