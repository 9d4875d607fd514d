"""Seeds of the parts of what one seed decides."""

from __future__ import annotations

import zlib

import torch

__all__ = ["derived", "manual_seed"]


def derived(seed: int, *parts: int | str) -> int:
    """The seed of one part, named by numbers and words; the same in every process.

    >>> derived(0, 1) == derived(0, 1), derived(0, 1) == derived(0, 2)
    (True, False)
    """
    numbers = (zlib.crc32(part.encode()) if isinstance(part, str) else part for part in parts)
    return hash((seed, *numbers)) & (2**63 - 1)


def manual_seed(seed: int) -> None:
    """``torch.manual_seed`` for loops.

    Where no accelerator is there, torch's own keeps the seed for one that might come, with three times the stack of
    its caller: up to milliseconds a call.

    >>> manual_seed(3)
    >>> bool(torch.rand(()) == torch.rand((), generator=torch.Generator().manual_seed(3)))
    True
    """
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
