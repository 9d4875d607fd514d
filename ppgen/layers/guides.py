"""Amortised guides: a Gaussian that a network gives of each datum, or one that a flow bends.

    q(z | x): z = T_n o ... o T_1(z_0),    z_0 ~ N(loc(x), diag(scale(x))^2),    each T_i given h(x)

loc, log scale and the context h, of 64 numbers, are one network's. A Gaussian whose numbers do not depend on each other
given x is too narrow for most posteriors; transforms with a tractable Jacobian make dependence and other shapes of it,
at the price of a pass through each for a draw. Affine ones (``iaf``, ``realnvp``) start as the Gaussian.

References: Rezende and Mohamed, Variational inference with normalizing flows, 2015; Kingma et al., Improving
variational inference with inverse autoregressive flow, 2016.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ppgen.layers.flows import Flow, flow
from ppgen.layers.networks import ConditionalNormal

__all__ = ["CONTEXT", "amortised", "bending"]

CONTEXT = 64
"""Size of h."""


def amortised(guide: str, dim: int, make: Callable[[int], nn.Module]) -> ConditionalNormal:
    """q(z | x) by name: ``"gaussian"``, or a flow's, ``"iaf(num=2)"``.

    Args:
        guide: the name; a flow's with its options (:func:`ppgen.layers.flows.flow`).
        dim: size of z.
        make: makes the network of the number of its outputs.

    Raises:
        UsageError: an unknown name or option.

    >>> from ppgen.layers.dense import MLP
    >>> import torch
    >>> guide = amortised("iaf(num=2)", 3, lambda outputs: MLP(5, outputs, hidden=(8,)))
    >>> guide(torch.ones(7, 5)).sample().shape
    torch.Size([7, 3])
    """
    bent = bending(guide, dim, CONTEXT)
    return ConditionalNormal(make(2 * dim if bent is None else 2 * dim + CONTEXT), bent)


def bending(guide: str, dim: int, context_dim: int, *gaussians: str) -> Flow | None:
    """The flow that a guide's name asks for; None: it names a Gaussian, ``"gaussian"`` or one of ``gaussians``.

    Raises:
        UsageError: an unknown name or option.
    """
    named = gaussians or ("gaussian",)
    return None if guide in named else flow(guide, dim, context_dim, direction="drawing", others=named)
