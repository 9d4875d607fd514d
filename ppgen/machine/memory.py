"""The C allocator's habits."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_large_blocks"]

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
