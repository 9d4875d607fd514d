"""Runs of a program: K particles at once under a plate where the pair allows it, one after another where it does not.

One particle is run as Pyro runs it, without a plate of particles, so that whatever is right for ``Trace_ELBO()`` is
right here: ``softmax(dim=1)``, ``x.view(len(x), -1)``, batch normalisation. Whether K can be run together is found out
once for each pair of model and guide, by comparing: two particles under a plate against each of them alone, at the same
latents. Where a log-probability differs, or the plate raises, particles are run one after another, and a warning says
why, once.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import pyro
import torch
from pyro import poutine
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.messenger import Messenger, _context_wrap
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from ppgen.errors import UsageError
from ppgen.lines import blame, current_line, first_sentence
from ppgen.pair import Pair
from ppgen.parameters import isolated, owner, swapped, unwrapped
from ppgen.sites import (
    PARTICLES,
    Site,
    check_given,
    check_observed,
    check_plates,
    check_same_latents,
    data_plate,
    is_latent,
    is_summed,
    with_sizes,
)
from ppgen.stacking import log_prob_of, part_of_value, stacked_sites
from ppgen.summation import absorbing

__all__ = ["Batch", "Draw", "Program", "Runner", "structure_key"]

Batch = tuple[Any, ...]
"""The arguments of a model and its guide; its tensors with the data's leading size are the data."""

Draw: TypeAlias = Callable[[Site], Tensor | None]
"""What a latent site takes instead of a sample of its distribution; None: a sample."""


@dataclass(frozen=True)
class Program:
    """What an objective works on: a model, a guide, and the objective's own module (a critic, baselines) if any.

    ``data_size``: N, where the caller knows it and the pair does not; it scales what stands in the data plate beside
    latents outside it.
    """

    model: Callable[..., Any]
    guide: Callable[..., Any]
    own: nn.Module | None = None
    data_size: int | None = None

    @property
    def preferred_plate(self) -> str:
        """The name that the data plate has where a plate has it; see :func:`ppgen.sites.data_plate`."""
        return getattr(owner(self.model), "plate_name", "data")

    @property
    def plate_required(self) -> bool:
        """Whether there must be a plate of that name: the user named it."""
        return bool(getattr(owner(self.model), "plate_required", False))


