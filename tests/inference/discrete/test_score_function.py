"""The score-function estimators: exact in expectation on pairs that are enumerated, and as noisy as theory says.

False-alarm rates as in ``discrete_truth.CRITICAL``, unless a test states its own.
"""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceGraph_ELBO
from pyro.optim import ClippedAdam
from torch import Tensor, nn

import ppgen
from ppgen.errors import UsageError
from ppgen.inference import NVIL, REINFORCE, VIMCO, Renyi
from ppgen.objectives.discrete.score_function import ScoreFunction
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Program, run_particles
from ppgen.schedules import linear, stepwise
from ppgen.testing.yardsticks import GaussianYardstick, SharedYardstick
from tests.discrete_doubles import (
    DOUBLES,
    Blend,
    DiscreteDouble,
    Reduce,
    TinyDeepSBN,
    TinySBN,
    exact_gradient,
    gradient_draws,
)
from tests.inference.discrete.discrete_truth import CRITICAL, landed, largest_z, total_variance
from tests.inference.truth import elbo, iwelbo, renyi

COPIES = 20_000
GUIDE = ("slope", "offset")
"""The guide's parameters of :class:`TinySBN`."""

CASES: list[tuple[ScoreFunction, Reduce, int]] = [
    (REINFORCE(num_particles=1, baseline="none"), elbo, 1),
    (REINFORCE(num_particles=1, baseline="moving_average"), elbo, 1),
    (REINFORCE(num_particles=3), elbo, 1),
    (REINFORCE(num_particles=2, centred=False), elbo, 1),
    (REINFORCE(num_particles=2, bound="iwelbo", baseline="none"), iwelbo, 2),
    (REINFORCE(num_particles=2, bound=Renyi(alpha=0.5)), renyi(0.5), 2),
    (NVIL(normalise=False), elbo, 1),
    (NVIL(num_particles=2, bound="iwelbo", normalise=False), iwelbo, 2),
    (VIMCO(num_particles=2), iwelbo, 2),
    (VIMCO(num_particles=2, centred=True), iwelbo, 2),
    (VIMCO(num_particles=2, arithmetic=True), iwelbo, 2),
    (VIMCO(num_particles=2, bound="elbo"), elbo, 1),
]


def name_of(case: Any) -> str:
    """An objective's own text; nothing for what it is compared with."""
    return str(case) if isinstance(case, ScoreFunction) else ""


@pytest.mark.parametrize("double", DOUBLES, ids=lambda double: double.__name__)
@pytest.mark.parametrize(("objective", "reduce", "particles"), CASES, ids=name_of)
def test_the_gradient_is_the_exact_one(
    double: type[DiscreteDouble], objective: ScoreFunction, reduce: Reduce, particles: int
) -> None:
    assert objective.unbiased_gradient
    exact = exact_gradient(double(), reduce, particles)
    assert largest_z(gradient_draws(objective, double(COPIES)), exact) < CRITICAL


@pytest.mark.parametrize(("objective", "reduce", "particles"), CASES, ids=name_of)
def test_the_value_is_that_of_the_bound(objective: ScoreFunction, reduce: Reduce, particles: int) -> None:
    pair = TinySBN()
    program, size = Program(pair.model, pair.guide), objective.total_particles
    state = objective.initial_state(program, pair.batch)
    torch.manual_seed(0)
    log_w = run_particles(program, pair.batch, size).log_w
    torch.manual_seed(0)
    found = objective.play("all", program, pair.batch, state)
    torch.testing.assert_close(-found.loss, objective.reduction.reduce(log_w).sum())
    torch.testing.assert_close(-found.loss, reduce(log_w).sum())


def guide_variance(objective: ScoreFunction, double: type[DiscreteDouble] = TinySBN) -> float:
    return total_variance(gradient_draws(objective, double(COPIES)), GUIDE)


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (REINFORCE(num_particles=2), REINFORCE(num_particles=2, baseline="none")),
        (REINFORCE(num_particles=1, baseline="moving_average"), REINFORCE(num_particles=1, baseline="none")),
        (REINFORCE(num_particles=2), REINFORCE(num_particles=2, centred=False)),
        (VIMCO(num_particles=5), REINFORCE(num_particles=5, bound="iwelbo", baseline="none")),
        (VIMCO(num_particles=5, centred=True), VIMCO(num_particles=5)),
    ],
    ids=str,
)
def test_the_variance_is_lower_where_theory_says(less: ScoreFunction, more: ScoreFunction) -> None:
    """Ratios of 1.3 and more; one of two estimates at 20,000 draws is off by a tenth once in many thousands."""
    assert 1.1 * guide_variance(less) < guide_variance(more)


