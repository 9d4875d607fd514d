"""A pair of two callables, and of what is given in place of a pair."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, final

import pyro
import torch
from pyro import poutine
from pyro.poutine.guide import GuideMessenger
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import transform_to
from torch.distributions.constraints import Constraint

from ppgen.errors import UsageError, setting, shown
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import GivenParameters, owner, unwrapped

__all__ = ["as_pair", "check_takes", "pair_from"]


@final
class _FunctionPair(Pair):
    """A pair of two callables; see :func:`pair_from`."""

    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        data_plate: str | None,
        vectorized: bool | None,
    ) -> None:
        super().__init__()
        self.plate_name = self.plate_name if data_plate is None else data_plate
        self.plate_required = data_plate is not None
        self.vectorized = vectorized
        self._functions = (model, guide)
        self._prepared: set[Any] = set()
        self._constraints: dict[str, tuple[str, Constraint]] = {}
        self.modules_used = nn.ModuleList()
        self.values = nn.ParameterDict()

    def prepare(self, *batch: Any, **options: Any) -> None:
        kind = (*map(type, batch), *options)
        if kind in self._prepared:
            return
        model, guide = self._functions
        with poutine.block(), torch.random.fork_rng(), _ParameterLeaves() as found, _modules_called() as called:
            guide(*batch, **options)
            model(*batch, **options)
        roots = [m for f in (model, guide) if (m := owner(f)) is not None]
        seen = [*_modules_named(model), *_modules_named(guide), *called]
        known = [*self.modules_used]
        outermost = _outermost([*known, *roots], seen, {id(leaf) for leaf in found.leaves.values()})
        self.modules_used.extend(module for module in outermost if all(module is not other for other in known))
        held = {id(p) for p in self.modules_used.parameters()}
        store = pyro.get_param_store()
        for name, leaf in found.leaves.items():
            if id(leaf) not in held and name not in self._constraints:
                _check_reachable(name)
                key = name.replace(".", "_")
                self.values[key] = leaf if isinstance(leaf, nn.Parameter) else nn.Parameter(leaf)
                self._constraints[name] = (
                    key,
                    store._constraints.get(name, torch.distributions.constraints.real),
                )
        self._prepared.add(kind)

    def model(self, *batch: Any, **options: Any) -> Any:
        return self._call(0, batch, options)

    def guide(self, *batch: Any, **options: Any) -> Any:
        return self._call(1, batch, options)

    def _call(self, which: int, batch: tuple[Any, ...], options: dict[str, Any]) -> Any:
        self.prepare(*batch, **options)
        _ = self.modules_used  # reading it here tells Pyro of the parameters, so that SVI trains those of plain modules
        function = self._functions[which]
        shown = poutine.block(hide_fn=_is_observation) if isinstance(function, GuideMessenger) else nullcontext()
        with shown, GivenParameters(self._constrained()):
            return function(*batch, **options)

    def _constrained(self) -> dict[str, Tensor]:
        values = {}
        for name, (key, constraint) in self._constraints.items():
            leaf = self.values[key]
            values[name] = transform_to(constraint)(leaf)
            values[name].unconstrained = weakref.ref(leaf)
        return values


def _is_observation(site: Any) -> bool:
    """What a messenger guide, which runs the model within it, observes: no part of q, and Pyro's objectives know it."""
    return bool(site["type"] == "sample" and site["is_observed"])


class _ParameterLeaves(Messenger):
    """Collects the leaf tensor behind every ``pyro.param``: the module's own parameter, or the store's."""

    def __init__(self) -> None:
        super().__init__()
        self.leaves: dict[str, Tensor] = {}

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        if len(msg["args"]) > 1 and isinstance(msg["args"][1], nn.Parameter):
            msg["value"], msg["done"] = msg["args"][1], True

    def _pyro_post_param(self, msg: dict[str, Any]) -> None:
        value = msg["value"]
        self.leaves[msg["name"]] = value.unconstrained() if hasattr(value, "unconstrained") else value


