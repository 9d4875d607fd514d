"""The blocks of a pair's parameters: the model's, the guide's, those of both, and those of each named part.

A parameter is the model's if log p(x, z) reads it with the latents z held fixed. It is the guide's if log p(x, z) or
log q(z | x) reads it with the model's parameters held fixed: directly, or through the latents that the guide draws.
Parameters that are both are ``shared``; so the three are disjoint, and a parameter that neither reads is in none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile

import pyro
import torch
from torch import Tensor, nn

from ppgen.arguments import one_of
from ppgen.errors import UsageError
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles

__all__ = ["chosen_blocks", "parameter_blocks"]


def parameter_blocks(pair: Pair, batch: Batch) -> dict[str, tuple[str, ...]]:
    """The names of the trainable parameters of each block, found by one run of the pair.

    Args:
        pair: whose parameters; left as it was, and so is the global random state.
        batch: what the data set yields.

    Returns:
        ``"model"``, ``"guide"`` and ``"shared"``, which are disjoint, and then each part by its name: the outermost
        sub-modules with a ``forward`` (lists and dicts of modules have none), and each parameter outside them.
        Blocks without a trainable parameter are left out.

    Raises:
        UsageError: guide and model disagree; a site's shape fits no plate.
    """
    pair.prepare(*batch)
    names = [name for name, p in pair.named_parameters() if p.requires_grad]
    with torch.random.fork_rng(), torch.enable_grad(), isolated(), pyro.validation_enabled(False):
        run = run_particles(Program(pair.model, pair.guide), batch, 1)
        held, through_guide = run.with_fixed(latents=True), run.with_fixed(model=True)
        model = _read(pair, names, [part.log_p for part in _parts(held)])
        guide = _read(pair, names, [part.log_p + part.log_q for part in _parts(through_guide)])
    blocks = {"model": model - guide, "guide": guide - model, "shared": model & guide}
    ordered = {block: tuple(n for n in names if n in members) for block, members in blocks.items()}
    return {block: members for block, members in {**ordered, **_parts_of(pair, names)}.items() if members}


def chosen_blocks(
    blocks: Mapping[str, tuple[str, ...]], chosen: Sequence[str] | None = None
) -> dict[str, tuple[str, ...]]:
    """The blocks of these names; None: all of them, each set of parameters once, under its first name.

    Raises:
        UsageError: a name is unknown, or given twice.
    """
    if chosen is None:
        first = {members: name for name, members in reversed(list(blocks.items()))}
        return {name: members for name, members in blocks.items() if first[members] == name}
    for name in chosen:
        one_of("the pair has no block of parameters", name, blocks)
    if len(set(chosen)) != len(chosen):
        raise UsageError(f"a block of parameters is named twice in {tuple(chosen)}: name each once.")
    return {name: blocks[name] for name in chosen}


def _parts_of(pair: Pair, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The parameters of each part of the pair, in the pair's order; what begins all names is in no part's."""
    found: dict[str, tuple[str, ...]] = {}
    parents = zip(*(name.split(".")[:-1] for name in names), strict=False)
    shared = len(list(takewhile(lambda depth: len(set(depth)) == 1, parents)))
    for name in names:
        whole = _part(pair, name.split("."))
        part = ".".join(whole.split(".")[shared:]) or whole
        found[part] = (*found.get(part, ()), name)
    return found


def _part(pair: Pair, path: Sequence[str]) -> str:
    """The outermost module around a parameter that is a function of its own; the parameter itself without one."""
    prefixes = (".".join(path[:depth]) for depth in range(1, len(path)))
    functions = (prefix for prefix in prefixes if type(pair.get_submodule(prefix)).forward is not nn.Module.forward)
    return next(functions, ".".join(path))


def _parts(run: Particles) -> list[Particles]:
    return [run] if run.outside is None else [run, run.outside]


def _read(pair: Pair, names: Sequence[str], values: Iterable[Tensor]) -> set[str]:
    """The parameters that the values depend on."""
    total = torch.stack([value.sum() for value in values]).sum()
    if not total.requires_grad:
        return set()
    parameters = [pair.get_parameter(name) for name in names]
    found: tuple[Tensor | None, ...] = torch.autograd.grad(total, parameters, allow_unused=True, retain_graph=True)
    return {name for name, gradient in zip(names, found, strict=True) if gradient is not None}
