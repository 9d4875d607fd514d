"""The objective contract: what is minimised, by whom, and in which parts."""

from __future__ import annotations

import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, TypeVar, cast
from weakref import WeakKeyDictionary

import pyro
import torch
from annotated_types import Ge
from pyro.infer.enum import get_importance_trace
from pyro.infer.util import torch_item
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from ppgen.arguments import check_fields, kind_of, kinds_of
from ppgen.chains.recall import memory_of
from ppgen.errors import UsageError
from ppgen.objectives.turns import Outcome, Player, State
from ppgen.pairs.conditionals import conditional_pair
from ppgen.pairs.energy import check_tells_labels, energy_pair
from ppgen.pairs.joint import check_infers
from ppgen.pairs.maximising import conjugate_pair, maximising_pair
from ppgen.pairs.pair import check_density
from ppgen.pairs.parameters import owner
from ppgen.pairs.rows import source_of
from ppgen.pairs.running import HowToRun
from ppgen.pairs.sampling import check_generates
from ppgen.pairs.stack import directed_layers
from ppgen.pairs.structure import known_of, untouched
from ppgen.pairs.tracing import Batch, Program
from ppgen.schedules import Scheduled

__all__ = [
    "Objective",
    "Scheduled",
    "Stage",
    "at_least",
    "capability",
    "with_gradient_of",
]

T = TypeVar("T")

_TAKEN: WeakIdKeyDictionary = WeakIdKeyDictionary()
"""Of each objective the programs that it was seen to take, so that Pyro's loops look at a pair once."""


@dataclass(frozen=True)
class Stage:
    """A part of a training with an objective of its own; parts follow one another in the one loop.

    >>> import ppgen
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"))
    >>> [stage.name for stage in ppgen.make_objective("stl, dreg").stages(pair)]
    ['STL', 'DReG']
    """

    name: str
    objective: Objective
    share: float = 1.0
    """Of the turns, against those of the other stages."""
    rate: float = 1.0
    """Its learning rate over that of the run, whose schedule begins anew with each stage."""
    at_end: Callable[[State], None] = lambda state: None
    """What is done to the pair after its last turn, of which the objective's state is left; it may raise UsageError."""


