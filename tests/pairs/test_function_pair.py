"""Pairs of functions, autoguides and plain modules: as good as a class of one's own."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from pyro.nn import PyroModule
from pyro.optim import ClippedAdam
from torch import Tensor, nn

from ppgen.errors import UsageError
from ppgen.inference import ELBO, STL, DReG
from ppgen.objectives.objective import Objective
from ppgen.pairs.function_pair import as_pair, pair_from
from ppgen.pairs.tracing import Program, run_particles
from ppgen.training.learner import Learner
from ppgen.training.steps import player_step
from tests.doubles import Line, Shared, data
from tests.pairs.test_pair import Part, prior, right_guide


def model_with_params(x: Tensor) -> None:
    weight = pyro.param("weight", torch.tensor(0.5).double())
    noise = pyro.param("noise", torch.tensor(0.8).double(), constraint=dist.constraints.positive)
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        pyro.sample("x", dist.Normal((weight * z)[..., None], noise).to_event(1), obs=x)


def guide_with_params(x: Tensor) -> None:
    slope = pyro.param("slope", lambda: torch.tensor(0.2).double())
    scale = pyro.param("scale", torch.tensor(0.7).double(), constraint=dist.constraints.interval(0.1, 2.0))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(slope * x[:, 0], scale))


def test_functions_with_params_are_a_pair_of_their_unconstrained_values() -> None:
    pair = pair_from(model_with_params, guide_with_params)
    loss = STL(num_particles=2).differentiable_loss(pair.model, pair.guide, data(4))
    named = dict(pair.named_parameters())
    assert set(named) == {"values.weight", "values.noise", "values.slope", "values.scale"}
    torch.testing.assert_close(named["values.noise"].detach().exp(), torch.tensor(0.8).double())
    torch.testing.assert_close(named["values.slope"].detach(), torch.tensor(0.2).double())
    assert all(g.isfinite() for g in torch.autograd.grad(loss, list(named.values())))


def test_params_start_at_the_values_of_the_store() -> None:
    pyro.param("noise", torch.tensor(3.0).double(), constraint=dist.constraints.positive)
    pair = pair_from(model_with_params, guide_with_params)
    ELBO().loss(pair.model, pair.guide, data(4))
    torch.testing.assert_close(dict(pair.named_parameters())["values.noise"].exp(), torch.tensor(3.0).double())


@pytest.mark.parametrize("objective", [ELBO(), STL(), DReG()], ids=str)
def test_functions_with_params_train_in_svi(objective: Objective) -> None:
    pair, x = pair_from(model_with_params, guide_with_params), data(50)
    svi = SVI(pair.model, pair.guide, ClippedAdam({"lr": 0.05}), loss=objective)
    losses = [svi.step(x) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10])
    assert float(pair.state_dict()["values.noise"].exp()) > 0.9  # the data spread by more


def test_modules_of_functions_are_found_where_they_are_registered() -> None:
    decoder, encoder = nn.Linear(1, 1).double(), nn.Linear(1, 1).double()

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(decoder(z[..., None]), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(encoder(x)[:, 0], 1.0))

    pair = pair_from(model, guide)
    STL().differentiable_loss(pair.model, pair.guide, data(4)).backward()
    assert {id(p) for p in pair.parameters()} == {id(p) for m in (decoder, encoder) for p in m.parameters()}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in pair.parameters())


class _Decoder(nn.Module):
    """A parameter of its own and a part, both used by a method that is not ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1).double()
        self.shift = nn.Parameter(torch.tensor(0.1).double())

    def decode(self, z: Tensor) -> Tensor:
        return torch.as_tensor(self.linear(z)) + self.shift


def _decoding(decode: Callable[[Tensor], Tensor], register: Callable[[], object]) -> Part:
    def model(x: Tensor) -> None:
        register()
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(decode(prior(x)[..., None]), 1.0).to_event(1), obs=x)

    return model


def _guide_in_plate(x: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        right_guide(x)


def test_a_module_that_is_used_by_a_method_is_found_whole() -> None:
    decoder = _Decoder()

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(decoder.decode(prior(x)[..., None]), 1.0).to_event(1), obs=x)

    pair, x = pair_from(model, _guide_in_plate), data(4)
    pair.prepare(x)
    assert list(pair.modules_used) == [decoder]
    learner = Learner(pair, nn.Module())
    step = player_step(learner, objective := ELBO(), objective.players()[0])
    owned = {name: p.detach() for name, p in learner.named_parameters()}
    gradients, _, _, _ = step(owned, {}, {}, {}, (x,))
    assert all((g != 0).all() for g in gradients)