def test_the_signal_to_noise_ratio_of_the_centred_signal_rises_with_particles_where_that_of_vimco_falls() -> None:
    """As sqrt(K), and as 1 / sqrt(K): from K = 4 to 36 times 3, and a third. Means are those of the centred draws."""

    def ratios(num_particles: int) -> tuple[float, float]:
        centred, plain = (
            gradient_draws(VIMCO(num_particles=num_particles, centred=centred), TinySBN(COPIES))
            for centred in (True, False)
        )
        mean = sum(float(centred[name].mean(0).square().sum()) for name in GUIDE)
        return tuple(math.sqrt(mean / total_variance(draws, GUIDE)) for draws in (centred, plain))  # type: ignore[return-value]

    few, many = ratios(4), ratios(36)
    assert many[0] > 2 * few[0]
    assert many[1] < few[1] / 2


@pytest.mark.parametrize(
    "objective", [REINFORCE(num_particles=3), VIMCO(num_particles=3, centred=True)], ids=lambda o: type(o).__name__
)
def test_the_gradient_of_the_guide_is_zero_without_noise_at_the_exact_posterior(objective: ScoreFunction) -> None:
    pair, x = landed(), torch.linspace(-2, 2, 9, dtype=torch.float64)
    loss = objective.differentiable_loss(pair.model, pair.guide, x)
    for gradient in torch.autograd.grad(loss, [pair.a, pair.b]):
        assert float(gradient.abs()) < 1e-10
    paper = VIMCO(num_particles=3).differentiable_loss(pair.model, pair.guide, x)
    assert min(float(g.abs()) for g in torch.autograd.grad(paper, [pair.a, pair.b])) > 1e-3


@pytest.mark.parametrize("theirs", [Trace_ELBO, TraceGraph_ELBO])
@pytest.mark.parametrize("double", [TinySBN, TinyDeepSBN, Blend], ids=lambda double: double.__name__)
def test_the_gradient_has_the_expectation_of_pyros(theirs: Any, double: type[DiscreteDouble]) -> None:
    """|z| < 5 for at most 30 numbers in each of six tests: a false alarm once in 9,000 runs."""
    pair = double(COPIES)
    theirs(max_plate_nesting=1).loss_and_grads(pair.model, pair.guide, *pair.batch)
    ours = gradient_draws(REINFORCE(num_particles=2), double(COPIES))
    for name, parameter in pair.named_parameters():
        pyros = torch.zeros_like(parameter) if parameter.grad is None else -parameter.grad
        error = ((ours[name].var(0) + pyros.var(0)) / COPIES).sqrt().clamp_min(1e-12)
        assert float(((ours[name].mean(0) - pyros.mean(0)) / error).abs().max()) < 5