class Objective(pyro.infer.ELBO, ABC):
    """A training principle: frozen hyper-parameters and one method of mathematics.

    Works in Pyro as it is: ``SVI(pair.model, pair.guide, optim, loss=objective)`` and, in torch's own way,
    ``objective(pair.model, pair.guide)``.

    Its attributes say what it is and needs, on every instance: a subclass overrides one by a plain ``is_bound = False``
    or, where it depends on hyper-parameters, by a method that is a :func:`capability`.

    To add one: 1. a file in ``inference/`` whose docstring states the value, the gradient, bias and source; 2. a
    frozen keyword-only dataclass, usually a :class:`Bound` with one method ``estimate``; 3. ``@register_objective``
    with a ``tiny`` case, exported from ``inference/__init__.py``; the conformance suite then tests it.

    >>> import ppgen
    >>> pair, x = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real")), torch.zeros(4, 3)
    >>> objective = ppgen.make_objective("beta", beta="linear(0, 1, 100)")
    >>> objective.at(50).beta, objective.at(50).is_bound, objective.at(100).is_bound
    (0.5, False, True)
    >>> objective.at(100)(pair.model, pair.guide)(x).shape  # minus the bound, summed, in torch's own way
    torch.Size([])
    """

    is_bound: ClassVar[bool] = True
    """Whether its value is below log p(x) in expectation."""
    unbiased_gradient: ClassVar[bool] = True
    """Whether its gradient is that of its value's expectation."""
    needs_rsample: ClassVar[bool] = False
    """Whether every latent of the guide must have a reparameterized sample."""
    needs_discrete: ClassVar[bool] = False
    """Whether some latent of the guide must have none."""
    needs_binary: ClassVar[bool] = False
    """Whether those must be Bernoulli."""
    needs_states: ClassVar[bool] = False
    """Whether those must have finitely many states."""
    needs_density: ClassVar[bool] = False
    """Whether the model must be a normalised density of x."""
    needs_energy: ClassVar[bool] = False
    """Whether the pair must have a free energy and chains."""
    needs_layers: ClassVar[bool] = False
    """Whether the pair must have directed layers, which are recognised upwards and dreamt downwards."""
    needs_closed_form: ClassVar[bool] = False
    """Whether the pair must give its expected statistics and what maximises their likelihood."""
    needs_conjugate: ClassVar[bool] = False
    """Whether the pair's parameters must be latents with a conjugate prior."""
    needs_memory: ClassVar[bool] = False
    """Whether patterns can be stored in the pair."""
    needs_conditionals: ClassVar[bool] = False
    """Whether the pair must state conditionals by which its latents are drawn, of all the data at once."""
    needs_labels: ClassVar[bool] = False
    """Whether the pair must have labels whose p(y | x) it gives, and a batch must hold them."""
    needs_source: ClassVar[bool] = False
    """Whether a batch must be (x, s), s the vector that x is made of: the data of a translation."""
    needs_observation: ClassVar[str | None] = None
    """What the data of an energy-based pair must be, as ``DataSpec.observation`` says it; None: anything."""
    needs_samples: ClassVar[bool] = False
    """Whether it reads draws of x, which must be differentiable in the pair's parameters."""
    needs_inference: ClassVar[bool] = False
    """Whether some latent of the guide must depend on parameters: it learns to infer what draws were made of."""
    trains_guide: ClassVar[bool] = True
    """Whether the guide's parameters have a gradient."""
    trains_scales: ClassVar[bool] = True
    """Whether that includes its scales: not where latents are at its mean."""
    per_datum: ClassVar[bool] = False
    """Whether the bound is taken for each datum by itself, so that no latent may be global."""
    splits_data: ClassVar[bool] = False
    """Whether its loss is a sum over data, each of whose terms sees its own datum alone, so that the parts of a batch
    may be taken in turn. The state that it hands on is then the mean of the parts'."""
    splits_particles: ClassVar[bool] = False
    """Whether it reads particles by their tables of shape (K, B) alone, so that some may be run at a time."""
    min_particles: ClassVar[int] = 1
    """The fewest particles it takes."""
    shards: ClassVar[Mapping[str, int] | None] = None
    """Of what it carries from step to step that which every rank has its own part of (chains), by the axis along which
    it is divided; the rest is averaged (:mod:`ppgen.training.sharing`). None: it does not say, and one that carries
    anything is trained in one process."""
    whole_epochs: ClassVar[bool] = False
    """Whether an epoch must show every datum once; else the last rows that do not fill a batch are left out of it."""
    why_eager: ClassVar[str] = ""
    """Why its steps cannot be compiled; empty: they can."""
    measures_fit: ClassVar[bool] = True
    """Whether its loss falls as the pair comes nearer to the data; not that of a negative phase."""
    unit: ClassVar[str] = "nats"
    """Of the loss; empty for a number without one."""
    max_plate_nesting = float("inf")

    def __post_init__(self) -> None:
        """Check every hyper-parameter against its annotation; subclasses add what holds between several.

        Raises:
            UsageError: one is not what its annotation says.
        """
        check_fields(self, type(self).__name__)

    @abstractmethod
    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        """The player's loss at a batch, and the state that the next step gets. A pure function: it stores nothing."""

    def refuses(self, program: Program, batch: Batch) -> str | None:
        """Why it cannot train this pair, a sentence that names the site and says what to do; None: it can.

        The only place where the two are matched. It looks at one run of the pair, which leaves nothing behind.
        """
        if isinstance(pair := owner(program.model), HowToRun):
            pair.prepare(*batch, **getattr(program.model, "keywords", {}))
        try:
            with untouched(program):
                self.at(0)._look(program, batch)
        except UsageError as error:
            return str(error)
        return None

    def check(self, program: Program, batch: Batch) -> None:
        """Look at a pair before its first step.

        Raises:
            UsageError: it :meth:`refuses` the pair.
        """
        if (why := self.refuses(program, batch)) is not None:
            raise UsageError(why)

    def _look(self, program: Program, batch: Batch) -> None:
        """What :meth:`refuses` asks: subclasses raise UsageError for what else they cannot do."""
        name = type(self).__name__
        if self.needs_memory:
            memory_of(program.model, name)
        if self.needs_closed_form:
            maximising_pair(program.model, name)
        if self.needs_conjugate:
            conjugate_pair(program.model, name)
        if self.needs_conditionals:
            conditional_pair(program.model, name)
        if self.needs_energy:
            energy_pair(program.model, name).check_observation(self.needs_observation, name)
        if self.needs_layers:
            directed_layers(program.model, name)
        if self.needs_labels:
            check_tells_labels(program.model, batch, name)
        if self.needs_density:
            check_density(program.model, name)
        if self.needs_samples:
            check_generates(program, batch, name)
        if self.needs_source:
            source_of(batch, f"{name} of {type(owner(program.model)).__name__}")
        if self.needs_inference:
            check_infers(program, batch, name)

    @property
    def total_particles(self) -> int:
        """K: how many particles of each datum a step holds, beside which there may be none."""
        return 1

    def particles_at(self, program: Program, batch: Batch) -> int:
        """How many particles of each datum a step on a batch is made of: K, but for a sum over states one of each."""
        return self.total_particles

    def taking(self, particles: int) -> Objective:
        """This objective with at most so many particles in memory at a time; itself where it does not split them."""
        return self

    @property
    def target(self) -> Any:
        """The bound whose gradient is estimated, a function of log-weights; None where it is no such function."""
        return None

    def players(self) -> tuple[Player, ...]:
        """Who moves in one turn, in order. Most objectives have one player, who owns everything."""
        return (Player("all"),)

    def stages(self, pair: nn.Module) -> tuple[Stage, ...]:
        """What follows what in a training of the pair; most objectives are one stage, themselves.

        Raises:
            UsageError: the pair is none that can be trained in these stages.
        """
        return (Stage(type(self).__name__, self),)

    def parameters(self, pair: nn.Module, batch: Batch) -> nn.Module:
        """A module with the objective's own parameters (a critic, baselines), for data like ``batch``; mostly empty."""
        return nn.Module()

    def initial_state(self, program: Program, batch: Batch) -> State:
        """What the first step gets as ``state``."""
        return {}

    def chains(self, state: State) -> Tensor | None:
        """The persistent chains in ``state`` that follow the pair's own distribution, (num, D); None: it keeps none."""
        return None

    def schedules(self, step: int) -> dict[str, float]:
        """The value at ``step`` of every hyper-parameter that is a schedule (``"bound.alpha"``: an inner bound's).

        Raises:
            UsageError: a value is none that the hyper-parameter may have.
        """
        values: dict[str, float] = {}
        for name in (f.name for f in fields(self)):  # type: ignore[arg-type]  # subclasses are dataclasses
            value = getattr(self, name)
            if isinstance(value, Objective):
                values |= {f"{name}.{inner}": v for inner, v in value.schedules(step).items()}
            elif callable(value) and kinds_of(type(self))[name].takes_schedules:
                who = f"{name} of {type(self).__name__} at step {step}"
                values[name] = kinds_of(type(self))[name].read(who, value(step))
        return values

    def holding(self, values: Mapping[str, Any]) -> Objective:
        """This objective with some hyper-parameters replaced, by numbers or by 0-dim tensors (inputs of a graph)."""
        twin = copy.copy(self)
        _TAKEN[twin] = _TAKEN.setdefault(self, WeakKeyDictionary())
        for name, value in values.items():
            name, _, inner = name.partition(".")
            object.__setattr__(twin, name, getattr(twin, name).holding({inner: value}) if inner else value)
        return twin

    def at(self, step: int) -> Objective:
        """This objective as it is at ``step``: every schedule replaced by its value."""
        return self.holding(self.schedules(step))

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *batch: Any, **options: Any
    ) -> Tensor:
        """Minus the bound, in nats, summed over the batch and times the plate's scale N / B, as in Pyro.

        ``options`` are keyword arguments of model and guide.

        Raises:
            UsageError: it refuses the pair, asked once for each kind of arguments; its loss depends on the step.
        """
        scheduled = list(self.schedules(0))
        if scheduled or len(self.players()) > 1:
            what = f"{scheduled[0]} is a schedule" if scheduled else "it has several players"
            raise UsageError(f"{self}: {what}, and no step is known here: use objective.at(step), or ppgen.fit.")
        program = Program(_with(model, options), _with(guide, options))
        arguments = (*batch, *options.values())
        known, kind = known_of(_TAKEN.setdefault(self, WeakKeyDictionary()), program, arguments)
        if kind not in known:
            self.check(program, batch)
            known[kind] = True
        return self.play(self.players()[0].name, program, batch, self.initial_state(program, batch)).loss

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        """Pyro's pair of traces, as its own objectives take them; nothing here reads them."""
        return get_importance_trace("flat", self.max_plate_nesting, model, guide, args, kwargs)

    def loss(self, model: Callable[..., Any], guide: Callable[..., Any], *batch: Any, **options: Any) -> float:
        """The value of :meth:`differentiable_loss`, as a number."""
        with torch.no_grad():
            return float(torch_item(self.differentiable_loss(model, guide, *batch, **options)))

    def loss_and_grads(
        self, model: Callable[..., Any], guide: Callable[..., Any], *batch: Any, **options: Any
    ) -> float:
        """The value of :meth:`differentiable_loss`; its gradient is added to the parameters' ``.grad``."""
        loss = self.differentiable_loss(model, guide, *batch, **options)
        if loss.requires_grad:  # not that of a pair without parameters
            loss.backward()
        return float(torch_item(loss))


def capability(function: Callable[[Any], T]) -> T:
    """A method of an objective as one of its attributes: what it can do depends on its hyper-parameters."""
    return cast(T, property(function))


def _with(function: Callable[..., Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    return functools.partial(function, **options) if options else function


def at_least(objective: Objective, name: str, least: float) -> None:
    """Check a hyper-parameter, or a schedule's values, where how much it must be depends on others.

    Raises:
        UsageError: it is no number, a fraction where ``least`` is whole, or below ``least``.
    """
    kind: Any = Annotated[type(least), Ge(least)]
    scheduled = kind_of(Scheduled[kind])  # type: ignore[misc]  # a type made here
    scheduled.read(f"{name} of {type(objective).__name__}", getattr(objective, name))


def with_gradient_of(value: Tensor, surrogate: Tensor) -> Tensor:
    """``value``, whose gradient is that of ``surrogate``."""
    return value.detach() + surrogate - surrogate.detach()
