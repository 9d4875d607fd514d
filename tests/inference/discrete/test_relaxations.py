"""MuProp, REBAR, RELAX, and the biased two: against sums over all states, and as noisy as their papers promise.

False-alarm rates as in ``discrete_truth.CRITICAL``, unless a test states its own.
"""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI
from pyro.optim import ClippedAdam
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppgen.comparison.blocks import parameter_blocks
from ppgen.errors import UsageError
from ppgen.inference import (
    REBAR,
    RELAX,
    RODEO,
    GappedStraightThrough,
    GumbelRao,
    GumbelSoftmax,
    MuProp,
    ReinMax,
    ReinMaxCV,
    ReinMaxRao,
    Renyi,
    StraightThrough,
)
from ppgen.machine.graphs import graph_of
from ppgen.objectives.discrete.baselines import MovingAverage
from ppgen.objectives.objective import Objective
from ppgen.pairs.latents import side_by_side
from ppgen.pairs.tracing import Program, run_particles
from ppgen.schedules import linear
from ppgen.testing.yardsticks import GaussianYardstick
from ppgen.training.learner import Learner
from ppgen.training.steps import player_step
from tests.discrete_doubles import (
    DOUBLES,
    Blend,
    Choice,
    Coin,
    DiscreteDouble,
    Reduce,
    TinyDeepSBN,
    TinySBN,
    exact_gradient,
    exact_value,
    gradient_draws,
)
from tests.inference.discrete.discrete_harness import learnt
from tests.inference.discrete.discrete_truth import CRITICAL, largest_z
from tests.inference.truth import elbo, iwelbo, renyi
from tests.marks import sampled, thorough

COPIES = 20_000
UNBIASED: list[tuple[Any, Reduce, int]] = [
    (REBAR(), elbo, 1),
    (REBAR(num_particles=3, eta=0.6), elbo, 1),
    (REBAR(num_particles=2, bound="iwelbo", temperature=0.2), iwelbo, 2),
    (REBAR(num_particles=2, bound=Renyi(alpha=0.5)), renyi(0.5), 2),
    (RELAX(hidden=(4,)), elbo, 1),
    (RELAX(num_particles=2, bound="iwelbo", hidden=()), iwelbo, 2),
    (RODEO(num_particles=3, hidden=(4,)), elbo, 1),
    (RODEO(bound=Renyi(alpha=0.5), hidden=()), renyi(0.5), 2),
    (MuProp(), elbo, 1),
    (MuProp(baseline="none"), elbo, 1),
    (MuProp(num_particles=2, baseline="leave_one_out"), elbo, 1),
    (MuProp(num_particles=2, bound="iwelbo"), iwelbo, 2),
    (MuProp(num_particles=2, bound="iwelbo", centred=False), iwelbo, 2),
]
EVERY = [
    REBAR(),
    RELAX(hidden=(4,)),
    RODEO(hidden=(4,)),
    MuProp(),
    GumbelSoftmax(),
    StraightThrough(),
    StraightThrough(gumbel=True),
    GappedStraightThrough(gap="expected"),
    GumbelRao(inner_draws=3),
    ReinMax(),
    ReinMaxCV(),
    ReinMaxRao(inner_draws=3),
]

each_double = pytest.mark.parametrize("double", DOUBLES, ids=lambda double: double.__name__)
each_unbiased = pytest.mark.parametrize(
    ("objective", "reduce", "particles"),
    sampled(UNBIASED),
    ids=lambda case: str(case) if isinstance(case, Objective) else "",
)


