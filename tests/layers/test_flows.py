"""Flows by name: invertible, their Jacobians' determinants, what they start as and remember, and bad input."""

from __future__ import annotations

from typing import Any, cast

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import ConditionalAutoRegressiveNN, ConditionalDenseNN
from torch import Tensor, nn

from ppgen.errors import UsageError
from ppgen.layers.flows import FLOWS, Direction, Flow, flow
from ppgen.machine.graphs import graph_of
from ppgen.pairs.memories import Forgetting, forget, parts_of
from tests.marks import thorough

DIM, CONTEXT, ROWS = 3, 2, 5

KINDS: list[tuple[str, Direction, int]] = [
    (name, direction, context)
    for name in FLOWS
    for direction in ("drawing", "scoring")
    for context in (0, CONTEXT)
    if name != "planar" or (direction == "drawing" and context)
]
WITH_INVERSE = [kind for kind in KINDS if kind[0] != "planar"]


def made(name: str, direction: Direction, context_dim: int) -> tuple[Flow, Any]:
    """A flow away from where it starts, and its distribution at a context, of batch shape (ROWS,), in float64."""
    bent = moved(flow(name, DIM, context_dim, direction=direction).double(), 0.1)
    context = torch.randn(ROWS, context_dim, dtype=torch.float64) if context_dim else None
    return bent, bent(normal(ROWS, DIM), context)


def moved(bent: Flow, by: float) -> Flow:
    for parameter in bent.parameters():
        parameter.data += by * torch.randn_like(parameter)
    return bent


def normal(*shape: int) -> Any:
    return dist.Normal(torch.zeros(shape, dtype=torch.float64), 1.0).to_event(1)


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def through(fn: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """T(x), and the sum of the log-determinants."""
    total = x.new_zeros(len(x))
    for transform in fn.transforms:
        y = transform(x)
        total = total + transform.log_abs_det_jacobian(x, y)
        x = y
    return x, total


@pytest.mark.parametrize(("name", "direction", "context"), KINDS)
def test_the_log_determinant_is_that_of_the_jacobian(name: str, direction: Direction, context: int) -> None:
    _, fn = made(name, direction, context)
    x = numbers(ROWS, DIM)

    def call(x: Tensor) -> Tensor:
        for part in parts_of(fn):
            forget(part)
        return through(fn, x)[0]

    full = torch.autograd.functional.jacobian(lambda x: call(x).sum(0), x).movedim(1, 0)  # (ROWS, D, D)
    _, found = through(fn, x)
    assert (full.diagonal(dim1=-2, dim2=-1).std() > 0.01) or name == "planar"  # it is no identity
    torch.testing.assert_close(found, full.slogdet().logabsdet, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("name", "direction", "context"), WITH_INVERSE)
def test_the_inverse_undoes_the_transforms_and_both_ways_tell_one_density(
    name: str, direction: Direction, context: int
) -> None:
    """The density is scored from y alone: what the transforms remember of the way there is forgotten."""
    _, fn = made(name, direction, context)
    x = numbers(ROWS, DIM)
    y, log_det = through(fn, x)
    for part in parts_of(fn):
        forget(part)
    back = y.clone()
    for transform in reversed(fn.transforms):
        back = transform.inv(back)
    torch.testing.assert_close(back, x, rtol=1e-8, atol=1e-8)  # of splines, a root over its slope
    torch.testing.assert_close(fn.log_prob(y.clone()), normal(DIM).log_prob(x) - log_det, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["iaf", "maf", "realnvp"])
@pytest.mark.parametrize("direction", ["drawing", "scoring"])
def test_untrained_affine_flows_leave_the_base_as_it_is(name: str, direction: Direction) -> None:
    base = dist.Normal(torch.randn(ROWS, DIM), 0.5).to_event(1)
    value = torch.randn(ROWS, DIM)
    found = flow(name, DIM, CONTEXT, direction=direction)(base, torch.randn(ROWS, CONTEXT)).log_prob(value)
    torch.testing.assert_close(found, base.log_prob(value), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "direction"), [("iaf", "drawing"), ("spline", "drawing"), ("maf", "scoring")])
def test_the_pass_that_is_asked_for_is_one(name: str, direction: Direction) -> None:
    """Counted in calls of the networks: as many as there are transforms, where the other way takes D of each."""
    bent, fn = made(f"{name}(num=2)", direction, CONTEXT)
    calls = []
    for each in bent.modules():
        if isinstance(each, ConditionalAutoRegressiveNN):
            each.register_forward_hook(lambda *_: calls.append(1))
    if direction == "drawing":
        fn.log_prob(fn.rsample())
    else:
        fn.log_prob(numbers(ROWS, DIM))
    assert len(calls) == 2


