"""Flows: what they remember enters neither a graph nor the next run; they are scored under the parameters in force."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import constraints

import ppgen
from ppgen.errors import UsageError
from ppgen.inference import ELBO, STL, DReG
from ppgen.machine.graphs import graph_of
from ppgen.pairs.memories import Forgetting, forget
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.stacking import alone
from ppgen.pairs.tracing import Program, run_particles
from ppgen.pairs.transformed import log_prob_at
from ppgen.training.steps import _inductor
from tests.flows import BACKWARD, FLOWS, FORWARD, INVERTIBLE, WIDTH, FlowGuide, FlowLikelihood, flow, module_of
from tests.marks import thorough

LIKELIHOODS = {**INVERTIBLE, **BACKWARD}
LIKE_OTHERS = {"stable affine autoregressive", "linear spline", "spline coupling", "spline autoregressive"}
"""Flows made of parts that others have: their graphs are long, and traced by ``make thorough``."""
EAGER = {"block autoregressive"}
"""Selects weights by a mask that is a buffer of numbers: its step is no graph."""


def _named(flows: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.thorough if name in LIKE_OTHERS else ()) for name in flows]


def _data(rows: int = 60) -> Tensor:
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(5))


def _trained(pair: Pair, objective: Any, *, eager: bool, **options: Any) -> Tensor:
    options = {"steps": 30, "batch_size": 15, "lr": 1e-2, "seed": 1, **options}
    ppgen.fit(pair, _data(), objective, eager=eager, **options)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["affine coupling", *thorough(["spline coupling", "quadratic spline", "affine autoregressive"])]
)
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
        pair, x = kind(name), _data()
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
    pair, x = FlowGuide(name), _data(4)
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
    pair, x = _OwnPrior("planar", shared=True), _data(4)
    with isolated():
        torch.manual_seed(0)
        loss = pyro.infer.Trace_ELBO().differentiable_loss(pair.model, pair.guide, x)
        torch.manual_seed(0)
        found = ELBO().differentiable_loss(pair.model, pair.guide, x)
    torch.testing.assert_close(found, loss)  # sums in another order


class _OwnPrior(Pair):
    """The guide is the posterior: both are one flow of one normal, and x is independent of z."""

    def __init__(self, name: str, *, shared: bool) -> None:
        super().__init__()
        self.flow = flow(name)
        self.prior = self.flow if shared else flow(name)
        self.loc = nn.Parameter(torch.tensor([0.3, -0.2, 0.5]))
        self.prior_loc = nn.Parameter(self.loc.detach().clone())

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            base = dist.Normal(self.prior_loc, 1.0).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [self.prior]))
            pyro.sample("x", dist.Normal(torch.zeros_like(x), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.TransformedDistribution(dist.Normal(self.loc, 1.0).to_event(1), [self.flow]))


@pytest.fixture
def doubles() -> Iterator[None]:
    """Pyro's affine autoregressive inverse starts from zeros of the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _gradient(pair: Pair, objective: Any, x: Tensor, seed: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    named = {name: p for name, p in pair.named_parameters() if not name.startswith("prior")}
    loss = objective.differentiable_loss(pair.model, pair.guide, x)
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(named, found, strict=True))


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("objective", [STL(num_particles=4), DReG(num_particles=4)], ids=["stl", "dreg"])
@pytest.mark.parametrize("name", INVERTIBLE)
def test_at_the_exact_posterior_every_parameter_of_the_guide_has_zero_gradient(name: str, objective: Any) -> None:
    pair, x = _OwnPrior(name, shared=False), _data(5).double()
    score = _gradient(pair, ELBO(num_particles=4), x)
    assert max(float(g.abs().max()) for g in score.values()) > 0.1
    found = _gradient(pair, objective, x)
    # zeros up to roundings of float64 in terms of the score's size, over the slopes of splines
    assert max(float(g.abs().max()) for g in found.values()) < 1e-10


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("name", FLOWS)
def test_at_the_exact_posterior_no_gradient_comes_along_the_path(name: str) -> None:
    """Also where only the flow itself, shared by model and guide, can score its draws."""
    pair, x = _OwnPrior(name, shared=True), _data(5).double()
    with isolated():
        run = run_particles(Program(pair.model, pair.guide), (x,), 3)
        log_w = run.with_fixed(model=True, guide=True).log_w
    torch.testing.assert_close(log_w, run.log_w)
    found = torch.autograd.grad(log_w.sum(), list(pair.parameters()), allow_unused=True, materialize_grads=True)
    assert max(float(g.abs().max()) for g in found) < 1e-10  # as above


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("name", ["radial", *thorough(["affine autoregressive", "quadratic spline", "planar"])])
def test_away_from_the_posterior_sticking_the_landing_has_the_mean_of_the_pathwise_gradient(name: str) -> None:
    """Along one random direction, paired draws, each of five copies of three data.

    False alarm once in 1,000,000 (5.5 standard errors, at 59 degrees of freedom).
    """
    pair, x = FlowGuide(name).double(), _data(3).double().repeat(5, 1)
    direction = {n: torch.randn(p.shape) for n, p in pair.named_parameters()}
    differences = []
    for seed in range(60):
        pathwise, sticking = (_gradient(pair, o, x, seed) for o in (ELBO(num_particles=4), STL(num_particles=4)))
        differences.append(sum(float(((pathwise[n] - sticking[n]) * direction[n]).sum()) for n in pathwise))
    each = torch.tensor(differences)
    assert each.std() > 1e-3  # the score is there
    assert abs(float(each.mean())) < 5.5 * float(each.std()) / math.sqrt(len(each))


