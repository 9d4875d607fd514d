"""Hebb's rule: what fires together is wired together. Patterns are stored, and nothing is descended.

    W = (1 / D) sum_p s_p s_p',  without the diagonal        s_p = 2 x_p - 1 in {-1, 1}^D,  p = 1 ... P

The field at a stored pattern is the pattern itself and noise of the others, of variance P / D for random ones. They
are recalled with few errors up to P = 0.138 D, and lost beyond (Amit, Gutfreund, Sompolinsky 1985). Patterns that
resemble each other, as pictures do, are lost much sooner: 'pseudo_inverse' stores them.

Hebb: The Organization of Behavior, 1949; Hopfield: Neural networks and physical systems with emergent collective
computational abilities, PNAS 79, 1982, equation 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgen.arguments import Count
from ppgen.objectives.storing import Storing
from ppgen.registry import register_objective

__all__ = ["Hebb"]


@register_objective(
    "hebb",
    summary="Hebb's rule: patterns stored in an associative memory, without a gradient",
    reference="Hopfield, Neural networks and physical systems with emergent collective computational abilities",
    year=1982,
    link="https://doi.org/10.1073/pnas.79.8.2554",
    tags=("energy-based", "memory"),
    tiny=lambda: Hebb(),
)
@dataclass(frozen=True, kw_only=True)
class Hebb(Storing):
    """Store the first ``num_patterns`` data that training shows; None: all.

    >>> import ppgen, torch
    >>> pair, x = ppgen.models.Hopfield(ppgen.DataSpec("bits", 4, "binary")), torch.tensor([[1.0, 1, 0, 0]])
    >>> run = ppgen.fit(pair, x, Hebb(), epochs=1, progress=False)
    >>> pair.weight[0]
    tensor([ 0.0000,  0.2500, -0.2500, -0.2500], grad_fn=<SelectBackward0>)
    """

    num_patterns: Count | None = None

    def added(self, memory: Tensor, s: Tensor) -> Tensor:
        return memory + s.T @ s / s.shape[-1]
