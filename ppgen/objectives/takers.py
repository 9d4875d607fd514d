"""Who can take a pair's latents where an objective cannot: the end of its refusal, asked of every registered one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from ppgen.errors import LatentsError, UsageError, setting, shown
from ppgen.objectives.objective import Objective
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles
from ppgen.registry import OBJECTIVES

__all__ = ["refusal", "takers"]


def refusal(error: LatentsError, program: Program, batch: Batch, kind: type[Any], composed: Mapping[str, Any]) -> str:
    """The sentence of a refusal, with the objectives that can take the latents, those without a bias first.

    Args:
        error: the refusal, which ends with what to change of the latents.
        program: the pair, which is run once.
        batch: what it is run on.
        kind: of objective that is asked: subclasses of ``Bound``, by whose ``_check`` a pair is looked at.
        composed: options by which others have the gradient of the one that refuses; who takes the pair with them.
    """
    found = takers(program, batch, kind)
    with_it = list(takers(program, batch, kind, composed)) if composed else []
    exact = [shown(name) for name, one in found.items() if one.unbiased_gradient]
    biased = [shown(name) for name, one in found.items() if not one.unbiased_gradient]
    named = [*([", ".join(exact)] if exact else []), *([f"with a bias {', '.join(biased)}"] if biased else [])]
    if with_it:
        options = " ".join(setting("O", name, value) for name, value in composed.items())
        named.append(f"with {options} for the reparameterized ones {', '.join(map(shown, with_it))}")
    said = str(error).removesuffix(".")
    return f"{said}, or use an objective that can take these latents: {'; '.join(named)}." if found else str(error)


def takers(program: Program, batch: Batch, kind: type[Any], options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Of the registered objectives of a kind those that take the pair and train its guide, by name.

    With ``options``, those that have them take the pair with them, and others do not.
    Those that look at more than particles (they override ``_look``) are not asked.
    """
    one = run_particles(program, batch, 1)
    every = {name: _with(spec.tiny(), options or {}) for name, spec in OBJECTIVES.items() if spec.tiny is not None}
    made = {name: objective for name, objective in every.items() if objective is not None}
    asked = {n: o for n, o in made.items() if isinstance(o, kind) and type(o)._look is kind._look and o.trains_guide}
    return {name: objective for name, objective in asked.items() if _takes(objective.at(0), program, batch, one)}


def _with(objective: Any, options: Mapping[str, Any]) -> Any:
    """The objective with some hyper-parameters; None: it has them not, or not these."""
    if not options.keys() <= {field.name for field in fields(objective)}:
        return None
    try:
        return replace(objective, **options)
    except UsageError:
        return None


def _takes(objective: Any, program: Program, batch: Batch, one: Particles) -> bool:
    try:
        Objective._look(objective, program, batch)
        objective._check(one)
    except UsageError:
        return False
    return True
