"""The habits of those who hand out memory."""

from __future__ import annotations

import ctypes
import gc
import sys

import torch

__all__ = ["give_back", "keep_large_blocks"]

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_large_blocks() -> None:
    """Have the C allocator reuse large blocks instead of returning each to the system.

    By default glibc maps and unmaps every block of more than 32 MiB, so that a step with large activations takes
    thousands of page faults. The setting is the process's; elsewhere than on Linux with glibc this does nothing.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def give_back() -> None:
    """Free what nothing refers to any more, and give a GPU the blocks back that torch keeps for later."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
