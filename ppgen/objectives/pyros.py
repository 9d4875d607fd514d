"""Pyro's own objectives, any ``pyro.infer.ELBO``, as ours: their loss, and the gradient that they leave behind.

They run as they are, eagerly. ``loss_and_grads`` is called on copies of the pair's parameters, whose ``.grad`` is the
gradient; it is handed on as that of a linear function of the parameters.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import pyro
import torch
from torch import nn

from ppgen.arguments import one_of, options_of
from ppgen.errors import UsageError, first_sentence, is_out_of_memory, shown
from ppgen.objectives.objective import Objective, capability, with_gradient_of
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.pair import check_density
from ppgen.pairs.parameters import owner, swapped
from ppgen.pairs.structure import Memory, known_of, untouched
from ppgen.pairs.tracing import Batch, Program, run_particles
from ppgen.registry import OBJECTIVES

__all__ = ["PYRO", "Pyros", "elbo_class"]

PYRO = "pyro."
"""How the names of Pyro's objectives begin."""

_KNOWN = {
    name: value
    for name, value in vars(pyro.infer).items()
    if inspect.isclass(value) and issubclass(value, pyro.infer.ELBO)
}

_COMPILED = tuple(cls for name, cls in _KNOWN.items() if name.startswith("Jit"))
"""They keep a graph with the parameters of their first call in it."""

_NUM_DATA: Memory = WeakKeyDictionary()


def elbo_class(name: str) -> type:
    """The class of ``pyro.infer`` that ``pyro.Trace_ELBO``, or ``pyro.infer.Trace_ELBO``, names.

    Raises:
        UsageError: there is none.
    """
    short = name.removeprefix(PYRO).removeprefix("infer.")
    one_of("pyro.infer has no ELBO", short, _KNOWN)
    return _KNOWN[short]


@dataclass(frozen=True, kw_only=True, repr=False)
class Pyros(Objective):
    """One of Pyro's objectives; it is copied, and what it finds out of a pair stays in the copy.

    >>> import ppgen
    >>> pair, x = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real")), torch.zeros(4, 3)
    >>> objective = Pyros(elbo=pyro.infer.Trace_ELBO(num_particles=2))
    >>> objective, objective.differentiable_loss(pair.model, pair.guide, x).shape
    (pyro.Trace_ELBO(num_particles=2), torch.Size([]))
    """

    needs_density = True

    elbo: Any
    options: Mapping[str, Any] = field(init=False, default_factory=dict, compare=False)
    """What makes it again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.elbo, pyro.infer.ELBO):
            raise UsageError(f"elbo must be an instance of pyro.infer.ELBO, got {shown(self.elbo)}.")
        if isinstance(self.elbo, _COMPILED):
            name = type(self.elbo).__name__
            raise UsageError(
                f"{name} keeps the parameters of its first step, and would train none: give {name.removeprefix('Jit')}"
                ", or an objective of ppgen.inference, which is compiled."
            )
        object.__setattr__(self, "elbo", copy.copy(self.elbo))
        object.__setattr__(self, "options", _options(self.elbo))

    def __repr__(self) -> str:
        defaults = options_of(type(self.elbo))
        given = [f"{name}={value!r}" for name, value in self.options.items() if value != defaults[name]]
        return f"{self.name or type(self.elbo).__name__}({', '.join(given)})"

    @property
    def name(self) -> str | None:
        """``pyro.`` and the class; None: it is none of ``pyro.infer``'s."""
        name = type(self.elbo).__name__
        return PYRO + name if _KNOWN.get(name) is type(self.elbo) else None

    @property
    def target(self) -> Any:
        """The bound that it estimates, where that is a function of log-weights."""
        makers = (_TARGETS[kind] for kind in type(self.elbo).__mro__ if kind in _TARGETS)
        return next((make(self.elbo) for make in makers), None)

    @capability
    def is_bound(self) -> bool:
        return self.target is not None

    @capability
    def unbiased_gradient(self) -> bool:
        return self.target is not None

    @capability
    def why_eager(self) -> str:
        return f"{self} is Pyro's own, whose steps are not compiled (ppgen.inference.ELBO is Trace_ELBO, compiled)"

    @property
    def total_particles(self) -> int:
        return int(self.elbo.num_particles)

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        num_data, module = _num_data(program, batch), owner(program.model)
        own = {} if module is None else {name: p for name, p in module.named_parameters() if p.requires_grad}
        linear = next(iter(own.values()), torch.zeros(())).new_zeros(())
        if module is None or not own or not torch.is_grad_enabled():
            loss = self.elbo.loss(program.model, program.guide, *batch)
        else:
            leaves = {name: nn.Parameter(value.detach()) for name, value in own.items()}
            with swapped(module, leaves):
                loss = self.elbo.loss_and_grads(program.model, program.guide, *batch)
            for name, leaf in leaves.items():
                linear = linear + (own[name] * (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)).sum()
        first = loss[0] if isinstance(loss, tuple) else loss  # ReweightedWakeSleep: of the model, of the guide
        value = linear.new_tensor(float(first))
        metrics = {"bound": -value / num_data} if self.is_bound else {}
        return Outcome(with_gradient_of(value, linear), num_data, metrics)

    def _look(self, program: Program, batch: Batch) -> None:
        check_density(program.model, str(self))
        try:
            with torch.enable_grad():
                self.play("all", program, batch, {})
        except Exception as error:
            if isinstance(error, UsageError) or is_out_of_memory(error):
                raise
            raise UsageError(
                f"{self} cannot train this pair, and raises {type(error).__name__}: {first_sentence(error)}; "
                "`ppgen.check_pair(pair, batch)` says which rule the pair breaks."
            ) from error


def _options(elbo: pyro.infer.ELBO) -> dict[str, Any]:
    """The arguments that it was made with."""
    found = {name: getattr(elbo, name) for name in options_of(type(elbo)) if hasattr(elbo, name)}
    if found.get("vectorize_particles") and found["num_particles"] > 1:  # its constructor has counted their plate
        found["max_plate_nesting"] -= 1
    return found


def _num_data(program: Program, batch: Batch) -> float:
    """How many data a batch stands for: B times the plate's scale; looked up once for each shape of a batch."""
    known, kind = known_of(_NUM_DATA, program, batch)
    key = (kind, *(tuple(part.shape) for part in batch if torch.is_tensor(part)))
    if key not in known:
        with untouched(program), pyro.validation_enabled(False):
            one = run_particles(program, batch, 1)
        known[key] = float(one.scale) * one.log_w.shape[1]
    return float(known[key])


def _elbo(elbo: Any) -> Any:
    return OBJECTIVES["elbo"].cls(num_particles=elbo.num_particles)


def _renyi(elbo: Any) -> Any:
    if elbo.alpha == 0:
        return OBJECTIVES["iwelbo"].cls(num_particles=elbo.num_particles)
    return OBJECTIVES["renyi"].cls(num_particles=elbo.num_particles, alpha=elbo.alpha)


_TARGETS: dict[type, Callable[[Any], Any]] = {
    pyro.infer.Trace_ELBO: _elbo,
    pyro.infer.TraceGraph_ELBO: _elbo,
    pyro.infer.TraceEnum_ELBO: _elbo,
    pyro.infer.RenyiELBO: _renyi,
}
"""The bounds of Pyro's objectives and their subclasses; others have a value and a gradient and no known target."""
