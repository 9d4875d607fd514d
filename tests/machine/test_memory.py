"""What becomes of large blocks, in a process whose heap is new."""

from __future__ import annotations

import subprocess
import sys

import pytest

MEASURED = """
from pathlib import Path
import torch
from ppgen.machine.memory import large_blocks_apart

LARGE = 2**26

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def left_of_a_large_block():
    before = resident()
    block = torch.ones(LARGE // 4)
    assert resident() - before > LARGE // 2
    del block
    return resident() - before

with large_blocks_apart():
    within = left_of_a_large_block()
print(within < LARGE // 4, left_of_a_large_block() > LARGE // 4)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is glibc's")
def test_large_blocks_are_given_back_within_and_kept_afterwards() -> None:
    found = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.split() == ["True", "True"]
