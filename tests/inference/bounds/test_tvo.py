"""The thermodynamic objective against quadrature along the path from guide to posterior."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ppgen.inference import TVO
from ppgen.pairs.tracing import Program, run_particles
from tests.doubles import Line, Mixture, data
from tests.inference.truth import (
    Parameters,
    X,
    elbo,
    error_of_mean,
    exact_gradient,
    expectation,
    gradient_draws,
    iwelbo,
    line_log_w,
    value_draws,
)

POINTS, WEIGHTS = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(120))


def partition(objective: TVO) -> list[float]:
    """b_0, ..., b_P from the definition."""
    last = objective.num_partitions - 1
    return [0.0, *(10 ** (objective.log10_beta_1 * (1 - p / last)) for p in range(last)), 1.0]


def exact(objective: TVO, parameters: Parameters) -> Tensor:
    """The left sum with exact expectations, those under pi_b by weights w^b at fixed points of z, in nats.

    The points are those of the guide as it is; that the guide moves is in the weights.
    """
    value, betas = torch.zeros((), dtype=torch.float64), partition(objective)
    fixed = {name: p.detach() for name, p in parameters.items()}
    z = fixed["slope"] * X + fixed["shift"] + fixed["log_scale"].exp() * POINTS
    noise = (z - parameters["slope"] * X - parameters["shift"]) / parameters["log_scale"].exp()
    log_w = line_log_w(parameters, noise[:, None])
    log_q = -noise.square() / 2 - parameters["log_scale"]
    measure = log_q - log_q.detach() + WEIGHTS.log()  # q(z) dz at the fixed points
    for left, right in pairwise(betas):
        value = value + (right - left) * ((left * log_w + measure).softmax(0) * log_w).sum()
    return value


def test_one_interval_is_the_elbo() -> None:
    pair = Line()
    parameters = pair.state_dict()
    expected = float(expectation(line_log_w, elbo, parameters, particles=1))
    assert abs(float(exact(TVO(num_partitions=1), parameters)) - expected) < 1e-9
    draws = value_draws(TVO(num_partitions=1, num_particles=3), pair, 50_000)
    assert abs(float(draws.mean()) - expected) < 3 * error_of_mean(draws)


def test_every_draw_is_between_the_elbo_and_the_importance_weighted_bound_of_its_particles() -> None:
    pair = Line()
    particles = run_particles(Program(pair.model, pair.guide), (data(500),), 8)
    for intervals in (2, 5, 50):
        value = TVO(num_particles=8, num_partitions=intervals).estimate(particles)
        assert (value <= iwelbo(particles.log_w) + 1e-12).all()
        assert (value >= elbo(particles.log_w) - 1e-12).all()


def test_value_and_gradient_are_consistent_as_particles_grow() -> None:
    objective = TVO(num_particles=20_000, num_partitions=4)
    parameters = Line().state_dict()
    value = value_draws(objective, Line(), 100)
    assert abs(float(value.mean()) - float(exact(objective, parameters))) < 4 * error_of_mean(value) + 1e-4
    expected = exact_gradient(lambda p: exact(objective, p), Line())
    for name, draws in gradient_draws(objective, Line(100)).items():
        # a bias of order 1 / K = 5e-5 is left
        assert abs(float(draws.mean()) - expected[name]) < 4 * error_of_mean(draws) + 1e-3 * abs(expected[name]), name


def test_the_bias_of_its_gradient_falls_as_one_over_k() -> None:
    objective = TVO(num_partitions=1)
    expected = exact_gradient(lambda p: exact(objective, p), Line())["shift"]
    for particles in (2, 4):  # one interval: the covariance of K draws is (K - 1) / K of the truth
        draws = gradient_draws(objective.holding({"num_particles": particles}), Line(100_000), rounds=4)["shift"]
        assert abs(float(draws.mean()) - expected * (1 - 1 / particles)) < 4 * error_of_mean(draws)


def test_it_moves_a_discrete_guide() -> None:
    pair, x = Mixture(), data(4)
    objective = TVO(num_particles=20_000, num_partitions=1)
    objective.differentiable_loss(pair.model, pair.guide, x).backward()
    twin = Mixture()
    log_q, log_p = twin.log_guide(x), twin.log_joint(x)
    (-(log_q.exp() * (log_p - log_q)).sum()).backward()
    torch.testing.assert_close(pair.offsets.grad, twin.offsets.grad, rtol=0.05, atol=0.02)
