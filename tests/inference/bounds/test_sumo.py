"""Russian roulette: averaged over where it ends, its value and gradient are those of the longest bound, draw by draw.

With T cut off at N, sum_t P(T = t) SUMO_t is a telescoping sum, the importance-weighted bound of m + N particles. So
nothing here has the roulette's own noise, whose variance may be infinite.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ppgen.inference import IWELBO, SUMO, DReG
from ppgen.pairs.tracing import Particles, Program, run_particles
from tests.doubles import Line
from tests.inference.mutants import SurvivalOfTheNext

LONGEST = 30
MODEL, GUIDE = ("weight", "loc", "log_noise"), ("slope", "shift", "log_scale")


def survival(terms: int, plateau: int) -> float:
    """P(T >= j), from its formula."""
    return 1 / terms if terms <= plateau else 0.9 ** (terms - plateau) / plateau


def averaged(objective: SUMO, log_w: Tensor) -> Tensor:
    """The expectation over T <= LONGEST of the roulette at given particles (m + LONGEST, B)."""
    chances = [survival(max(t, 1), objective.plateau) for t in range(LONGEST + 1)] + [0.0]
    lasts = [chances[t] - chances[t + 1] for t in range(1, LONGEST + 1)]
    assert sum(lasts) == pytest.approx(1.0)
    first = objective.num_particles
    return torch.stack([p * objective.roulette(log_w[: first + t]) for t, p in enumerate(lasts, 1)]).sum(0)


@pytest.mark.parametrize("objective", [SUMO(plateau=80), SUMO(plateau=7, num_particles=1)], ids=str)
def test_its_mean_over_where_it_ends_is_the_longest_bound(objective: SUMO) -> None:
    log_w = 2 * torch.randn(objective.num_particles + LONGEST, 5, dtype=torch.float64)
    torch.testing.assert_close(averaged(objective, log_w), IWELBO().reduce(log_w))
    wrong = averaged(SurvivalOfTheNext(plateau=objective.plateau, num_particles=objective.num_particles), log_w)
    assert (wrong - IWELBO().reduce(log_w)).abs().max() > 0.01


@pytest.mark.parametrize("plateau", [1, 5, 80])
def test_it_ends_as_often_as_it_says(plateau: int) -> None:
    objective, num = SUMO(plateau=plateau), 20_000
    drawn = torch.tensor([objective.terms() for _ in range(num)])
    for terms in (1, 2, 5, 6, 12):
        chance = survival(terms, plateau)
        found = float((drawn >= terms).double().mean())
        assert abs(found - chance) <= 4.5 * math.sqrt(chance * (1 - chance) / num)
        assert float(objective.survival(torch.tensor([float(terms)]))) == pytest.approx(chance)


def gradient(objective: object, pair: Line, particles: Particles) -> dict[str, Tensor]:
    value = objective.estimate(particles).sum()  # type: ignore[attr-defined]
    parameters = dict(pair.named_parameters())
    found = torch.autograd.grad(value, list(parameters.values()), retain_graph=True)
    return dict(zip(parameters, found, strict=True))


def test_the_model_ascends_the_roulette_and_the_guide_the_bound_of_its_particles() -> None:
    pair, x = Line(), torch.randn(6, 1, dtype=torch.float64)
    particles = run_particles(Program(pair.model, pair.guide), (x,), 7)
    found, of_bound = gradient(SUMO(), pair, particles), gradient(DReG(num_particles=7), pair, particles)
    for name in GUIDE:
        torch.testing.assert_close(found[name], of_bound[name])
    by_path = SUMO().roulette(particles.with_fixed(latents=True).log_w).sum()
    for name, value in zip(MODEL, torch.autograd.grad(by_path, [getattr(pair, n) for n in MODEL]), strict=True):
        torch.testing.assert_close(found[name], value)
    assert not torch.allclose(found["loc"], of_bound["loc"])


def test_a_step_draws_its_particles_and_is_exact_at_the_posterior() -> None:
    pair, x = Line().land(), torch.randn(6, 1, dtype=torch.float64)
    sizes = {SUMO().draw(Program(pair.model, pair.guide), (x,)).num_particles for _ in range(20)}
    assert min(sizes) >= 3  # m + T, T >= 1
    assert len(sizes) > 1
    torch.testing.assert_close(-SUMO().differentiable_loss(pair.model, pair.guide, x), pair.log_evidence(x).sum())
