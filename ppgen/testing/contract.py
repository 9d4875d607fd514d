"""Rules that all others rest on: the pair runs, its sites match, its shapes fit, its log-weights are numbers."""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.nonfinite import first_nonfinite
from ppgen.pair import Pair
from ppgen.parameters import isolated
from ppgen.testing.checks import CheckFailed, NotApplicable, blame, pair_check
from ppgen.testing.sandbox import SEED, particles, program_of, random_sites, rows, unlike
from ppgen.tracing import Batch

__all__ = [
    "check_batch_sizes",
    "check_log_weights",
    "check_runs",
    "check_shapes_fit_plates",
    "check_sites_match",
    "check_structure_is_fixed",
]


@pair_check("model and guide run on the batch, alone and under a plate of particles", gate=True)
def check_runs(pair: Pair, batch: Batch) -> None:
    """``guide(*batch)`` and ``model(*batch)`` run; so do both with latents of shape (K, B, ...)."""
    with isolated():
        pair.guide(*batch)
        pair.model(*batch)
    size = unlike(len(batch[0]))
    try:
        particles(pair, batch, size)
    except UsageError:
        return  # what does not fit is named by the rules of sites and shapes
    except Exception as error:
        raise CheckFailed(
            f"runs alone, and under a plate of {size} particles raises {type(error).__name__}: "
            f"{str(error).splitlines()[0].rstrip('.')}",
            where=blame(error, "the pair"),
            advice="latents come as (K, B, ...): count dimensions from the right, and expand x to z.shape[:-1] "
            "before torch.cat",
        ) from error


@pair_check("every run has the same sites, in the same order, whatever was drawn", gate=True)
def check_structure_is_fixed(pair: Pair, batch: Batch) -> None:
    """Site names, shapes and what is observed are those of any other run."""
    first: dict[str, dict[str, Any]] = {}
    for seed in range(SEED, SEED + 8):
        for kind in ("guide", "model"):
            found = _structure(getattr(pair, kind), batch, seed)
            before = first.setdefault(kind, found)
            if found != before:
                names = sorted({name for name, _ in found.items() ^ before.items()}) or list(found)
                raise CheckFailed(
                    f"two runs of the {kind} differ in it",
                    where=f"site {names[0]!r}",
                    advice="draw every site in every run, and choose by value with torch.where or poutine.mask",
                )
            if list(found) != list(before):
                raise CheckFailed(
                    f"its order differs between two runs of the {kind}",
                    where=f"site {next(iter(found))!r}",
                    advice="draw the sites in one fixed order",
                )


@pair_check("the pair runs on batches of any size", gate=True)
def check_batch_sizes(pair: Pair, batch: Batch) -> None:
    """One datum alone, and all but one, run as the whole batch does."""
    size = len(batch[0])
    if size < 2:
        raise NotApplicable("the batch has one datum; give at least two")
    pair.eval()
    for part in {1, size - 1}:
        smaller = rows(batch, torch.arange(part))
        try:
            particles(pair, smaller, unlike(part))
        except UsageError:
            return  # named by the rules of sites and shapes
        except Exception as error:
            raise CheckFailed(
                f"runs on {size} data, and on {part} raises {type(error).__name__}: {str(error).splitlines()[0]}",
                where=blame(error, "the pair"),
                advice="take the number of data from the batch (len(x)), and declare dimensions of one datum with "
                ".to_event()",
            ) from error


@pair_check("guide and model have the same latent sites, with the same shapes", gate=True)
def check_sites_match(pair: Pair, batch: Batch) -> None:
    """What the model leaves latent, the guide draws, and nothing else."""
    particles(pair, batch, unlike(len(batch[0])))


@pair_check("the shape of every site fits its plates: nothing broadcasts in silence", gate=True)
def check_shapes_fit_plates(pair: Pair, batch: Batch) -> None:
    """Log-probabilities vary over the plates of their site and over nothing else; (N,) is never set against (N, 1)."""
    run = particles(pair, batch, unlike(len(batch[0])))
    for part in (run, run.outside):
        if part is not None:
            _ = part.log_w


@pair_check("log-weights are finite, one for each particle and datum: shape (K, B)", gate=True)
def check_log_weights(pair: Pair, batch: Batch) -> None:
    """log p(x, z) - log q(z | x), in nats; what is not finite is traced to the site where it arose."""
    size = unlike(len(batch[0]))
    run = particles(pair, batch, size)
    if run.log_w.shape != (size, len(batch[0])):
        raise CheckFailed(
            f"log-weights of {size} particles on {len(batch[0])} data have shape {tuple(run.log_w.shape)}",
            where=f"plate {run.program.plate!r}",
            advice="put what belongs to one datum under `with self.data_plate(x):` (or name your plate: "
            "pair_from(model, guide, data_plate=...))",
        )
    if not _finite(run.log_w) or (run.outside is not None and not _finite(run.outside.log_w)):
        raise CheckFailed(
            first_nonfinite(program_of(pair), batch),
            where="log-weights",
            advice="keep scales positive and away from zero (exp or softplus), and logits bounded, at that site",
        )


def _structure(function: Any, batch: Batch, seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    with isolated(), poutine.trace() as tracer:
        function(*batch)
    sites = random_sites(tracer.trace.nodes).items()
    return {name: (site["is_observed"], tuple(site["fn"].shape())) for name, site in sites}


def _finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value).all())
