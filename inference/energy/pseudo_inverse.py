"""The pseudo-inverse rule: an associative memory that holds any linearly independent patterns without error.

    M = S^+ S,  the projection on the span of the patterns;  W = M without the diagonal        S (P, D), s_p = 2 x_p - 1

    M' = M + R^+ R,        R = S - S M        (of further patterns S, what M does not hold)

Of a stored pattern M s = s, and its field (1 - M_ii) s_i has the sign of s_i, or is 0, where the unit stays: up to D
patterns are fixed points. So is whatever lies in their span: linearly dependent patterns are refused. The diagonal of M
is P / D on average, and what corrupted patterns are drawn back by, 1 - P / D, shrinks as patterns are added.

Personnaz, Guyon, Dreyfus: Collective computational properties of neural networks: new learning mechanisms, Physical
Review A 34, 1986; Kanter, Sompolinsky: Associative recall of memory without errors, 1987.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.errors import UsageError
from ppgen.objectives.storing import Storing
from ppgen.objectives.turns import State
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import register_objective

__all__ = ["PseudoInverse"]

_NONE = 1e-8
"""Of a pattern's length, what is no more than rounding of float64."""


@register_objective(
    "pseudo_inverse",
    summary="the pseudo-inverse rule: linearly independent patterns stored without error, without a gradient",
    reference="Personnaz, Guyon and Dreyfus, Collective computational properties of neural networks",
    year=1986,
    link="https://doi.org/10.1103/PhysRevA.34.4217",
    tags=("energy-based", "memory"),
    tiny=lambda: PseudoInverse(num_patterns=1),
)
@dataclass(frozen=True, kw_only=True)
class PseudoInverse(Storing):
    """Store the first ``num_patterns`` data that training shows; None: all. They are to be linearly independent.

    >>> import ppgen, torch
    >>> pair = ppgen.models.Hopfield(ppgen.DataSpec("bits", 4, "binary"))
    >>> x = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0]])
    >>> run = ppgen.fit(pair, x, PseudoInverse(), epochs=1, progress=False)
    >>> torch.equal(pair.recall(x).end, x)
    True
    """

    num_patterns: Count | None = None

    def added(self, memory: Tensor, s: Tensor) -> Tensor:
        beyond = s - s @ memory
        length = s.shape[-1] ** 0.5
        projection: Tensor = torch.linalg.pinv(beyond, atol=_NONE * length, rtol=0.0) @ beyond
        return memory + projection

    def check_stored(self, state: State) -> None:
        super().check_stored(state)
        stored, rank = int(state["num_stored"]), round(float(state["memory"].trace()))
        if rank < stored:
            raise UsageError(
                f"PseudoInverse holds linearly independent patterns, and of the {stored} that were stored only {rank} "
                "are: lower num_patterns, or take out data that repeat or combine others."
            )

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        pair, x = self.seen(program, batch)
        most, size = self.num_patterns or pair.data_size or program.data_size, x.shape[-1]
        if most is not None and most > size:
            raise UsageError(
                f"PseudoInverse holds at most {size} patterns of {size} units, as many as can be linearly independent, "
                f"and {type(pair).__name__} is to store {most}: set num_patterns, well below {size}."
            )
