"""How a program is to be run: how many plate dims it has, and whether a plate of particles leaves it as it is.

Both are found out once for each pair of model and guide and each kind of arguments. The second by comparing: two
particles under a plate against each of them alone, at the same latents. Where a log-probability differs, or the plate
raises, particles are run one after another, and a warning says why, once.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger, _context_wrap
from pyro.poutine.util import site_is_subsample
from torch import nn

from ppgen.errors import UsageError, blame, current_line, first_sentence, is_out_of_memory, shown
from ppgen.pairs.memories import Forgetting
from ppgen.pairs.parameters import isolated, kept_buffers, owner, unwrapped
from ppgen.pairs.running import Batch, HowToRun, Program, Runner
from ppgen.pairs.sites import Site, check_observed, check_plates, check_same_latents
from ppgen.pairs.stacking import log_prob_of, part_of_value
from ppgen.pairs.summation import is_absorbed
from ppgen.pairs.traces import sites_of
from ppgen.pairs.transformed import NO_INVERSE

__all__ = ["APART", "Memory", "handled", "known_of", "runner_of", "structure_key", "untouched"]

APART = "particles of this pair are run one after another"
"""How the warning begins."""


def runner_of(program: Program, batch: Batch, num_particles: int, together: bool | None = None) -> Runner:
    """A runner for a program, which is looked at the first time that it is seen with such arguments.

    ``together``: whether particles run under a plate; None: where it leaves the pair as it is.

    Raises:
        UsageError: a batch dim of a site is no plate's (the site is named).
    """
    for function in (program.model, program.guide):
        if isinstance(module := owner(function), HowToRun):
            module.prepare(*batch)
    dim = -1 - max(_nesting(program.model, batch), _nesting(program.guide, batch))
    several = num_particles > 1
    apart = _why_apart(program, batch, dim) if several and together is None else ""
    side_by_side = several and (not apart if together is None else together)
    return Runner(program, batch, num_particles, dim, side_by_side, apart).anew()


@contextmanager
def untouched(program: Program, *inner: Messenger) -> Iterator[None]:
    """A run that leaves nothing behind: no gradients, parameters, random numbers or batch statistics."""
    still = kept_buffers(program.model, program.guide)
    with still, torch.random.fork_rng(), torch.no_grad(), poutine.block(), isolated(), ExitStack() as stack:
        for handler in inner:
            stack.enter_context(handler)
        yield


class _SameParameters(Messenger):
    """``pyro.param`` statements of bare functions: the store's values, or what the first run began with."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, Any] = {name: value.detach() for name, value in pyro.get_param_store().items()}

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        if not msg["done"] and msg["name"] in self.values:
            msg["value"], msg["done"] = self.values[msg["name"]], True

    def _pyro_post_param(self, msg: dict[str, Any]) -> None:
        self.values.setdefault(msg["name"], msg["value"])


Kind = tuple[type, ...]
"""The types of a program's arguments."""

_NESTING: WeakKeyDictionary[Any, dict[tuple[str, Kind], int]] = WeakKeyDictionary()


def _nesting(function: Callable[..., Any], batch: Batch) -> int:
    """How many dims the function's own plates take, found by one run the first time the function is seen."""
    function = _structured(function)
    known = _NESTING.setdefault(structure_key(function), {})
    name = (_name(function), _kind(batch))
    if name not in known:
        with untouched(Program(function, function), Forgetting(function)):
            sites = sites_of(function, *batch)
        for site in sites.values():
            if not site_is_subsample(site):
                check_plates(site)
        frames = (f for site in sites.values() for f in site["cond_indep_stack"] if f.vectorized)
        known[name] = max((-frame.dim for frame in frames), default=0)
    return known[name]


Memory: TypeAlias = WeakKeyDictionary[Any, WeakKeyDictionary[Any, dict[Any, Any]]]
"""What was found out of programs and kinds of arguments, as long as model and guide live."""


def known_of(memory: Memory, program: Program, batch: Batch) -> tuple[dict[Any, Any], Any]:
    """What a memory holds of a program, and the key there for arguments of these kinds."""
    of_guides = memory.setdefault(structure_key(program.model), WeakKeyDictionary())
    known = of_guides.setdefault(structure_key(program.guide), {})
    return known, (_name(program.model), _name(program.guide), _kind(batch))


_APART: Memory = WeakKeyDictionary()


def _why_apart(program: Program, batch: Batch, dim: int) -> str:
    """Why particles may not be run together, by the pair's own word or by comparing; empty: they may."""
    said: bool | None = getattr(owner(program.model), "vectorized", None)
    if said is not None:
        return "" if said else "the pair says so: vectorized = False"
    known, key = known_of(_APART, program, batch)
    if key not in known:
        plain = replace(program, model=_structured(program.model), guide=_structured(program.guide))
        why = known[key] = _compared(plain, batch, dim)
        if why:
            warnings.warn(
                f"{APART}, because a plate of particles changes it ({why}): "
                "count dimensions from the right and keep what is left of them to have them run together, or say "
                "vectorized=False to have no warning.",
                stacklevel=2,
            )
    return str(known[key])