@contextmanager
def _modules_called() -> Iterator[list[nn.Module]]:
    """Collects every module whose ``forward`` runs within it."""
    called: list[nn.Module] = []
    hook = nn.modules.module.register_module_forward_pre_hook(lambda module, args: called.append(module))
    try:
        yield called
    finally:
        hook.remove()


def _modules_named(function: Callable[..., Any]) -> list[nn.Module]:
    """The modules among the variables that a function reads from outside it."""
    function = unwrapped(function)
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        return []
    outside = inspect.getclosurevars(function)
    return [v for v in (*outside.nonlocals.values(), *outside.globals.values()) if isinstance(v, nn.Module)]


def _outermost(roots: list[nn.Module], seen: list[nn.Module], owned: set[int]) -> list[nn.Module]:
    """``roots``, and those of ``seen`` that have an owned parameter of their own; none that lies inside another."""
    users = [m for m in seen if any(id(p) in owned for p in m.parameters(recurse=False))]
    every = {id(m): m for m in (*roots, *users)}
    inside = {id(part) for m in every.values() for part in m.modules() if part is not m}
    return [m for key, m in every.items() if key not in inside]


def _check_reachable(name: str) -> None:
    """A parameter that ``pyro.module`` registered is read from its module, which must have been found."""
    module, registered, parameter = name.partition("$$$")
    if registered:
        raise UsageError(
            f"parameter {shown(parameter)} of the module registered as {shown(module)} is read by no call of it: call "
            "the module (its forward), or make model and guide methods of one torch.nn.Module that holds it."
        )


def pair_from(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    *,
    data_plate: str | None = None,
    vectorized: bool | None = None,
) -> Pair:
    """A pair of two callables: functions with ``pyro.param`` and ``pyro.module``, methods, an autoguide.

    Their parameters are found by one run, at the first batch, as ``pyro.infer.SVI`` does; those of ``pyro.param``
    start at the values the global param store holds.

    Args:
        model: the generative model; its arguments are the batch.
        guide: the approximation, with the same arguments.
        data_plate: name of the plate whose elements are the data; None: the one outermost plate that holds the
            observed sites. Without such a plate, and with an empty name, the whole batch is one datum.
        vectorized: whether particles may be run together, under a plate; None: found out by comparing.
    """
    return _FunctionPair(model, guide, data_plate, vectorized)


def as_pair(pair: Any) -> Pair:
    """``pair`` itself if it is a :class:`Pair`, else a pair of its ``model`` and ``guide`` methods.

    Raises:
        UsageError: it has no ``model`` and ``guide``.
    """
    if isinstance(pair, Pair):
        return pair
    if callable(getattr(pair, "model", None)) and callable(getattr(pair, "guide", None)):
        return pair_from(pair.model, pair.guide)
    raise UsageError(
        f"expected a pair, an object with methods model(*batch) and guide(*batch), got {type(pair).__name__}: "
        "subclass ppgen.Pair, or make one with ppgen.pair_from(model, guide)."
    )


def check_takes(pair: Pair, batch: tuple[Tensor, ...]) -> None:
    """The pair's model can be called with a batch of so many tensors.

    Raises:
        UsageError: it takes another number.
    """
    model = pair._functions[0] if isinstance(pair, _FunctionPair) else pair.model
    try:
        inspect.signature(model).bind(*batch)
    except TypeError as error:
        load = f"load the data with {setting('D', 'labels', len(batch) == 1)}, or choose another model"
        if pair.takes_source:
            load = "give two sets, ppgen.data.translation_data(source, target), or choose a model without sources"
        elif len(batch) == 2 and batch[1].is_floating_point():
            load = "the second are sources; choose a model that translates them, such as 'cyclegan', or other data"
        raise UsageError(
            f"the data yield batches of {len(batch)} tensors, and the model takes ({_arguments(model)}): {load}."
        ) from error


def _arguments(model: Callable[..., Any]) -> str:
    return ", ".join(inspect.signature(model).parameters)
