"""Rules of training: the loss falls, and Pyro's own ``SVI`` trains the pair as it is."""

from __future__ import annotations

import math

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.optim import PyroOptim

from ppgen.machine.seeds import manual_seed
from ppgen.pairs.nonfinite import first_nonfinite
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.tracing import Batch
from ppgen.testing.bound import AnyBound
from ppgen.testing.checks import CheckFailed, NotApplicable, needs_a_density, pair_check
from ppgen.testing.sandbox import SEED, particles, program_of, untouched

__all__ = ["check_loss_falls", "check_stock_svi"]


@pair_check("the loss falls in 30 steps of Adam on the batch")
def check_loss_falls(pair: Pair, batch: Batch) -> None:
    """Minus the bound, on 64 particles with one seed, is lower after training at one of three learning rates."""
    if not any(p.requires_grad for p in pair.parameters()):
        raise NotApplicable("the pair has no trainable parameters")
    needs_a_density(pair)
    if pair.needs_log_z:
        raise NotApplicable("the pair is unnormalised: minus its log-weights fall without anything learned")
    before, after = _loss(pair, batch), {}
    for rate in (1e-3, 1e-2, 1e-4):
        with untouched(pair):
            _train(pair, batch, rate)
            after[rate] = _loss(pair, batch)
        if after[rate] < before:
            return
    raise CheckFailed(
        f"it was {before:.4g} nats before and is {min(after.values()):.4g} after, at the best of three learning rates",
        where="the loss",
        advice="look for a gradient that is cut or turned (detach, .data, a hook), or a scale that explodes",
    )


@pair_check("stock pyro.infer.SVI with Trace_ELBO trains the pair")
def check_stock_svi(pair: Pair, batch: Batch) -> None:
    """Two steps with Pyro's validation on: the loss is finite, and parameters of the pair move.

    ``TraceEnum_ELBO``, where the model sums latents out.
    """
    needs_a_density(pair)
    one = particles(pair, batch, 1)
    elbo = TraceEnum_ELBO(max_plate_nesting=-1 - one.particle_dim) if one.summed else Trace_ELBO()
    manual_seed(SEED)
    before = [p.detach().clone() for p in pair.parameters()]
    svi = SVI(pair.model, pair.guide, PyroOptim(torch.optim.Adam, {"lr": 1e-2}), elbo)
    with pyro.validation_enabled(True):
        losses = [svi.step(*batch) for _ in range(2)]
    if not all(math.isfinite(loss) for loss in losses):
        raise CheckFailed(
            f"the losses of two steps are {losses}",
            where="SVI with Trace_ELBO",
            advice="lower what is exponentiated in scales and logits",
        )
    if before and all(torch.equal(p, old) for p, old in zip(pair.parameters(), before, strict=True)):
        raise CheckFailed(
            "two steps of Adam moved no parameter of pair.parameters()",
            where="SVI with Trace_ELBO",
            advice="reach parameters as attributes of the pair (self.weight), so that Pyro sees them",
        )


def _train(pair: Pair, batch: Batch, rate: float) -> None:
    optimizer = torch.optim.Adam([p for p in pair.parameters() if p.requires_grad], lr=rate)
    manual_seed(SEED + 1)
    for step in range(30):
        with isolated():
            loss = AnyBound(num_particles=8).differentiable_loss(pair.model, pair.guide, *batch)
        if not torch.isfinite(loss):
            raise CheckFailed(
                first_nonfinite(program_of(pair), batch),
                where=f"step {step} of training at learning rate {rate:g}",
                advice="bound the scales and logits of that site",
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _loss(pair: Pair, batch: Batch) -> float:
    manual_seed(SEED)
    with isolated():
        return AnyBound(num_particles=64).loss(pair.model, pair.guide, *batch)
