"""Mixed pairs: every estimator for discrete latents has the exact gradient on one, or says that it has not.

The exact gradient is a sum over states and a quadrature over the Gaussian latent (``ppgen.comparison.quadrature``),
which is itself held to densities by hand on :class:`Blend`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import t as student
from torch import Tensor
from torch.distributions import Normal

import ppgen
from ppgen.comparison.quadrature import Quadrature
from ppgen.errors import UsageError
from ppgen.inference import (
    ARM,
    ELBO,
    IWELBO,
    REBAR,
    REINFORCE,
    STL,
    VIMCO,
    AnalyticKL,
    DReG,
    Enumerate,
    GumbelSoftmax,
    StraightThrough,
)
from ppgen.models import GMVAE, VAE
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Program
from ppgen.registry import OBJECTIVES
from tests.discrete_doubles import Blend, Reduce, exact_gradient, exact_value
from tests.inference.discrete.discrete_harness import serves, unbiased, with_bound
from tests.inference.truth import elbo, iwelbo
from tests.marks import sampled

SPEC = ppgen.DataSpec("bits", 3, "binary", num_data=1)
DATUM = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
COPIES, ROUNDS = 1_500, 16
FALSE_ALARM, COMPARISONS = 1e-3, 4_000
CRITICAL = float(student.ppf(1 - FALSE_ALARM / (2 * COMPARISONS), ROUNDS - 1))
"""Of a mean of 16 rounds, by Bonferroni over at most 4,000 numbers of gradients."""

PAIRS: dict[str, Callable[[], GMVAE]] = {
    "classes": lambda: GMVAE(SPEC, 1, classes=3, hidden=(3,)),
    "gates": lambda: GMVAE(SPEC, 1, units=2, classes=2, hidden=(3,)),
}


@cache
def pair_of(kind: str) -> GMVAE:
    """In float64, all parameters random."""
    torch.manual_seed(5)
    pair = PAIRS[kind]().double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return pair


class Counted(Pair):
    """A Poisson latent beside a Gaussian one."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            y = pyro.sample("y", dist.Poisson(self.rate.exp()).to_event(1))
            z = pyro.sample("z", dist.Normal(y, 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z.expand(*z.shape[:-1], 3)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            y = pyro.sample("y", dist.Poisson(self.rate.exp()).to_event(1))
            pyro.sample("z", dist.Normal(y * self.rate, 1.0).to_event(1))


def program_of(pair: Pair, own: Any = None) -> Program:
    return Program(pair.model, pair.guide, own)


@cache
def exact_of(kind: str, bound: str) -> dict[str, Tensor]:
    pair = pair_of(kind)
    reduction = with_bound(Enumerate(), bound).reduction
    _, found = Quadrature.of(program_of(pair), (DATUM,), "this test").gradient(reduction, list(pair.parameters()))
    return dict(zip(dict(pair.named_parameters()), found, strict=True))


def draws_of(objective: Any, kind: str) -> dict[str, Tensor]:
    """The gradient of the bound, (rounds, ...), each a mean over the copies of the datum."""
    torch.manual_seed(1)
    pair, batch = pair_of(kind), (DATUM.repeat(COPIES, 1),)
    own = objective.parameters(pair, batch).requires_grad_(False)
    for parameter in own.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    program, (player, *_) = program_of(pair, own), objective.players()
    state, found = objective.initial_state(program, batch), []
    for _ in range(ROUNDS):
        outcome = objective.play(player.name, program, batch, state)
        of_round = torch.autograd.grad(
            -outcome.loss / outcome.num_data, list(pair.parameters()), allow_unused=True, materialize_grads=True
        )
        state = outcome.state
        found.append(of_round)
    names = [name for name, _ in pair.named_parameters()]
    return {name: torch.stack(each) for name, each in zip(names, zip(*found, strict=True), strict=True)}


def scores(draws: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> dict[str, float]:
    """The largest t-score of each parameter."""
    errors = {name: (g.std(0) / math.sqrt(ROUNDS)).clamp_min(1e-12) for name, g in draws.items()}
    return {name: float(((g.mean(0) - exact[name]).abs() / errors[name]).max()) for name, g in draws.items()}


def takes(objective: Any, kind: str) -> bool:
    return objective.refuses(program_of(pair_of(kind)), (DATUM,)) is None


@pytest.mark.parametrize("objective", unbiased(), ids=lambda objective: type(objective).__name__)
def test_the_gradient_on_a_registered_mixed_pair_is_the_exact_one(objective: Any) -> None:
    """Of its own bound; on classes, and on binary gates where it takes no others."""
    kind = "gates" if objective.needs_binary else "classes"
    asked = with_bound(objective, objective.bound)
    assert takes(asked, kind)
    assert max(scores(draws_of(asked, kind), exact_of(kind, asked.bound)).values()) < CRITICAL


@pytest.mark.parametrize(
    "objective",
    sampled([one for one in unbiased() if serves(one, "iwelbo")], 3),
    ids=lambda objective: type(objective).__name__,
)
def test_the_gradient_of_the_importance_weighted_bound_is_the_exact_one_too(objective: Any) -> None:
    asked = with_bound(objective, "iwelbo")
    assert max(scores(draws_of(asked, "gates"), exact_of("gates", "iwelbo")).values()) < CRITICAL


PARTS: list[Any] = [
    REINFORCE(num_particles=2, pathwise="stl"),
    VIMCO(num_particles=2, pathwise="dreg"),
    VIMCO(num_particles=2, pathwise="gdreg"),
    Enumerate(num_particles=2, bound="iwelbo", pathwise="gdreg"),
    REBAR(num_particles=2, bound="iwelbo", pathwise="dreg"),
    Enumerate(pathwise="gdreg"),
]


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("objective", sampled(PARTS, 3), ids=lambda o: f"{type(o).__name__}-{o.pathwise}")
def test_the_gradient_with_a_path_derivative_beside_is_the_exact_one(objective: Any, kind: str) -> None:
    """Those of the priors' parameters too, which ``gdreg`` has along a path: p(z | y) has them."""
    assert max(scores(draws_of(objective, kind), exact_of(kind, objective.bound)).values()) < CRITICAL


@pytest.mark.parametrize("kind", PAIRS)
def test_straight_through_has_the_models_gradient_and_says_that_the_guides_is_biased(kind: str) -> None:
    objective = StraightThrough(num_particles=2)
    found = scores(draws_of(objective, kind), exact_of(kind, "elbo"))
    of_model = ("logits", "mixture.", "decoder.")
    assert max(score for name, score in found.items() if name.startswith(of_model)) < CRITICAL
    assert max(score for name, score in found.items() if name.startswith("classifier.")) > CRITICAL
    assert not objective.unbiased_gradient


def test_gumbel_softmax_says_that_it_is_biased_and_nears_the_gradient_as_it_cools() -> None:
    exact = exact_of("classes", "elbo")
    warm, cold = (GumbelSoftmax(num_particles=2, temperature=t) for t in (1.0, 0.1))
    assert (warm.unbiased_gradient, warm.is_bound) == (False, False)
    assert max(scores(draws_of(warm, "classes"), exact).values()) > CRITICAL

    def off(objective: Any) -> float:
        return math.sqrt(
            sum(float((g.mean(0) - exact[n]).square().sum()) for n, g in draws_of(objective, "classes").items())
        )

    assert off(cold) < 0.5 * off(warm)


@pytest.mark.parametrize(("bound", "reduce", "particles"), [(ELBO(), elbo, 1), (IWELBO(num_particles=2), iwelbo, 2)])
def test_the_quadrature_has_the_value_and_the_gradient_of_densities_by_hand(
    bound: Any, reduce: Reduce, particles: int
) -> None:
    """1e-7: what 40 nodes leave of the importance-weighted bound in the densities by hand."""
    pair = Blend()
    value, found = Quadrature.of(program_of(pair), pair.batch, "this test").gradient(bound, list(pair.parameters()))
    torch.testing.assert_close(value, exact_value(pair, reduce, particles).detach(), rtol=1e-7, atol=0)
    exact = exact_gradient(pair, reduce, particles)
    for (name, _), gradient in zip(pair.named_parameters(), found, strict=True):
        torch.testing.assert_close(gradient, exact[name], rtol=1e-7, atol=1e-9)


def test_without_discrete_latents_the_quadrature_is_that_of_the_gaussian_alone() -> None:
    """Against sums over a grid of the two numbers of z, 0.06 apart out to 9: of smooth functions, without error."""
    torch.manual_seed(2)
    pair = VAE(SPEC, 2, hidden=(3,)).double()
    quadrature = Quadrature.of(program_of(pair), (DATUM,), "this test")
    value, _ = quadrature.gradient(ELBO(), list(pair.parameters()))
    log_p, error = quadrature.log_evidence()
    axis = torch.linspace(-9, 9, 301, dtype=torch.float64)
    z, cell = torch.cartesian_prod(axis, axis)[:, None], (18 / 300) ** 2  # (G, 1, 2)
    with torch.no_grad():
        joint = Normal(0.0, 1.0).log_prob(z).sum(-1) + pair.likelihood(pair.decoder(z), DATUM).log_prob(DATUM)
        log_q = pair.encoder(DATUM).log_prob(z)  # (G, 1)
    assert float(log_p) == pytest.approx(float((joint.exp() * cell).sum().log()), abs=1e-6)
    assert float(value) == pytest.approx(float((log_q.exp() * (joint - log_q) * cell).sum()), abs=1e-6)
    assert error < 1e-6


@pytest.mark.parametrize("objective", [ELBO(), IWELBO(), STL(), DReG(), AnalyticKL()], ids=str)
@pytest.mark.parametrize("kind", PAIRS)
def test_a_pathwise_objective_refuses_a_mixed_pair_and_offers_who_takes_it(objective: Any, kind: str) -> None:
    """Those of discrete latents it names are those that take the pair when they are asked."""
    why = str(objective.refuses(program_of(pair_of(kind)), (DATUM,)))
    family = "Bernoulli" if kind == "gates" else "OneHotCategorical"
    assert why.startswith(f"site 'y' of the guide is drawn from {family}, which has no reparameterized sample: under ")
    _, _, offered = why.partition("can take these latents: ")
    exact, biased, *_ = (set(re.findall(r"'(\w+)'", part)) for part in offered.split(";"))
    made = {name: spec.tiny() for name, spec in OBJECTIVES.items() if spec.tiny is not None}
    found = {name: one for name, one in made.items() if one.needs_discrete and takes(one, kind)}
    for named, unbiased_ in ((exact, True), (biased, False)):
        wanted = {name for name, one in found.items() if one.unbiased_gradient == unbiased_}
        assert {name for name in named if made[name].needs_discrete} == wanted


SCORED = r": .*'nvil', .*'reinforce', .*'vimco'; with a bias '"

REFUSED: list[tuple[Any, Callable[[], Any], str]] = [
    (ELBO(), Blend, r"^sites 'b', 'c' of the guide are drawn from Bernoulli, which has .* ELBO their .*'disarm'"),
    (ARM(), lambda: pair_of("classes"), r"^site 'y' has units of several classes" + f".*{SCORED}"),
    (REBAR(), lambda: Counted(), f"^site 'y' is drawn from Poisson.*{SCORED}"),
    (StraightThrough(), lambda: Counted(), f"^site 'y' is drawn from Poisson.*{SCORED}"),
    (Enumerate(), lambda: Counted(), f"^site 'y' is drawn from Poisson.*{SCORED}"),
    (VIMCO(), lambda: VAE(SPEC, 2, hidden=(3,)).double(), r"^VIMCO is for discrete .* \('z'\) .*'dreg', .*'elbo'"),
]


@pytest.mark.parametrize(("objective", "pair", "sentence"), REFUSED)
def test_latents_that_an_estimator_cannot_have_are_named_with_those_who_can(
    objective: Any, pair: Callable[[], Any], sentence: str
) -> None:
    made = pair()
    batch = made.batch if isinstance(made, Blend) else (DATUM,)
    assert re.search(sentence, str(objective.refuses(program_of(made), batch)))


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        (lambda: GMVAE(SPEC, 6, hidden=(3,)), r"of 8 nodes for each number of the Gaussian latents \('z' 6\)"),
        (lambda: VAE(SPEC, 2, hidden=(3,), guide="iaf(num=1)"), "site 'z' is drawn from TransformedDistribution"),
    ],
)
def test_what_cannot_be_integrated_is_refused_in_a_sentence(pair: Callable[[], Pair], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Quadrature.of(program_of(pair().double()), (DATUM,), "the exact gradient")


def test_a_quadrature_of_too_many_particles_is_refused() -> None:
    pair = pair_of("classes")
    with pytest.raises(UsageError, match=r"doubled, and more would be too many or take too long: take fewer particles"):
        Quadrature.of(program_of(pair), (DATUM,), "the exact gradient").gradient(
            IWELBO(num_particles=4), list(pair.parameters())
        )
