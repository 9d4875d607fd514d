"""Rules of getting the same again: at another precision, from a file, from a compiled graph."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from ppgen.errors import UsageError, blame, first_sentence
from ppgen.machine.leftovers import RememberedError
from ppgen.machine.seeds import manual_seed
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import swapped
from ppgen.pairs.tracing import Batch
from ppgen.testing.agreement import apart, disagreement
from ppgen.testing.bound import AnyBound
from ppgen.testing.checks import CheckFailed, NotApplicable, pair_check
from ppgen.testing.samples import prior_sites
from ppgen.testing.sandbox import SEED, particles, random_sites
from ppgen.training.learner import Learner
from ppgen.training.steps import StepFunction, compiled, player_step

__all__ = ["check_compiled_step", "check_precisions", "check_round_trip"]


@pair_check("the pair computes in the precision of its parameters: float32 and float64")
def check_precisions(pair: Pair, batch: Batch) -> None:
    """With parameters and data of either precision, every site's draws and log-probabilities have that precision."""
    named = [*pair.named_parameters(), *pair.named_buffers()]
    for dtype in (torch.float32, torch.float64):
        with swapped(pair, {name: _cast(value, dtype) for name, value in named}):
            _check_precision(pair, tuple(_cast(value, dtype) for value in batch), dtype)


@pair_check("a safetensors file of the state dict restores the pair")
def check_round_trip(pair: Pair, batch: Batch) -> None:
    """Saved to bytes, all tensors disturbed, loaded again: the log-weights are those from before, to the bit."""
    before = particles(pair, batch, 2).log_w
    state = pair.state_dict()
    strange = [name for name, value in state.items() if not torch.is_tensor(value)]
    if strange:
        raise CheckFailed(
            f"the state dict holds {type(state[strange[0]]).__name__} there, and a checkpoint holds tensors",
            where=f"state {strange[0]!r}",
            advice="keep it as a buffer (register_buffer), or among the constructor's arguments",
        )
    data = save({name: value.detach().contiguous().clone() for name, value in state.items()})
    with torch.no_grad():
        for value in state.values():
            value.copy_(torch.ones_like(value))
    try:
        pair.load_state_dict(load(data))
    except RuntimeError as error:
        raise CheckFailed(
            str(error).splitlines()[-1].strip().rstrip("."),
            where="the state dict",
            advice="let it hold every parameter and buffer under the name that the pair has for it",
        ) from error
    if not torch.equal(particles(pair, batch, 2).log_w, before):
        raise CheckFailed(
            "log-weights differ after it was saved and loaded",
            where="the state dict",
            advice="keep every tensor that the pair computes with as a parameter or a buffer, and derive none from "
            "another outside model and guide",
        )


@pair_check("a compiled training step equals the eager one", slow=True)
def check_compiled_step(pair: Pair, batch: Batch) -> None:
    """Loss and gradients of a traced and compiled step are the eager step's, with the same random numbers.

    Traced at one point, compared at others too: after a step of training, which moves parameters and buffers, at the
    same data and at other rows. What the graph holds as a constant, and the pair remembers from one call to the
    next, tells there.
    """
    objective = AnyBound(num_particles=2)
    learner, player = Learner(pair, objective.parameters(pair, batch)), objective.players()[0]
    owned, others = learner.arguments(player)
    batch = tuple(part.contiguous() if torch.is_tensor(part) else part for part in batch)  # as other rows of it are
    step = player_step(learner, objective, player)
    gradients, _, _, buffers = _seeded(step, (owned, others, {}, {}, batch))
    try:
        fast = compiled(step, owned, others, {}, {}, batch)
    except UsageError:
        raise
    except RememberedError as error:
        raise CheckFailed(str(error), where="from one step to the next", advice=_NO_MEMORY) from error
    except Exception as error:
        what = f"the step cannot be traced to one graph, so the pair trains eagerly ({first_sentence(error)})"
        raise NotApplicable(what, where=blame(error)) from error
    moved = {n: p.detach() - 0.01 * g.sign() for (n, p), g in zip(owned.items(), gradients, strict=True)}
    following = {**others, **{name: value.clone() for name, value in buffers.items()}}
    _compare(step, fast, (owned, others, {}, {}, batch), "")
    _compare(step, fast, (moved, following, {}, {}, batch), ", after a step of training")
    _compare(step, fast, (moved, following, {}, {}, tuple(map(_other_rows, batch))), ", at other data")


_NO_MEMORY = (
    "what changes between steps must be an input (parameter, buffer, batch): a graph holds all else as a constant"
)


def _compare(step: StepFunction, fast: StepFunction, arguments: tuple[Any, ...], when: str) -> None:
    slow_gradients, slow_report, *_ = _seeded(step, arguments)
    fast_gradients, fast_report, *_ = _seeded(fast, arguments)
    owned = arguments[0]
    expected = {"the loss": slow_report["loss"], **dict(zip(owned, slow_gradients, strict=True))}
    got = {"the loss": fast_report["loss"], **dict(zip(owned, fast_gradients, strict=True))}
    name = disagreement(got, expected)
    if name is not None:
        raise CheckFailed(
            f"compiled and eager differ by {apart(got[name], expected[name]):.2g}{when}",
            where=f"gradient of {name.removeprefix('pair.')!r}" if name in owned else name,
            advice=_NO_MEMORY,
        )


def _other_rows(values: Tensor) -> Tensor:
    """Rows of the same data, and not all of them: every second one twice, so that their sum is another."""
    return values[torch.arange(len(values), device=values.device) // 2]


def _check_precision(pair: Pair, batch: Batch, dtype: torch.dtype) -> None:
    advice = "take dtype from x or a parameter: x.new_zeros(...), torch.ones_like(...), register_buffer for constants"
    try:
        run = particles(pair, batch, 2)
        sites = [("guide", run.guide_sites), ("model", run.model_sites)]
        with suppress(NotImplementedError):  # of torch and Pyro; the rule of prior samples names it
            sites.append(("prior", prior_sites(pair, batch)))
    except RuntimeError as error:
        what = f"{dtype} raises {type(error).__name__}: {first_sentence(error)}"
        raise CheckFailed(what, where=blame(error, "the pair"), advice=advice) from error
    for kind, found in sites:
        for name, site in random_sites(found).items():
            tensors = [site["value"], site["fn"].log_prob(site["value"])]
            wrong = [t.dtype for t in tensors if torch.is_floating_point(t) and t.dtype != dtype]
            if wrong:
                raise CheckFailed(
                    f"with parameters and data in {dtype} it has {wrong[0]}",
                    where=f"site {name!r} of the {kind}",
                    advice=advice,
                )


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if not (torch.is_tensor(value) and torch.is_floating_point(value)):
        return value
    return value.detach().to(dtype).requires_grad_(value.requires_grad)


def _seeded(step: StepFunction, arguments: tuple[Any, ...]) -> Any:
    manual_seed(SEED)
    return step(*arguments)