@dataclass(frozen=True)
class Runner:
    """How ``num_particles`` of a program are run at a batch.

    ``dim``: of the particles (< 0), left of every plate. ``together``: under a plate, else one after another, and
    ``apart`` says why.
    """

    program: Program
    batch: Batch
    num_particles: int
    dim: int
    together: bool
    apart: str = ""

    @classmethod
    def of(cls, program: Program, batch: Batch, num_particles: int) -> Runner:
        """A runner for a program, which is looked at the first time that it is seen."""
        for function in (program.model, program.guide):
            if isinstance(pair := owner(function), Pair):
                pair.prepare(*batch)
        dim = -1 - max(_nesting(program.model, batch), _nesting(program.guide, batch))
        apart = num_particles > 1 and _why_apart(program, batch, dim)
        return cls(program, batch, num_particles, dim, num_particles > 1 and not apart, apart or "")

    def guide(self, given: Mapping[str, Tensor], draw: Draw | None = None) -> tuple[dict[str, Site], list[str]]:
        """The guide's sites, each latent given (K, ...), drawn by ``draw``, or sampled; and the names that it drew."""
        if self.together:
            giver = self._given(given, draw)
            return self._run(self.program.guide, giver, summing=False), giver.drawn
        if draw is None:
            return self._each(self.program.guide, self._parts(given), summing=False), []
        return self._drawn_in_turn(dict(given), draw)

    def model(self, guide_sites: Mapping[str, Site]) -> dict[str, Site]:
        """The model's sites at the guide's latents; those that it marks for enumeration and the guide lacks summed."""
        return self.again(self.program.model, guide_sites, summing=True)

    def again(
        self,
        function: Callable[..., Any],
        guide_sites: Mapping[str, Site],
        *,
        cut: bool = False,
        summing: bool = False,
    ) -> dict[str, Site]:
        """A run of model or guide at the guide's latents; ``cut``: without a gradient through them."""
        drawn = {name: site for name, site in guide_sites.items() if not site["is_observed"]}
        if self.together:
            values = {name: site["value"].detach() if cut else site["value"] for name, site in drawn.items()}
            return self._run(function, self._given(values), summing)
        raw = [
            {name: _value_of(site, particle, cut) for name, site in drawn.items()}
            for particle in range(self.num_particles)
        ]
        return self._each(function, raw, summing)

    def at(self, function: Callable[..., Any], given: Mapping[str, Tensor]) -> dict[str, Site]:
        """A run of any function of the batch, latents given (K, ...) or sampled, with nothing summed."""
        if self.together:
            return self._run(function, self._given(given), summing=False)
        return self._each(function, self._parts(given), summing=False)

    def _parts(self, given: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        return [{name: part_of_value(value, k) for name, value in given.items()} for k in range(self.num_particles)]

    def _given(self, values: Mapping[str, Tensor], draw: Draw | None = None) -> _Given:
        dims = -self.dim if self.together else -1 - self.dim
        return _Given(values, dims, draw, alone=not self.together)

    def _run(self, function: Callable[..., Any], giver: _Given, summing: bool) -> dict[str, Site]:
        plate = pyro.plate(PARTICLES, self.num_particles, dim=self.dim) if self.together else nullcontext()
        enumerated = EnumMessenger(first_available_dim=self.dim - 1) if summing else nullcontext()
        with poutine.trace() as tracer, enumerated, giver, plate:
            function(*self.batch)
        sites = {name: site for name, site in tracer.trace.nodes.items() if site["type"] == "sample"}
        sites = with_sizes(sites)
        if not any(map(is_summed, sites.values())):
            return sites
        own = {name: site for name, site in sites.items() if not site_is_subsample(site)}
        plate_name = data_plate(own, self.program.preferred_plate).name
        return sites | absorbing(own, plate_name)

    def _each(
        self, function: Callable[..., Any], given: Sequence[Mapping[str, Tensor]], summing: bool
    ) -> dict[str, Site]:
        runs: list[dict[str, Site]] = []
        shared: dict[str, Tensor] = {}
        for values in given:
            runs.append(self._run(function, self._given({**shared, **values}), summing))
            shared = {name: site["value"] for name, site in runs[0].items() if site_is_subsample(site)}
            _check_same_names(runs[0], runs[-1])
        return stacked_sites(runs, self.dim)

    def _drawn_in_turn(self, given: dict[str, Tensor], draw: Draw) -> tuple[dict[str, Site], list[str]]:
        """One latent after another, of all particles: ``draw`` is shown a site of K particles, whose own are known."""
        drawn: list[str] = []
        while True:
            sites = self._each(self.program.guide, self._parts(given), summing=False)
            following = next((n for n, s in sites.items() if n not in given and is_latent(s)), None)
            if following is None:
                return sites, drawn
            value = draw(sites[following])
            drawn += [following] if value is not None else []
            given[following] = sites[following]["value"] if value is None else value


class _Given(Messenger):
    """Gives latent sites the values at hand, or what ``draw`` makes of the site; sites without either are sampled.

    ``dims``: how many batch dims a site has at most, left of which there are enumerated ones. ``alone``: the values
    are of one particle, with the dims of size 1 that it has among others.
    """

    def __init__(
        self, values: Mapping[str, Tensor], dims: int, draw: Draw | None = None, *, alone: bool = False
    ) -> None:
        super().__init__()
        self.values = values
        self.dims = dims
        self.draw = draw
        self.alone = alone
        self.drawn: list[str] = []

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        value = None if msg["is_observed"] else self._value(msg)
        if value is not None:
            check_given(msg, value, self._shape(msg))
            msg["value"] = value
            msg["infer"] = {**msg["infer"], "enumerate": None}  # so that it is not enumerated

    def _value(self, msg: dict[str, Any]) -> Tensor | None:
        name = msg["name"]
        if name in self.values:
            value = self.values[name]
            return _without_padding(value, self._shape(msg)) if self.alone else value
        if self.draw is None or not is_latent(msg):
            return None
        value = self.draw(msg)
        self.drawn += [name] if value is not None else []
        return value

    def _shape(self, site: Site) -> tuple[int, ...] | None:
        """The shape that a site's value has, without enumerated dims; None: of any (a subsample's)."""
        if site_is_subsample(site):
            return None
        batch, event = site["fn"].batch_shape, site["fn"].event_shape
        return (*batch[max(0, len(batch) - self.dims) :], *event)


def _without_padding(value: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    """A value without the leading dims of size 1 that its site has not."""
    surplus = 0 if shape is None else value.dim() - len(shape)
    return value.reshape(shape) if surplus > 0 and value.shape == (*(1,) * surplus, *shape) else value


def _value_of(site: Site, particle: int, cut: bool) -> Any:
    value = site["parts"][particle]["value"] if "parts" in site else site["value"]
    return value.detach() if cut and torch.is_tensor(value) else value


def _value_alone(site: Site, particle: int) -> Any:
    """One particle's value of a site of several that were run together."""
    return site["value"] if site_is_subsample(site) else part_of_value(site["value"], particle)


def _check_same_names(first: Mapping[str, Site], other: Mapping[str, Site]) -> None:
    for name in [*first, *other]:
        if (name in first) != (name in other):
            raise UsageError(
                f"site {name!r} is drawn in some runs and not in others, and particles cannot be set side by side: "
                "take num_particles = 1, or draw every site in each run and choose by value (torch.where, poutine.mask)"
                "."
            )


@contextmanager
def _looking(program: Program, lines: Messenger | None = None) -> Iterator[None]:
    """A run that leaves nothing behind: no gradients, parameters, random numbers or batch statistics."""
    modules = {id(m): m for f in (program.model, program.guide) if (m := owner(f)) is not None}
    with ExitStack() as stack:
        for module in modules.values():
            stack.enter_context(swapped(module, {n: b.clone() for n, b in module.named_buffers()}))
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(torch.no_grad())
        stack.enter_context(isolated())
        stack.enter_context(poutine.block())
        if lines is not None:
            stack.enter_context(lines)
        yield


_NESTING: WeakKeyDictionary[Any, dict[str, int]] = WeakKeyDictionary()


def _nesting(function: Callable[..., Any], batch: Batch) -> int:
    """How many dims the function's own plates take, found by one run the first time the function is seen."""
    known = _NESTING.setdefault(structure_key(function), {})
    name = _name(function)
    if name not in known:
        with _looking(Program(function, function)), poutine.trace() as tracer:
            function(*batch)
        nodes = tracer.trace.nodes
        sites = with_sizes({n: site for n, site in nodes.items() if site["type"] == "sample"})
        for site in sites.values():
            if not site_is_subsample(site):
                check_plates(site)
        frames = (f for site in sites.values() for f in site["cond_indep_stack"] if f.vectorized)
        known[name] = max((-frame.dim for frame in frames), default=0)
    return known[name]


_APART: WeakKeyDictionary[Any, WeakKeyDictionary[Any, dict[tuple[str, str], str]]] = WeakKeyDictionary()


def _why_apart(program: Program, batch: Batch, dim: int) -> str:
    """Why particles may not be run together, by the pair's own word or by comparing; empty: they may."""
    said: bool | None = getattr(owner(program.model), "vectorized", None)
    if said is not None:
        return "" if said else "the pair says so: vectorized = False"
    of_guides = _APART.setdefault(structure_key(program.model), WeakKeyDictionary())
    known = of_guides.setdefault(structure_key(program.guide), {})
    names = (_name(program.model), _name(program.guide))
    if names not in known:
        why = known[names] = _compared(program, batch, dim)
        if why:
            warnings.warn(
                f"particles of this pair are run one after another, because a plate of particles changes it ({why}): "
                "count dimensions from the right and keep what is left of them to have them run together, or say "
                "vectorized=False to have no warning.",
                stacklevel=2,
            )
    return known[names]


def _compared(program: Program, batch: Batch, dim: int) -> str:
    """Why two particles together differ from each alone, at the same latents; empty: they do not."""
    lines = _Lines()
    modules = (owner(program.model), owner(program.guide))
    both = Runner(program, batch, 2, dim, together=True)
    try:
        with _looking(program, lines), _without_dropout(*modules):
            guide, _ = both.guide({})
            together = [guide, both.model(guide)]
            check_same_latents(together[1], guide)
            for site in together[1].values():
                check_observed(site, dim)
    except UsageError:
        return ""  # what does not fit is said where it is run
    except Exception as error:
        return f"{blame(error, type(error).__name__)}: {first_sentence(error)}"
    alone = Runner(program, batch, 2, dim, together=False)
    raw = [{n: _value_alone(s, k) for n, s in guide.items() if not s["is_observed"]} for k in range(2)]
    with _looking(program), _without_dropout(*modules):
        guide_alone = alone._each(program.guide, raw, summing=False)
        apart = [guide_alone, alone.model(guide_alone)]
        for whole, parts in zip(together, apart, strict=True):
            for name, site in whole.items():
                if name not in parts or not _agree(site, parts[name], dim):
                    return f"site {name!r}, {lines.of.get(name, 'in a library')}"
    return ""


def _agree(site: Site, parts: Site, dim: int) -> bool:
    """Whether a site's log-probabilities are the same in both, rounding apart."""
    if site_is_subsample(site) or ("carrier" in site and "scored" not in site):
        return True
    together, alone = log_prob_of(site), log_prob_of(parts)
    together = together.reshape((1,) * (-dim - together.dim()) + together.shape)
    try:
        together, alone = torch.broadcast_tensors(together, alone)
    except RuntimeError:
        return False
    slack = 1000 * torch.finfo(alone.dtype).eps if alone.dtype.is_floating_point else 0.0
    finite = alone[alone.isfinite()]
    size = 1.0 + (float(finite.abs().max()) if finite.numel() else 0.0)
    return bool(torch.isclose(together, alone, rtol=0.0, atol=slack * size, equal_nan=True).all())


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
    """What a run's structure belongs to: the module, or the function itself where a handler changes it."""
    if _has_handler(function):
        return function
    function = unwrapped(function)
    module = owner(function)
    return module if module is not None else getattr(function, "__self__", function)


def _has_handler(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        if function.func is _context_wrap:
            return True
        function = function.func
    return False


def _name(function: Callable[..., Any]) -> str:
    return getattr(unwrapped(function), "__name__", "")
