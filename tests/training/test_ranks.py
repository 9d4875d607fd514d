"""Ranks that train together move as one process does that sees the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import ppgen
from ppgen.data import as_dataset
from ppgen.factory import as_objective
from ppgen.inference import (
    ELBO,
    IWELBO,
    PCD,
    REINFORCE,
    VIMCO,
    Hebb,
    NonSaturating,
    ParallelTempering,
    PseudoInverse,
    WassersteinGP,
)
from ppgen.machine.ranks import Ranks, joined
from ppgen.machine.seeds import derived
from ppgen.models import DBN, GAN, RBM, SBN, VAE, Hopfield
from ppgen.objectives.adversarial import Critic
from ppgen.objectives.objective import Objective
from ppgen.pairs.looking import seeded
from ppgen.pairs.pair import Pair
from ppgen.registry import OBJECTIVES
from ppgen.training.books import Books, Captures, Changed, Plan, Play
from ppgen.training.device_books import DeviceBooks, books_of
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer
from tests.forked import by_ranks
from tests.joined_draws import JoinedDraws

BITS = ppgen.DataSpec("bits", 5, "binary", num_data=23)
LINE = ppgen.DataSpec("line", 3, "real", num_data=23)
TURNS = 4


@dataclass(frozen=True)
class Case:
    """A training whose ranks' random numbers can be put side by side."""

    pair: Callable[[], Pair]
    objective: Objective
    batch_size: int = 7  # 3 and 4
    chains: int = 0
    draws: bool = True
    """Whether its turns draw anything."""


def critic(x: Tensor) -> Critic:
    return Critic(x, hidden=(8,)).double()


CASES = {
    "vae, iwelbo": Case(lambda: VAE(BITS, 2, hidden=(4,)), IWELBO(num_particles=3)),
    "sbn, vimco": Case(lambda: SBN(BITS, layers=(4,)), VIMCO(num_particles=3)),
    "sbn, reinforce": Case(lambda: SBN(BITS, layers=(4,)), REINFORCE(num_particles=2, baseline="moving_average")),
    "rbm, pcd": Case(lambda: RBM(BITS, 4), PCD(num_chains=10), 6, 10),
    "rbm, parallel tempering": Case(lambda: RBM(BITS, 4), ParallelTempering(num_chains=10, num_temperatures=3), 6, 10),
    "dbn, in stages": Case(lambda: DBN(BITS, (4, 3)), as_objective("greedy, up_down(num_steps=2)")),
    "dbn, in stages, with chains": Case(
        lambda: DBN(BITS, (4, 3)), as_objective("greedy(num_chains=10), up_down(num_chains=10)"), 6, 10
    ),
    "hopfield, hebb": Case(lambda: Hopfield(BITS), Hebb(num_patterns=15), draws=False),
    "hopfield, pseudo-inverse": Case(lambda: Hopfield(BITS), PseudoInverse(num_patterns=2), draws=False),
    "gan": Case(lambda: GAN(LINE, 2, hidden=(4,)), NonSaturating(critic=critic)),
    "gan, gradient penalty": Case(lambda: GAN(LINE, 2, hidden=(4,)), WassersteinGP(critic=critic, critic_steps=2)),
}


def trainer_of(case: Case, ranks: Ranks | None = None) -> Trainer:
    torch.manual_seed(3)
    pair = case.pair().double()
    x = torch.randn(23, pair.arguments["spec"].num_features, dtype=torch.float64)
    data = as_dataset((x > 0).double() if pair.arguments["spec"].observation == "binary" else x)
    options = TrainingOptions(steps=TURNS, batch_size=case.batch_size, lr=0.05, clip_norm=2.0, eager=True, seed=5)
    torch.manual_seed(options.seed)
    return Trainer(pair, data, case.objective, options, ranks)