def _compared(program: Program, batch: Batch, dim: int) -> str:
    """Why two particles together differ from each alone, at the same latents; empty: they do not."""
    lines, parameters = _Lines(), _SameParameters()
    modules = (owner(program.model), owner(program.guide))
    both = Runner(program, batch, 2, dim, together=True)
    try:
        with untouched(program, parameters, lines), _without_dropout(*modules):
            guide, _ = both.guide({})
            together = [guide, both.model(guide)]
            _check_fit(together[1], guide, dim)
    except UsageError as error:
        return "" if _fails_alone(program, batch, dim) else first_sentence(error)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return f"{blame(error, type(error).__name__)}: {first_sentence(error)}"
    alone = Runner(program, batch, 2, dim, together=False)
    raw = [{n: _value_alone(s, k) for n, s in guide.items() if not s["is_observed"]} for k in range(2)]
    name = ""
    try:
        with untouched(program, parameters), _without_dropout(*modules):
            guide_alone = alone.each(program.guide, raw, summing=False)
            apart = [guide_alone, alone.model(guide_alone)]
            for whole, parts in zip(together, apart, strict=True):
                for name, site in whole.items():
                    if name not in parts or not _agree(site, parts[name], dim):
                        return f"site {shown(name)}, {lines.of.get(name, 'in a library')}"
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return f"site {shown(name)}, {lines.of.get(name, 'in a library')}: {first_sentence(error)}"
    return ""


def _value_alone(site: Site, particle: int) -> Any:
    """One particle's value of a site of several that were run together."""
    return site["value"] if site_is_subsample(site) else part_of_value(site["value"], particle)


def _fails_alone(program: Program, batch: Batch, dim: int) -> bool:
    """Whether one particle does not fit either, as is said where it is run."""
    alone = Runner(program, batch, 1, dim, together=False)
    try:
        with untouched(program):
            guide, _ = alone.guide({})
            _check_fit(alone.model(guide), guide, dim)
    except UsageError:
        return True
    return False


def _check_fit(model: dict[str, Site], guide: dict[str, Site], dim: int) -> None:
    check_same_latents(model, guide)
    for site in model.values():
        if "carrier" not in site:
            check_observed(site, dim)


def _agree(site: Site, parts: Site, dim: int) -> bool:
    """Whether a site's log-probabilities are the same in both; what a plate changes is more than a thousandth."""
    if site_is_subsample(site) or is_absorbed(site):
        return True
    try:
        together, alone = log_prob_of(site), log_prob_of(parts)
    except NO_INVERSE:  # a flow without inverse cannot be scored at what it did not draw
        return bool(site["fn"].shape()[1:] == parts["fn"].shape()[1:])
    together = together.reshape((1,) * (-dim - together.dim()) + together.shape)
    try:
        together, alone = torch.broadcast_tensors(together, alone)
    except RuntimeError:
        return False
    return bool(torch.isclose(together, alone, rtol=1e-3, atol=1e-3, equal_nan=True).all())


class _Lines(Messenger):
    """Notes the user's line of each sample statement."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, str] = {}

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        self.of[msg["name"]] = current_line()


@contextmanager
def _without_dropout(*modules: nn.Module | None) -> Iterator[None]:
    """Within it dropout drops nothing: its noise would be taken for a difference."""
    parts = [part for module in modules if module is not None for part in module.modules()]
    active = [p for p in parts if isinstance(p, nn.modules.dropout._DropoutNd) and p.training]
    for part in active:
        part.training = False
    try:
        yield
    finally:
        for part in active:
            part.training = True


def structure_key(function: Callable[..., Any]) -> Any:
    """What a run's structure belongs to: the module, or the function itself where a handler changes it.

    A function that says ``structure_of`` has the structure of that other one.
    """
    function = _structured(function)
    if _has_handler(function):
        return function
    function = unwrapped(function)
    module = owner(function)
    return module if module is not None else getattr(function, "__self__", function)


def handled(handler: Messenger, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function under a handler that leaves its structure as it is, which is not looked at again."""
    changed: Any = handler(function)
    changed.structure_of = function
    return changed  # type: ignore[no-any-return]  # a partial of pyro's


def _structured(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function whose structure this one has, and which is looked at in its place."""
    other: Callable[..., Any] = getattr(function, "structure_of", function)
    return other


def _has_handler(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        if function.func is _context_wrap:
            return True
        function = function.func
    return False


def _name(function: Callable[..., Any]) -> str:
    return getattr(unwrapped(_structured(function)), "__name__", "")


def _kind(batch: Batch) -> Kind:
    return tuple(map(type, batch))
