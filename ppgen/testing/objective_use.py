"""Rules of what an objective takes and refuses: global latents, Pyro's own SVI."""

from __future__ import annotations

import math

import torch
from pyro.infer import SVI
from pyro.optim import PyroOptim

from ppgen.machine.seeds import manual_seed
from ppgen.objectives.objective import Objective
from ppgen.testing.checks import CheckFailed, NotApplicable, objective_check
from ppgen.testing.objective_contract import in_pyro, outcomes, yardstick
from ppgen.testing.sandbox import SEED, program_of
from ppgen.testing.yardsticks import ImplicitYardstick, SharedYardstick, Yardstick

__all__ = ["check_global_latents", "check_stock_svi_takes_it", "refused"]


@objective_check("a latent outside the data plate is refused by a bound per datum, and taken by others")
def check_global_latents(objective: Objective) -> None:
    """With ``per_datum`` the site is named in a UsageError; without it, the loss is finite."""
    if objective.needs_discrete:
        raise NotApplicable("it needs discrete latents")
    if objective.needs_energy:
        raise NotApplicable("it needs a free energy, in which no latent is global")
    yardstick(objective)
    implicit = ImplicitYardstick(shared=True, infers=objective.needs_inference, sources=objective.needs_source)
    pair = implicit if objective.needs_samples else SharedYardstick()
    if objective.per_datum:
        refused(objective, pair, "m", "build on Bound, which refuses it, or declare per_datum = False")
    elif not all(torch.isfinite(outcome.loss) for outcome in outcomes(objective.at(0), pair, 6)):
        raise CheckFailed(
            "the loss is not finite", where="a pair with a global latent", advice="declare per_datum = True"
        )


@objective_check("pyro.infer.SVI trains with it")
def check_stock_svi_takes_it(objective: Objective) -> None:
    """Two steps as Pyro's own users take them: finite losses, and the parameters move."""
    pair = in_pyro(objective)
    before = [p.detach().clone() for p in pair.parameters()]
    svi = SVI(pair.model, pair.guide, PyroOptim(torch.optim.Adam, {"lr": 1e-2}), loss=objective.at(0))
    manual_seed(SEED)
    losses = [svi.step(*pair.batch(6)) for _ in range(2)]
    moved = any(not torch.equal(p, old) for p, old in zip(pair.parameters(), before, strict=True))
    if not moved or not all(math.isfinite(loss) for loss in losses):
        raise CheckFailed(
            f"two steps have the losses {losses}" + ("" if moved else " and move no parameter"),
            where="SVI",
            advice="return a scalar loss with a gradient from play()",
        )


def refused(objective: Objective, pair: Yardstick, site: str, advice: str) -> None:
    """Check that the objective refuses the pair, with a sentence that names the site."""
    why = objective.refuses(program_of(pair), pair.batch(6))
    if why is None or f"'{site}'" not in why:
        what = (
            "it is taken in silence" if why is None else f"it is refused with a sentence that does not name it ({why})"
        )
        raise CheckFailed(what, where=f"site {site!r}", advice=advice)
