"""Rules of gradients: every parameter has one, none is hidden, a minibatch's averages to the whole's."""

from __future__ import annotations

from collections.abc import Iterable

import pyro
import torch
from torch import Tensor, nn

from ppgen.machine.seeds import manual_seed
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.rows import num_rows
from ppgen.pairs.tracing import Batch, Particles, run_particles
from ppgen.pairs.transformed import NO_INVERSE
from ppgen.testing.agreement import apart, disagreement, or_zeros
from ppgen.testing.checks import CheckFailed, NotApplicable, pair_check
from ppgen.testing.independence import check_batch_independence, part_of, without_inverse
from ppgen.testing.sandbox import SEED, particles, program_of, rows, unlike

__all__ = ["check_gradients", "check_no_hidden_parameters", "check_subsampling_scale"]


@pair_check("every parameter gets a finite gradient")
def check_gradients(pair: Pair, batch: Batch) -> None:
    """Each trainable parameter moves log p or log q, directly or through the latents that the guide draws."""
    run = particles(pair, batch, unlike(num_rows(batch)))
    with isolated():
        fixed = run.with_fixed(latents=True)
    parameters = _trainable(pair)
    found = [_gradients(_density(part), parameters.values()) for part in (run, fixed)]
    for name, through_latents, direct in zip(parameters, *found, strict=True):
        if through_latents is None and direct is None:
            raise CheckFailed(
                "neither log p(x, z) nor log q(z | x) depends on it",
                where=f"parameter {name!r}",
                advice="use it in the model or guide without detach() or .data, or do not make it a parameter",
            )
        if any(g is not None and not torch.isfinite(g).all() for g in (through_latents, direct)):
            raise CheckFailed(
                "its gradient is not finite",
                where=f"parameter {name!r}",
                advice="look for a division by zero, or a square root or logarithm at 0, on its way to log p or log q",
            )


@pair_check("every parameter is the pair's own: pair.parameters() has it")
def check_no_hidden_parameters(pair: Pair, batch: Batch) -> None:
    """Whatever requires a gradient in log p and log q is among the parameters that are trained and saved."""
    manual_seed(SEED)
    run = run_particles(program_of(pair), batch, 2)  # not isolated: a stray pyro.param shows in the store
    with pyro.validation_enabled(False):
        leaves = _leaves(_density(run)) | _leaves(_density(run.with_fixed(latents=True)))
    own = set(pair.parameters())
    stored = {id(leaf): name for name, leaf in pyro.get_param_store().named_parameters()}
    for leaf in leaves - own:
        name = stored.get(id(leaf))
        where = f"pyro.param {name!r}" if name else _attribute(pair, leaf)
        raise CheckFailed(
            f"the pair depends on it (shape {tuple(leaf.shape)}), and pair.parameters() lacks it",
            where=where,
            advice="make it an attribute (nn.Parameter, PyroParam(init, constraint=...), modules in nn.ModuleList), or "
            "make the pair with ppgen.pair_from(model, guide)",
        )


@pair_check("the scale N / B reaches the loss: minibatches average to the whole")
def check_subsampling_scale(pair: Pair, batch: Batch) -> None:
    """Scaled log p + log q, and its gradient, averaged over two halves of a batch, are those of the whole."""
    if pair.data_size is None:
        raise NotApplicable("the pair does not know the size of its data set: a batch is all the data")
    if num_rows(batch) < 2:
        raise NotApplicable("the batch has one datum; give at least two")
    pair.eval()
    half = num_rows(batch) // 2
    batch = rows(batch, torch.arange(2 * half))
    run = particles(pair, batch, 2)
    expected_scale = pair.data_size / (2 * half)
    if run.scale != expected_scale:
        raise CheckFailed(
            f"its scale is {run.scale:g} on {2 * half} of {pair.data_size} data, expected {expected_scale:g}",
            where=f"plate {run.plate!r}",
            advice="open it with `with self.data_plate(x):`, and give Pair.__init__ the data_size",
        )
    parameters = _trainable(pair)
    whole = _scaled(pair, run, torch.arange(2 * half), parameters)
    halves = [_scaled(pair, run, index, parameters) for index in torch.arange(2 * half).split(half)]
    means = {name: (halves[0][name] + halves[1][name]) / 2 for name in whole}
    name = disagreement(means, whole)
    if name is not None:
        _refuse_dependent(pair, batch)
        raise CheckFailed(
            f"its mean over two halves of a batch is off by {apart(means[name], whole[name]):.2g} per datum",
            where=f"gradient of {name!r}" if name in parameters else name,
            advice="leave scaling to the data plate: no poutine.scale or factor that depends on the batch size",
        )


def _refuse_dependent(pair: Pair, batch: Batch) -> None:
    """Where data depend on each other, no scale makes halves average to the whole."""
    try:
        check_batch_independence(pair, batch)
    except CheckFailed as error:
        raise NotApplicable("cannot be judged until check_batch_independence holds", where=error.where) from error


def _trainable(pair: nn.Module) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {n: p for n, p in pair.named_parameters() if p.requires_grad}
    if not found:
        raise NotApplicable("the pair has no trainable parameters")
    return found


def _density(run: Particles) -> Tensor:
    """log p + log q of all sites, summed: a number on which everything of the pair has a bearing."""
    parts = [run] if run.outside is None else [run, run.outside]
    return torch.stack([(part.log_p + part.log_q).sum() * part.scale for part in parts]).sum()


def _gradients(value: Tensor, parameters: Iterable[Tensor]) -> tuple[Tensor | None, ...]:
    wanted = list(parameters)
    if not value.requires_grad:
        return (None,) * len(wanted)
    return torch.autograd.grad(value, wanted, allow_unused=True, retain_graph=True)


def _scaled(pair: Pair, run: Particles, index: Tensor, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """The scaled density of some data of the run, per datum of the data set, and its gradients."""
    try:
        value = _density(part_of(pair, run, index)) / (pair.data_size or 1)
    except NO_INVERSE as error:
        raise without_inverse("the guide") from error
    found = _gradients(value, parameters.values())
    gradients = {name: or_zeros(g, p) for (name, p), g in zip(parameters.items(), found, strict=True)}
    return {"log p + log q": value.detach(), **gradients}


def _leaves(value: Tensor) -> set[Tensor]:
    """The tensors that require a gradient and that ``value`` was computed from."""
    ahead, seen, found = [value.grad_fn], set(), set()
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(node.variable)
        ahead.extend(following for following, _ in node.next_functions)
    return found


def _attribute(pair: nn.Module, leaf: Tensor) -> str:
    """What a person calls a tensor that no module owns."""
    for module in pair.modules():
        for name, value in vars(module).items():
            items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            for item in items:
                tensors = item.parameters() if isinstance(item, nn.Module) else [item]
                if any(tensor is leaf for tensor in tensors):
                    return f"attribute {name!r} of {type(module).__name__}"
    return "a tensor outside the pair"
