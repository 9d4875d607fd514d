"""Every optimizer and schedule of the learning rate: torch's own numbers, resumed to the bit, on the device's books."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop, lr_scheduler

import ppgen
from ppgen.data import as_dataset
from ppgen.errors import UsageError
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import ELBO, NonSaturating
from ppgen.schedules import linear
from ppgen.training.optimizers import slots_of
from ppgen.training.options import TrainingOptions
from ppgen.training.progress import Progress
from ppgen.training.trainer import Trainer
from tests.marks import thorough
from tests.training.test_books import Breaks, by_the_device, take_turns, trained

__all__ = ["by_the_device"]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "Adam": Adam,
    "Adam(betas=(0.5, 0.9), amsgrad=True)": functools.partial(Adam, betas=(0.5, 0.9), amsgrad=True),
    "AdamW(weight_decay=0.1)": functools.partial(AdamW, weight_decay=0.1),
    "SGD": SGD,
    "SGD(momentum=0.9, nesterov=True, weight_decay=0.0001)": functools.partial(
        SGD, momentum=0.9, nesterov=True, weight_decay=1e-4
    ),
    "RMSprop": RMSprop,
    "RMSprop(momentum=0.5, centered=True)": functools.partial(RMSprop, momentum=0.5, centered=True),
    "Adagrad(lr_decay=0.1, initial_accumulator_value=0.2)": functools.partial(
        Adagrad, lr_decay=0.1, initial_accumulator_value=0.2
    ),
}
SCHEDULERS: dict[str, Callable[..., lr_scheduler.LRScheduler]] = {
    "StepLR(step_size=2)": functools.partial(lr_scheduler.StepLR, step_size=2),
    "MultiStepLR(milestones=[1, 4])": functools.partial(lr_scheduler.MultiStepLR, milestones=[1, 4]),
    "ConstantLR(total_iters=3)": functools.partial(lr_scheduler.ConstantLR, total_iters=3),
    "LinearLR": lr_scheduler.LinearLR,
    "ExponentialLR(gamma=0.5)": functools.partial(lr_scheduler.ExponentialLR, gamma=0.5),
    "PolynomialLR(power=2.0)": functools.partial(lr_scheduler.PolynomialLR, power=2.0),
    "CosineAnnealingLR(T_max=5)": functools.partial(lr_scheduler.CosineAnnealingLR, T_max=5),
    "CosineAnnealingWarmRestarts(T_0=3)": functools.partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=3),
    "CyclicLR(base_lr=0.1, cycle_momentum=False, max_lr=0.2)": functools.partial(
        lr_scheduler.CyclicLR, base_lr=0.1, max_lr=0.2, cycle_momentum=False
    ),
    "OneCycleLR(cycle_momentum=False, max_lr=0.2, total_steps=9)": functools.partial(
        lr_scheduler.OneCycleLR, max_lr=0.2, total_steps=9, cycle_momentum=False
    ),
}


class Normal(ppgen.Pair):
    """x ~ N(loc, exp(log_scale)): without latents, so that a gradient has no noise."""

    def __init__(self) -> None:
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.tensor([0.5, -1.0])), nn.Parameter(torch.zeros(()))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("x", dist.Normal(self.loc, self.log_scale.exp()).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pass


X = torch.tensor([[1.0, 2.0], [0.0, 3.0], [2.0, -1.0]])
QUICK: dict[str, Any] = {"eager": True, "batch_size": 3, "lr": 0.05, "checkpoint_seconds": 0.0}


def by_hand(optimizer: Callable[..., Optimizer], turns: int, rate: Callable[[int], float]) -> Normal:
    pair = Normal()
    moving = optimizer(pair.parameters(), lr=rate(0))
    for turn in range(turns):
        moving.param_groups[0]["lr"] = rate(turn)
        moving.zero_grad()
        (-dist.Normal(pair.loc, pair.log_scale.exp()).log_prob(X).sum(-1).mean()).backward()
        moving.step()
    return pair


@pytest.mark.parametrize("text", OPTIMIZERS)
@pytest.mark.parametrize("as_text", [True, False], ids=["text", "class"])
def test_it_moves_as_torchs_own_does_by_hand(text: str, as_text: bool) -> None:
    pair, given = Normal(), text if as_text else OPTIMIZERS[text]
    ppgen.fit(pair, X, ELBO(), steps=7, optimizer=given, schedule=linear(1.0, 0.5, 4), **QUICK)
    expected = by_hand(OPTIMIZERS[text], 7, lambda turn: 0.05 * linear(1.0, 0.5, 4)(turn))
    for found, wanted in zip(pair.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("text", OPTIMIZERS)
def test_a_run_that_was_resumed_ends_with_the_bits_of_one_that_never_stopped(text: str, tmp_path: Path) -> None:
    options = {**QUICK, "optimizer": text, "schedule": "StepLR(step_size=2)"}
    ppgen.fit(Normal(), X, ELBO(), steps=7, out=tmp_path / "whole", **options)
    ppgen.fit(Normal(), X, ELBO(), steps=3, out=tmp_path / "cut", **options)
    options["optimizer"] = OPTIMIZERS[text]
    ppgen.fit(Normal(), X, ELBO(), steps=7, out=tmp_path / "cut", resume=True, **options)
    one, two = (read_checkpoint(tmp_path / name / "checkpoint.safetensors")[0] for name in ("whole", "cut"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("text", [*list(OPTIMIZERS)[:1], *thorough(list(OPTIMIZERS)[1:])])
def test_compiled_steps_move_as_eager_ones_do(text: str) -> None:
    pairs = Normal(), Normal()
    for pair, eager in zip(pairs, (True, False), strict=True):
        ppgen.fit(pair, X, ELBO(), steps=4, optimizer=text, **{**QUICK, "eager": eager})
    for found, wanted in zip(*(pair.parameters() for pair in pairs), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("text", OPTIMIZERS)
def test_the_devices_books_move_the_same_and_a_rehearsal_changes_nothing(
    text: str, request: pytest.FixtureRequest
) -> None:
    host = trained("gan", NonSaturating(), optimizer=text).tensors()
    request.getfixturevalue("by_the_device")
    trainer = trained("gan", NonSaturating(), turns=0, optimizer=text)
    books: Any = trainer._books
    before = {name: value.clone() for name, value in trainer.tensors().items()}
    books._rehearse(books._filled(), books.plan(0))
    assert all(torch.equal(value, before.get(name, value * 0)) for name, value in trainer.tensors().items())
    take_turns(trainer, 9)
    for name, value in trainer.tensors().items():
        torch.testing.assert_close(value, host[name], rtol=1e-4, atol=1e-5)  # the learning rate is of float32 there


@pytest.mark.parametrize("text", OPTIMIZERS)
@pytest.mark.usefixtures("by_the_device")
def test_nothing_moves_after_a_number_that_was_not_finite(text: str) -> None:
    """The parameters, and what the optimizer keeps of them, are those after the last good turn."""

    def after(turns: int) -> dict[str, Tensor]:
        torch.manual_seed(0)
        options = TrainingOptions(batch_size=2, eager=True, steps=9, optimizer=text, schedule="constant")
        trainer = Trainer(Breaks(), as_dataset(torch.arange(6.0)), ELBO(), options)
        with pytest.raises(UsageError, match="stopped at step 5") if turns > 5 else nullcontext():
            take_turns(trainer, turns)
        return {**trainer.learner.state_dict(), **slots_of(trainer.optimizers["all"])}

    good, broken = after(5), after(9)
    assert good.keys() == broken.keys()
    assert all(torch.equal(broken[name], value) for name, value in good.items())


@pytest.mark.parametrize("text", OPTIMIZERS)
@pytest.mark.parametrize("change", ["another name", "another shape", "another step", "none"])
def test_slots_that_are_not_its_own_are_refused(text: str, change: str) -> None:
    trainer = trained("vae", ELBO(), turns=2, optimizer=text)
    tensors = trainer.tensors()
    name = next((name for name in tensors if name.startswith("optimizer.")), "optimizer.all.0.momentum_buffer")
    value = tensors.pop(name, torch.zeros(()))
    changed = {
        "another name": {f"{name}s": value},
        "another shape": {name: torch.zeros(1, 1, 1)},
        "another step": {name: value + 1 if name.endswith(".step") else torch.zeros(7)},
        "none": {} if name in trainer.tensors() else {name: value},
    }
    with pytest.raises(UsageError, match=r"optimizer of player 'all', at turn 2, is not that of its"):
        trainer.restore({**tensors, **changed[change]}, Progress(**trainer.facts()))


@pytest.mark.parametrize("text", SCHEDULERS)
def test_a_scheduler_gives_the_rates_that_torch_sets_in_any_order(text: str) -> None:
    moving = SGD([torch.zeros(())], lr=0.05)
    scheduler, rates = SCHEDULERS[text](moving), []
    for _ in range(8):
        rates.append(moving.param_groups[0]["lr"])
        moving.step()
        scheduler.step()
    for given in (text, SCHEDULERS[text]):
        options = TrainingOptions(lr=0.05, schedule=given)
        assert [options.rate(turn, 8) for turn in (7, 0, 3)] == [rates[turn] for turn in (7, 0, 3)]
        assert options.to_json()["schedule"] == text


def halved(turn: int) -> float:
    """A schedule of the user's."""
    return 0.5**turn


