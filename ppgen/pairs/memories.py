"""What a transform remembers from one call must not enter the next run, nor a graph.

Transforms of torch and Pyro (``cache_size=1``, all of Pyro's flows) keep their last pair (x, y = T(x)) and its log
Jacobian, and answer a call with the very tensor ``x`` or ``y`` from memory. Within a run of a pair this is needed: a
planar flow has no inverse, and scores its own draw by what it remembers. From run to run it is wrong: the same tensor
of data met again after the parameters have moved is answered with what the old ones made of it, and a traced step
would hold that answer as a constant. So there is one rule:

    whatever a module or transform remembers from one call enters neither a graph nor the next run.

Here a run forgets what earlier ones left, and each site keeps what was remembered at its own statement, so that it can
be scored at any time. :mod:`ppgen.machine.leftovers` finds in a graph what modules of the user's own remember.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import Distribution, transforms

from ppgen.pairs.parameters import owner

__all__ = ["Forgetting", "forget", "keeping_memory", "parts_of", "rebuilt"]

_CONTAINERS = (
    transforms.ComposeTransform,
    transforms.IndependentTransform,
    transforms.CatTransform,
    transforms.StackTransform,
)


class Forgetting(Messenger):
    """Around runs that belong together (a guide's, and its model's at the draws): they know nothing of earlier ones.

    Transforms among the modules of ``functions`` forget when it is entered, those of a site's distribution before the
    site is drawn or given; each once in the life of this object, which may be entered for one run after another. It
    stands outside the trace, whose sites are then made of distributions with a memory of their own.

    Args:
        functions: model and guide.
    """

    def __init__(self, *functions: Callable[..., Any]) -> None:
        super().__init__()
        self._owners = [module for function in functions if (module := owner(function)) is not None]
        self._forgotten: dict[int, Any] = {}  # by identity; held, so that no other takes the place

    def __enter__(self) -> Any:
        for module in self._owners:
            self._forget(module)
        return super().__enter__()

    def _pyro_sample(self, msg: Any) -> None:
        for part in parts_of(msg["fn"]):
            self._forget(part)

    def _pyro_post_sample(self, msg: Any) -> None:
        msg["fn"] = keeping_memory(msg["fn"])

    def _forget(self, part: Any) -> None:
        for each in part.modules() if isinstance(part, nn.Module) else [part]:
            if isinstance(each, transforms.Transform) and id(each) not in self._forgotten:
                self._forgotten[id(each)] = each
                forget(each)


def forget(transform: transforms.Transform) -> None:
    """Drop what the transform remembers: attributes ``_cached_*`` and ``_cache_*``, as torch and Pyro name them."""
    for name in vars(transform):
        if name.startswith(("_cached_", "_cache_")) and name != "_cache_size":
            vars(transform)[name] = (None, None) if name == "_cached_x_y" else None


def keeping_memory(fn: Any) -> Any:
    """The distribution with copies of its remembering transforms: later calls of the originals do not change it."""
    return rebuilt(fn, _copy) if any(_remembers(part) for part in parts_of(fn)) else fn


def parts_of(part: Any) -> Iterator[transforms.Transform]:
    """The transforms that a distribution or transform is made of, in a fixed order; containers and inverses aside."""
    if isinstance(part, transforms._InverseTransform):
        yield from parts_of(part.inv)
    elif _is_single(part):
        yield part
    else:
        for child in _children(part).values():
            for each in child if isinstance(child, list) else [child]:
                yield from parts_of(each)


def rebuilt(part: Any, change: Callable[[transforms.Transform], transforms.Transform]) -> Any:
    """The distribution or transform with every one of its :func:`parts_of` changed, in that order; itself unchanged."""
    if isinstance(part, transforms._InverseTransform):
        return rebuilt(part.inv, change).inv
    if _is_single(part):
        return change(part)
    made = _copy(part)
    for name, child in _children(part).items():
        vars(made)[name] = [rebuilt(c, change) for c in child] if isinstance(child, list) else rebuilt(child, change)
    return made


def _is_single(part: Any) -> bool:
    return isinstance(part, transforms.Transform) and not isinstance(part, _CONTAINERS)


def _children(part: Any) -> dict[str, Any]:
    """Attributes that are distributions or transforms, or lists of them (``_inv`` leads back from an inverse)."""
    kinds = (Distribution, transforms.Transform)
    return {
        name: value
        for name, value in getattr(part, "__dict__", {}).items()
        if name != "_inv"
        and (isinstance(value, kinds) or (isinstance(value, list) and value and isinstance(value[0], kinds)))
    }


def _remembers(transform: transforms.Transform) -> bool:
    """Whether it holds a tensor in memory now."""
    held = (value for name, value in vars(transform).items() if name.startswith(("_cached_", "_cache_")))
    flat = (each for value in held for each in (value if isinstance(value, tuple) else (value,)))
    return any(isinstance(each, Tensor) for each in flat)


def _copy(part: Any) -> Any:
    """A shallow copy: parameters and buffers are shared, memory is its own, and its methods are of the copy."""
    made = object.__new__(type(part))
    for name, value in vars(part).items():
        own = isinstance(value, MethodType) and value.__self__ is part
        vars(made)[name] = MethodType(value.__func__, made) if own else value
    if isinstance(part, transforms.Transform):
        vars(made)["_inv"] = None
    return made
