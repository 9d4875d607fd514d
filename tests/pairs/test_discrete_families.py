"""Discrete families: extension, relaxation and conditional noise, each against its definition."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.machine.graphs import graph_of
from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated, swapped
from ppgen.pairs.sites import Site
from ppgen.pairs.tracing import Program, run_particles
from tests.discrete_doubles import Choice, DiscreteDouble, TinyDeepSBN
from tests.doubles import data

LOGITS = torch.tensor([[-1.0, 0.5, 2.0], [0.1, -0.3, 0.7]], dtype=torch.float64)
MASK = torch.tensor([[True, False, True], [True, True, True]])
BERNOULLIS = {
    "plain": dist.Bernoulli(logits=LOGITS),
    "from probabilities": dist.Bernoulli(LOGITS.sigmoid()),
    "event": dist.Bernoulli(logits=LOGITS).to_event(1),
    "expanded event": dist.Bernoulli(logits=LOGITS).to_event(1).expand([4, 2]),
    "mask inside an event": dist.Bernoulli(logits=LOGITS).mask(MASK).to_event(1),
    "mask outside an event": dist.Bernoulli(logits=LOGITS).to_event(1).mask(torch.tensor([True, False])),
    "masked out": dist.Bernoulli(logits=LOGITS).to_event(1).mask(torch.tensor(False)),
    "expanded by a wrapper": dist.torch_distribution.ExpandedDistribution(dist.Bernoulli(logits=LOGITS), (4, 2, 3)),
    "nested events": dist.Bernoulli(logits=LOGITS).to_event(1).mask(torch.tensor([True, False])).to_event(1),
}
CATEGORICALS = {
    "plain": dist.OneHotCategorical(logits=LOGITS),
    "from probabilities": dist.OneHotCategorical(LOGITS.softmax(-1)),
    "event": dist.OneHotCategorical(logits=LOGITS).to_event(1),
    "mask inside an event": dist.OneHotCategorical(logits=LOGITS).mask(torch.tensor([True, False])).to_event(1),
    "expanded event": dist.OneHotCategorical(logits=LOGITS).to_event(1).expand([4]),
}
ALL = {f"Bernoulli, {name}": fn for name, fn in BERNOULLIS.items()} | {
    f"OneHotCategorical, {name}": fn for name, fn in CATEGORICALS.items()
}
every_nesting = pytest.mark.parametrize("fn", ALL.values(), ids=ALL)


@every_nesting
def test_the_extension_is_the_log_probability_at_states(fn: Any) -> None:
    family, value = family_of(fn, "a test"), fn.sample()
    log_prob = family.log_prob(fn, value)
    assert log_prob.shape == fn.batch_shape
    torch.testing.assert_close(log_prob, fn.log_prob(value))


@every_nesting
def test_the_extension_is_linear_between_states(fn: Any) -> None:
    family, one, other = family_of(fn, "a test"), fn.sample(), fn.sample()
    halfway = family.log_prob(fn, (3 * one + other) / 4)
    torch.testing.assert_close(halfway, (3 * fn.log_prob(one) + fn.log_prob(other)) / 4)


@every_nesting
def test_shapes_of_parameters_noise_and_values_are_those_of_a_draw(fn: Any) -> None:
    family = family_of(fn, "a test")
    u = family.uniforms(fn)
    relaxed = family.relax(fn, u, 0.5)
    given = family.relax_given(fn, family.harden(relaxed), u, 0.5)
    for value in (family.logits(fn), family.mean(fn), u, relaxed, family.harden(relaxed), given):
        assert value.shape == fn.shape()


def test_a_class_of_probability_zero_adds_nothing_to_another_class() -> None:
    fn = dist.OneHotCategorical(logits=torch.tensor([0.0, -math.inf, 0.0]))
    log_prob = family_of(fn, "a test").log_prob(fn, torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(log_prob, torch.tensor(-math.log(2)))


# Stochastic: 12 tests of one unit or class each, a false alarm of any with probability below 12 * 1e-4.
DRAWS, FALSE_ALARM = 20_000, 1e-4
ONE = torch.tensor([-1.0, 0.5, 1.5], dtype=torch.float64)
UNITS = {"Bernoulli": dist.Bernoulli(logits=ONE), "OneHotCategorical": dist.OneHotCategorical(logits=ONE)}
each_family = pytest.mark.parametrize("fn", [f.expand_by([DRAWS]) for f in UNITS.values()], ids=UNITS)


@every_nesting
def test_a_distribution_of_the_natural_parameters_has_the_probabilities_of_the_one_they_came_from(fn: Any) -> None:
    family = family_of(fn, "a test")
    natural = family.of(family.logits(fn))
    torch.testing.assert_close(family.mean(natural), family.mean(fn))
    torch.testing.assert_close(family.mean(fn, 0.5), family.mean(family.of(2 * family.logits(fn))))


@each_family
def test_hardened_relaxations_are_draws(fn: Any) -> None:
    family = family_of(fn, "a test")
    u = family.uniforms(fn)
    states = family.harden(family.relax(fn, u, 0.7))
    assert torch.equal(family.state(fn, u), states)
    mean = family.mean(fn)[0]
    z = (states.mean(0) - mean) / (mean * (1 - mean) / DRAWS).sqrt()
    assert z.abs().max() < 3.9  # two-sided 1e-4


@each_family
def test_relaxations_given_the_state_have_the_law_of_relaxations(fn: Any) -> None:
    """Marginally, over states drawn from fn: Kolmogorov-Smirnov against draws without a state, in each coordinate."""
    family = family_of(fn, "a test")
    free = family.relax(fn, family.uniforms(fn), 0.7)
    given = family.relax_given(fn, fn.sample(), family.uniforms(fn), 0.7)
    for one, other in zip(free.T, given.T, strict=True):
        assert kstest(one.numpy(), other.numpy()).pvalue > FALSE_ALARM


@each_family
def test_relaxations_given_the_state_harden_to_it(fn: Any) -> None:
    family, value = family_of(fn, "a test"), fn.sample()
    for temperature in (0.1, 1.0, 10.0):
        assert torch.equal(family.harden(family.relax_given(fn, value, family.uniforms(fn), temperature)), value)


@each_family
def test_the_noise_given_the_state_leads_to_the_same_relaxation_and_is_uniform(fn: Any) -> None:
    family = family_of(fn, "a test")
    u = family.uniforms(fn)
    relaxed = family.relax(fn, u, 0.7)
    value = family.harden(relaxed)
    v = family.noise_given(fn, value, u)
    torch.testing.assert_close(family.relax_given(fn, value, v, 0.7), relaxed, rtol=1e-6, atol=1e-9)
    for column, state in zip(v.T, value.T, strict=True):
        assert kstest(column[state == 1].numpy(), "uniform").pvalue > FALSE_ALARM
        assert kstest(column[state == 0].numpy(), "uniform").pvalue > FALSE_ALARM


def test_the_conditional_relaxation_is_that_of_the_formula_in_the_paper() -> None:
    """REBAR, appendix C: log(v / ((1 - v)(1 - p)) + 1) at z = 1, -log(v / ((1 - v) p) + 1) at z = 0."""
    fn, v = dist.Bernoulli(logits=ONE), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    p = ONE.sigmoid()
    expected = {1.0: (v / ((1 - v) * (1 - p)) + 1).log(), 0.0: -(v / ((1 - v) * p) + 1).log()}
    for state, zeta in expected.items():
        found = family_of(fn, "a test").relax_given(fn, torch.full_like(v, state), v, 0.3)
        torch.testing.assert_close(found, (zeta / 0.3).sigmoid())


@pytest.mark.parametrize(
    ("fn", "number"),
    [
        (dist.Bernoulli(logits=LOGITS).to_event(1), 8),
        (dist.Bernoulli(logits=LOGITS).to_event(2), 64),
        (dist.Bernoulli(logits=LOGITS), 2),
        (dist.OneHotCategorical(logits=LOGITS), 3),
        (dist.OneHotCategorical(logits=LOGITS).to_event(1), 9),
        (dist.Categorical(logits=LOGITS), 3),
        (dist.Categorical(logits=LOGITS).to_event(1), 9),
    ],
    ids=str,
)
def test_the_states_are_all_there_and_their_probabilities_sum_to_one(fn: Any, number: int) -> None:
    family = family_of(fn, "a test")
    states = family.states(fn)
    assert len(states) == len(states.unique(dim=0)) == number == family.num_states(fn)
    each = states.reshape(number, *(1,) * len(fn.batch_shape), *fn.event_shape).expand(number, *fn.shape())
    torch.testing.assert_close(fn.log_prob(each).logsumexp(0).exp(), torch.ones(fn.batch_shape, dtype=torch.float64))


def test_a_categorical_is_scored_and_not_relaxed() -> None:
    fn = dist.Categorical(logits=LOGITS)
    family = family_of({"name": "c", "fn": fn}, "REBAR")
    value = fn.sample()
    assert (family.relaxable, family.binary) == (False, False)
    assert family.logits(fn).shape == (2, 3)
    torch.testing.assert_close(family.log_prob(fn, value), fn.log_prob(value))
    with pytest.raises(UsageError, match=r"site 'c' .* REBAR needs .* make it OneHotCategorical"):
        family.relax(fn, value, 1.0)


def test_a_distribution_of_another_family_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"site 'n' is drawn from Poisson, and VIMCO knows .* Bernoulli"):
        family_of({"name": "n", "fn": dist.Poisson(torch.ones(3)).to_event(1)}, "VIMCO")


class _Mixed(Pair):
    """A discrete unit, a normal that depends on it, and a count."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            b = pyro.sample("b", dist.Bernoulli(logits=x.new_tensor([0.3])).to_event(1))  # (K, B, 1)
            z = pyro.sample("z", dist.Normal(b[..., 0], 1.0))  # (K, B)
            pyro.sample("n", dist.Poisson(z.exp()))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            b = pyro.sample("b", dist.Bernoulli(logits=x).to_event(1))
            pyro.sample("z", dist.Normal(b[..., 0] - x[:, 0], 1.0))
            pyro.sample("n", dist.Poisson(x.new_tensor(2.0)))