@pytest.mark.parametrize("schedule", [linear(1.0, 0.0, 5), halved], ids=["ours", "a function"])
def test_a_callable_is_a_factor_of_the_rate(schedule: Callable[[int], float], tmp_path: Path) -> None:
    options = {**QUICK, "schedule": schedule, "validate_every": 1}
    run = ppgen.fit(Normal(), X, ELBO(), steps=2, out=tmp_path, **options)
    assert [line["learning_rate"] for line in run.metrics] == [0.05 * schedule(turn) for turn in (1, 2)]
    assert len(ppgen.fit(Normal(), X, ELBO(), steps=4, out=tmp_path, resume=True, **options).metrics) == 4
    assert ppgen.load(tmp_path, pair=Normal(), data=X).config["training"]["schedule"] in (
        str(schedule),
        f"function {__name__}.halved",
    )


def test_a_function_that_trained_a_run_is_asked_for_again(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the schedule was a function my.halved of Python's: give it again"):
        ppgen.fit(Normal(), X, ELBO(), schedule="function my.halved", out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": torch.optim.LBFGS}, "expected an optimizer"),
        ({"optimizer": 3}, "expected an optimizer"),
        ({"optimizer": "SGD(0.1)"}, "options of SGD are given by name, got \\(0.1,\\)"),
        ({"optimizer": "SGD(lr=0.1)"}, r"SGD has no option 'lr' here \(give the run's own lr\)"),
        ({"optimizer": "SGD(momentum=0.9, dampening=0.1)"}, "SGD has no option 'dampening'"),
        ({"optimizer": "SGD(nesterov=True)"}, "cannot be made: Nesterov momentum requires a momentum"),
        ({"optimizer": functools.partial(SGD, weight_decay=torch.ones(()))}, "cannot be read"),
        ({"optimizer": "SGD(momentum=__import__('os').getpid())"}, "cannot be read"),
        ({"schedule": lr_scheduler.ReduceLROnPlateau}, "expected a schedule of the learning rate"),
        ({"schedule": functools.partial(lr_scheduler.LambdaLR, lr_lambda=halved)}, "expected a schedule"),
        ({"schedule": "linear"}, "expected a schedule of the learning rate"),
    ],
)
def test_what_is_no_optimizer_and_no_schedule_is_a_sentence(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        TrainingOptions(**options)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (lambda turn: -1.0, r"the learning rate must be 0 or more, and schedule .* gives -0.05"),
        (lambda: 1.0, "has no learning rate at step 0"),
        ("StepLR", r"StepLR has no learning rate at step 0: .* 'step_size'"),
        (
            "OneCycleLR(max_lr=1.0, total_steps=5, cycle_momentum=False)",
            "has no learning rate at step 9: Tried to step",
        ),
    ],
    ids=["negative", "no step", "no option", "too short"],
)
def test_a_schedule_without_a_rate_is_refused_before_training(schedule: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        ppgen.fit(Normal(), X, ELBO(), steps=9, schedule=schedule, out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()
