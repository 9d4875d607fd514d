"""One thread instead of all, and which is faster."""

import time
from collections.abc import Iterator

import pytest
import torch

from ppgen.machine.threads import on_one_thread, timed_threads


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_within_it_there_is_one_thread_and_after_it_there_are_all_again() -> None:
    assert on_one_thread(torch.get_num_threads)() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError):
        on_one_thread(lambda: 1 / 0)()
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_both_ways_are_timed() -> None:
    timing = timed_threads(lambda: time.sleep(0.002 * torch.get_num_threads()))
    assert timing is not None
    assert timing.usual > timing.other > 2000


def test_a_long_call_is_not_timed() -> None:
    assert timed_threads(lambda: time.sleep(0.03)) is None
