"""Enumeration as an objective: its sums, exact to rounding, and Pyro's where Pyro has them."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch import nn

import ppgen
from ppgen.errors import UsageError
from ppgen.inference import IWELBO, Enumerate
from ppgen.objectives.discrete.enumeration import Enumeration
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Program
from ppgen.testing.yardsticks import BernoulliYardstick, GaussianYardstick, SharedYardstick
from tests.discrete_doubles import DOUBLES, Blend, DiscreteDouble, TinyDeepSBN, TinySBN, exact_gradient, exact_value
from tests.inference.truth import elbo, iwelbo
from tests.objectives.discrete.test_enumeration import Units

FINITE = [double for double in DOUBLES if double is not Blend]


def loss_and_gradient(objective: Any, pair: Pair, *batch: Any) -> tuple[Any, list[Any]]:
    loss = objective.differentiable_loss(pair.model, pair.guide, *batch)
    return loss, list(torch.autograd.grad(loss, list(pair.parameters()), allow_unused=True, materialize_grads=True))


@pytest.mark.parametrize("double", FINITE, ids=lambda double: double.__name__)
@pytest.mark.parametrize(
    ("objective", "reduce", "particles"),
    [
        (Enumerate(), elbo, 1),
        (Enumerate(num_particles=3), elbo, 1),
        (Enumerate(bound="iwelbo", num_particles=2), iwelbo, 2),
    ],
    ids=["elbo", "elbo of 3", "iwelbo of 2"],
)
def test_value_and_gradient_are_those_of_the_atoms(
    double: type[DiscreteDouble], objective: Enumerate, reduce: Any, particles: int
) -> None:
    pair = double()
    loss, gradient = loss_and_gradient(objective, pair, *pair.batch)
    torch.testing.assert_close(-loss, exact_value(pair, reduce, particles))
    exact = exact_gradient(pair, reduce, particles)
    for (name, _), found in zip(pair.named_parameters(), gradient, strict=True):
        torch.testing.assert_close(-found, exact[name])


def test_it_is_as_low_in_noise_as_can_be() -> None:
    pair = TinyDeepSBN()
    (first, one), (second, other) = (loss_and_gradient(Enumerate(), pair, *pair.batch) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_pyro_finds_the_same_value_and_gradient_where_it_can_enumerate() -> None:
    pair, x = BernoulliYardstick(60), torch.linspace(-2, 2, 6, dtype=torch.float64)
    loss, gradient = loss_and_gradient(Enumerate(), pair, x)
    theirs = TraceEnum_ELBO(max_plate_nesting=1)
    found = theirs.differentiable_loss(pair.model, config_enumerate(pair.guide, "parallel"), x)
    torch.testing.assert_close(loss, found)
    expected = torch.autograd.grad(found, list(pair.parameters()), allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(gradient, list(expected))


class Between(Pair):
    """A class drawn after a vector; batch normalisation in the decoder, over the rows of all states of the class."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier, self.norm = nn.Linear(2, 3), nn.BatchNorm1d(5)

    def model(self, x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            y = pyro.sample("y", dist.OneHotCategorical(logits=x.new_zeros(3)))
            rows = torch.cat([z.expand(*y.shape[:-1], 2), y], -1)
            loc = self.norm(rows.flatten(0, -2)).reshape(rows.shape)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(self, x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x[:, :2], 0.5).to_event(1))
            pyro.sample("y", dist.OneHotCategorical(logits=self.classifier(z)))


def test_a_site_marked_for_parallel_enumeration_has_its_states_in_one_run_and_what_comes_before_it_drawn_once() -> None:
    """So that the loss, the gradient and the batch statistics are Pyro's at the same random numbers."""
    ours, theirs, x = Between(), Between(), torch.randn(6, 5)
    theirs.load_state_dict(ours.state_dict())
    losses = []
    for pair, objective in ((ours, Enumerate()), (theirs, TraceEnum_ELBO(max_plate_nesting=1))):
        torch.manual_seed(1)
        loss = objective.differentiable_loss(pair.model, config_enumerate(pair.guide, "parallel", expand=True), x)
        loss.backward()
        losses.append(loss)
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*([p.grad for p in pair.parameters()] for pair in (ours, theirs)))
    torch.testing.assert_close(ours.norm.running_var, theirs.norm.running_var)


