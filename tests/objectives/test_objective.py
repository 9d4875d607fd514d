"""The objective contract: one mathematics behind Pyro's several calls, schedules, steps, and what each refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import ClippedAdam
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.inference import ELBO, IWELBO, STL, Beta, DReG, Renyi
from ppgen.objectives.bounds import Reduction
from ppgen.objectives.objective import Objective, with_gradient_of
from ppgen.pairs.pair import Pair
from ppgen.registry import OBJECTIVES
from ppgen.schedules import linear, stepwise
from ppgen.training.learner import Learner
from ppgen.training.steps import player_step
from tests.doubles import Adversarial, Line, Shared, Switch, data
from tests.marks import sampled

NAMES = [
    name
    for name, spec in OBJECTIVES.items()
    if spec.tiny is not None
    and getattr(spec.cls, "needs_density", True)  # the others train pairs without one
    and not any(getattr(spec.cls, name, False) for name in ("needs_closed_form", "needs_conjugate"))
    and len(spec.tiny().players()) == 1  # Pyro's loops know no others
]
MODEL = {"weight", "loc", "log_noise"}
"""The model's parameters of :class:`Line` and of :class:`Switch`."""


def _trains(objective: Objective, parameter: str) -> bool:
    if parameter in MODEL:
        return True
    return objective.trains_guide and (objective.trains_scales or "scale" not in parameter)


def tiny(name: str) -> Objective:
    make = OBJECTIVES[name].tiny
    assert make is not None
    objective: Objective = make()
    return objective


def pair_for(objective: Objective) -> Pair:
    """A pair that it can train."""
    return Switch() if objective.needs_discrete else Line()


def seeded(call: Callable[..., Tensor | float], *arguments: object) -> Tensor | float:
    torch.manual_seed(0)
    return call(*arguments)