def _site(fn: Any, value: Tensor) -> dict[str, Any]:
    return {"name": "z", "fn": fn, "value": value, "args": (), "kwargs": {}}


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
        drawn = _site(fn, called(x.detach()))
    value = drawn["value"].clone().requires_grad_()
    found = log_prob_at(_site(fn, value), drawn)
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
    drawn = _site(fn, fn.transforms[0](x))
    value = drawn["value"].clone().requires_grad_()
    found = log_prob_at(_site(fn, value), drawn)
    torch.testing.assert_close(found, dist.Normal(0.0, 1.0).log_prob(x) - (1 + x**2).log())
    slope = torch.autograd.grad(found.sum(), value)[0]
    torch.testing.assert_close(slope, (-x - 2 * x / (1 + x**2)) / (1 + x**2))


@pytest.mark.parametrize("name", FORWARD)
def test_the_preimage_is_a_number(name: str) -> None:
    """Of two flows, the second was given what the first made: with value and parameters constant, so is the density."""
    flows = [flow(name), flow(name)]
    fn = dist.TransformedDistribution(dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1), flows)
    drawn = _site(fn, fn.rsample())
    assert drawn["value"].requires_grad
    for each in flows:
        module_of(each).requires_grad_(False)
    assert not log_prob_at(_site(fn, drawn["value"].detach()), drawn).requires_grad


class _Chain(Pair):
    """z1 ~ q(z1), then z2 | z1 by a flow that z1 conditions, then one that it does not; nothing has an inverse."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.context = dist.transforms.conditional_planar(WIDTH, WIDTH, hidden_dims=[8])
        self.flow = flow("radial")

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            first = pyro.sample("z1", dist.Normal(x.new_zeros(WIDTH), 1.0).to_event(1))
            pyro.sample("z2", dist.Normal(first, 1.0).to_event(1))

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            first = pyro.sample("z1", dist.Normal(x, 1.0).to_event(1))
            base = dist.Normal(torch.zeros_like(first), 1.0).to_event(1)
            flows = [self.context.condition(first), self.flow]
            pyro.sample("z2", dist.TransformedDistribution(base, flows))


@pytest.mark.usefixtures("doubles")
def test_the_path_through_an_earlier_latent_survives_in_a_chain_without_inverse() -> None:
    """d log q(z2 | z1)/dz1 at fixed z2 and phi, by the implicit function, against central differences.

    For the differences, the preimage at moved z1 is found by Newton's method from the draw.
    """
    pair, x, step = _Chain(), _data(2).double().requires_grad_(), 1e-5
    with isolated():
        run = run_particles(Program(pair.model, pair.guide), (x,), 1)
        fixed = run.with_fixed(guide=True)
    torch.testing.assert_close(fixed.log_q, run.log_q)
    first, second = (alone(run.guide_sites[name])["value"] for name in ("z1", "z2"))  # (B, WIDTH)
    log_q = fixed.log_prob("z2", fixed.guide_sites)  # (1, B)
    total, by_second = torch.autograd.grad(log_q.sum(), [first, second], retain_graph=True)
    slope = total - torch.autograd.grad(second, first, by_second)[0]  # less the path through z2
    ends = [_by_newton(pair, first.detach() + s * step, second.detach()) for s in (1, -1)]
    # rounding over the step, and its square
    torch.testing.assert_close(slope.sum(-1), (ends[0] - ends[1]).detach() / (2 * step), rtol=1e-6, atol=1e-6)


def _by_newton(pair: _Chain, first: Tensor, second: Tensor) -> Tensor:
    """log q(z2 | z1) from its definition, with the preimage of z2 at this z1, shape (B,)."""
    context = pair.context.condition(first)

    def called(at: Tensor) -> Tensor:
        forget(context)
        forget(pair.flow)
        y: Tensor = pair.flow(context(at))
        return y

    x = torch.zeros_like(second)
    for _ in range(50):
        full = torch.autograd.functional.jacobian(lambda at: called(at).sum(0), x)  # (D, B, D)
        jacobian = full.movedim(0, -2)
        x = x - torch.linalg.solve(jacobian, (called(x) - second).unsqueeze(-1)).squeeze(-1)
    assert (called(x) - second).abs().max() < 1e-12
    log_p: Tensor = dist.Normal(torch.zeros_like(x), 1.0).to_event(1).log_prob(x)
    log_q: Tensor = log_p - jacobian.slogdet().logabsdet
    return log_q


def test_a_value_that_a_flow_without_inverse_did_not_draw_is_refused_by_name() -> None:
    fn = dist.TransformedDistribution(dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1), [flow("planar")])
    with pytest.raises(UsageError, match="site 'z' is scored at a value that it did not draw, and its Planar has no"):
        log_prob_at(_site(fn, torch.zeros(WIDTH)))
    drawn = fn.rsample()
    other = _site(fn, drawn)
    fn.rsample()  # and remembers another
    with pytest.raises(UsageError, match="site 'z'"):
        log_prob_at(_site(fn, drawn.clone()), other)


def test_a_transform_met_twice_in_a_chain_has_no_known_preimages() -> None:
    twice = flow("planar")
    fn = dist.TransformedDistribution(dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1), [twice, twice])
    drawn = _site(fn, fn.rsample())
    with pytest.raises(UsageError, match="site 'z'"):
        log_prob_at(_site(fn, drawn["value"].clone()), drawn)


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


@pytest.mark.parametrize("inductor", [False, pytest.param(True, marks=pytest.mark.slow)])
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