def test_it_has_the_gradient_that_enumeration_takes_some_states_at_a_time() -> None:
    pair, objective = TinySBN(), Enumerate(bound="iwelbo", num_particles=3)
    every = Enumeration.of(Program(pair.model, pair.guide), pair.batch, "this test")
    value, expected = every.gradient(IWELBO(num_particles=3), list(pair.parameters()))
    loss, gradient = loss_and_gradient(objective, pair, *pair.batch)
    torch.testing.assert_close(-loss, value)
    torch.testing.assert_close([-found for found in gradient], list(expected))


class Beside(Between):
    """The same without statistics of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Linear(5, 5)  # type: ignore[assignment]
        self.double()


def batch_of(pair: Pair) -> Any:
    return pair.batch if isinstance(pair, DiscreteDouble) else (torch.randn(4, 5, dtype=torch.float64),)


@pytest.mark.parametrize("pair", [TinyDeepSBN(), Beside()], ids=["discrete", "mixed"])
@pytest.mark.parametrize(
    "objective",
    [Enumerate(), Enumerate(num_particles=2), Enumerate(bound="iwelbo", num_particles=2)],
    ids=["elbo", "elbo of 2", "iwelbo of 2"],
)
@pytest.mark.parametrize("at_a_time", [1, 5, 10_000])
def test_states_that_are_taken_some_at_a_time_have_the_same_value_and_gradient(
    at_a_time: int, objective: Enumerate, pair: Pair
) -> None:
    batch, found = batch_of(pair), []
    for one in (objective, objective.taking(at_a_time)):
        torch.manual_seed(4)
        found.append(loss_and_gradient(one, pair, *batch))
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)  # sums of float64 in another order


def test_parts_whose_probabilities_have_no_gradient_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutant."""
    pair, objective = TinyDeepSBN(), Enumerate().taking(5)
    sound = Enumerate.estimate
    monkeypatch.setattr(Enumerate, "estimate", lambda self, states: sound(self, states.with_fixed(guide=True)))
    _, wrong = loss_and_gradient(objective, pair, *pair.batch)
    exact = exact_gradient(pair, elbo, 1)
    off = [not torch.allclose(-w, exact[name]) for (name, _), w in zip(pair.named_parameters(), wrong, strict=True)]
    assert any(off)


