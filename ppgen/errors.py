"""Errors that are the user's to mend: one sentence of what was expected, what came, where, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches

import torch

__all__ = ["UsageError", "is_out_of_memory", "nearest"]


class UsageError(ValueError):
    """Bad input. The message is the one sentence shown to the user; the command line exits with code 2."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or the device had no memory left."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def nearest(name: str, options: Iterable[str]) -> str:
    """A suffix for "unknown name" messages: the closest option if one is close, and all of them.

    >>> nearest("digit", ["digits", "mnist"])
    ": did you mean 'digits'? Known names: digits, mnist."
    """
    known = sorted(options)
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f": {hint}Known names: {', '.join(known) or 'none'}."