def taken(trainer: Trainer) -> dict[str, Tensor]:
    """All that is left by the turns, and the report of them."""
    for _ in range(TURNS):
        trainer.take_turn()
    tensors = trainer.tensors()
    return {**tensors, **{f"report {n}": torch.tensor(v, dtype=torch.float64) for n, v in trainer.report().items()}}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_two_ranks_move_as_one_process_does_by_the_whole_batch(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one process draws what the two draw, side by side: all numbers are the same to float64's rounding."""

    def as_rank(rank: int) -> int:
        tensors = taken(trainer_of(case, joined()))
        save_file({name: value.clone() for name, value in tensors.items()}, tmp_path / f"{rank}.safetensors")
        return 0

    ended = by_ranks(as_rank, tmp_path)
    assert [one.code for one in ended] == [0, 0], ended[0].err
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())  # to the bit

    with seeded(0):
        trainer = trainer_of(case)
        with seeded(derived(5, "rank", 1)):
            other = torch.get_rng_state()
        with JoinedDraws([torch.get_rng_state(), other], [case.batch_size, case.chains]) as draws:
            monkeypatch.setattr(trainer, "_enter", draws.by_each(trainer._enter))
            whole = taken(trainer)
    assert (draws.drawn >= TURNS) is case.draws
    states = {"random.cpu": draws.states[0], "random.cpu.1": draws.states[1]}
    assert all(torch.equal(first.pop(name), state) for name, state in states.items())
    whole.pop("random.cpu")
    assert first.keys() == whole.keys()
    for name, value in whole.items():
        # a gradient of 0 that is rounded to 1e-16 moves a parameter by lr 1e-16 / eps = 5e-10: eps of Adam is 1e-8
        torch.testing.assert_close(first[name], value, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("case", ["vae, iwelbo", "rbm, pcd", "gan"])
def test_ranks_whose_device_keeps_the_books_move_alike(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_rank(rank: int) -> int:
        tensors = taken(trainer_of(CASES[case], joined()))
        if rank == 0:
            save_file({name: value.clone() for name, value in tensors.items()}, tmp_path / "tensors")
        return 0

    found = []
    for books in (books_of, by_the_device):
        monkeypatch.setattr("ppgen.training.trainer.books_of", books)
        ended = by_ranks(as_rank, tmp_path)
        assert [one.code for one in ended] == [0, 0], ended[0].err
        found.append(load_file(tmp_path / "tensors"))
    host, device = found
    assert host.keys() == device.keys()
    for name, value in host.items():
        torch.testing.assert_close(device[name], value, rtol=1e-5, atol=1e-6)  # the learning rate is of float32 there


def by_the_device(plan: Plan, play: Play, like: Tensor, captures: Captures, changed: Changed) -> Books:
    """As :func:`books_of` on a GPU."""
    return DeviceBooks(plan, play, like, captures, changed)


def test_every_objective_that_carries_something_says_what_becomes_of_it_on_several_ranks() -> None:
    kinds: dict[str, Any] = {name: spec.cls for name, spec in OBJECTIVES.items()}
    carries = {name for name, kind in kinds.items() if kind.initial_state is not Objective.initial_state}
    assert {"pcd", "reinforce", "mmd", "mcem", "rebar"} <= carries
    one_process = {"gibbs", "markovian_score_climbing", "auto"}  # chains of all data; a choice by one machine's times
    assert {name for name in carries if kinds[name].shards is None} == one_process


class Normed(Pair):
    """z ~ N(0, 1), x | z ~ N(z, 1); q(z | x) = N(normed(x), 1), with a mask that is a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(2)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("seen", torch.tensor(0))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        self.seen += 1
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.norm(x) + self.mask.exp(), 1.0).to_event(1))


def test_running_means_are_those_of_the_whole_batch_and_other_buffers_stay(tmp_path: Path) -> None:
    x = torch.randn(7, 2, dtype=torch.float64)

    def as_rank(rank: int) -> int:
        options = TrainingOptions(steps=1, batch_size=7, eager=True)
        trainer = Trainer(Normed().double(), as_dataset(x), ELBO(), options, joined())
        trainer.take_turn()
        save_file({name: value.clone() for name, value in trainer.tensors().items()}, tmp_path / f"{rank}")
        return 0

    ended = by_ranks(as_rank, tmp_path)
    assert [one.code for one in ended] == [0, 0], ended[0].err
    first, second = (load_file(tmp_path / f"{rank}") for rank in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    torch.testing.assert_close(first["learner.pair.norm.running_mean"], 0.1 * x.mean(0))
    assert first["learner.pair.norm.num_batches_tracked"] == first["learner.pair.seen"] == 1
    assert first["learner.pair.mask"].tolist() == [0.0, -torch.inf]


def test_ranks_stop_early_together(tmp_path: Path) -> None:
    def as_rank(rank: int) -> int:
        torch.manual_seed(rank)
        x = torch.rand(60, 5, generator=torch.Generator().manual_seed(0)).round()
        pair = VAE(ppgen.DataSpec("bits", 5, "binary", num_data=60), 2, hidden=(4,))
        options: dict[str, Any] = {
            "steps": 500,
            "batch_size": 9,
            "lr": 0.3,
            "patience": 2,
            "window": 1,
            "validate_every": 5,
        }
        run = ppgen.fit(pair, as_dataset(x, valid=x[:20]), IWELBO(num_particles=3), device="cpu", eager=True, **options)
        save_file({name: value.clone() for name, value in run.pair.state_dict().items()}, tmp_path / f"{rank}")
        (tmp_path / f"turns{rank}").write_text(str(run.metrics[-1]["step"]))
        return 0

    ended = by_ranks(as_rank, tmp_path)
    assert [one.code for one in ended] == [0, 0], ended[0].err
    first, second = (load_file(tmp_path / f"{rank}") for rank in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    turns = [(tmp_path / f"turns{rank}").read_text() for rank in range(2)]
    assert int(turns[0]) == int(turns[1]) < 500
