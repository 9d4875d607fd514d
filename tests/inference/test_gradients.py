"""The gradient that an objective calls unbiased is the exact one, on pairs where that is known; mistakes are caught.

Each test compares the mean of many independent draws with the exact gradient, parameter by parameter, by a z-test whose
family-wise false-alarm rate is 1e-3 over all of them (see ``truth.CRITICAL``); the draws are many enough for a
factor of 1.02 to be caught.
"""

from __future__ import annotations

import pytest

from ppgen.inference import ELBO, STL, DReG
from ppgen.objectives.choosing import Choosing
from ppgen.registry import OBJECTIVES
from tests.doubles import Chain, Line
from tests.inference.cases import ONLY_ON_LINE, UNBIASED, Case
from tests.inference.mutants import (
    DetachedDistributions,
    FixedSlopes,
    GuideScaled,
    HookedWeights,
    JackknifeOfTwo,
    MomentaUncounted,
    NoEntropy,
    NormalisedApart,
    OnceReparameterized,
    PriorScoredToo,
    Scaled,
    WeightsNotSquared,
)
from tests.inference.trajectories import annealed
from tests.inference.truth import (
    CRITICAL,
    Reduce,
    ciwae,
    elbo,
    error_of_mean,
    gradient_draws,
    iwelbo,
    jackknife,
    less_divergence,
    renyi,
    z_scores,
)
from tests.marks import sampled

COPIES = 100_000
MODEL, GUIDE = ("weight", "loc", "log_noise"), ("slope", "shift", "log_scale")


def test_every_objective_that_calls_its_gradient_unbiased_is_held_to_it() -> None:
    """Those that need discrete latents are held to it in ``test_discrete_truth``, ``mmd`` in its own file; by that of
    ``em`` and ``cavi`` nothing moves; ``map`` and ``gem``, which draw nothing, have files of their own, and so have
    bounds with kinks (``vr_max``), which quadrature does not take, and ``auto``, which plays others."""
    made = [spec.tiny() for spec in OBJECTIVES.values() if spec.tiny is not None]
    claimed = {
        type(objective)
        for objective in made
        if objective.unbiased_gradient
        and not isinstance(objective, Choosing)
        and objective.needs_density
        and objective.trains_scales
        and len(objective.players()) == 1
        and (objective.target is None or objective.target.is_smooth)
        and not (objective.needs_discrete or objective.needs_closed_form or objective.needs_conjugate)
    }
    assert claimed <= {type(case.objective) for case in UNBIASED}


@pytest.mark.parametrize("case", sampled([*UNBIASED, *ONLY_ON_LINE]), ids=str)
def test_the_gradient_is_the_exact_one(case: Case) -> None:
    assert case.objective.unbiased_gradient
    exact = case.on_line()
    draws = gradient_draws(case.objective, Line(COPIES), rounds=16)
    assert max(map(abs, z_scores(draws, exact).values())) < CRITICAL
    error = {name: error_of_mean(draws[name]) / abs(exact[name]) for name in exact}
    for block in (MODEL, GUIDE):  # an error of 2% there would be seen, with probability 0.97
        assert min(error[name] for name in block) * (CRITICAL + 2) < 0.02


@pytest.mark.parametrize("case", sampled(UNBIASED), ids=str)
def test_the_gradient_is_the_exact_one_for_a_hierarchical_guide(case: Case) -> None:
    scores = z_scores(gradient_draws(case.objective, Chain(COPIES), rounds=4), case.on_chain())
    assert max(map(abs, scores.values())) < CRITICAL


WRONG_ON_LINE = [
    *(Case(Scaled(bound=ELBO(num_particles=2), factor=factor), elbo) for factor in (-1.0, 2.0, 1.02, 0.98)),
    Case(Scaled(bound=DReG(num_particles=2), factor=1.02), iwelbo, 2),
    Case(GuideScaled(bound=ELBO(num_particles=2)), elbo),
    Case(NoEntropy(), elbo),
    Case(STL(num_particles=2, bound="iwelbo"), iwelbo, 2),
    Case(OnceReparameterized(), iwelbo, 2),
    Case(DReG(num_particles=2, bound=WeightsNotSquared()), iwelbo, 2),
    Case(DReG(num_particles=2, bound="elbo"), iwelbo, 2),
    Case(FixedSlopes(num_temperatures=2, step_size=0.4, persistence=0.7), elbo, paths=annealed(2, 0.4, 0.7)),
    Case(MomentaUncounted(num_temperatures=2, step_size=0.4, persistence=0.7), elbo, paths=annealed(2, 0.4, 0.7)),
    Case(JackknifeOfTwo(num_particles=3), jackknife(1), 3),
    Case(NormalisedApart(num_particles=2), less_divergence("chi2"), 2),
]
WRONG_ON_CHAIN = [
    Case(DetachedDistributions(square=True), iwelbo, 2),
    Case(HookedWeights(), iwelbo, 2),
    Case(PriorScoredToo(num_particles=2), iwelbo, 2),
]


@pytest.mark.parametrize("case", sampled(WRONG_ON_LINE), ids=str)
def test_a_wrong_estimator_is_caught(case: Case) -> None:
    scores = z_scores(gradient_draws(case.objective, Line(COPIES), rounds=16), case.on_line())
    assert max(map(abs, scores.values())) > CRITICAL


@pytest.mark.parametrize("case", WRONG_ON_CHAIN, ids=str)
def test_an_estimator_that_is_wrong_for_hierarchies_is_caught_there_alone(case: Case) -> None:
    flat = z_scores(gradient_draws(case.objective, Line(COPIES)), case.on_line())
    deep = z_scores(gradient_draws(case.objective, Chain(COPIES), rounds=4), case.on_chain())
    assert max(map(abs, flat.values())) < CRITICAL < max(map(abs, deep.values()))


@pytest.mark.parametrize("reduce", [iwelbo, renyi(0.5), renyi(2.0), ciwae(0.3)])
def test_the_quadrature_has_converged(reduce: Reduce) -> None:
    case = Case(ELBO(), reduce, 2)
    for fine, coarse, least in (
        (case.on_line(), case.on_line(nodes=160), 1e-6),
        (case.on_chain(), case.on_chain(nodes=24), 1e-4),  # a tenth of the smallest standard error there
    ):
        assert fine == pytest.approx(coarse, abs=least)
