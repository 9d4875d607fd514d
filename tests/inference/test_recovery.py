"""Special cases: what special value of a hyper-parameter gives which other objective, on the same random numbers."""

import pytest
import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.inference import CIWAE, ELBO, IWELBO, MIWAE, PIWAE, STL, AnalyticKL, Beta, DReG, Renyi
from ppgen.objectives.bounds import Bound
from ppgen.schedules import linear
from tests.doubles import Chain, data


def outcome(objective: Bound) -> list[Tensor]:
    """The loss and the gradient of every parameter."""
    torch.manual_seed(0)
    pair = Chain()
    loss = objective.differentiable_loss(pair.model, pair.guide, data(6))
    return [loss.detach(), *torch.autograd.grad(loss, list(pair.parameters()))]


@pytest.mark.parametrize(
    ("special", "general"),
    [
        (IWELBO(num_particles=1), ELBO(num_particles=1)),
        (MIWAE(num_groups=1, num_particles=4), IWELBO(num_particles=4)),
        (MIWAE(num_groups=4, num_particles=1), ELBO(num_particles=4)),
        (PIWAE(num_groups=1, num_particles=4), IWELBO(num_particles=4)),
        (CIWAE(beta=1.0, num_particles=4), ELBO(num_particles=4)),
        (CIWAE(beta=0.0, num_particles=4), IWELBO(num_particles=4)),
        (Renyi(alpha=0.0, num_particles=4), IWELBO(num_particles=4)),
        (Renyi(alpha=3.0, num_particles=1), ELBO(num_particles=1)),
        (Beta(beta=1.0, num_particles=4), AnalyticKL(num_particles=4)),
        (DReG(bound="elbo", num_particles=4), STL(num_particles=4)),
        (DReG(num_particles=1), STL(num_particles=1)),
        (DReG(bound=Renyi(alpha=0.0), num_particles=4), DReG(num_particles=4)),
        (DReG(bound=CIWAE(beta=1.0), num_particles=4), STL(num_particles=4)),
        (DReG(bound=MIWAE(num_groups=1), num_particles=4), DReG(num_particles=4)),
        (STL(bound=ELBO(), num_particles=4), STL(num_particles=4)),
        (Beta(beta=linear(0.0, 2.0, 10), num_particles=2).at(5), Beta(beta=1.0, num_particles=2)),
        (DReG(bound=Renyi(alpha=linear(0.0, 1.0, 10))).at(5), DReG(bound=Renyi(alpha=0.5))),
        (Renyi(alpha=linear(0.0, 2.0, 10), num_particles=4).at(5), ELBO(num_particles=4)),
        (DReG(bound=Renyi(alpha=linear(0.0, 1.0, 10)), num_particles=4).at(10), STL(num_particles=4)),
    ],
    ids=str,
)
def test_a_special_case_is_the_other_objective(special: Bound, general: Bound) -> None:
    torch.testing.assert_close(outcome(special), outcome(general), rtol=1e-10, atol=1e-10)


def test_the_renyi_bound_tends_to_the_elbo_as_its_order_tends_to_one() -> None:
    exact = outcome(ELBO(num_particles=4))
    near_one = [outcome(Renyi(alpha=1 - d, num_particles=4)) for d in (1e-4, 1e-6)]
    far, near = (max(float((a - b).abs().max()) for a, b in zip(o, exact, strict=True)) for o in near_one)
    assert near < 1e-3
    assert near == pytest.approx(far / 100, rel=0.1)  # the difference is linear in 1 - alpha


def test_the_order_one_itself_is_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match=r"use ELBO\(\) for alpha = 1"):
        Renyi(alpha=1.0)


@pytest.mark.parametrize("beta", [-0.1, 1.1])
def test_a_combination_that_is_not_convex_is_refused(beta: float) -> None:
    with pytest.raises(UsageError, match="beta of CIWAE must"):
        CIWAE(beta=beta)


@pytest.mark.parametrize("kind", [STL, DReG])
@pytest.mark.parametrize("bound", ["analytic_kl", STL(), 3, None], ids=str)
def test_an_estimator_of_what_is_no_function_of_log_weights_is_refused(kind: type[Bound], bound: object) -> None:
    with pytest.raises(UsageError, match="must be a function of log-weights"):
        kind(bound=bound)  # type: ignore[call-arg]


def test_the_name_of_an_unknown_bound_gets_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'iwelbo'"):
        DReG(bound="iwelb")


def test_an_estimator_is_a_bound_where_its_bound_is_one() -> None:
    assert DReG(bound=Renyi(alpha=0.5)).is_bound
    assert not DReG(bound=Renyi(alpha=-0.5)).is_bound
    assert DReG().per_datum
    assert not STL().per_datum
