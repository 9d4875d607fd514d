"""Particles of which a few are in memory at a time: the gradient is that of all at once, given the same noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import ppgen.objectives.bounds
import ppgen.pairs.parts
from ppgen.errors import UsageError
from ppgen.inference import ELBO, IWELBO, REINFORCE, DReG, MuProp, Renyi
from ppgen.objectives.bounds import Bound
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.pairs.parts import run_in_parts
from ppgen.pairs.tracing import Particles, Program, run_particles
from ppgen.registry import OBJECTIVES
from ppgen.testing.yardsticks import BitsYardstick, EnergyYardstick, Yardstick
from tests.discrete_doubles import Blend
from tests.doubles import Chain, Line, Shared, Switch, data

aten = torch.ops.aten

K, AT_A_TIME = 6, 4  # in parts of 3 and 3


class _Noise(TorchDispatchMode, ABC):
    """Draws are functions of uniform noise, and that of its place."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws = 0

    @abstractmethod
    def uniform(self, like: Tensor) -> Tensor: ...

    def momenta(self, like: Tensor) -> Tensor:
        """Of each coordinate, (K, B, D)."""
        return self.uniform(like)

    def drawn(self, *shape: int) -> Tensor:
        """What the next draw takes its noise from."""
        self.draws += 1
        return torch.rand(shape, generator=torch.Generator().manual_seed(self.draws), dtype=torch.float64)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is aten.normal_.default:
            return args[0].copy_(torch.special.ndtri(self.uniform(args[0])))
        if func is aten.normal.Tensor_Tensor:
            return args[0] + args[1] * torch.special.ndtri(self.uniform(args[0]))
        if func is aten.bernoulli.default:
            return (self.uniform(args[0]) < args[0]).to(args[0])
        if func is aten.randn_like.default:
            return torch.special.ndtri(self.momenta(args[0]))
        if func is aten.rand_like.default:
            return self.uniform(args[0])
        return func(*args, **(kwargs or {}))


class OfParticle(_Noise):
    """Noise depends on the particle and on which draw it is: the same whether others are drawn beside it or not."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: dict[int, int] = {}  # of the parts, by their seeds
        self.start = self.size = 0

    def particles(self, *arguments: Any, **options: Any) -> Particles:
        """``run_particles``, which tells the particles' place among all."""
        self.size, self.draws = arguments[2], 0
        after = len(self.starts) * self.size
        self.start = 0 if self.size == 1 else self.starts.setdefault(torch.initial_seed(), after)
        return run_particles(*arguments, **options)

    def uniform(self, like: Tensor) -> Tensor:
        every = self.drawn(100, *like.shape[self.size > 1 :])
        return every[self.start : self.start + self.size] if self.size > 1 else every[0]


class OfDatum(_Noise):
    """Noise depends on the datum, which is one of ``rows``, and on which draw it is."""

    def __init__(self, rows: slice) -> None:
        super().__init__()
        self.rows = rows

    def momenta(self, like: Tensor) -> Tensor:
        return self.drawn(like.shape[0], 5, like.shape[2])[:, self.rows]

    def uniform(self, like: Tensor) -> Tensor:
        before = like.shape[: -1 if like.shape[-1] > 1 else -2]  # a draw of x has a dim of size 1 after that of data
        return self.drawn(*before, 5)[..., self.rows].reshape(like.shape)


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> Callable[[], OfParticle]:
    """Makes noise that starts anew."""

    def made() -> OfParticle:
        found = OfParticle()
        for module in (ppgen.objectives.bounds, ppgen.pairs.parts):
            monkeypatch.setattr(module, "run_particles", found.particles)
        return found

    return made


def _played(objective: Any, pair: Pair, noise: _Noise, rows: slice = slice(None)) -> list[Tensor]:
    """Of a step on some of the data: loss per datum, metrics, next state and gradients."""
    every = pair.batch(5)[0] if isinstance(pair, Yardstick) else data(5)
    torch.manual_seed(3)
    own = objective.parameters(pair, (every,)).double()
    program = Program(pair.model, pair.guide, own)
    state = {name: torch.full_like(value, 0.3) for name, value in objective.initial_state(program, (every,)).items()}
    parameters, player = [*pair.parameters(), *own.parameters()], objective.players()[0].name
    getattr(noise, "starts", {}).clear()
    with noise:
        outcome = objective.play(player, program, (every[rows],), state)
        loss = outcome.loss / outcome.num_data
        slopes = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return [loss.detach(), *outcome.metrics.values(), *outcome.state.values(), *slopes]


def _with_particles(name: str) -> Any:
    return replace(OBJECTIVES[name].tiny(), num_particles=K)  # type: ignore[misc]  # of a bound


SPLITTING = [name for name, spec in OBJECTIVES.items() if getattr(spec.cls, "splits_particles", False)]
CASES = [
    *((name, Switch() if OBJECTIVES[name].cls.needs_discrete else Chain()) for name in SPLITTING),  # type: ignore[attr-defined]
    ("elbo", Shared()),
]