@pytest.mark.parametrize("name", NAMES)
def test_loss_is_the_value_of_the_differentiable_loss(name: str) -> None:
    pair = pair_for(objective := tiny(name))
    arguments = (pair.model, pair.guide, data(5))
    value = seeded(objective.differentiable_loss, *arguments)
    assert seeded(objective.loss, *arguments) == pytest.approx(float(torch.as_tensor(value).detach()), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_grads_adds_the_gradient_of_the_differentiable_loss(name: str) -> None:
    pair = pair_for(objective := tiny(name))
    arguments = (pair.model, pair.guide, data(5))
    torch.manual_seed(0)
    loss = objective.differentiable_loss(*arguments)
    trained = [p for n, p in pair.named_parameters() if _trains(objective, n)]
    expected = torch.autograd.grad(loss, trained)
    for times in (1, 2):
        seeded(objective.loss_and_grads, *arguments)
        for parameter, gradient in zip(trained, expected, strict=True):
            torch.testing.assert_close(parameter.grad, times * gradient)


@pytest.mark.parametrize("name", sampled(NAMES, 4))
def test_it_trains_in_pyros_svi(name: str) -> None:
    pair, x = pair_for(objective := tiny(name)), data(50)
    before = copy.deepcopy(pair.state_dict())
    svi = SVI(pair.model, pair.guide, ClippedAdam({"lr": 0.05}), loss=objective)
    losses = [svi.step(x) for _ in range(50)]
    assert sum(losses[-10:]) < sum(losses[:10])
    moved = {parameter for parameter, value in pair.state_dict().items() if not torch.equal(before[parameter], value)}
    assert moved == {parameter for parameter in before if _trains(objective, parameter)}


@pytest.mark.parametrize("name", sampled(NAMES[1:], 4))
def test_it_trains_as_a_module_of_model_and_guide(name: str) -> None:
    pair, x = pair_for(objective := tiny(name)), data(50)
    loss = objective(pair.model, pair.guide)  # type: ignore[arg-type]  # methods of a module are as good as one
    optimizer = torch.optim.Adam(pair.parameters(), lr=0.05)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        value = loss(x)
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    assert sum(losses[-10:]) < sum(losses[:10])


@pytest.mark.parametrize("name", NAMES)
def test_its_loss_is_minus_the_bound_summed_over_data(name: str) -> None:
    pair = pair_for(objective := tiny(name))
    total, mean = (
        -float(torch.as_tensor(seeded(objective.loss, pair.model, pair.guide, data(2000)))) / n for n in (1, 2000)
    )
    assert total == pytest.approx(2000 * mean)
    assert -6 < mean < 0  # nats per datum; the evidence is about -2


def test_a_global_latent_is_trained_by_the_elbo_with_the_exact_gradient() -> None:
    """4 standard errors; the minibatch of 3 of 30 is scaled inside the plate and not outside it."""
    pair, x = Shared(data_size=30), data(3)
    objective = ELBO(num_particles=50_000)
    found = []
    for _ in range(20):
        loss = objective.differentiable_loss(pair.model, pair.guide, x)
        found.append(torch.stack(torch.autograd.grad(-loss, list(pair.parameters()))))
    draws = torch.stack(found)  # (20, parameters)
    exact = torch.stack(torch.autograd.grad(pair.exact_elbo(x), list(pair.parameters())))
    assert ((draws.mean(0) - exact).abs() < 4 * draws.std(0) / 20**0.5).all()
    assert (draws.std(0) / 20**0.5 < 0.02 * exact.abs().mean()).all()


def test_the_elbo_of_a_global_latent_is_below_the_evidence_of_all_data() -> None:
    pair, x = Shared(), data(6)
    covariance = (1 + (2 * pair.log_noise).exp()) * torch.eye(6, dtype=torch.float64) + 1
    evidence = torch.distributions.MultivariateNormal(torch.zeros(6, dtype=torch.float64), covariance).log_prob(x[:, 0])
    bound = -ELBO(num_particles=50_000).loss(pair.model, pair.guide, x)
    assert bound == pytest.approx(float(pair.exact_elbo(x).detach()), abs=0.05)
    assert bound < float(evidence.detach())


def test_a_schedule_outside_training_is_a_sentence() -> None:
    pair = Line()
    for objective, where in (
        (Beta(beta=linear(0.0, 1.0, 10)), "beta is a schedule"),
        (DReG(bound=Renyi(alpha=linear(0.0, 0.5, 10))), "bound.alpha is a schedule"),
    ):
        with pytest.raises(UsageError, match=f"{where}, and no step is known here: use objective.at"):
            objective.differentiable_loss(pair.model, pair.guide, data(3))


def test_several_players_outside_training_are_a_sentence() -> None:
    pair = Line()
    with pytest.raises(UsageError, match="it has several players, and no step is known here"):
        Adversarial().loss(pair.model, pair.guide, data(3))


def test_at_replaces_every_schedule_by_its_value() -> None:
    objective = Beta(beta=linear(0.0, 1.0, 10), num_particles=stepwise((0, 5), (1, 4)))  # type: ignore[arg-type]
    assert objective.schedules(7) == {"beta": 0.7, "num_particles": 4}
    assert objective.at(7) == Beta(beta=0.7, num_particles=4)
    assert objective.at(0) == Beta(beta=0.0, num_particles=1)


def test_at_reaches_the_schedules_of_an_inner_bound() -> None:
    objective = DReG(bound=Renyi(alpha=linear(0.0, 0.5, 10)))
    assert objective.schedules(5) == {"bound.alpha": 0.25}
    assert objective.at(5) == DReG(bound=Renyi(alpha=0.25))
    assert objective.bound == Renyi(alpha=linear(0.0, 0.5, 10))


@pytest.mark.parametrize("bound", [IWELBO(), Renyi(alpha=0.3), "iwelbo"], ids=str)
def test_a_bound_that_is_an_objective_is_no_schedule(bound: str | Reduction) -> None:
    assert DReG(bound=bound).schedules(0) == {}
    DReG(bound=bound).differentiable_loss((pair := Line()).model, pair.guide, data(3))


def test_a_schedule_of_particles_changes_their_number() -> None:
    objective = IWELBO(num_particles=stepwise((0, 100), (2, 5)))  # type: ignore[arg-type]
    assert [objective.at(step).total_particles for step in (0, 99, 100)] == [2, 2, 5]


def test_holding_leaves_the_objective_as_it_was() -> None:
    objective = IWELBO(num_particles=3)
    assert objective.holding({"num_particles": 7}) == IWELBO(num_particles=7)
    assert objective == IWELBO(num_particles=3)
    with pytest.raises(AttributeError, match="cannot assign"):
        objective.num_particles = 4  # type: ignore[misc]


def test_a_value_of_a_schedule_may_be_a_tensor() -> None:
    """A compiled step takes it as an input."""
    pair, x = Line(), data(3)
    losses = []
    for beta in (0.3, torch.tensor(0.3, dtype=torch.float64)):
        torch.manual_seed(0)
        losses.append(Beta().holding({"beta": beta}).loss(pair.model, pair.guide, x))
    assert losses[0] == losses[1]


def test_a_step_is_scaled_to_the_datum() -> None:
    pair, x, objective = Line(data_size=100), data(4), ELBO()
    learner = Learner(pair, objective.parameters(pair, (x,)))
    (player,) = objective.players()
    owned = {name: p.detach() for name, p in learner.owned_by(player).items()}
    torch.manual_seed(0)
    gradients, report, _, _ = player_step(learner, objective, player)(owned, {}, {}, {}, (x,))
    torch.manual_seed(0)
    loss = objective.differentiable_loss(pair.model, pair.guide, x)
    for found, expected in zip(gradients, torch.autograd.grad(loss / 100, list(pair.parameters())), strict=True):
        torch.testing.assert_close(found, expected)
    assert float(report["loss"]) == pytest.approx(float(loss.detach()) / 100)


def test_with_gradient_of_has_the_value_of_one_and_the_gradient_of_the_other() -> None:
    x = torch.tensor(3.0, requires_grad=True)
    y = with_gradient_of(x.square(), 5 * x)
    (gradient,) = torch.autograd.grad(y, x)
    assert (float(y.detach()), float(gradient)) == (9.0, 5.0)


def test_the_estimator_and_the_bound_agree_with_pyro_on_a_fresh_pair() -> None:
    """Loss per datum of STL and Pyro's ELBO on the same particles."""
    pair, x = Line(), data(5)
    torch.manual_seed(0)
    ours = STL(num_particles=3).loss(pair.model, pair.guide, x)
    torch.manual_seed(0)
    theirs = Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1).loss(pair.model, pair.guide, x)
    assert ours == pytest.approx(theirs)
