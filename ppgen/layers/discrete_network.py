"""The tables of a directed network of discrete variables, the joint table they make, and the counts that make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

__all__ = ["ZERO", "DiscreteNetwork", "summed"]

ZERO = 1e-30
"""A probability of zero, in a table of logarithms."""


class DiscreteNetwork(nn.Module):
    """P(v | parents) of each variable: ``log_NAME``, logits of the shape (states of parents, states of the variable).

    Args:
        parents: of each variable, parents before children.
        states: of each variable, how many.
        order: all variables, as the joint table's dims have them.
        tables: probabilities, of the same shapes, which are held; None: parameters, at random.

    >>> net = DiscreteNetwork({"A": (), "B": ("A",)}, {"A": 2, "B": 3}, ["B", "A"])
    >>> net.log_joint().shape, torch.allclose(net.log_joint().exp().sum(), torch.ones(()))
    (torch.Size([3, 2]), True)
    """

    def __init__(
        self,
        parents: Mapping[str, tuple[str, ...]],
        states: Mapping[str, int],
        order: Sequence[str],
        tables: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.families = {name: (*above, name) for name, above in parents.items()}
        self.states, self.order = dict(states), tuple(order)
        for name, family in self.families.items():
            if tables is None:
                logits = 0.5 * torch.randn([states[one] for one in family])
                self.register_parameter(f"log_{name}", nn.Parameter(logits))
            else:
                log_probs = tables[name].clamp_min(ZERO).log()
                self.register_buffer(f"log_{name}", log_probs.to(torch.get_default_dtype()))

    def log_tables(self) -> dict[str, Tensor]:
        """log P(v | parents) of each variable."""
        return {name: getattr(self, f"log_{name}").log_softmax(-1) for name in self.families}

    def log_joint(self, log_tables: Mapping[str, Tensor] | None = None) -> Tensor:
        """log p of all variables, a dim each; by these tables, or the network's own."""
        log_tables = log_tables or self.log_tables()
        total = next(iter(log_tables.values())).new_zeros(())
        for name, table in log_tables.items():
            family = self.families[name]
            dims = sorted(range(len(family)), key=lambda place, own=family: self.order.index(own[place]))  # type: ignore[misc]
            shape = [self.states[one] if one in family else 1 for one in self.order]
            total = total + table.permute(dims).reshape(shape)
        return total

    def counts(self, joint: Tensor, more: float) -> dict[str, Tensor]:
        """Of each variable with its parents, of counts of all, and so many more of each: as the tables' shapes."""
        return {name: summed(joint, self.order, family) + more for name, family in self.families.items()}


def summed(table: Tensor, order: Sequence[str], kept: Sequence[str]) -> Tensor:
    """The sum of a table, a dim for each of ``order``, over all but those that are kept, which stand as they do there.

    >>> summed(torch.ones(2, 3, 4), ["a", "b", "c"], ["c", "a"]).shape
    torch.Size([4, 2])
    """
    away = tuple(place for place, name in enumerate(order) if name not in kept)
    left = [name for name in order if name in kept]
    return (table.sum(away) if away else table).permute([left.index(name) for name in kept])
