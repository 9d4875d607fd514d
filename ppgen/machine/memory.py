"""The habits of those who hand out memory."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["give_back", "is_pinned_for", "keep_large_blocks", "large_blocks_apart"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4


def keep_large_blocks() -> None:
    """Have the C allocator reuse large blocks instead of returning each to the system.

    By default glibc maps and unmaps every block of more than 32 MiB, so that a step with large activations takes
    thousands of page faults. The setting is the process's.
    """
    _set({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1})


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Within it every block of 4 MiB or more is mapped by itself, and unmapped when it is freed; then they are kept.

    A compiler leaves many small blocks behind. Where they lie in what a large one has left, none of its size fits there
    again, and the process grows: by 120 MiB for a step whose activations take 30.
    """
    _set({_M_MMAP_MAX: 2**16, _M_MMAP_THRESHOLD: 2**22})
    try:
        yield
    finally:
        keep_large_blocks()


def _set(settings: dict[int, int]) -> None:
    """The C allocator's settings; elsewhere than on Linux with glibc this does nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in settings.items():
            mallopt(parameter, value)


def give_back() -> None:
    """Free what nothing refers to any more, and give a GPU the blocks back that torch keeps for later."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def is_pinned_for(device: torch.device) -> bool:
    """Whether what goes to a device is laid in pinned memory, from which it is copied without the host's waiting."""
    return device.type == "cuda" and torch.cuda.is_available()
