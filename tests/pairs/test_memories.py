"""What modules of the user's own remember: found in graphs, and by the check of compiled steps; tied weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoIAFNormal
from torch import Tensor, nn

import ppgen
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import ELBO, STL
from ppgen.machine.graphs import graph_of
from ppgen.machine.leftovers import RememberedError
from ppgen.machine.masking import SizeError
from ppgen.pairs.parameters import swapped
from ppgen.testing import CheckFailed
from ppgen.testing.reproduction import check_compiled_step
from ppgen.training.learner import Learner
from ppgen.training.steps import compiled, player_step
from tests.broken_pairs import Toy, data


class RemembersTheLast(Toy):
    """Centres what it says of x by what it said of the batch before."""

    def __init__(self) -> None:
        super().__init__(None)
        self.last: Any = 0.0

    def posterior(self, x: Tensor) -> Any:
        loc, log_scale = self.encoder(x).chunk(2, -1)
        centred = loc - self.last
        self.last = loc.detach().mean()
        return dist.Normal(centred, log_scale.exp()).to_event(1)


class RemembersByIdentity(Toy):
    """Knows the tensor x again, and answers with what other parameters made of it."""

    def __init__(self) -> None:
        super().__init__(None)
        self.known: Any = (None, None)

    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        if self.known[0] is not x:
            self.known = x, self.decoder(x[:, :2]).detach()
        return dist.Normal(self.decoder(z) + self.known[1], 1.0).to_event(1)


class Counts(Toy):
    """A schedule of its own, by the number of calls."""

    def __init__(self) -> None:
        super().__init__(None)
        self.calls = 0

    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        self.calls += 1
        return dist.Normal(self.decoder(z), 1 + self.calls / 10).to_event(1)


class DrawnOnce(Toy):
    """Noise that was drawn at the first call, and is used from the second on."""

    def __init__(self) -> None:
        super().__init__(None)
        self.noise: Any = None

    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        before, self.noise = self.noise, torch.randn(3)
        return dist.Normal(self.decoder(z) + (0 if before is None else before), 1.0).to_event(1)


class MadeOnce(Toy):
    """A constant that is made when it is first needed: no memory of a call."""

    def __init__(self) -> None:
        super().__init__(None)
        self.weights: Any = None

    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        if self.weights is None:
            self.weights = torch.linspace(0, 1, 3).cumsum(0)
        return dist.Normal(self.decoder(z) * self.weights, 1.0).to_event(1)


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize("kind", [RemembersTheLast, RemembersByIdentity, Counts, DrawnOnce])
def test_the_check_of_compiled_steps_catches_a_pair_that_remembers(kind: type[Toy]) -> None:
    with pytest.raises(CheckFailed, match="must be an input"):
        check_compiled_step(kind(), data())


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize("kind", [Toy, MadeOnce])
def test_the_check_of_compiled_steps_holds_for_a_pair_that_does_not(kind: type[Toy]) -> None:
    check_compiled_step(kind(), data())


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize(("kind", "name"), [(RemembersTheLast, "last"), (DrawnOnce, "noise")])
def test_a_pair_that_remembers_trains_eagerly_and_the_attribute_is_named(kind: type[Toy], name: str) -> None:
    with pytest.warns(UserWarning, match=f"trains eagerly.*'pair.{name}'.*left from an earlier call"):
        ppgen.fit(kind(), torch.randn(40, 3), ELBO(), steps=2, batch_size=10, seed=0)


class Replaces(Toy):
    """A buffer that is assigned anew, as moving averages often are, and one of whole numbers that picks inputs."""

    def __init__(self) -> None:
        super().__init__(None)
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("order", torch.tensor([2, 0, 1]), persistent=False)

    def model(self, x: Tensor) -> None:
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        super().model(x)

    def posterior(self, x: Tensor) -> Any:
        columns = [x[..., index] for index in self.order]
        return super().posterior(torch.stack(columns, -1) - self.mean)


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize("eager", [True, False])
def test_a_buffer_that_is_assigned_anew_moves(eager: bool) -> None:
    pair, x = Replaces(), torch.randn(40, 3) + 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ppgen.fit(pair, x, ELBO(), steps=60, batch_size=10, seed=0, eager=eager)
    # 1 - 0.9^60 = 0.998 of the mean; a batch of ten has a standard error of 0.3, a moving mean of ten of them 0.1
    assert (pair.mean - 5).abs().max() < 0.7


def test_a_number_and_a_tensor_are_assigned_by_mask_in_a_graph() -> None:
    def clipped(x: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mask = x > 0
        first, second, third = torch.zeros_like(x), x.clone(), x.clone()
        first[mask] = other[mask]
        second[~mask] = 7.0
        third[mask[:, 0]] = other[0]
        assert (first + second).isfinite().all()
        return first, second, third

    graph = graph_of(clipped, torch.ones(4, 3), torch.randn(4, 3))
    for x in (torch.ones(4, 3), -torch.ones(4, 3), torch.randn(4, 3)):
        other = torch.randn(4, 3)
        for found, expected in zip(graph(x, other), clipped(x, other), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[x > 0].sum(),
        lambda x: torch.masked_select(x, x > 0).sum(),
        lambda x: x[torch.nonzero(x[:, 0] > 0)].sum(),
        lambda x: torch.zeros_like(x).index_put((x > 0,), x[x > 0] + 1),
        lambda x: x.unique().sum(),
        lambda x: torch.zeros(4, 3).masked_scatter(x > 0, x[x < 0]),
    ],
)
def test_a_size_that_depends_on_values_is_no_graph(function: Any) -> None:
    with pytest.raises(SizeError, match="depends on values"):
        graph_of(function, torch.randn(4, 3))


def test_a_constant_mask_and_a_constant_order_may_be_read() -> None:
    order, kept = torch.tensor([2, 0, 1]), torch.tensor([True, False, True])

    def function(x: Tensor) -> Tensor:
        picked = [x[..., index] for index in order]
        assert int(order[0]) == 2
        return torch.stack(picked, -1)[..., kept]

    graph = graph_of(function, torch.zeros(4, 3))
    x = torch.randn(4, 3)
    assert torch.equal(graph(x), function(x))


class SelectsByMask(Toy):
    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        shift = x[x > 0].mean()  # the line to be named
        return dist.Normal(self.decoder(z) + shift, 1.0).to_event(1)


def test_a_pair_that_selects_by_mask_trains_eagerly_and_the_line_is_named() -> None:
    lines = Path(__file__).read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if "the line to be named" in text)
    with pytest.warns(UserWarning, match=rf"trains eagerly.*test_memories.py:{line}: the size of x\[mask\] depends"):
        ppgen.fit(SelectsByMask(None), torch.randn(40, 3), ELBO(), steps=1, batch_size=10, seed=0)


class Tied(Toy):
    """The decoder's weight is the encoder's, a whole layer has two names, and so has a buffer."""

    def __init__(self) -> None:
        super().__init__(None)
        self.encoder, self.decoder = nn.Linear(3, 2), nn.Linear(2, 3)
        self.back = nn.Linear(3, 2)
        self.decoder.weight = self.back.weight = nn.Parameter(0.3 * torch.eye(3)[:, :2])  # (3, 2)
        self.again = self.encoder
        self.register_buffer("seen", torch.zeros(3))
        self.register_buffer("also_seen", self.seen)

    def posterior(self, x: Tensor) -> Any:
        return dist.Normal(self.again(x) + x @ self.back.weight, 0.5).to_event(1)

    def model(self, x: Tensor) -> None:
        self.seen.add_(x.mean(0))
        super().model(x)


def _fitted(pair: Any, **options: Any) -> Any:
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(2))
    chosen = {"steps": 12, "batch_size": 15, "lr": 1e-2, "seed": 3, "eager": True, "schedule": "constant", **options}
    return ppgen.fit(pair, x, ELBO(), **chosen)


def _tied() -> Tied:
    torch.manual_seed(0)
    return Tied()


def _check_tied(pair: Tied) -> None:
    assert pair.decoder.weight is pair.back.weight
    assert pair.again is pair.encoder
    assert pair.seen is pair.also_seen


def test_swapped_gives_back_what_a_module_of_two_names_held() -> None:
    pair = _tied()
    before = dict(pair.named_parameters())
    with swapped(pair, {name: p.detach() for name, p in before.items()}):
        assert not any(p.requires_grad for p in pair.again.parameters())
    assert all(p is before[name] for name, p in pair.named_parameters())
    assert pair.again.weight.requires_grad
    _check_tied(pair)


@pytest.mark.usefixtures("graphs_as_they_are")
def test_tied_parameters_train_the_same_eager_and_as_a_graph_and_stay_tied() -> None:
    slow, fast, start = _tied(), _tied(), _tied()
    _fitted(slow)
    _fitted(fast, eager=False)
    for pair in (slow, fast):
        _check_tied(pair)
        assert not torch.equal(pair.decoder.weight, start.decoder.weight)
        assert pair.seen.abs().sum() > 0
    assert all(torch.equal(p, q) for p, q in zip(slow.parameters(), fast.parameters(), strict=True))
    assert torch.equal(slow.seen, fast.seen)


def test_a_tied_parameter_has_the_gradient_of_all_its_places() -> None:
    pair, batch = _tied(), data()
    learner, player = Learner(pair, nn.Module()), ELBO().players()[0]
    owned = learner.owned_by(player)
    others = {name: value for name, value in learner.tensors().items() if name not in owned}
    torch.manual_seed(4)
    found, *_ = player_step(learner, ELBO(), player)(dict(owned), others, {}, {}, batch)
    torch.manual_seed(4)
    loss = ELBO().differentiable_loss(pair.model, pair.guide, *batch) / len(batch[0])
    expected = torch.autograd.grad(loss, list(owned.values()), allow_unused=True, materialize_grads=True)
    for name, gradient, other in zip(owned, found, expected, strict=True):
        torch.testing.assert_close(gradient, other, msg=name)


def test_tied_parameters_are_saved_once_and_resumed_to_the_same_bits(tmp_path: Path) -> None:
    whole, parts = _tied(), _tied()
    _fitted(whole, out=tmp_path / "whole")
    _fitted(parts, out=tmp_path / "parts", steps=5)
    tensors, _ = read_checkpoint(tmp_path / "parts" / "checkpoint.safetensors")
    assert sum(name.startswith("learner.") for name in tensors) == 6  # two weights, three biases, a buffer
    again = _tied()
    _fitted(again, out=tmp_path / "parts", resume=True)
    _check_tied(again)
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), again.parameters(), strict=True))


def test_tied_parameters_are_compared() -> None:
    table = ppgen.compare(_tied(), data(), [ELBO(num_particles=2), STL(num_particles=2)], draws=32, eager=True)
    assert table is not None


def _iaf() -> Any:
    def model(x: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", 60, subsample_size=len(x), dim=-1):
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    torch.manual_seed(0)
    return ppgen.pair_from(model, AutoIAFNormal(model, hidden_dim=[8]))


@pytest.mark.usefixtures("graphs_as_they_are")
def test_an_autoguide_with_tied_parameters_trains_the_same_eager_and_as_a_graph(tmp_path: Path) -> None:
    slow, fast = _iaf(), _iaf()
    _fitted(slow, out=tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _fitted(fast, eager=False)
    assert all(torch.equal(p, q) for p, q in zip(slow.parameters(), fast.parameters(), strict=True))
    stopped, again = _iaf(), _iaf()
    _fitted(stopped, out=tmp_path / "parts", steps=5)
    _fitted(again, out=tmp_path / "parts", resume=True)
    assert all(torch.equal(p, q) for p, q in zip(slow.parameters(), again.parameters(), strict=True))


def test_what_was_remembered_is_refused_by_compiling() -> None:
    pair, batch = RemembersTheLast(), data()
    learner, player = Learner(pair, nn.Module()), ELBO().players()[0]
    with pytest.raises(RememberedError, match=r"'pair\.last'"):
        compiled(player_step(learner, ELBO(), player), dict(learner.owned_by(player)), {}, {}, {}, batch)


@pytest.mark.usefixtures("graphs_as_they_are")
def test_what_was_remembered_by_identity_is_not_met_by_compiling() -> None:
    pair, batch = RemembersByIdentity(), data()
    learner, player = Learner(pair, nn.Module()), ELBO().players()[0]
    step, owned = player_step(learner, ELBO(), player), dict(learner.owned_by(player))
    fast = compiled(step, owned, {}, {}, {}, batch)
    moved = {name: value.detach() + 1 for name, value in owned.items()}
    losses = []
    for each in (fast, step):
        torch.manual_seed(0)
        losses.append(each(moved, {}, {}, {}, (batch[0].clone(),))[1]["loss"])
    torch.testing.assert_close(*losses)
