"""Layers of discrete units: what turns the numbers of a network into them, and them into numbers for the next.

:class:`DiscreteUnits` are independent given their logits. :class:`AutoregressiveUnits` are binary units in G blocks, in
which each sees those of the blocks before its own:

    P(z_i = 1 | z_<) = sigmoid(a_i + sum over j in earlier blocks of R_ij (2 z_j - 1))

With G = 1 that is independence again, with G the number of units a full autoregressive layer (a DARN or NADE-like
posterior). A score is one product with the masked matrix R; a draw is G products with a row of blocks each, one after
the other, which together cost as much as one with R. So the price of a draw is G small steps in sequence, and G is
kept to a few: in 8 blocks of 25 units, 7/8 of all pairs of units are tied that a full layer would tie.

Gregor et al.: Deep AutoRegressive Networks, ICML 2014; Bornschein and Bengio: Reweighted Wake-Sleep, ICLR 2015.
"""

from __future__ import annotations

from typing import Annotated, Any

import pyro.distributions as dist
import torch
from annotated_types import Ge
from torch import Tensor, nn

from ppgen.arguments import Count, checked
from ppgen.distributions.autoregressive_bernoulli import AutoregressiveBernoulli
from ppgen.errors import UsageError

__all__ = ["AutoregressiveUnits", "DiscreteUnits"]


class DiscreteUnits(nn.Module):
    """Independent units: numbers (..., num_numbers) to a distribution, and its values to numbers again.

    Args:
        num_units: U.
        num_classes: 2 makes them Bernoulli, values (..., U); C > 2 one-hot categorical, values (..., U, C).

    Attributes:
        num_numbers: U, or U C: how many logits the units take, and how many numbers :meth:`code` gives.
        state_shape: (U,) or (U, C), the shape of a value.

    Raises:
        UsageError: there is no unit, or fewer than two classes.
    """

    @checked
    def __init__(self, num_units: Count, num_classes: Annotated[int, Ge(2)] = 2) -> None:
        super().__init__()
        self.binary = num_classes == 2
        self.state_shape = (num_units, *(() if self.binary else (num_classes,)))
        self.num_numbers = num_units * (1 if self.binary else num_classes)

    def forward(self, logits: Tensor) -> Any:
        if self.binary:
            return dist.Bernoulli(logits=logits).to_event(1)
        return dist.OneHotCategorical(logits=logits.unflatten(-1, self.state_shape)).to_event(1)

    def code(self, z: Tensor) -> Tensor:
        """2 z - 1 of binary units, of mean zero at even odds; one-hot rows side by side; (..., num_numbers)."""
        return 2 * z - 1 if self.binary else z.flatten(-2)


class AutoregressiveUnits(nn.Module):
    """Binary units in blocks; parameter ``weight`` is R, (U, U), and starts at zero: as independent units.

    Args:
        num_units: U.
        num_blocks: G; block g has the units ceil(g U / G) to ceil((g + 1) U / G) - 1.

    Raises:
        UsageError: there are fewer than one, or more blocks than units.
    """

    @checked
    def __init__(self, num_units: Count, num_blocks: Count) -> None:
        super().__init__()
        if num_blocks > num_units:
            raise UsageError(f"a layer of {num_units} units can be drawn in 1 to {num_units} blocks, got {num_blocks}.")
        self.num_blocks = num_blocks
        self.weight = nn.Parameter(torch.zeros(num_units, num_units))

    def forward(self, logits: Tensor) -> Any:
        return AutoregressiveBernoulli(logits, self.weight, self.num_blocks)

    def code(self, z: Tensor) -> Tensor:
        """2 z - 1."""
        return 2 * z - 1
