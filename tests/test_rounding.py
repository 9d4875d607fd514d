"""The mode that rounds otherwise changes products and sums, forward, backward and in graphs, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import _disable_current_modes

from ppgen.machine.graphs import graph_of
from tests.rounding import RoundedOtherwise

ADDED_UP: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mm": torch.mm,
    "addmm": lambda a, b: torch.addmm(b[0], a, b),
    "bmm": lambda a, b: torch.bmm(a.expand(3, -1, -1), b.expand(3, -1, -1)),
    "baddbmm": lambda a, b: torch.baddbmm(b[0], a.expand(3, -1, -1), b.expand(3, -1, -1)),
    "mv": lambda a, b: a @ b[:, 0],
    "dot": lambda a, b: a[0] @ b[:, 0],
    "matmul": lambda a, b: a.expand(2, 3, -1, -1) @ b,
    "linear": lambda a, b: F.linear(a, b.T, b[0]),
    "einsum": lambda a, b: torch.einsum("ij,jk->ik", a, b),
    "conv2d": lambda a, b: F.conv2d(a[None, None], b[None, None, :2, :2]),
    "sum": lambda a, b: (a[:, :, None] * b).sum(1),
    "mean": lambda a, b: b.mean(0),
    "logsumexp": lambda a, b: a.logsumexp(1),
    "norm": lambda a, b: a.norm(dim=1),
    "out": lambda a, b: torch.mm(a, b, out=a.new_empty(len(a), b.shape[1])),
}


@pytest.fixture
def as_it_is(request: pytest.FixtureRequest) -> Iterator[None]:
    """Without the mode that ``--rounding`` put around the test."""
    with _disable_current_modes():
        yield


def factors(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(6, 5, dtype=dtype), torch.randn(5, 7, dtype=dtype)


def steps_apart(one: Tensor, other: Tensor) -> Tensor:
    """How many numbers up or down the other is: 1 for the next one."""
    kind = torch.int32 if one.dtype == torch.float32 else torch.int64
    return (one.contiguous().view(kind) - other.contiguous().view(kind)).abs()


@pytest.mark.usefixtures("as_it_is")
@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ADDED_UP)
def test_every_element_of_what_is_added_up_is_the_next_number(name: str, dtype: torch.dtype, inference: bool) -> None:
    a, b = factors(dtype)
    with torch.inference_mode(inference):
        plain = ADDED_UP[name](a, b)
        with RoundedOtherwise():
            other = ADDED_UP[name](a, b)
    assert steps_apart(plain, other).unique().tolist() == [1]
    if plain.numel() > 1:
        assert (other > plain).unique().tolist() == [False, True]  # up and down


@pytest.mark.usefixtures("as_it_is")
def test_a_backward_pass_rounds_otherwise_too() -> None:
    x, layer = torch.randn(6, 5), nn.Linear(5, 7)
    direction = torch.randn(6, 7)
    output = layer(x)  # outside the mode: what changes is the backward pass
    (plain,) = torch.autograd.grad(output, layer.weight, direction, retain_graph=True)
    with RoundedOtherwise():
        (other,) = torch.autograd.grad(output, layer.weight, direction)
    assert steps_apart(plain, other).unique().tolist() == [1]


@pytest.mark.usefixtures("as_it_is")
def test_the_same_product_comes_again_and_a_row_of_it_alone_does_not() -> None:
    a, b = factors()
    with RoundedOtherwise():
        assert torch.equal(a @ b, a @ b)
        torch.testing.assert_close((a @ b)[2:4], a[2:4] @ b)
        with pytest.raises(AssertionError):  # to the bit, as no test may ask
            torch.testing.assert_close((a @ b)[2:4], a[2:4] @ b, rtol=0, atol=0)


@pytest.mark.usefixtures("as_it_is")
def test_what_is_exact_in_any_order_stays() -> None:
    a, b = (factor.round() for factor in factors())
    with RoundedOtherwise():
        other = a @ b
        integers = a.long() @ b.long()
        halves = a.half() @ b.half()
        single = (x := torch.randn(4, 1)).sum(1)
    assert torch.equal(other, a @ b)
    assert torch.equal(integers, a.long() @ b.long())
    assert torch.equal(halves, a.half() @ b.half())
    assert torch.equal(single, x[:, 0])


@pytest.mark.usefixtures("as_it_is")
def test_a_graph_holds_no_other_operators_and_rounds_otherwise_when_it_runs() -> None:
    def function(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b).sum(0)

    a, b = factors()
    plain = graph_of(function, a, b)
    with RoundedOtherwise():
        recorded = graph_of(function, a, b)
        other = recorded(a, b)
        assert torch.equal(other, function(a, b))
    assert recorded.code == plain.code
    assert not torch.equal(other, plain(a, b))


@pytest.mark.thorough
@pytest.mark.usefixtures("as_it_is")
def test_a_compiled_graph_rounds_otherwise_when_it_runs() -> None:
    from torch._inductor import compile as compile_graph

    a, b = factors()
    fast = compile_graph(graph_of(lambda a, b: ((a @ b).exp(),), a, b), [a, b])
    (plain,) = fast(a, b)
    with RoundedOtherwise():
        (other,) = fast(a, b)
    assert not torch.equal(plain, other)
    torch.testing.assert_close(plain, other)


def test_the_option_puts_every_test_under_the_mode(pytestconfig: pytest.Config) -> None:
    a, b = factors()
    found = a @ b
    with _disable_current_modes():
        plain = a @ b
    assert torch.equal(found, plain) != pytestconfig.getoption("rounding")
