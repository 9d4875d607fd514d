"""The numbers are stock Pyro's: losses, gradients, log-weights."""

from __future__ import annotations

import math
import warnings
from functools import cache
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import SVI
from pyro.optim import ClippedAdam
from torch import Tensor

from ppgen import log_weights
from ppgen.errors import UsageError
from ppgen.pairs.parameters import in_evaluation
from tests.public.case import SEED, Case, Made
from tests.public.laws import CRITICAL, NotApplicable, finite, law, z_score

__all__ = ["losses", "stock_losses"]

ROUNDING = 2e-5
"""Relative: a loss in float32 is a sum of some hundred terms of 6e-8 each, in another order."""


def losses(objective: Any, made: Made, num: int, seed: int = SEED) -> Tensor:
    """Losses of ``num`` draws one after another, (num,), at the parameters as they are."""
    pyro.set_rng_seed(seed)
    values = [objective.loss(made.model, made.guide, *made.args, **made.kwargs) for _ in range(num)]
    return torch.tensor(values, dtype=torch.float64)


@cache
def stock_losses(case: Case, *, evaluation: bool = False) -> Tensor:
    """Stock's losses at the case's own parameters, (repeats,); with its modules in evaluation mode where asked."""
    made = case.built()
    if not evaluation:
        return losses(case.stock, made, case.repeats)
    pair = made.pair()
    pair.prepare(*made.args)
    with in_evaluation(pair):
        return losses(case.stock, made, case.repeats)


@law("stock Pyro trains it: two finite steps")
def stock(case: Case) -> None:
    made = case.fresh()
    svi = SVI(made.model, made.guide, ClippedAdam({"lr": 1e-3}), loss=case.stock)
    assert all(math.isfinite(svi.step(*made.args, **made.kwargs)) for _ in range(2))


@law("one particle has stock's loss: at the same seed where it draws the same numbers, else in the mean")
def same_value(case: Case) -> None:
    made = case.built()
    num = 3 if case.same_seed else case.repeats
    theirs, own = (losses(objective, made, num) for objective in (case.stock, case.ours(1)))
    if case.same_seed:
        torch.testing.assert_close(own, theirs, rtol=ROUNDING, atol=ROUNDING)
    else:
        assert abs(z_score(own, theirs)) < CRITICAL, f"{own.mean():.4g} where stock has {theirs.mean():.4g}"


@law("four particles have stock's loss in the mean")
def same_mean(case: Case) -> None:
    theirs = stock_losses(case)
    own = losses(case.ours(4), case.built(), max(2, case.repeats // 2), seed=SEED + 1)
    assert finite(own, theirs)
    assert abs(z_score(own, theirs)) < CRITICAL, f"{own.mean():.6g} where stock has {theirs.mean():.6g}"


@law("two particles are run one after another exactly where a plate of particles changes the pair, and that is said")
def particles(case: Case) -> None:
    if case.looped is None:
        raise NotApplicable("either way is right")
    made = case.built()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(2):
            case.ours(2).loss(made.model, made.guide, *made.args, **made.kwargs)
    said = [str(w.message) for w in heard if "one after another" in str(w.message)]
    assert len(said) == int(case.looped), f"said {len(said)} times: {said[:1]}"


@law("one particle at the same seed has stock's gradient, parameter by parameter")
def same_gradient(case: Case) -> None:
    if not case.same_gradient:
        raise NotApplicable("stock's gradient is another estimator's")
    made = case.built()
    theirs, own = (_gradient(objective, made) for objective in (case.stock, case.ours(1)))
    for name in own.keys() | theirs.keys():
        value = theirs.get(name, torch.zeros(()))
        scale = float(value.abs().max())
        mine = own.get(name, torch.zeros_like(value))
        worst = float((mine - value).abs().max())
        assert worst <= 1e-3 * scale + 1e-6, f"{name}: apart by {worst:.3g} where stock's largest is {scale:.3g}"


def _gradient(objective: Any, made: Made) -> dict[str, Tensor]:
    """Of each parameter that stock's step would move, by its name in the param store."""
    pyro.set_rng_seed(SEED)
    with pyro.poutine.trace(param_only=True) as tracer:
        objective.loss_and_grads(made.model, made.guide, *made.args, **made.kwargs)
    values: dict[str, Any] = {n: site["value"] for n, site in tracer.trace.nodes.items() if site["type"] == "param"}
    leaves = {name: value.unconstrained() for name, value in values.items()}
    found = {name: leaf.grad.clone() for name, leaf in leaves.items() if leaf.grad is not None}
    for leaf in leaves.values():
        leaf.grad = None
    return found


@law("log-weights have the shape (K, B), or (K, 1) where they are joint, and stock's loss in the mean")
def weights(case: Case) -> None:
    made = case.built()
    pair, batch = made.pair(), made.args
    if case.weights == "global":
        with pytest.raises(UsageError, match="outside the data plate"):
            log_weights(pair, batch, num_particles=5)
        return
    log_w = log_weights(pair, batch, num_particles=5)
    assert log_w.shape == (5, case.num_data or 1)
    assert finite(log_w)
    log_w = log_weights(pair, batch, num_particles=case.repeats)
    theirs = stock_losses(case, evaluation=True)
    own = -case.scale * log_w.double().sum(1)
    assert abs(z_score(own, theirs)) < CRITICAL, f"{own.mean():.6g} where stock has {theirs.mean():.6g}"


@law("weights have the evidence as their mean")
def evidence(case: Case) -> None:
    if case.log_evidence is None:
        raise NotApplicable("its evidence is not known")
    made = case.built()
    log_w = log_weights(made.pair(), made.args, num_particles=500).double()  # (K, B)
    exact = case.log_evidence(*made.args).double()  # (B,) or (1,)
    ratios = (log_w - exact).exp()
    errors = ratios.std(0) / math.sqrt(len(ratios)) + 1e-5  # of the mean, and of float32
    assert ((ratios.mean(0) - 1).abs() < CRITICAL * errors).all(), f"{ratios.mean(0)} where 1 is right"
