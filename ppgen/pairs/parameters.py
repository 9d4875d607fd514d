"""Parameters as values: read from the module at hand, swapped for others, or held fixed.

Pyro keeps parameters in one global store. A traced step needs them to be *inputs*, and a detached
re-scoring needs other tensors in their place, so everything the engine runs goes through :func:`isolated`:
``pyro.param`` statements are answered with the module's own tensors, and the global store is neither read nor written.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger, _context_wrap
from torch import Tensor, nn
from torch.nn.utils import stateless

from ppgen.errors import UsageError, shown

__all__ = [
    "GivenParameters",
    "detached",
    "empty_store",
    "in_evaluation",
    "isolated",
    "kept_buffers",
    "owner",
    "owner_of_kind",
    "swapped",
    "unwrapped",
]

M = TypeVar("M", bound=nn.Module)


class GivenParameters(Messenger):
    """Answers ``pyro.param(name, init)`` with ``values[name]``, or with ``init`` itself where no value is given."""

    def __init__(self, values: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.values = values or {}

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        if msg["done"]:
            return
        if msg["name"] in self.values:
            msg["value"], msg["done"] = self.values[msg["name"]], True
        elif len(msg["args"]) > 1 and torch.is_tensor(msg["args"][1]):
            value: Any = msg["args"][1]
            msg["value"], msg["done"] = value, True
            if isinstance(value, nn.Parameter):
                value.__dict__["unconstrained"] = weakref.ref(value)  # what SVI asks a parameter for


@contextmanager
def isolated() -> Iterator[None]:
    """Within it Pyro's parameters are those of the modules that run; the global store is left as it was.

    Handlers outside it, such as the one by which ``SVI`` finds what to optimize, do not see those parameters.
    """
    with poutine.block(hide_types=["param"]), empty_store(), GivenParameters(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*was not registered in the param store because requires_grad=False")
        yield


@contextmanager
def empty_store() -> Iterator[None]:
    """The global store is empty within, and as it was after (its ``scope()`` strips parameters of references)."""
    store = pyro.get_param_store()
    kept = dict(vars(store))
    vars(store).update(vars(type(store)()))
    try:
        yield
    finally:
        vars(store).update(kept)


@contextmanager
def swapped(module: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Within it ``module`` holds ``values`` (by parameter or buffer name) in place of its own tensors."""
    given = dict(values)  # stacked: a module that is met under two names is given back what it held before the first
    with stateless._reparametrize_module(module, given, tie_weights=True, stack_weights=True):
        yield


@contextmanager
def kept_buffers(*functions: Callable[..., Any]) -> Iterator[None]:
    """Within it the modules of these functions write to copies of their buffers, such as batch statistics."""
    modules = {id(module): module for function in functions if (module := owner(function)) is not None}
    with ExitStack() as stack:
        for module in modules.values():
            stack.enter_context(swapped(module, {name: b.clone() for name, b in module.named_buffers()}))
        yield


@contextmanager
def in_evaluation(module: nn.Module) -> Iterator[None]:
    """Within it all of ``module`` is in evaluation mode (``eval()``); after it every part is in the mode it was in."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def owner(function: Callable[..., Any]) -> nn.Module | None:
    """The module whose parameters ``function`` reads: itself, or the one it is a method of; None if it has none.

    Seen through Pyro's handlers and ``functools.partial``.
    """
    function = unwrapped(function)
    if isinstance(function, nn.Module):
        return function
    bound_to = getattr(function, "__self__", None)
    return bound_to if isinstance(bound_to, nn.Module) else None


def owner_of_kind(function: Callable[..., Any] | nn.Module, kind: type[M], wanted: str, advice: str) -> M:
    """The :func:`owner` of ``function``, which must be of a kind.

    Raises:
        UsageError: it is none: what is ``wanted``, what came, and the ``advice``.
    """
    found = owner(function)
    if isinstance(found, kind):
        return found
    what = "a function" if found is None else type(found).__name__
    raise UsageError(f"{wanted}, got {what}: {advice}.")


def unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function within Pyro's handlers and ``functools.partial``."""
    while isinstance(function, functools.partial):
        function = function.args[1] if function.func is _context_wrap else function.func
    return function


@contextmanager
def detached(function: Callable[..., Any]) -> Iterator[None]:
    """Within it the parameters that ``function`` reads let no gradient through; paths through latents survive.

    Raises:
        UsageError: ``function`` is a bare function, whose modules cannot be found.
    """
    module = owner(function)
    if module is None:
        raise UsageError(
            f"expected the model and guide of a module, got the bare function {shown(function)}: its parameters "
            "cannot be detached; wrap the two with ppgen.pair_from(model, guide) and pass pair.model and pair.guide."
        )
    values = {name: value.detach() for name, value in module.named_parameters()}
    with swapped(module, values), isolated():
        yield