def relaxed_run(draw: Any, num_particles: int = 3) -> Any:
    pair = _Mixed()
    return run_particles(Program(pair.model, pair.guide), (data(4),), num_particles, draw=draw)


def test_values_are_drawn_site_by_site_and_scored_between_states() -> None:
    seen: list[str] = []

    def half(site: Site) -> Tensor | None:
        seen.append(site["name"])
        return torch.full(site["fn"].shape(), 0.5).double() if site["name"] == "b" else None

    particles = relaxed_run(half)
    x = data(4)
    assert (seen, particles.scored) == (["b", "z", "n"], ["b", "n"])
    at = dist.Bernoulli(logits=x[:, 0]).log_prob
    b = (at(torch.ones_like(x[:, 0])) + at(torch.zeros_like(x[:, 0]))) / 2
    torch.testing.assert_close(particles.log_q_of(["b"]), b.expand(3, 4))
    z = particles.guide_sites["z"]["value"]
    torch.testing.assert_close(particles.log_prob("z"), dist.Normal(0.5, 1.0).log_prob(z))
    torch.testing.assert_close(particles.log_q, particles.log_q_of(["b", "z", "n"]))
    assert particles.log_q_of([]).tolist() == [[0.0]] * 3


def test_log_weights_have_a_gradient_in_a_relaxed_value() -> None:
    value = torch.full((3, 4, 1), 0.5, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    particles = relaxed_run(lambda site: value if site["name"] == "b" else None)
    (slope,) = torch.autograd.grad(particles.with_fixed(guide=True).log_w.sum(), value)
    (of_log_q,) = torch.autograd.grad(particles.log_q_of(["b"]).sum(), value)
    torch.testing.assert_close(of_log_q, data(4).expand(3, 4, 1))  # the guide's logits
    assert (slope != 0).all()


def test_a_relaxed_count_is_refused() -> None:
    with pytest.raises(UsageError, match="site 'n' is drawn from Poisson"):
        _ = relaxed_run(lambda site: site["fn"].sample()).log_w


def test_a_value_of_another_shape_is_refused_by_the_name_of_its_site() -> None:
    with pytest.raises(UsageError, match=r"site 'b' is given values of shape \(3, 4\), and .* shape \(3, 4, 1\)"):
        relaxed_run(lambda site: torch.zeros(3, 4) if site["name"] == "b" else None)


@pytest.mark.parametrize("double", [TinyDeepSBN, Choice], ids=lambda double: double.__name__)
def test_a_relaxed_run_is_traced_to_one_graph(double: type[DiscreteDouble]) -> None:
    """Relaxed, hardened and conditionally relaxed again, layer after layer, with the gradient of the log-weights."""
    pair = double()
    (batch,), names = pair.batch, list(double.start)

    def step(*values: Tensor) -> list[Tensor]:
        def draw(site: Site) -> Tensor:
            family, fn = family_of(site, "a test"), site["fn"]
            hard = family.harden(family.relax(fn, family.uniforms(fn), 0.5))
            return family.relax_given(fn, hard, family.uniforms(fn), 0.5)

        with swapped(pair, dict(zip(names, values, strict=True))), isolated(), pyro.validation_enabled(False):
            log_w = run_particles(Program(pair.model, pair.guide), (batch,), 3, draw=draw).log_w
            return [log_w, *torch.autograd.grad(log_w.sum(), values)]

    values = [value.detach().requires_grad_() for value in pair.parameters()]
    torch.manual_seed(0)
    expected = step(*values)
    graph = graph_of(step, *values)
    torch.manual_seed(0)
    for found, eager in zip(graph(*values), expected, strict=True):
        torch.testing.assert_close(found, eager)


@pytest.mark.parametrize("double", [TinyDeepSBN, Choice], ids=lambda double: double.__name__)
def test_at_states_the_extended_log_weights_are_the_log_weights(double: type[DiscreteDouble]) -> None:
    """With the values of an ordinary run drawn again, values and gradients by the parameters are those of that run."""
    pair = double()
    program = Program(pair.model, pair.guide)
    plain = run_particles(program, pair.batch, 4)
    again = run_particles(program, pair.batch, 4, draw=lambda site: plain.guide_sites[site["name"]]["value"])
    assert again.extended == set(plain.scored)
    torch.testing.assert_close(again.log_w, plain.log_w)
    gradients = [torch.autograd.grad(run.log_w.sum(), list(pair.parameters())) for run in (plain, again)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