def test_a_module_whose_parameters_cannot_be_found_is_a_sentence() -> None:
    decoder = _Decoder()
    pair = pair_from(_decoding(decoder.decode, lambda: pyro.module("decoder", decoder)), _guide_in_plate)
    with pytest.raises(UsageError, match="parameter 'shift' of the module registered as 'decoder' is read by no call"):
        pair.prepare(data(4))


@pytest.mark.parametrize("kind", [AutoNormal, AutoMultivariateNormal])
@pytest.mark.parametrize("objective", [ELBO(num_particles=4), STL(num_particles=4)], ids=str)
def test_an_autoguide_is_a_guide(kind: type[nn.Module], objective: Objective) -> None:
    model, x = Shared(), data(5)
    pair = pair_from(model.model, kind(model.model))
    svi = SVI(pair.model, pair.guide, ClippedAdam({"lr": 0.05}), loss=objective)
    losses = [svi.step(x) for _ in range(60)]
    assert sum(losses[-15:]) < sum(losses[:15])
    assert any(name.startswith("modules_used.1") for name, _ in pair.named_parameters())


@pytest.mark.parametrize("kind", [nn.Module, PyroModule])
def test_a_module_with_model_and_guide_is_a_pair(kind: type[nn.Module]) -> None:
    class Users(kind):  # type: ignore[valid-type,misc]  # two bases, one test
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.5).double())
            self.slope = nn.Parameter(torch.tensor(0.2).double())

        def model(self, x: Tensor) -> None:
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
                pyro.sample("x", dist.Normal((self.weight * z)[..., None], 1.0).to_event(1), obs=x)

        def guide(self, x: Tensor) -> None:
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(self.slope * x[:, 0], 1.0))

    module = Users()
    pair = as_pair(module)
    DReG().differentiable_loss(pair.model, pair.guide, data(4)).backward()
    assert {id(p) for p in pair.parameters()} == {id(module.weight), id(module.slope)}
    assert module.weight.grad is not None
    assert module.slope.grad is not None


def test_what_is_no_pair_is_told_how_to_become_one() -> None:
    with pytest.raises(UsageError, match=r"methods model\(\*batch\) and guide\(\*batch\), got Linear: subclass ppgen"):
        as_pair(nn.Linear(1, 1))
    assert as_pair(pair := Line()) is pair


@pytest.mark.parametrize("objective", [STL(), DReG()], ids=str)
def test_bare_functions_under_an_estimator_that_holds_parameters_are_refused(objective: Objective) -> None:
    with pytest.raises(UsageError, match=r"got the bare function .* wrap the two with ppgen\.pair_from"):
        objective.differentiable_loss(model_with_params, guide_with_params, data(4))


def test_bare_functions_train_under_a_plain_bound() -> None:
    svi = SVI(model_with_params, guide_with_params, ClippedAdam({"lr": 0.05}), loss=ELBO())
    losses = [svi.step(data(50)) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10])


def test_another_name_of_the_data_plate_is_known() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("rows", len(x), dim=-1):
            pyro.sample("x", dist.Normal(prior(x), 1.0), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        with pyro.plate("rows", len(x), dim=-1):
            right_guide(x)

    shapes: dict[str | None, torch.Size] = {}
    for name in ("rows", None, ""):
        pair = pair_from(model, guide, data_plate=name)
        shapes[name] = run_particles(Program(pair.model, pair.guide), (data(4),), 3).log_w.shape
    assert shapes == {"rows": (3, 4), None: (3, 4), "": (3, 1)}  # without a data plate the batch is one datum


def test_a_data_plate_that_is_not_there_is_refused_with_those_that_are() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("rows", len(x), dim=-1):
            pyro.sample("x", dist.Normal(prior(x), 1.0), obs=x[:, 0])

    pair = pair_from(model, model, data_plate="row")
    with pytest.raises(UsageError, match=r"data_plate is 'row', and no site .* \(its plates are 'rows'\)"):
        run_particles(Program(pair.model, pair.guide), (data(4),), 3)
