"""All states of a few binary units."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ppgen.errors import UsageError

__all__ = ["MAX_STATES", "as_power", "binary_states", "check_states", "digits"]


MAX_STATES = 2**22


def check_states(num_units: int, what: str) -> None:
    """Whether a sum over the states of ``num_units`` binary units is within reach.

    Raises:
        UsageError: there are more than ``MAX_STATES``.
    """
    if 2**num_units > MAX_STATES:
        raise UsageError(
            f"{what} would sum over 2**{num_units} states, and at most 2**{MAX_STATES.bit_length() - 1} are: "
            "estimate it by annealed importance sampling (exact=False), or make a smaller machine."
        )


def binary_states(num_units: int, like: Tensor, chunk: int = 2**14) -> Iterator[Tensor]:
    """Every state of ``num_units`` binary units, in parts of shape (S, num_units), S at most ``chunk``."""
    for numbers in torch.arange(2**num_units, device=like.device).split(chunk):
        yield digits(numbers, 2, num_units).to(like.dtype)


def digits(numbers: Tensor, levels: int, num_places: int) -> Tensor:
    """Whole numbers (S,) written to the base ``levels``: (S, num_places), the least place first.

    Without a power of tensors of whole numbers, which no compiled step on a CPU has.

    >>> digits(torch.tensor([5, 6]), 3, 2)
    tensor([[2, 1],
            [0, 2]])
    """
    if not num_places:
        return numbers.new_zeros(len(numbers), 0)
    return torch.stack([numbers // levels**place % levels for place in range(num_places)], -1)


def as_power(base: int, exponent: int) -> str:
    """A number of states, as people write large ones."""
    number = base**exponent
    return str(number) if number < 10**7 else f"about 2**{number.bit_length() - 1}"
