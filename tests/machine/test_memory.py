"""What becomes of large blocks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from ppgen.machine.memory import large_blocks_apart

LARGE = 2**26


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def left_of_a_large_block() -> int:
    """Bytes that stay in memory when it is freed."""
    before = resident()
    block = torch.ones(LARGE // 4)
    assert resident() - before > LARGE // 2
    del block
    return resident() - before


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is glibc's")
def test_large_blocks_are_given_back_within_and_kept_afterwards() -> None:
    with large_blocks_apart():
        assert left_of_a_large_block() < LARGE // 4
    assert left_of_a_large_block() > LARGE // 4
