"""The pair contract: what a pair must be, and what is said of one that is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI
from pyro.nn import PyroParam, PyroSample
from pyro.optim import ClippedAdam
from torch import Tensor, nn

from ppgen.draws import prior_samples
from ppgen.errors import UsageError
from ppgen.inference import ELBO, STL, DReG
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.pairs.sampling import Draws
from ppgen.pairs.tracing import Batch, Program, run_particles
from ppgen.registry import MODELS
from tests.doubles import Chain, Line, Shared, data

Part = Callable[[Tensor], object]


def prior(x: Tensor) -> Tensor:
    return pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))


def pair_of(model: Part, guide: Part) -> Pair:
    """A pair of two functions that run inside the data plate."""

    class Made(Pair):
        def model(self, x: Tensor) -> None:
            with self.data_plate(x):
                model(x)

        def guide(self, x: Tensor) -> None:
            with self.data_plate(x):
                guide(x)

    return Made()


def right_guide(x: Tensor) -> None:
    pyro.sample("z", dist.Normal(x[:, 0], 1.0))


def right_model(x: Tensor) -> None:
    pyro.sample("x", dist.Normal(prior(x), 1.0), obs=x[:, 0])


def sentence_of(pair: Pair, size: int = 4, num_particles: int = 3) -> str:
    with pytest.raises(UsageError) as caught:
        ELBO(num_particles=num_particles).differentiable_loss(pair.model, pair.guide, data(size))
    return str(caught.value)


def test_model_and_guide_must_have_the_same_signature() -> None:
    with pytest.raises(TypeError, match=r"Odd: model\('self', 'x', 'y'\) and guide\('self', 'x'\) must have the same"):

        class Odd(Pair):
            def model(self, x: Tensor, y: Tensor) -> None: ...

            def guide(self, x: Tensor) -> None: ...


def test_a_pair_without_a_guide_cannot_be_made() -> None:
    class Half(Pair):
        def model(self, *batch: Tensor) -> None: ...

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]  # the point


def test_the_data_plate_knows_the_size_of_the_data_set() -> None:
    whole, part = Line().data_plate(data(4)), Line(data_size=100).data_plate(data(4))
    assert (whole.name, whole.dim, whole.size, whole.subsample_size) == ("data", -1, 4, 4)
    assert (part.name, part.dim, part.size, part.subsample_size) == ("data", -1, 100, 4)


def test_a_latent_that_the_guide_lacks_is_named() -> None:
    said = sentence_of(pair_of(right_model, lambda x: pyro.sample("other", dist.Normal(x[:, 0], 1.0))))
    assert said.startswith("site 'z' is latent in the model and missing in the guide (which has 'other'): add")


def test_a_latent_that_the_model_lacks_is_named() -> None:
    def guide(x: Tensor) -> None:
        right_guide(x)
        pyro.sample("extra", dist.Normal(x[:, 0], 1.0))

    assert sentence_of(pair_of(right_model, guide)).startswith("site 'extra' is in the guide and absent in the model")


def test_a_latent_that_the_model_observes_is_named() -> None:
    def model(x: Tensor) -> None:
        pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0), obs=x[:, 0])

    assert sentence_of(pair_of(model, right_guide)).startswith("site 'z' is in the guide and observed in the model")


def test_latents_of_two_shapes_are_named() -> None:
    def guide(x: Tensor) -> None:
        pyro.sample("z", dist.Normal(x.expand(-1, 2), 1.0).to_event(1))

    said = sentence_of(pair_of(right_model, guide))
    assert said.startswith("site 'z' is given values of shape (4, 2), and its distribution has shape (4,)")


def column_observed(x: Tensor) -> None:
    """x of shape (B, 1) against a distribution of shape (B,)."""
    pyro.sample("x", dist.Normal(prior(x), 1.0), obs=x)


def row_observed(x: Tensor) -> None:
    """x of shape (B,) against a distribution of event shape (1,)."""
    pyro.sample("x", dist.Normal(prior(x).unsqueeze(-1), 1.0).to_event(1), obs=x[:, 0])


def wide_observed(x: Tensor) -> None:
    """x of two features against a distribution of one."""
    pyro.sample("x", dist.Normal(prior(x).unsqueeze(-1), 1.0).to_event(1), obs=x.expand(-1, 2))


def undeclared(x: Tensor) -> None:
    """Features that nobody declared an event."""
    pyro.sample("x", dist.Normal(prior(x).unsqueeze(-1), 1.0), obs=x)


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("num_particles", [1, 3, 4])  # as many particles as data would hide it
@pytest.mark.parametrize("model", [column_observed, row_observed, wide_observed, undeclared])
def test_an_observation_that_would_broadcast_is_named(model: Part, num_particles: int, validate: bool) -> None:
    with pyro.validation_enabled(validate):
        said = sentence_of(pair_of(model, right_guide), 4, num_particles)
    assert said.startswith("site 'x': ")
    assert "a (N,) against (N, 1) would broadcast to (N, N)" in said


@pytest.mark.parametrize("num_particles", [1, 3, 4])
def test_a_latent_that_would_broadcast_is_named(num_particles: int) -> None:
    pair = pair_of(right_model, lambda x: pyro.sample("z", dist.Normal(x, 1.0)))
    said = sentence_of(pair, 4, num_particles)
    assert said.startswith("site 'z': dim -2 of its batch shape, of size 4, is not that of a plate")


@pytest.mark.parametrize("objective", [ELBO(), STL(), DReG()], ids=str)
def test_constrained_parameters_and_modules_train_in_svi(objective: Objective) -> None:
    class Mixed(Pair):
        noise: Any
        scale: Any

        def __init__(self) -> None:
            super().__init__()
            self.noise = PyroParam(torch.tensor(1.0).double(), dist.constraints.positive)
            self.scale = PyroParam(torch.tensor(1.0).double(), dist.constraints.positive)
            self.weight = nn.Parameter(torch.tensor(0.5).double())
            self.encoder = nn.Linear(1, 1).double()

        def model(self, x: Tensor) -> None:
            with self.data_plate(x):
                pyro.sample("x", dist.Normal((self.weight * prior(x))[..., None], self.noise).to_event(1), obs=x)

        def guide(self, x: Tensor) -> None:
            with self.data_plate(x):
                pyro.sample("z", dist.Normal(self.encoder(x)[:, 0], self.scale))

    pair, x = Mixed(), data(50)
    before = {name: p.detach().clone() for name, p in pair.named_parameters()}
    svi = SVI(pair.model, pair.guide, ClippedAdam({"lr": 0.05}), loss=objective)
    losses = [svi.step(x) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10])
    assert {name for name, p in pair.named_parameters() if not torch.equal(p, before[name])} == before.keys()


def test_a_sampled_attribute_is_a_global_latent() -> None:
    class Bayesian(Pair):
        weight: Any

        def __init__(self) -> None:
            super().__init__()
            self.weight = PyroSample(dist.Normal(torch.zeros(()).double(), 1.0))
            self.at = nn.Parameter(torch.tensor(0.3).double())

        def model(self, x: Tensor) -> None:
            weight = self.weight  # (K, 1)
            with self.data_plate(x):
                pyro.sample("x", dist.Normal(weight, 1.0), obs=x[:, 0])

        def guide(self, x: Tensor) -> None:
            pyro.sample("weight", dist.Normal(self.at, 0.5))

    pair = Bayesian()
    particles = run_particles(Program(pair.model, pair.guide), (data(4),), 3)
    assert particles.outside is not None
    assert particles.outside.latents == ["weight"]
    weight = particles.guide_sites["weight"]["value"]
    torch.testing.assert_close(particles.log_p, dist.Normal(weight, 1.0).log_prob(data(4)[:, 0]))


def test_tied_weights_get_the_gradient_of_both_uses() -> None:
    class Tied(Line):
        def guide(self, x: Tensor) -> None:
            with self.data_plate(x):
                pyro.sample("z", dist.Normal(self.weight * x[:, 0], 1.0))

    pair, x = Tied(), data(40_000)
    draws = []
    for objective in (ELBO(num_particles=50), STL(num_particles=50), DReG(bound="elbo", num_particles=50)):
        loss = objective.differentiable_loss(pair.model, pair.guide, x) / len(x)
        draws.append(torch.autograd.grad(loss, [pair.weight, pair.loc]))
    exact = Tied()
    weight, noise = exact.weight, (2 * exact.log_noise).exp()
    miss = (x[:, 0] * (1 - weight.square()) - exact.loc).square() + weight.square()
    (miss / (2 * noise) + (weight * x[:, 0]).square() / 2).mean().backward()
    for found in draws:
        assert exact.weight.grad is not None
        torch.testing.assert_close(found[0], exact.weight.grad, rtol=0.01, atol=0.0)


@pytest.mark.parametrize("kind", [Line, Chain, Shared])
def test_the_sampler_is_the_model_unconditioned(kind: type[Pair]) -> None:
    trace = poutine.trace(poutine.uncondition(kind().model)).get_trace(data(6))
    x = torch.as_tensor(trace.nodes["x"]["value"])
    assert x.shape == (6, 1)
    assert not torch.equal(x, data(6))


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ({}, {"has_weights", "has_prior", "has_density", "has_approximate_guide"}),
        ({"exact_guide": True}, {"has_weights", "has_prior", "has_density"}),
        ({"normalised": False}, {"has_weights", "needs_log_z", "has_approximate_guide"}),
        ({"normalised": False, "exact_guide": True}, {"has_weights", "needs_log_z"}),
        ({"implicit": True}, {"has_prior"}),
        ({"implicit_guide": True}, {"has_prior"}),
    ],
)
def test_what_a_pair_says_of_itself_tells_what_may_be_asked_of_it(flags: dict[str, bool], has: set[str]) -> None:
    pair = type("Told", (Line,), flags)()
    asked = ("has_weights", "has_prior", "needs_log_z", "has_density", "has_approximate_guide")
    assert {name for name in asked if getattr(pair, name)} == has


def test_an_unnormalised_pair_is_drawn_from_as_it_says_or_not_at_all() -> None:
    class Told(Line):
        normalised = False

    class Drawn(Told):
        def draw_data(self, batch: Batch, num: int, start: Tensor | None = None) -> Draws:
            return Draws(torch.ones(num, 1), torch.zeros(num, 1))

    with pytest.raises(UsageError, match=r"got Told, which is unnormalised: .* or write its draw_data"):
        prior_samples(Told(), (data(6),), 3)
    assert torch.equal(prior_samples(Drawn(), (data(6),), 3).x, torch.ones(3, 1))


@pytest.mark.parametrize(
    ("name", "source", "how"),
    [
        ("maf", "model", "x ~ p(x)"),  # a density of real data, without distribution()
        ("realnvp", "prior", "z ~ p(z), x ~ p(x | z)"),  # of grey levels: y is a latent
        ("nade", "model", "x ~ p(x)"),
        ("vae", "prior", "z ~ p(z), x ~ p(x | z)"),
    ],
)
def test_draws_say_whether_they_come_from_a_prior(name: str, source: str, how: str) -> None:
    make = MODELS[name].tiny
    assert make is not None
    pair, batch = make()
    drawn = prior_samples(pair, batch, 3)
    assert (drawn.drawn_from, drawn.of_x) == (source, how)
