"""Runs of a pair that leave no trace: parameters, buffers, random numbers, settings, param store are put back."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from pyro.util import get_rng_state, set_rng_state
from torch import Tensor, nn

from ppgen.machine.seeds import manual_seed
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.rows import take_rows
from ppgen.pairs.sites import Site, data_frame
from ppgen.pairs.structure import APART
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles

__all__ = [
    "SEED",
    "latents_of",
    "particles",
    "prepared",
    "program_of",
    "random_sites",
    "rows",
    "unlike",
    "untouched",
    "with_density",
]

SEED = 20_160_101


def prepared(pair: Any, batch: Batch) -> Pair:
    """``pair`` as a :class:`Pair` that has its parameters; param store and buffers are left as they were."""
    made = as_pair(pair)
    buffers = [(b, b.clone()) for b in pair.buffers()] if isinstance(pair, nn.Module) else []
    with _kept_store():
        made.prepare(*batch)
    for buffer, value in buffers:
        buffer.copy_(value)
    return made


@contextmanager
def _kept_store() -> Iterator[None]:
    """After it the param store is as it was; unlike its own ``scope()``, this leaves the references in place."""
    store = pyro.get_param_store()
    kept = {name: copy.copy(value) for name, value in vars(store).items()}
    try:
        yield
    finally:
        vars(store).update(kept)


@contextmanager
def untouched(pair: nn.Module | None = None) -> Iterator[None]:
    """Within it Pyro's validation is off, and its param store empty; after it all is as before, and so is ``pair``."""
    tensors = [] if pair is None else [*pair.parameters(), *pair.buffers()]
    kept = [(t, t.detach().clone(), t.grad, t.requires_grad) for t in tensors]
    modules = [] if pair is None else list(pair.modules())
    held = [(m, m.training, dict(m._parameters), dict(m._buffers)) for m in modules]
    random, devices = get_rng_state(), sorted({t.device.index for t in tensors if t.is_cuda})
    dtype = torch.get_default_dtype()
    try:
        for tensor in tensors:
            tensor.grad = None
        with (
            torch.random.fork_rng(devices),
            torch.enable_grad(),
            _kept_store(),
            pyro.validation_enabled(False),
        ):
            pyro.get_param_store().clear()
            yield
    finally:
        set_rng_state(random)
        torch.set_default_dtype(dtype)
        for module, training, parameters, buffers in held:
            module.training = training
            module._parameters.clear()
            module._parameters.update(parameters)
            module._buffers.clear()
            module._buffers.update(buffers)
        for tensor, value, gradient, requires_grad in kept:
            with torch.no_grad():
                tensor.copy_(value)
            tensor.grad = gradient
            tensor.requires_grad_(requires_grad)


@contextmanager
def with_density(pair: Pair) -> Iterator[None]:
    """Within it an implicit pair is judged by its draws under unit normal noise, x | z ~ N(G(z), I), or z ~ N(E(x), I)
    of a guide that draws points.

    Its densities then move with G(z), and every rule of sites, data, particles and gradients says of the draws what it
    says of another pair's densities. Pairs with a density are left alone.
    """
    with nullcontext() if pair.has_weights else _UnitNoise():
        yield


class _UnitNoise(Messenger):
    """Points become normal distributions about them."""

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if isinstance(msg["fn"], dist.Delta):
            msg["fn"] = dist.Normal(msg["fn"].v, torch.ones_like(msg["fn"].v)).to_event(msg["fn"].event_dim)


def program_of(pair: Pair) -> Program:
    """The pair's model and guide."""
    return Program(pair.model, pair.guide)


def particles(
    pair: Pair,
    batch: Batch,
    num_particles: int,
    given: Mapping[str, Tensor] | None = None,
    seed: int = SEED,
) -> Particles:
    """``num_particles`` of the pair at the batch, under a seed."""
    manual_seed(seed)
    with isolated(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=APART)
        return run_particles(program_of(pair), batch, num_particles, given)


def unlike(size: int) -> int:
    """A number of particles that differs from the size of the batch, so that no dimension passes for another."""
    return 3 if size != 3 else 4


def rows(batch: Batch, index: Tensor) -> Batch:
    """The batch of the data at ``index``; what is no data is left as it is."""
    return take_rows(batch, index)


def latents_of(run: Particles, *, data: Tensor | None = None, particle: Tensor | None = None) -> dict[str, Tensor]:
    """The guide's draws by site name, detached, at some data and some particles (all, where no index is given)."""
    found = {}
    for name, site in run.guide_sites.items():
        if site["is_observed"] or site_is_subsample(site):
            continue
        frame, event = data_frame(site, run.plate), site["fn"].event_dim
        value = site["value"].detach().expand(site["fn"].shape())
        if data is not None and frame is not None:
            value = value.index_select(frame.dim - event, data.to(value.device))
        if particle is not None:
            value = value.index_select(run.particle_dim - event, particle.to(value.device))
        found[name] = value
    return found


def random_sites(sites: Mapping[str, Site]) -> dict[str, Site]:
    """Sites without those that subsample a plate."""
    return {n: s for n, s in sites.items() if not site_is_subsample(s)}
