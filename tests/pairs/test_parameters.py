"""Parameters as values: isolation from the global store, swapping, holding fixed."""

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn

from ppgen.errors import UsageError
from ppgen.pairs.parameters import GivenParameters, detached, isolated, owner, swapped
from ppgen.pairs.tracing import Program, run_particles
from tests.doubles import Line, data


class Constrained(PyroModule):
    """One parameter of each kind: constrained, plain, and of a plain module."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = PyroParam(torch.tensor(2.0), dist.constraints.positive)
        self.loc = nn.Parameter(torch.tensor(1.0))
        self.linear = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x) * self.scale + self.loc
        return out


def store_of() -> dict[str, float]:
    return {name: float(value.detach()) for name, value in pyro.get_param_store().items()}


def test_isolation_neither_reads_nor_writes_the_store() -> None:
    pyro.param("w", torch.tensor(3.0))
    with isolated():
        assert float(pyro.param("w", torch.tensor(5.0))) == 5.0
        pyro.param("new", torch.tensor(1.0))
    assert store_of() == {"w": 3.0}


def test_the_store_survives_an_error_within_isolation() -> None:
    pyro.param("w", torch.tensor(3.0))
    with pytest.raises(ZeroDivisionError), isolated():
        raise ZeroDivisionError
    assert store_of() == {"w": 3.0}


def test_a_run_in_isolation_leaves_the_store_untouched() -> None:
    pair = Line()
    pyro.param("weight", torch.tensor(3.0))
    with isolated():
        run_particles(Program(pair.model, pair.guide), (data(3),), 2)
    assert store_of() == {"weight": 3.0}


def test_isolation_leaves_the_references_that_svi_needs() -> None:
    parameter: Any = pyro.param("w", torch.tensor(3.0))
    module: Any = Constrained()
    module(torch.ones(1, 1))
    with isolated():
        module(torch.ones(1, 1))
    for value in (parameter, module.loc, module.linear.weight):
        assert value.unconstrained() is value


def test_isolated_parameters_are_not_seen_outside() -> None:
    with poutine.trace(param_only=True) as seen, isolated():
        Constrained()(torch.ones(1, 1))
    assert not seen.trace.nodes


def test_given_values_answer_before_initial_ones() -> None:
    with isolated(), GivenParameters({"w": torch.tensor(7.0)}):
        assert float(pyro.param("w", torch.tensor(5.0))) == 7.0
        assert float(pyro.param("v", torch.tensor(5.0))) == 5.0


def test_a_swapped_module_holds_other_values_within_only() -> None:
    module = Constrained()
    with swapped(module, {"loc": torch.tensor(10.0)}):
        inside = module(torch.zeros(1, 1))
    torch.testing.assert_close(inside - module(torch.zeros(1, 1)), torch.full((1, 1), 9.0))


def test_swapping_one_of_two_tied_weights_swaps_both() -> None:
    module = nn.Module()
    module.one = nn.Parameter(torch.zeros(2))
    module.two = module.one
    with swapped(module, {"one": torch.ones(2)}):
        assert torch.equal(module.two, torch.ones(2))


def test_a_detached_module_passes_gradients_to_its_inputs_only() -> None:
    module, x = Constrained(), torch.ones(1, 1, requires_grad=True)
    with detached(module.forward):
        out = module(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad, 2 * module.linear.weight.detach())
    assert all(p.grad is None for p in module.parameters())


def test_a_bare_function_cannot_be_detached() -> None:
    def model(x: Tensor) -> Tensor:
        return x

    with pytest.raises(UsageError, match=r"got the bare function .*: .* ppgen\.pair_from"), detached(model):
        pass


def test_the_owner_of_a_method_is_its_module() -> None:
    pair = Line()
    assert owner(pair.model) is pair
    assert owner(pair) is pair
    assert owner(lambda x: x) is None
    assert owner([].append) is None