class Counts(Pair):
    """n ~ Poisson(exp(rate)), x | n ~ N(weight n, 1); q(n | x) = Poisson(exp(slope x)). Sites: n, x in ``data``."""

    def __init__(self, copies: int) -> None:
        super().__init__()
        for name, value in {"rate": 0.2, "weight": 0.8, "slope": 0.4}.items():
            setattr(self, name, nn.Parameter(torch.full((copies,), value, dtype=torch.float64)))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            n = pyro.sample("n", dist.Poisson(self.rate.exp()))  # (K, B)
            pyro.sample("x", dist.Normal(self.weight * n, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("n", dist.Poisson((self.slope * x).exp()))  # (K, B)


def test_a_latent_that_can_only_be_scored_has_the_exact_gradient() -> None:
    """A Poisson latent, its expectation summed to n = 60."""
    once, n, x = Counts(1), torch.arange(61, dtype=torch.float64), torch.tensor(1.3, dtype=torch.float64)
    log_q = dist.Poisson((once.slope * x).exp()).log_prob(n)
    log_p = dist.Poisson(once.rate.exp()).log_prob(n) + dist.Normal(once.weight * n, 1.0).log_prob(x)
    parameters = dict(once.named_parameters())
    found = torch.autograd.grad((log_q.exp() * (log_p - log_q)).sum(), list(parameters.values()))
    exact = {name: gradient[0] for name, gradient in zip(parameters, found, strict=True)}
    pair = Counts(COPIES)
    loss = REINFORCE(num_particles=4).differentiable_loss(pair.model, pair.guide, x.expand(COPIES))
    draws = dict(zip(parameters, torch.autograd.grad(-loss, list(pair.parameters())), strict=True))
    assert largest_z(draws, exact) < CRITICAL


def test_the_number_of_particles_and_the_bound_may_follow_schedules() -> None:
    pair, moving = TinySBN(), {"num_particles": stepwise((0, 2), (1, 3))}
    x = pair.batch[0].repeat(40, 1)
    for objective in (
        NVIL(**moving),  # type: ignore[arg-type]
        VIMCO(num_particles=3, bound=Renyi(alpha=linear(0.0, 0.5, 4))),
    ):
        before = pair.slope.detach().clone()
        ppgen.fit(pair, x, objective, steps=4, eager=True)
        assert bool((pair.slope != before).any())


@pytest.mark.parametrize("objective", [REINFORCE(), NVIL(), VIMCO()], ids=lambda o: type(o).__name__)
def test_it_trains_in_pyros_svi(objective: ScoreFunction) -> None:
    pair = TinySBN()
    svi = SVI(pair.model, pair.guide, ClippedAdam({"lr": 0.05}), loss=objective)
    x = pair.batch[0].repeat(50, 1)
    losses = [svi.step(x) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10]) / 4  # the evidence of one datum alone can reach 0


class GlobalCoin(SharedYardstick):
    """The shared yardstick with a discrete latent outside the data plate."""

    def model(self, x: Tensor) -> None:
        m = pyro.sample("m", dist.Bernoulli(logits=torch.zeros_like(self.w)))
        with self.data_plate(x):
            pyro.sample("x", dist.Normal(self.w * m, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.sample("m", dist.Bernoulli(logits=self.b))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: REINFORCE(num_particles=1),
            "num_particles of REINFORCE must be a whole number of at least 2, ",
        ),
        (lambda: VIMCO(num_particles=1), "at least 2"),
        (lambda: REINFORCE(baseline="leave_one"), "did you mean 'leave_one_out'"),
        (lambda: NVIL(decay=1.0), r"decay of NVIL must be a number of at least 0 and below 1, got 1.0"),
        (lambda: NVIL(hidden=(0,)), "hidden"),
        (lambda: REINFORCE(bound="reinforce"), "bound of REINFORCE must be a function of log-weights"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_made(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        (GaussianYardstick(), r"REINFORCE is for discrete latents, and those of the guide \('z'\)"),
        (GlobalCoin(), "site 'm' of the guide has no reparameterized sample and stands outside the data plate"),
    ],
)
def test_a_pair_without_a_local_discrete_latent_is_refused(pair: Pair, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        REINFORCE().differentiable_loss(pair.model, pair.guide, torch.zeros(4, dtype=torch.float64))


def test_a_global_latent_that_is_reparameterized_is_taken_by_the_elbo_beside_discrete_ones() -> None:
    """m ~ N(0, 1) for all data, z ~ Bernoulli(sigmoid(m)) for each: the gradient against the sum over z of each m."""

    class Mixed(SharedYardstick):
        def model(self, x: Tensor) -> None:
            m = pyro.sample("m", dist.Normal(torch.zeros_like(self.w), 1.0))  # (K, 1)
            with self.data_plate(x):
                z = pyro.sample("z", dist.Bernoulli(logits=m))  # (K, B)
                pyro.sample("x", dist.Normal(self.w * z, 1.0), obs=x)

        def guide(self, x: Tensor) -> None:
            m = pyro.sample("m", dist.Normal(self.b, self.log_s.exp()))  # (K, 1)
            with self.data_plate(x):
                pyro.sample("z", dist.Bernoulli(logits=self.a * x + m))  # (K, B)

        def exact(self, x: Tensor, noise: Tensor) -> Tensor:
            """The ELBO of all data with z summed out, a mean over the noise (M, 1) of m."""
            m = self.b + self.log_s.exp() * noise
            total = dist.Normal(0.0, 1.0).log_prob(m) - dist.Normal(self.b, self.log_s.exp()).log_prob(m)  # (M, 1)
            for z in (torch.zeros_like(x), torch.ones_like(x)):
                log_q = dist.Bernoulli(logits=self.a * x + m).log_prob(z)  # (M, B)
                log_p = dist.Bernoulli(logits=m).log_prob(z) + dist.Normal(self.w * z, 1.0).log_prob(x)
                total = total + (log_q.exp() * (log_p - log_q)).sum(1, keepdim=True)
            mean: Tensor = total.mean()
            return mean

    pair, x = Mixed(), torch.tensor([-1.0, 0.3, 1.5], dtype=torch.float64)
    parameters = [pair.w, pair.a, pair.b, pair.log_s]
    torch.manual_seed(3)
    exact = torch.stack(torch.autograd.grad(pair.exact(x, torch.randn(400_000, 1, dtype=torch.float64)), parameters))
    objective = REINFORCE(num_particles=20_000)
    found = torch.stack(
        [
            torch.stack(torch.autograd.grad(-objective.differentiable_loss(pair.model, pair.guide, x), parameters))
            for _ in range(20)
        ]
    )
    assert ((found.mean(0) - exact).abs() < 5 * found.std(0) / math.sqrt(20) + 0.01).all()  # 0.01: 4 errors of `exact`