def most_rows(objective: Objective, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> int:
    """Of all runs of states in a step."""
    seen: list[int] = []
    run = Enumeration.particles

    def noted(self: Enumeration, *arguments: Any, **options: Any) -> Any:
        found = run(self, *arguments, **options)
        seen.append(len(found.log_p))
        return found

    monkeypatch.setattr(Enumeration, "particles", noted)
    loss_and_gradient(objective, pair, *batch_of(pair))
    return max(seen)


def test_no_more_states_are_run_at_a_time_than_was_said_or_memory_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = TinyDeepSBN()
    num = Enumerate().particles_at(Program(pair.model, pair.guide), pair.batch)
    assert num == 16
    assert most_rows(Enumerate(), pair, monkeypatch) == num
    assert most_rows(Enumerate().taking(5), pair, monkeypatch) == 4  # 4 parts, as equal as can be
    width = Enumeration.of(Program(pair.model, pair.guide), pair.batch, "this test").width
    monkeypatch.setattr("ppgen.objectives.discrete.enumeration._WHOLE", num * width - 1)
    monkeypatch.setattr("ppgen.objectives.discrete.enumeration._CELLS", 3 * width)
    assert most_rows(Enumerate(), pair, monkeypatch) == 3


def test_all_latents_that_are_drawn_count_as_states_for_each_particle() -> None:
    pair, objective = Beside(), Enumerate(bound="iwelbo", num_particles=4)
    program = Program(pair.model, pair.guide)
    assert objective.particles_at(program, batch_of(pair)) == 12
    assert Enumerate(num_particles=7).particles_at(Program(*_program(TinySBN())), TinySBN().batch) == 4


def test_a_pair_with_batch_statistics_is_not_summed_in_parts() -> None:
    with pytest.raises(UsageError, match=r"buffer 'Between.norm.running_mean' of the pair changes with each batch"):
        loss_and_gradient(Enumerate().taking(2), Between(), torch.randn(6, 5))


def test_a_mean_may_be_of_a_million_states_and_another_bound_of_65536() -> None:
    x = torch.zeros(2, 1, dtype=torch.float64)
    pair = Units(17)  # three times 2**17
    assert Enumerate().refuses(Program(*_program(pair)), (x,)) is None
    with pytest.raises(UsageError, match=r"sum over 393216 joint states .* at most 65,536 are"):
        Enumerate(bound="iwelbo", num_particles=2).differentiable_loss(pair.model, pair.guide, x)
    with pytest.raises(UsageError, match=r"sum over 1572864 joint states .* at most 1,048,576 are"):
        Enumerate().differentiable_loss(*_program(Units(19)), x)


def _program(pair: Pair) -> tuple[Any, Any]:
    return pair.model, pair.guide


def test_training_takes_the_states_of_one_datum_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data first, and then states: a chunk counts both."""
    data, losses = ppgen.dataset_from((torch.rand(6, 3) > 0.5).double()), []
    for chunk in (None, 48, 16, 5):
        pair = ppgen.models.SBN(data.spec, layers=(4,)).double()
        pair.load_state_dict({name: torch.full_like(value, 0.1) for name, value in pair.state_dict().items()})
        options: dict[str, Any] = {"steps": 2, "batch_size": 6, "eager": True, "lr": 0.1, "device": "cpu"}
        run = ppgen.fit(pair, data, Enumerate(), chunk=chunk, **options)
        losses.append(torch.cat([value.flatten() for value in run.pair.parameters()]))
    for other in losses[1:]:
        torch.testing.assert_close(other, losses[0], rtol=1e-10, atol=1e-10)


class Masked(TinySBN):
    """Its guide leaves some log-probabilities out."""

    def guide(self, x: torch.Tensor) -> None:
        with poutine.mask(mask=False):
            super().guide(x)


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        (
            Units(784),
            r"Enumerate would sum over about 2\*\*\d+ joint states for each datum \('c' 3, 'a' about 2\*\*784\)",
        ),
        (
            GaussianYardstick(),
            r"those of the guide \('z'\) all have reparameterized samples: make one discrete, or use",
        ),
        (SharedYardstick(), "'m' stands outside the data plate"),
        (Masked(), "some of site 'z' are masked out"),
    ],
    ids=["too many", "continuous", "global", "masked"],
)
def test_what_cannot_be_enumerated_is_refused_by_the_name_of_the_site(pair: Pair, sentence: str) -> None:
    x = pair.batch[0] if isinstance(pair, DiscreteDouble) else torch.zeros(2, 1, dtype=torch.float64)
    x = x if isinstance(pair, Units | DiscreteDouble) else x[:, 0]
    with pytest.raises(UsageError, match=sentence):
        Enumerate().differentiable_loss(pair.model, pair.guide, x)


def test_a_bound_of_too_many_particles_is_refused_with_the_number_of_terms() -> None:
    pair = TinyDeepSBN()
    with pytest.raises(UsageError, match="draws of 12 particles"):
        Enumerate(bound="iwelbo", num_particles=12).differentiable_loss(pair.model, pair.guide, *pair.batch)
