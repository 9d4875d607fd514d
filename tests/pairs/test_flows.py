"""Flows: what they remember enters neither a graph nor the next run; they are scored under the parameters in force."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import constraints

import ppgen
from ppgen.inference import ELBO, STL
from ppgen.machine.graphs import graph_of
from ppgen.pairs.memories import Forgetting, forget
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.tracing import Program, run_particles
from ppgen.pairs.transformed import log_prob_at
from ppgen.training.steps import _inductor
from tests.flows import (
    BACKWARD,
    FLOWS,
    FORWARD,
    INVERTIBLE,
    WIDTH,
    FlowGuide,
    FlowLikelihood,
    OwnPrior,
    flow,
    flow_data,
    module_of,
    site_of,
)

LIKELIHOODS = {**INVERTIBLE, **BACKWARD}
LIKE_OTHERS = {"stable affine autoregressive", "linear spline", "spline coupling", "spline autoregressive"}
"""Flows made of parts that others have: their graphs are long, and traced by ``make thorough``."""
EAGER = {"block autoregressive"}
"""Selects weights by a mask that is a buffer of numbers: its step is no graph."""


def _named(flows: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.thorough if name in LIKE_OTHERS else ()) for name in flows]


def _trained(pair: Pair, objective: Any, *, eager: bool, **options: Any) -> Tensor:
    options = {"steps": 30, "batch_size": 15, "lr": 1e-2, "seed": 1, **options}
    ppgen.fit(pair, flow_data(), objective, eager=eager, **options)
    return torch.cat([p.detach().flatten() for p in pair.parameters()])


def _check_trained(kind: type[Any], name: str, objective: Any) -> None:
    slow = _trained(kind(name), objective, eager=True, steps=10)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fast = _trained(kind(name), objective, eager=False, steps=10)
    eagerly = any("trains eagerly" in str(warning.message) for warning in said)
    assert eagerly == (name in EAGER)
    torch.testing.assert_close(fast, slow, rtol=0, atol=0)  # one graph, run as it was traced: the same operations


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize(
    "objective",
    [pytest.param(ELBO(num_particles=2), marks=pytest.mark.thorough), STL(num_particles=2)],
    ids=["elbo", "stl"],
)
@pytest.mark.parametrize("name", _named(FLOWS))
def test_training_a_guide_s_flow_is_the_same_eager_and_as_a_graph(name: str, objective: Any) -> None:
    _check_trained(FlowGuide, name, objective)


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize("name", _named(LIKELIHOODS))
def test_training_a_likelihood_s_flow_is_the_same_eager_and_as_a_graph(name: str) -> None:
    _check_trained(FlowLikelihood, name, ELBO(num_particles=2))


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["affine coupling", "spline coupling", "quadratic spline", "affine autoregressive"])
def test_compiled_by_inductor_it_is_the_same_to_rounding(name: str) -> None:
    slow = _trained(FlowLikelihood(name), ELBO(num_particles=2), eager=True)
    fast = _trained(FlowLikelihood(name), ELBO(num_particles=2), eager=False)
    # Thirty steps of Adam at 1e-2 turn float32 roundings (1e-7) of gradients into parts of a step: 1 percent of one.
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-4)


class _Fresh(FlowLikelihood):
    """Knows no tensor again: each run is given a copy of its data."""

    def model(self, x: Tensor) -> None:
        super().model(x.clone())


@pytest.mark.parametrize("name", ["spline coupling", "affine coupling", "affine autoregressive"])
def test_eager_steps_at_one_data_tensor_do_not_meet_the_parameters_of_the_step_before(name: str) -> None:
    losses = []
    for kind in (FlowLikelihood, _Fresh):
        pair, x = kind(name), flow_data()
        optimizer = torch.optim.SGD(pair.parameters(), lr=1e-3)
        torch.manual_seed(2)
        for _ in range(5):
            optimizer.zero_grad()
            loss = ELBO().differentiable_loss(pair.model, pair.guide, x)
            loss.backward()
            optimizer.step()
        losses.append(loss.detach())
    assert torch.equal(*losses)


@pytest.mark.usefixtures("graphs_as_they_are")
def test_full_batch_training_of_a_flow_kept_in_a_list_is_the_same_eager_and_as_a_graph() -> None:
    class Listed(FlowLikelihood):
        """Its flow is found at the site, not among the modules, and is not trained."""

        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.hidden = [self.flow]
            del self.flow

        @property
        def transform(self) -> Any:
            return self.hidden[0]

    options = {"batch_size": 60, "steps": 10}
    slow = _trained(Listed("affine coupling"), ELBO(num_particles=2), eager=True, **options)
    assert torch.equal(_trained(Listed("affine coupling"), ELBO(num_particles=2), eager=False, **options), slow)


@pytest.mark.parametrize("name", FLOWS)
def test_sites_keep_their_own_memory_after_later_runs(name: str) -> None:
    """log q asked for late is log q asked for at once, though the flow has since drawn other values."""
    pair, x = FlowGuide(name), flow_data(4)
    program = Program(pair.model, pair.guide)
    with torch.no_grad(), isolated():
        torch.manual_seed(0)
        expected = run_particles(program, (x,), 3).log_q
        torch.manual_seed(0)
        first = run_particles(program, (x,), 3)
        run_particles(program, (x,), 3)
        found = first.log_q
    assert torch.equal(found, expected)


def test_a_flow_that_model_and_guide_share_scores_the_draws_of_the_one_in_the_other() -> None:
    """As in stock Pyro: a planar flow knows the preimages of its own draws only."""
    pair, x = OwnPrior("planar", shared=True), flow_data(4)
    with isolated():
        torch.manual_seed(0)
        loss = pyro.infer.Trace_ELBO().differentiable_loss(pair.model, pair.guide, x)
        torch.manual_seed(0)
        found = ELBO().differentiable_loss(pair.model, pair.guide, x)
    torch.testing.assert_close(found, loss)  # sums in another order


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("name", FLOWS)
def test_the_density_at_a_value_and_its_slope_are_those_of_the_change_of_variables(name: str) -> None:
    """log q(T(x)) = log p(x) - log |det J| as a function of x, whose slope by y = T(x) is J^{-T} that by x.

    The determinant is the flow's own: Sylvester's is one of nearly orthogonal matrices, 1e-3 off.
    """
    transform, base = flow(name), dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1)
    fn = dist.TransformedDistribution(base, [transform])

    def called(at: Tensor) -> Tensor:
        forget(transform)
        y: Tensor = transform(at)
        return y

    x = torch.tensor([0.3, -0.4, 0.2], requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(called, x)
    expected = base.log_prob(x) - transform.log_abs_det_jacobian(x, called(x)).sum()
    by_x = torch.autograd.grad(expected, x)[0]
    with torch.no_grad():
        drawn = site_of(fn, called(x.detach()))
    value = drawn["value"].clone().requires_grad_()
    found = log_prob_at(site_of(fn, value), drawn)
    torch.testing.assert_close(found, expected)  # float64's default: 1e-7
    torch.testing.assert_close(torch.autograd.grad(found, value)[0], torch.linalg.solve(jacobian.T, by_x))


class _Cubic(torch.distributions.Transform):
    """y = x + x^3 / 3, number by number; its inverse is what it remembers."""

    domain = codomain = constraints.real
    bijective = True
    sign = 1

    def _call(self, x: Tensor) -> Tensor:
        return x + x**3 / 3

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return (1 + x.square()).log()


def test_a_transform_of_single_numbers_without_an_inverse_is_scored_at_its_draw() -> None:
    """log q(y) = log p(x) - log(1 + x^2), whose slope by x is -x - 2 x / (1 + x^2), by y that over 1 + x^2."""
    fn = dist.TransformedDistribution(dist.Normal(torch.zeros(WIDTH), 1.0), [_Cubic(cache_size=1)])
    x = torch.tensor([0.3, -0.4, 2.0])
    drawn = site_of(fn, fn.transforms[0](x))
    value = drawn["value"].clone().requires_grad_()
    found = log_prob_at(site_of(fn, value), drawn)
    torch.testing.assert_close(found, dist.Normal(0.0, 1.0).log_prob(x) - (1 + x**2).log())
    slope = torch.autograd.grad(found.sum(), value)[0]
    torch.testing.assert_close(slope, (-x - 2 * x / (1 + x**2)) / (1 + x**2))


@pytest.mark.parametrize("name", FORWARD)
def test_the_preimage_is_a_number(name: str) -> None:
    """Of two flows, the second was given what the first made: with value and parameters constant, so is the density."""
    flows = [flow(name), flow(name)]
    fn = dist.TransformedDistribution(dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1), flows)
    drawn = site_of(fn, fn.rsample())
    assert drawn["value"].requires_grad
    for each in flows:
        module_of(each).requires_grad_(False)
    assert not log_prob_at(site_of(fn, drawn["value"].detach()), drawn).requires_grad


def test_forgetting_leaves_within_a_run_what_a_model_asks_its_flow_itself() -> None:
    planar = flow("planar")

    def model() -> Tensor:
        fn = dist.TransformedDistribution(dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1), [planar])
        z = pyro.sample("z", fn)
        log_prob: Tensor = fn.log_prob(z)  # a planar flow needs its memory
        return log_prob

    with Forgetting(model):
        assert torch.isfinite(model())
    assert planar._cached_x_y[0] is not None
    with Forgetting(planar):
        assert planar._cached_x_y == (None, None)
        assert planar._cached_logDetJ is None


@pytest.mark.parametrize("inductor", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_a_graph_of_a_spline_is_that_of_other_values_too(inductor: bool) -> None:
    """As many values outside the spline's box as there happen to be: none while tracing, all later."""
    fn = dist.TransformedDistribution(dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1), [flow("quadratic spline")])

    def log_prob(value: Tensor) -> Tensor:
        forget(fn.transforms[0])
        found: Tensor = fn.log_prob(value)
        return found

    with torch.no_grad(), pyro.validation_enabled(False):
        graph = graph_of(log_prob, torch.zeros(4, WIDTH))
        run: Any = _inductor(graph, [torch.zeros(4, WIDTH)]) if inductor else graph
        rounding = 1e-5 if inductor else 0.0
        for values in (torch.zeros(4, WIDTH), torch.full((4, WIDTH), 5.0), torch.linspace(-4, 4, 12).reshape(4, WIDTH)):
            torch.testing.assert_close(run(values), log_prob(values), rtol=rounding, atol=rounding)
