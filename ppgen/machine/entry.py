"""What every function that users call begins with: the process to itself, and torch in its usual mode.

Pyro's handlers and torch's default random numbers are the process's own. A thread that traced a model while another
does would put its sites into the other's trace and draw its random numbers; so the others wait. They lose nothing by
it: torch runs a step on all cores.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Annotated, ParamSpec, TypeVar

import torch
from annotated_types import Ge

from ppgen.arguments import kind_of

__all__ = ["entry_point"]

P = ParamSpec("P")
T = TypeVar("T")

_LOCK = threading.RLock()
_SEED = kind_of(Annotated[int, Ge(0)])


def entry_point(function: Callable[P, T]) -> Callable[P, T]:
    """The function, in one thread at a time and with gradients, whatever mode it is called in; it may call others.

    Raises:
        UsageError: when called: ``seed`` is given and is no whole number that torch's generator takes.
    """

    @functools.wraps(function)
    def entered(*args: P.args, **kwargs: P.kwargs) -> T:
        _SEED.read("seed", kwargs.get("seed", 0))
        with _LOCK, torch.inference_mode(False), torch.enable_grad():
            return function(*args, **kwargs)

    return entered