def draws(objective: Any, pair: DiscreteDouble, own: nn.Module) -> dict[str, Tensor]:
    """The gradient of the bound for each copy of the pair's parameters, with the objective's own parameters."""
    program = Program(pair.model, pair.guide, own)
    outcome = objective.play("all", program, pair.batch, objective.initial_state(program, pair.batch))
    named = dict(pair.named_parameters())
    found = torch.autograd.grad(-outcome.loss, list(named.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(named, found, strict=True))


@each_double
@each_unbiased
def test_the_gradient_is_the_exact_one(
    double: type[DiscreteDouble], objective: Any, reduce: Reduce, particles: int
) -> None:
    """Also at values of the control variate's own parameters to which no training led."""
    assert objective.unbiased_gradient
    pair = double(COPIES)
    found = draws(objective, pair, learnt(objective, pair))
    assert largest_z(found, exact_gradient(double(), reduce, particles)) < CRITICAL


@pytest.mark.parametrize(
    "objective", [REBAR(), RELAX(), MuProp(), StraightThrough(), StraightThrough(gumbel=True, temperature=0.3)], ids=str
)
@pytest.mark.parametrize("double", [*thorough([TinyDeepSBN, Choice]), Blend], ids=lambda double: double.__name__)
def test_the_value_is_the_bound_at_states(objective: Any, double: type[DiscreteDouble]) -> None:
    """|t| < 5.4 with 14 degrees in 15 tests: a false alarm once in 600 runs; the seed is fixed."""
    assert objective.is_bound
    pair = double()
    x = pair.batch[0].repeat(2000, 1)
    values = torch.tensor([-objective.loss(pair.model, pair.guide, x) / 2000 for _ in range(15)])
    off = float(values.mean() - exact_value(pair, elbo, 1).detach())
    assert abs(off) < 5.4 * float(values.std()) / math.sqrt(15)


class Plated(TinySBN):
    """:class:`TinySBN` with its units in a plate of their own."""

    vectorized = False

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            with pyro.plate("units", 2, dim=-2):
                z = pyro.sample("z", dist.Bernoulli(logits=self.prior.T))  # (K, 2, B)
            logits = (z.movedim(-2, -1).unsqueeze(-1) * self.weight).sum(-2) + self.bias
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        logits = (x.unsqueeze(-1) * self.slope).sum(-2) + self.offset  # (B, 2)
        with self.data_plate(x), pyro.plate("units", 2, dim=-2):
            pyro.sample("z", dist.Bernoulli(logits=logits.T))


@pytest.mark.parametrize(
    "objective", [REBAR(), RELAX(), RODEO(), MuProp()], ids=lambda objective: type(objective).__name__
)
def test_units_in_a_plate_of_their_own_have_the_exact_gradient(objective: Any) -> None:
    pair = Plated(COPIES)
    assert largest_z(draws(objective, pair, learnt(objective, pair)), exact_gradient(TinySBN(), elbo, 1)) < CRITICAL


def coin_log_w(b: Tensor, logit: Tensor) -> Tensor:
    """log w of :class:`Coin`, extended to b between 0 and 1."""
    return (b - 0.45).square() - b * logit + softplus(logit)


MIDPOINTS = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
"""Noise on which expectations are sums, to about 1e-5."""


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_gumbel_softmax_has_the_gradient_of_its_own_value(temperature: float) -> None:
    logit = Coin.start["logit"].double().requires_grad_()
    value = coin_log_w(((logit + MIDPOINTS.logit()) / temperature).sigmoid(), logit).mean()
    (exact,) = torch.autograd.grad(value, logit)
    objective, pair = GumbelSoftmax(temperature=temperature), Coin(COPIES)
    assert largest_z({"logit": gradient_draws(objective, pair)["logit"]}, {"logit": exact}) < CRITICAL
    values = torch.tensor([-objective.loss(pair.model, pair.guide, *pair.batch) / COPIES for _ in range(20)])
    assert abs(float(values.mean() - value.detach())) < 5 * float(values.std()) / math.sqrt(20) + 1e-5
    assert not objective.is_bound
    assert not objective.unbiased_gradient


def test_gumbel_softmax_tends_to_the_bound_and_above_it_only_for_a_relaxed_pair() -> None:
    """The value of the relaxed latents leaves the bound as the temperature rises from 0."""
    exact, logit = float(exact_value(Coin(), elbo, 1).detach()), Coin.start["logit"].double()

    def value(temperature: float) -> float:
        return float(coin_log_w(((logit + MIDPOINTS.logit()) / temperature).sigmoid(), logit).mean())

    assert abs(value(0.001) - exact) < 1e-3
    assert abs(value(1.0) - exact) > 1e-2


@pytest.mark.parametrize("temperature", [0.5, 1.0])
@pytest.mark.parametrize("gumbel", [False, True])
def test_straight_through_has_the_slope_of_its_stand_in(temperature: float, gumbel: bool) -> None:
    logit = Coin.start["logit"].double().requires_grad_()
    zeta = logit + MIDPOINTS.logit()
    smooth = (zeta / temperature).sigmoid() if gumbel else (logit / temperature).sigmoid().expand_as(zeta)
    states = (zeta > 0).double()
    (exact,) = torch.autograd.grad(coin_log_w(states + smooth - smooth.detach(), logit).mean(), logit)
    found = gradient_draws(StraightThrough(temperature=temperature, gumbel=gumbel), Coin(COPIES))
    assert largest_z({"logit": found["logit"]}, {"logit": exact}) < CRITICAL


@pytest.mark.parametrize(
    "objective", [StraightThrough(), GumbelSoftmax()], ids=lambda objective: type(objective).__name__
)
def test_a_reparameterized_latent_keeps_its_path_beside_relaxed_ones(objective: Any) -> None:
    found = gradient_draws(objective, Blend(200))
    assert all(bool(found[name].any()) for name in ("slope_y", "jump_y", "log_scale_y"))


@pytest.mark.parametrize("objective", sampled(EVERY, 3), ids=str)
@pytest.mark.parametrize("double", [*thorough([TinyDeepSBN, Choice]), Blend], ids=lambda double: double.__name__)
def test_a_step_is_one_graph_of_layers_classes_and_mixed_latents(objective: Any, double: type[DiscreteDouble]) -> None:
    pair = double()
    x = pair.batch[0].repeat(4, 1)
    learner = Learner(pair, objective.parameters(pair, (x,)))
    (player,) = objective.players()
    owned, state = dict(learner.owned_by(player)), objective.initial_state(learner.program, (x,))
    step = player_step(learner, objective, player)

    def flat(*values: Tensor) -> list[Tensor]:
        carried = dict(zip(state, values[len(owned) :], strict=True))
        gradients, report, following, _ = step(dict(zip(owned, values, strict=False)), {}, carried, {}, (x,))
        return [*gradients, *report.values(), *following.values()]

    inputs = [*[p.detach() for p in owned.values()], *state.values()]
    flat(*inputs)  # so that nothing is left to find out while tracing
    graph = graph_of(flat, *inputs)
    moved = [value + 0.1 for value in inputs]
    torch.manual_seed(3)
    eager = flat(*moved)
    torch.manual_seed(3)
    for one, other in zip(graph(*moved), eager, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("objective", sampled(EVERY, 3), ids=str)
def test_it_trains_in_pyros_svi(objective: Any) -> None:
    pair = TinySBN()
    svi = SVI(pair.model, pair.guide, ClippedAdam({"lr": 0.05}), loss=objective)
    x = pair.batch[0].repeat(50, 1)
    losses = [svi.step(x) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10]) / 4  # the evidence of one datum alone can reach 0


def test_the_temperature_follows_its_schedule() -> None:
    objective: Any = GumbelSoftmax(temperature=linear(1.0, 0.5, 100))
    assert objective.at(100).temperature == 0.5
    assert objective.schedules(50) == {"temperature": 0.75}


class Numbered(TinySBN):
    """A latent that is an index."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("k", self.latent())

    guide = model

    def latent(self) -> Any:
        return dist.Categorical(logits=self.prior)


class Counted(Numbered):
    """A latent that is a count."""

    def latent(self) -> Any:
        return dist.Poisson(self.prior[0].exp())


@pytest.mark.parametrize("objective", EVERY, ids=str)
def test_a_latent_that_cannot_be_relaxed_is_refused_by_name(objective: Any) -> None:
    for pair, sentence in ((Numbered(), "site 'k' .* make it OneHotCategorical"), (Counted(), "site 'k' .* Poisson")):
        with pytest.raises(UsageError, match=sentence):
            objective.differentiable_loss(pair.model, pair.guide, *pair.batch)
    gaussian = GaussianYardstick()
    with pytest.raises(UsageError, match="is for discrete latents"):
        objective.differentiable_loss(gaussian.model, gaussian.guide, torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: REBAR(temperature=0.0), "temperature of REBAR must be a number above 0, got 0.0"),
        (lambda: RELAX(temperature=-1.0), "temperature of RELAX"),
        (lambda: GumbelSoftmax(temperature=float("nan")), "temperature of GumbelSoftmax"),
        (lambda: StraightThrough(temperature=True), "temperature of StraightThrough"),
        (lambda: REBAR(eta=-1.0), "eta of REBAR must be a number of at least 0"),
        (lambda: RELAX(hidden=(0,)), "hidden"),
        (lambda: MuProp(baseline="leave_one"), "did you mean 'leave_one_out'"),
        (lambda: MuProp(num_particles=1, baseline="leave_one_out"), "at least 2"),
        (lambda: REBAR(bound="rebar"), "bound of REBAR must be a function of log-weights"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_made(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


@pytest.mark.parametrize("bound", ["elbo", "iwelbo"])
def test_relax_begins_as_rebar_whose_control_variate_holds_the_relaxed_bound(bound: str) -> None:
    """Its network begins at zero: at the same random numbers the two gradients are one, noise and all."""
    pair, found = TinyDeepSBN(), []
    for objective in (REBAR(num_particles=2, bound=bound), RELAX(num_particles=2, bound=bound, hidden=(4,))):
        loss = seeded_loss(objective, pair)
        found.append(torch.autograd.grad(loss, list(pair.parameters())))
    torch.testing.assert_close(*found)


def seeded_loss(objective: Any, pair: DiscreteDouble) -> Tensor:
    state = objective.initial_state(Program(pair.model, pair.guide), pair.batch)
    torch.manual_seed(3)
    return objective.play("", Program(pair.model, pair.guide), pair.batch, state).loss  # type: ignore[no-any-return]


def test_the_normaliser_of_muprop_divides_all_that_is_noise() -> None:
    """With a huge one the expansion around the means is left, which is no function of what was drawn."""
    objective = MuProp(baseline=MovingAverage(normalise=True))
    state = {"centre": torch.zeros(()), "variance": torch.tensor(1e24, dtype=torch.float64)}
    pair, draws = TinySBN(), []
    guide = [p for name, p in pair.named_parameters() if name in parameter_blocks(pair, pair.batch)["guide"]]
    for seed in range(4):
        torch.manual_seed(seed)
        loss = objective.play("", Program(pair.model, pair.guide), pair.batch, state).loss
        draws.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, guide)]))
    assert draws[0].abs().max() > 1e-3
    for other in draws[1:]:
        torch.testing.assert_close(other, draws[0])


def test_the_control_variate_of_relax_is_that_of_rebar_and_the_network() -> None:
    """Without the relaxed bound the gradient has the same mean, and more noise."""
    pair = TinySBN()
    particles = run_particles(Program(pair.model, pair.guide), pair.batch, 2)
    rebar, relax = REBAR(eta=0.7).control(particles).double(), RELAX(eta=0.7, hidden=(4,)).control(particles).double()
    latents = side_by_side(particles)[None]  # (L, K, B, F)
    relaxed = torch.randn(latents.shape[:-1], dtype=torch.float64)
    torch.testing.assert_close(relax(relaxed, pair.batch, latents), rebar(relaxed, pair.batch, latents))
    with torch.no_grad():
        dict(relax.named_parameters())["network.layers.2.bias"].fill_(3.0)
    torch.testing.assert_close(relax(relaxed, pair.batch, latents), rebar(relaxed, pair.batch, latents) + 3)


def test_the_learned_baseline_of_muprop_is_trained_on_what_the_expansion_leaves_of_each_datum() -> None:
    pair, objective = TinySBN(), MuProp(baseline="learned", num_particles=2)
    x = torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    own = objective.parameters(pair, (x,))
    program = Program(pair.model, pair.guide, own)
    state = {"centre": torch.tensor(0.3, dtype=torch.float64)}
    torch.manual_seed(1)
    found = torch.autograd.grad(objective.play("", program, (x,), state).loss, list(own.parameters()))
    torch.manual_seed(1)
    particles = objective.draw(program, (x,))
    rest = objective._expansion(particles).rest(particles)
    misfit = (rest - objective.predictor.predict(rest, (x,), own, state)).square().mean(0).sum() / 2
    torch.testing.assert_close(found, torch.autograd.grad(misfit, list(own.parameters())))
