"""Batches: the scale N / B stays outside reductions, every datum has its own weights, zero gradients are refused."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.inference import IWELBO, DReG
from ppgen.objectives.bounds import Bound
from ppgen.objectives.moving import Moving
from ppgen.pairs.tracing import Program, run_particles
from ppgen.registry import OBJECTIVES
from tests.doubles import Line, Mixture, Shared, Switch, data
from tests.inference.truth import error_of_mean

BOUNDS = {name: bound for name, spec in OBJECTIVES.items() if spec.tiny and isinstance(bound := spec.tiny(), Bound)}
PER_DATUM = [name for name, bound in BOUNDS.items() if bound.per_datum]
PATHWISE = [name for name, bound in BOUNDS.items() if bound.needs_rsample]


def loss_and_gradient(objective: Bound, x: Tensor, data_size: int | None) -> list[Tensor]:
    pair = Switch(data_size=data_size) if objective.needs_discrete else Line(data_size=data_size)
    torch.manual_seed(0)
    loss = objective.differentiable_loss(pair.model, pair.guide, x)
    unused = not (objective.trains_guide and objective.trains_scales)
    gradients = torch.autograd.grad(loss, list(pair.parameters()), allow_unused=unused, materialize_grads=unused)
    return [loss.detach(), *gradients]


@pytest.mark.parametrize("name", [name for name, bound in BOUNDS.items() if not bound.whole_epochs])
def test_a_minibatch_counts_n_over_b_times(name: str) -> None:
    whole, part = (loss_and_gradient(BOUNDS[name], data(20), size) for size in (None, 1000))
    for all_data, scaled in zip(whole, part, strict=True):
        torch.testing.assert_close(scaled, 50 * all_data)


def test_the_bound_of_a_minibatch_is_below_its_evidence() -> None:
    """A scale inside the log-mean-exp would put it far above."""
    pair, x = Line(data_size=1000), data(20)
    objective = IWELBO(num_particles=200)
    draws = -torch.tensor([objective.loss(pair.model, pair.guide, x) for _ in range(100)]) / 1000
    evidence = float(pair.log_evidence(x).detach().mean())
    assert evidence - 0.02 < float(draws.mean()) < evidence + 3 * error_of_mean(draws)


@pytest.mark.parametrize("name", [name for name in PER_DATUM if not isinstance(BOUNDS[name], Moving)])  # with momenta
def test_the_bound_of_a_datum_is_its_own(name: str) -> None:
    """On the same latents, a batch has the bounds that its data have alone: no weight is shared."""
    pair, objective, x = Line(), BOUNDS[name], data(3)
    program = Program(pair.model, pair.guide)
    z = torch.randn(objective.total_particles, 3, dtype=torch.float64)
    together = objective.estimate(run_particles(program, (x,), len(z), given={"z": z}))
    for i in range(3):
        alone = objective.estimate(run_particles(program, (x[i : i + 1],), len(z), given={"z": z[:, i : i + 1]}))
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("name", PER_DATUM)
def test_a_global_latent_is_refused_where_the_bound_is_of_each_datum(name: str) -> None:
    pair = Shared()
    with pytest.raises(UsageError, match="'mean' stands outside the data plate") as caught:
        BOUNDS[name].differentiable_loss(pair.model, pair.guide, data(5))
    assert type(BOUNDS[name]).__name__ in str(caught.value)


@pytest.mark.parametrize("name", PATHWISE)
def test_a_site_without_a_pathwise_gradient_is_refused_by_name(name: str) -> None:
    pair = Mixture()
    with pytest.raises(UsageError, match="site 'z' of the guide is drawn from Categorical") as caught:
        BOUNDS[name].differentiable_loss(pair.model, pair.guide, data(5))
    assert type(BOUNDS[name]).__name__ in str(caught.value)


def test_one_discrete_site_among_others_is_refused_by_name() -> None:
    class Mixed(Line):
        def model(self, x: Tensor) -> None:
            with self.data_plate(x):
                z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
                on = pyro.sample("on", dist.Bernoulli(x.new_full((), 0.5)))
                pyro.sample("x", dist.Normal((z * on).unsqueeze(-1), 1.0).to_event(1), obs=x)

        def guide(self, x: Tensor) -> None:
            with self.data_plate(x):
                pyro.sample("z", dist.Normal(self.slope * x[:, 0], 1.0))
                pyro.sample("on", dist.Bernoulli(logits=self.shift))

    pair = Mixed()
    with pytest.raises(UsageError, match="site 'on' of the guide is drawn from Bernoulli"):
        DReG().differentiable_loss(pair.model, pair.guide, data(5))


@pytest.mark.parametrize("name", BOUNDS)
def test_fewer_particles_than_it_needs_are_refused(name: str) -> None:
    kind = type(BOUNDS[name])
    with pytest.raises(UsageError, match=f"num_particles of {kind.__name__} must be a whole number of at least"):
        kind(num_particles=BOUNDS[name].min_particles - 1)
    with pytest.raises(UsageError, match=f"num_particles of {kind.__name__} must be a whole number"):
        kind(num_particles=2.5)