@pytest.mark.parametrize(("name", "pair"), CASES, ids=[f"{name}-{type(pair).__name__}" for name, pair in CASES])
def test_the_gradient_in_parts_is_that_of_all_particles(name: str, pair: Pair, noise: Callable[[], OfParticle]) -> None:
    whole = _with_particles(name)
    parts = whole.taking(AT_A_TIME)
    assert parts is not whole
    for one, other in zip(_played(parts, pair, noise()), _played(whole, pair, noise()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)  # sums of float64 in another order


@pytest.mark.parametrize("path", ["stl", "dreg"])
def test_the_gradient_in_parts_has_the_pathwise_part_too(path: str, noise: Callable[[], OfParticle]) -> None:
    whole, pair = REINFORCE(num_particles=K, pathwise=path), Blend()
    parts = _played(whole.taking(AT_A_TIME), pair, noise())
    for one, other in zip(parts, _played(whole, pair, noise()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_the_latents_of_all_data_are_those_outside_the_plate() -> None:
    pair = Shared()
    program, batch = Program(pair.model, pair.guide), (data(5),)
    parts, whole = run_in_parts(program, batch, K, AT_A_TIME), run_particles(program, batch, K)
    assert parts.latents == whole.latents == ["z"]
    assert parts.global_latents == whole.global_latents == ["mean"]


def _pair_for(objective: Objective) -> Pair:
    if objective.needs_energy:
        return (BitsYardstick if objective.needs_observation == "binary" else EnergyYardstick)(data_size=7)
    return Switch(data_size=7) if objective.needs_discrete else Chain(data_size=7)


DIVIDING = [name for name, spec in OBJECTIVES.items() if spec.tiny is not None and spec.tiny().splits_data]


@pytest.mark.parametrize("name", DIVIDING)
def test_the_gradient_of_a_batch_is_the_mean_of_those_of_its_parts(name: str) -> None:
    objective = OBJECTIVES[name].tiny()  # type: ignore[misc]  # it is one
    pair = _pair_for(objective)
    rows = slice(0, 5), slice(0, 5), slice(0, 2), slice(2, 5)
    _, whole, *parts = (_played(objective, pair, OfDatum(of), of) for of in rows)  # the first looks at the pair as well
    for one, two, three in zip(whole, *parts, strict=True):
        torch.testing.assert_close(one, 0.4 * two + 0.6 * three, rtol=1e-10, atol=1e-10)


def test_elbo_iwelbo_renyi_dreg_and_score_functions_are_among_them() -> None:
    assert {"elbo", "iwelbo", "renyi", "dreg", "stl", "vimco", "reinforce", "nvil"} <= set(SPLITTING)


def test_what_reads_single_sites_does_not_split_and_stays_as_it_is() -> None:
    objective = MuProp(num_particles=6)
    assert objective.taking(2) is objective
    with pytest.raises(UsageError, match=r"site 'z' alone .* tables of all sites"):
        run_in_parts(*_arguments(), 6, 3).log_prob("z")


def test_a_part_that_is_as_large_as_all_is_all() -> None:
    objective = IWELBO(num_particles=6)
    assert objective.taking(6) is objective
    assert IWELBO(num_particles=6).taking(5) == objective


def test_no_more_particles_are_run_at_a_time_than_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def noted(program: Program, batch: Any, size: int, **options: Any) -> Particles:
        seen.append(size)
        return run_particles(program, batch, size, **options)

    monkeypatch.setattr(ppgen.pairs.parts, "run_particles", noted)
    program, batch = _arguments()
    DReG(num_particles=7).taking(3).play("all", program, batch, {}).loss.backward()
    assert set(seen) == {1, 2, 3}


def test_tables_are_the_same_with_and_without_a_graph_and_leave_the_random_numbers_alone() -> None:
    program, batch = _arguments()
    particles = run_in_parts(program, batch, 6, 2)
    before = torch.get_rng_state()
    with torch.no_grad():
        again = particles.with_fixed().log_w
    assert torch.equal(particles.log_w.detach(), again)
    assert torch.equal(before, torch.get_rng_state())
    assert particles.log_w.shape == (6, 5)
    assert not torch.equal(particles.log_w[0], particles.log_w[2])


@pytest.mark.parametrize("objective", [ELBO(num_particles=4), Renyi(num_particles=4)], ids=["elbo", "renyi"])
def test_parts_hold_one_graph_at_a_time(objective: Bound) -> None:
    """What a step saves for its gradient does not grow with the number of parts."""
    saved: list[int] = []

    def count(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    program, batch = _arguments()
    numbers = []
    for one in (objective, objective.taking(1)):
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            one.play("all", program, batch, {})
        numbers.append(sum(saved))
    assert numbers[1] < numbers[0] / 2


def _arguments() -> tuple[Program, tuple[Tensor]]:
    pair = Line()
    return Program(pair.model, pair.guide), (data(5),)
