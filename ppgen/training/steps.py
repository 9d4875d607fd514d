"""One step as a pure function, traced to one graph and compiled.

    (parameters, other tensors, state, schedule values, batch) -> (gradients, report, next state, what is written)

The pair runs once, symbolically: the graph that is left holds no Python, no trace and no handler, and Inductor fuses
across forward and backward. Whatever is not an input becomes a constant of the graph, which is why everything that
changes from step to step is an input here.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor, fx

from ppgen.machine.graphs import by_the_cache, constants_moved, graph_of, without_detach
from ppgen.machine.leftovers import Descendants
from ppgen.machine.precision import Precision, products_in
from ppgen.machine.products import shared_out
from ppgen.machine.threads import on_one_thread
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Outcome, Player, State
from ppgen.pairs.parameters import isolated, swapped
from ppgen.pairs.tracing import Batch
from ppgen.training.choices import Choices
from ppgen.training.learner import Learner

__all__ = ["StepFunction", "StepResult", "compiled", "player_step"]

StepResult = tuple[list[Tensor], dict[str, Tensor], State, dict[str, Tensor]]
"""Gradients (in the order of the player's parameters), report (scalars), next state, and what is written by name: next
buffers, and parameters that are assigned."""

StepFunction = Callable[[dict[str, Tensor], dict[str, Tensor], State, dict[str, Tensor], Batch], StepResult]


@dataclass(frozen=True)
class _Step:
    """The pure function of one player's step; see the module's docstring."""

    learner: Learner
    objective: Objective
    player: str
    present: Callable[[Batch], Batch]
    precision: Precision

    def __call__(
        self,
        owned: dict[str, Tensor],
        others: dict[str, Tensor],
        state: State,
        values: dict[str, Tensor],
        batch: Batch,
    ) -> StepResult:
        owned = {name: value.detach().requires_grad_() for name, value in owned.items()}
        clones = {name: others[name].clone() for name, _ in self.learner.named_buffers()}
        swap = swapped(self.learner, {**others, **owned, **clones})
        rounded = products_in(self.precision)
        # NaN is for the loop to report
        with torch.enable_grad(), swap, isolated(), pyro.validation_enabled(False), rounded:
            objective = self.objective.holding(values)
            shown = self.present(batch)
            outcome = objective.play(self.player, self.learner.program, shown, state)
            loss = outcome.loss / outcome.num_data
            gradients = _gradients(loss, list(owned.values()))
            found = dict(self.learner.named_buffers(remove_duplicate=False))  # written in place, or replaced
            assigned = {**self.learner.pair.assigned(*shown), **outcome.assigned}
        buffers = {n: others[n] if _is_untouched(found[n], b) else found[n].detach() for n, b in clones.items()}
        written = buffers | {f"pair.{name}": value.detach() for name, value in assigned.items()}
        report = {"loss": loss.detach(), **_detached(outcome)}
        # the next step is the same graph, made for these strides
        following = {name: value.contiguous() for name, value in outcome.state.items()}
        return gradients, report, following, written


def player_step(
    learner: Learner,
    objective: Objective,
    player: Player,
    present: Callable[[Batch], Batch] = lambda batch: batch,
    precision: Precision = "float32",
) -> StepFunction:
    """The pure step function of one player.

    Args:
        learner: the pair and the objective's own module; not changed by a call.
        objective: whose loss; schedules are given by value at each call.
        player: who moves.
        present: what is done to a batch each time it is shown (dynamic binarization).
        precision: of its matrix products.
    """
    return _Step(learner, objective, player.name, present, precision)


def compiled(step: StepFunction, *arguments: Any, choices: Choices | None = None) -> StepFunction:
    """``step`` as one compiled graph for arguments of these shapes; it draws the same random numbers as ``step``.

    Args:
        step: a pure function.
        arguments: its arguments, of the shapes that it is compiled for.
        choices: of the run that the step is part of, which may grow.

    Raises:
        Exception: whatever tracing raised, when the step depends on values (``.item()``, ``if tensor > 0:``).
        RememberedError: the step computes from what an earlier call left behind.
    """
    takes = _layout(arguments)
    leaves = _leaves(arguments, takes)
    with torch.random.fork_rng(), Descendants(leaves) as first:
        example = step(*arguments)  # also: so that nothing is left to find out while tracing
    learner = getattr(step, "learner", None)
    held = {} if learner is None else first.held_by(learner)
    gives = _layout(example)
    constants = _constants(arguments[1], example[3])

    def flat(*leaves: Tensor) -> list[Tensor]:
        owned, others, *rest = _packed(leaves, takes)
        *results, buffers = step(owned, {**others, **constants}, *rest)
        kept = {name: others[name] for name in constants}
        return _leaves((*results, {**buffers, **kept}), gives)

    leaves = [leaf.detach() for leaf in leaves]  # other objects: what the first call remembers by identity is not met
    with torch.random.fork_rng(), torch.no_grad():
        graph = constants_moved(without_detach(graph_of(flat, *leaves)))
        first.check(graph, held)
        choices, name = choices or Choices(), _name(graph, leaves)
        run = _inductor(shared_out(graph, choices.products), leaves)
        if _on_cpu(leaves) and choices.takes_one_thread(name, lambda: run(*leaves)):
            run = on_one_thread(run)

    def fast(*arguments: Any) -> StepResult:
        with torch.no_grad():
            results: StepResult = _packed(run(*_leaves(arguments, takes)), gives)
        return results

    return fast


def _is_untouched(buffer: Tensor, clone: Tensor) -> bool:
    """Of whole numbers: torch's batch normalisation writes to its running statistics and leaves their version."""
    return buffer is clone and clone._version == 0 and not clone.is_floating_point()


def _constants(others: Mapping[str, Tensor], following: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Buffers of whole numbers that the step leaves as they are: which input comes first, what a layer sees.

    A graph may read their values, to index with them.
    """
    kept = (name for name, value in following.items() if value is others.get(name))
    return {name: others[name].detach() for name in kept}


Layout = list[tuple[str, ...] | int]
"""Of a tuple of dicts and sequences of tensors: the keys of each dict, the length of each sequence.

torch's own ``pytree`` takes four times as long to pack and unpack them, a tenth of a small step.
"""


def _layout(groups: Sequence[Any]) -> Layout:
    return [tuple(group) if isinstance(group, Mapping) else len(group) for group in groups]


def _leaves(groups: Sequence[Any], layout: Layout) -> list[Tensor]:
    """The tensors in the layout's order, whatever the order of the dicts."""
    pairs = zip(groups, layout, strict=True)
    return [
        leaf for group, keys in pairs for leaf in (group if isinstance(keys, int) else map(group.__getitem__, keys))
    ]


def _packed(leaves: Sequence[Tensor], layout: Layout) -> Any:
    """The groups again."""
    groups: list[Any] = []
    start = 0
    for keys in layout:
        end = start + (keys if isinstance(keys, int) else len(keys))
        part = leaves[start:end]
        groups.append(list(part) if isinstance(keys, int) else dict(zip(keys, part, strict=True)))
        start = end
    return tuple(groups)


def _inductor(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    """The graph compiled; on a CPU it is called from C++.

    Its loops are then one file instead of one between every two products: of a VAE's step at batch 100, K = 50, they
    take 7 s of a core to compile instead of 23, and a step at batch 20 takes a tenth less.
    """
    with _silent_inductor():
        from torch._inductor.compile_fx import compile_fx  # slow to import, and not needed to run eagerly

    for node in graph.graph.nodes:
        node.meta.pop("val", None)  # of the tracing's fake tensors, which are not Inductor's
    options = {
        "fallback_random": True,
        "cpp.vec_isa_ok": True,  # the processor's own word: 5 s less of trial builds
        "cpp_wrapper": _on_cpu(inputs),
    }
    # the graph is that of these shapes: none of them is a symbol, of which torch loses some in normalised pictures
    fixed: dict[str, Any] = (
        {"ignore_shape_env": True} if "ignore_shape_env" in inspect.signature(compile_fx).parameters else {}
    )
    with _silent_inductor(), by_the_cache():
        run: Any = compile_fx(graph, list(inputs), config_patches=options, **fixed)
    return run  # type: ignore[no-any-return]  # of torch's several answers, a function


def _on_cpu(inputs: Sequence[Tensor]) -> bool:
    return all(value.device.type == "cpu" for value in inputs)


def _name(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> str:
    """Of a step, by which the machine knows it again."""
    shapes = [(tuple(value.shape), str(value.dtype)) for value in inputs]
    return f"step {hashlib.sha256(f'{graph.code}{shapes}'.encode()).hexdigest()[:16]}"


@contextmanager
def _silent_inductor() -> Iterator[None]:
    """Within it, Inductor does not say what it would do faster, calls through Python, or uses of torch that is old."""
    log = logging.getLogger("torch._inductor.ir")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    if not parameters:
        return []
    return list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))


def _detached(outcome: Outcome) -> Mapping[str, Tensor]:
    return {name: value.detach() for name, value in outcome.metrics.items()}
