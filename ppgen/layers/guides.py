"""Amortised guides: a Gaussian that a network gives of each datum, one that a flow bends, or a mixture of them.

    q(z | x): z = T_n o ... o T_1(z_0),    z_0 ~ N(loc(x), diag(scale(x))^2),    each T_i given h(x)

loc, log scale and the context h, of 64 numbers, are one network's. A Gaussian whose numbers do not depend on each other
given x is too narrow for most posteriors; transforms with a tractable Jacobian make dependence and other shapes of it,
at the price of a pass through each for a draw. Affine ones (``iaf``, ``realnvp``) start as the Gaussian. A mixture of
Gaussians without end, of noise, is :mod:`ppgen.layers.semi_implicit`, which ``sivi`` trains.

References: Rezende and Mohamed, Variational inference with normalizing flows, 2015; Kingma et al., Improving
variational inference with inverse autoregressive flow, 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import nn

from ppgen.layers.flows import Flow, flow
from ppgen.layers.networks import ConditionalNormal
from ppgen.layers.semi_implicit import NAME, SemiImplicit, semi_implicit

__all__ = ["CONTEXT", "Bend", "amortised", "bending"]

Bend: TypeAlias = Flow | SemiImplicit
"""What makes of a Gaussian and a context another distribution."""

CONTEXT = 64
"""Size of h."""


def amortised(guide: str, dim: int, make: Callable[[int], nn.Module], *, site: str = "e") -> ConditionalNormal:
    """q(z | x) by name: ``"gaussian"``, a flow's, ``"iaf(num=2)"``, or ``"semi_implicit"``.

    Args:
        guide: the name; with its options a flow's (:func:`ppgen.layers.flows.flow`) or a mixture's
            (:func:`ppgen.layers.semi_implicit.semi_implicit`).
        dim: size of z.
        make: makes the network of the number of its outputs.
        site: name of a mixture's mixing site.

    Raises:
        UsageError: an unknown name or option.

    >>> from ppgen.layers.dense import MLP
    >>> import torch
    >>> guide = amortised("iaf(num=2)", 3, lambda outputs: MLP(5, outputs, hidden=(8,)))
    >>> guide(torch.ones(7, 5)).sample().shape
    torch.Size([7, 3])
    """
    bent = bending(guide, dim, CONTEXT, site=site)
    return ConditionalNormal(make(2 * dim if bent is None else 2 * dim + CONTEXT), bent)


def bending(guide: str, dim: int, context_dim: int, *gaussians: str, site: str = "e") -> Bend | None:
    """The flow or mixture that a guide's name asks for; None: a Gaussian, ``"gaussian"`` or one of ``gaussians``.

    Raises:
        UsageError: an unknown name or option.
    """
    named = gaussians or ("gaussian",)
    if guide in named:
        return None
    if guide.partition("(")[0].strip() == NAME:
        return semi_implicit(guide, dim, context_dim, site)
    return flow(guide, dim, context_dim, direction="drawing", others=(*named, NAME))
