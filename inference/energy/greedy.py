"""Greedy learning of deep machines: layer by layer, each a machine of its own on what the one below infers.

    stage l:    loss = mean F_l(h) - mean F_l(c),      h: the layer below at the data,  c: chains of machine l

h is a draw of the machines that have learnt already, or its mean. Each stage is contrastive divergence, or, with
``num_chains``, persistent contrastive divergence, of one machine, whose parameters alone move: biased as these are. A
machine that states its density whole, as the layer of an autoencoder does, learns by ``elbo`` instead (Vincent et al.
2010, section 3.5), and the negative phase's options are not its.

A further layer that begins as the mirror of the one below raises a lower bound of log p(v) (section 4 there); with
another size or another start it need not.

Hinton, Osindero, Teh: A Fast Learning Algorithm for Deep Belief Nets, Neural Computation 18, 2006.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from ppgen.arguments import Count, NonNegative, Positive
from ppgen.errors import UsageError, shown
from ppgen.objectives.objective import Objective, Stage
from ppgen.objectives.staged import InStages, OfPart
from ppgen.objectives.turns import State
from ppgen.pairs.stack import Stack, stack_of
from ppgen.registry import OBJECTIVES, register_objective

__all__ = ["Greedy"]


@register_objective(
    "greedy",
    summary="greedy learning of deep machines, layer by layer, by contrastive divergence or by the machine's bound",
    reference="Hinton, Osindero and Teh, A fast learning algorithm for deep belief nets",
    year=2006,
    link="https://doi.org/10.1162/neco.2006.18.7.1527",
    tags=("energy-based", "biased", "stages"),
    tiny=lambda: Greedy(),
)
@dataclass(frozen=True, kw_only=True)
class Greedy(InStages):
    """One stage for each machine of a stack (:class:`ppgen.pairs.stack.Stack`), from below.

    Args:
        num_steps: sweeps of the negative phase; one number, or one for each machine.
        num_chains: persistent chains of each machine; None: short chains from the data (CD).
        sample: a machine sees draws of the layer below; False: their means.
        shares: of the turns, one number for each machine; None: equal ones.
        rates: the learning rate of each machine over that of the run; None: 1.
        sparsity, sparsity_target: of each machine, see :class:`ppgen.objectives.negative_phase.NegativePhase`.

    >>> import ppgen
    >>> net = ppgen.models.DBN(ppgen.DataSpec("bits", 4, "binary"), hidden=(3, 2))
    >>> [stage.name for stage in Greedy(num_chains=10).stages(net)]
    ['Greedy 1', 'Greedy 2']
    """

    is_bound = False
    unbiased_gradient = False
    measures_fit = False

    num_steps: Count | tuple[Count, ...] = 1
    num_chains: Count | None = None
    sample: bool = True
    shares: tuple[Positive, ...] | None = None
    rates: tuple[Positive, ...] | None = None
    sparsity: NonNegative = 0.0
    sparsity_target: NonNegative = 0.05

    def stages(self, pair: nn.Module) -> tuple[Stage, ...]:
        stack = stack_of(pair, "Greedy")
        num = len(stack.machines)
        for name, given in (("shares", self.shares), ("rates", self.rates), ("num_steps", self.num_steps)):
            if isinstance(given, tuple) and len(given) != num:
                raise UsageError(f"{name} of Greedy has one number for each of {num} layers, got {shown(given)}.")
        shares, rates = self.shares or (1.0,) * num, self.rates or (1.0,) * num
        return tuple(
            Stage(f"Greedy {number + 1}", self._layer(pair, number), share, rate, partial(_settled, stack, number))
            for number, (share, rate) in enumerate(zip(shares, rates, strict=True))
        )

    def _layer(self, pair: nn.Module, number: int) -> OfPart:
        machine: Any = stack_of(pair, "Greedy").machines[number]
        if machine.has_density:
            return OfPart.of(stack_of(pair, "Greedy"), number, self._of_density(machine), sample=self.sample)
        way, options = ("cd", {}) if self.num_chains is None else ("pcd", {"num_chains": self.num_chains})
        sparsity = {"sparsity": self.sparsity, "sparsity_target": self.sparsity_target}
        num_steps = self.num_steps[number] if isinstance(self.num_steps, tuple) else self.num_steps
        objective = OBJECTIVES[way].cls(num_steps=num_steps, **sparsity, **options)
        return OfPart.of(stack_of(pair, "Greedy"), number, objective, sample=self.sample)

    def _of_density(self, machine: Any) -> Objective:
        if self.num_chains is not None or self.sparsity:
            raise UsageError(
                f"num_chains and sparsity of Greedy are those of a negative phase, and {type(machine).__name__} has "
                "none: leave them out; what is sparse is an option of the pair."
            )
        found: Objective = OBJECTIVES["elbo"].cls()
        return found


def _settled(stack: Stack, number: int, state: State) -> None:
    """Machine ``number`` has learnt."""
    stack.settle(number)