@pytest.mark.parametrize(("name", "direction", "context"), KINDS)
def test_every_feature_of_the_first_comes_to_depend_on_every_other(
    name: str, direction: Direction, context: int
) -> None:
    """Successive transforms see the features in alternating order: no order of theirs is a triangle's."""
    _, fn = made(name, direction, context)
    full = torch.autograd.functional.jacobian(lambda x: through(fn, x)[0].sum(0), numbers(ROWS, DIM))
    assert bool((full.abs().amax(1) > 1e-6).all())


@pytest.mark.parametrize(
    ("name", "direction", "context"),
    [
        ("iaf", "drawing", CONTEXT),
        ("maf", "scoring", 0),
        ("realnvp", "scoring", CONTEXT),
        ("spline", "scoring", 0),
        *thorough([("spline", "drawing", CONTEXT)]),
    ],
)
def test_a_graph_holds_nothing_of_the_values_it_was_traced_at(name: str, direction: Direction, context: int) -> None:
    bent = moved(flow(name, DIM, context, direction=direction), 0.2)

    def log_prob(value: Tensor, context: Tensor) -> Tensor:
        base = dist.Normal(torch.zeros(ROWS, DIM), 1.0).to_event(1)
        with Forgetting(bent.forward):
            found: Tensor = bent(base, context).log_prob(value)
        return found

    with torch.no_grad(), pyro.validation_enabled(False):
        graph = graph_of(log_prob, torch.zeros(ROWS, DIM), torch.zeros(ROWS, context))
        values, contexts = 4 * torch.randn(ROWS, DIM), torch.randn(ROWS, context)
        torch.testing.assert_close(graph(values, contexts), log_prob(values, contexts), rtol=1e-5, atol=1e-5)


def test_widths_follow_the_size_unless_they_are_given() -> None:
    widths = {
        text: {layer.out_features for layer in _hidden(flow(text, 50, 4))} for text in ("iaf", "iaf(hidden=[70, 80])")
    }
    assert widths == {"iaf": {100}, "iaf(hidden=[70, 80])": {70, 80}}


def _hidden(bent: Flow) -> list[Any]:
    networks = [each for each in bent.modules() if isinstance(each, ConditionalAutoRegressiveNN)]
    return [layer for network in networks for layer in network.layers[:-1]]


@pytest.mark.parametrize("name", ["iaf", "maf", "spline"])
def test_one_number_alone_can_be_bent(name: str) -> None:
    """Without a word of Pyro's that one is few."""
    fn = flow(name, 1, CONTEXT)(dist.Normal(torch.zeros(ROWS, 1), 1.0).to_event(1), torch.randn(ROWS, CONTEXT))
    assert fn.log_prob(fn.sample()).shape == (ROWS,)


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ("ia", {}, "expected a flow such as 'iaf(num=2)', got 'ia': did you mean 'iaf'?"),
        ("iaf(2)", {}, "expected a flow such as 'iaf(num=2)', got 'iaf(2)': names with commas"),
        ("iaf, maf", {}, "expected a flow such as 'iaf(num=2)', got 'iaf, maf': name one, and say by num"),
        ("iaf(n=2)", {}, "flow iaf has no option 'n': Known names: hidden, num."),
        ("iaf(num=0)", {}, "num must be a whole number of at least 1, got 0."),
        ("iaf(bins=4)", {}, "flow iaf has no option 'bins'"),
        ("iaf(hidden=[2])", {}, "an autoregressive flow of 3 numbers needs hidden layers as wide or wider"),
        ("iaf(hidden=[])", {}, "an autoregressive flow of 3 numbers needs hidden layers as wide or wider"),
        ("realnvp(hidden=[])", {}, "a flow's networks need one hidden layer or more, got hidden=()."),
        ("planar(hidden=[])", {"context_dim": 2}, "a flow's networks need one hidden layer or more"),
        ("planar", {}, "planar flows are for guides: they have no inverse"),
        ("planar", {"direction": "scoring", "context_dim": 2}, "planar flows are for guides"),
        ("realnvp", {"dim": 1}, "realnvp keeps one part of a vector and moves the other"),
        ("normal(num=2)", {"others": ("normal",)}, "normal has no options, got 'normal(num=2)': say 'normal'."),
        ("norma", {"others": ("normal",)}, "expected 'normal' or a flow such as 'iaf(num=2)', got 'norma': did you"),
    ],
)
def test_bad_input_gets_one_sentence(text: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        flow(text, **{"dim": DIM, **options})
    assert str(error.value).startswith(sentence)


def test_many_couplings_far_from_their_start_stay_finite() -> None:
    """Log-scales that a network says to be -1,000 are -3: twelve of them in turn multiply by e^36, whose square is a
    float32."""
    bent = flow("realnvp(num=24)", DIM, direction="scoring")
    for each in bent.modules():
        if isinstance(each, ConditionalDenseNN):
            nn.init.constant_(cast(Any, each.layers[-1]).bias, -1000.0)
    log_p = bent(dist.Normal(torch.zeros(ROWS, DIM), 1.0).to_event(1)).log_prob(torch.full((ROWS, DIM), 0.01))
    assert bool(log_p.isfinite().all())
