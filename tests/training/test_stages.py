"""Stages of a training: their turns, what begins anew with each, and runs that stop and go on within any of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.factory import objective_config
from ppgen.files.checkpoint import read_checkpoint
from ppgen.objectives.objective import Stage
from ppgen.objectives.staged import Staged
from ppgen.objectives.turns import Player
from ppgen.runs.directory import CHECKPOINT
from ppgen.training.learner import Learner
from ppgen.training.options import TrainingOptions
from ppgen.training.stages import spans_of
from tests.marks import sampled

OBJECTIVE = "greedy, up_down(num_chains=3)"


def a_pair(hidden: Any = (3, 2)) -> Any:
    torch.manual_seed(1)
    return ppgen.make_pair("dbn", ppgen.DataSpec("bits", 4, "binary"), hidden=hidden)


@pytest.fixture(scope="module")
def x() -> Any:
    return ppgen.dataset_from(torch.rand(24, 4, generator=torch.Generator().manual_seed(0)).round())


def trained(x: Any, out: Path | None = None, objective: Any = OBJECTIVE, **options: Any) -> ppgen.Run:
    settings = {"steps": 9, "batch_size": 4, "eager": True, "progress": False, **options}
    return ppgen.fit(settings.pop("pair", None) or a_pair(), x, objective, out=out, **settings)


class StopAt(ppgen.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, training: Any) -> None:
        if training.step == self.step:
            training.stop()


def test_stages_have_their_shares_of_the_turns() -> None:
    elbo = ppgen.make_objective("elbo")
    stages = [Stage("a", elbo, 1.0), Stage("b", elbo, 2.0), Stage("c", elbo, 1.0)]
    spans = spans_of(stages, TrainingOptions(steps=10), per_epoch=5)
    assert [(span.begin, span.end, span.cursor) for span in spans] == [(0, 2, 0), (2, 8, 2), (8, 10, 8)]


def test_a_stage_whose_turns_show_several_batches_has_fewer_turns_in_an_epoch() -> None:
    stages = [
        Stage("game", ppgen.inference.WassersteinGP(critic_steps=3)),
        Stage("bound", ppgen.make_objective("elbo")),
    ]
    spans = spans_of(stages, TrainingOptions(epochs=2), per_epoch=8)
    assert [(span.begin, span.end, span.cursor) for span in spans] == [(0, 2, 0), (2, 10, 8)]


def test_fewer_steps_than_stages_and_patience_are_refused(x: Any) -> None:
    with pytest.raises(ppgen.UsageError, match="2 steps leave stage 'Greedy 1' of 3 without any"):
        trained(x, steps=2, objective=ppgen.make_objective(OBJECTIVE, shares=(1, 3)))
    with pytest.raises(ppgen.UsageError, match="patience waits for one objective"):
        trained(x, patience=3)


def test_each_stage_has_a_schedule_an_optimizer_and_parameters_of_its_own(x: Any) -> None:
    seen: list[tuple[int, float, Tensor]] = []

    class Note(ppgen.Callback):
        def after_step(self, training: Any) -> None:
            trainer = training._trainer
            seen.append((trainer.stage_number, trainer.rate(trainer.turn - 1), training.pair.weight_1.detach().clone()))

    objective = ppgen.make_objective(OBJECTIVE, rates=(1, 0.5))
    run = trained(x, objective=objective, lr=0.1, callbacks=[Note()], steps=12)
    numbers, rates, weights = zip(*seen, strict=True)
    assert numbers == (0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2)
    assert [rates[turn] for turn in (0, 3, 6)] == pytest.approx([0.1, 0.1, 0.05])  # a cosine that begins anew
    assert all(torch.equal(weights[2], later) for later in weights[3:6])  # the second machine's stage leaves it
    assert not torch.equal(weights[2], weights[6])
    assert [line["stage"] for line in run.metrics if line["split"] == "train"] == ["Greedy 1", "Greedy 2", "UpDown"]


def test_each_machine_has_sweeps_of_its_own_and_the_sparsity_of_all() -> None:
    greedy = ppgen.make_objective("greedy", num_steps=(3, 1), sparsity=0.5, num_chains=7)
    parts: list[Any] = [stage.objective for stage in greedy.stages(a_pair())]
    found = [(part.objective.num_steps, part.objective.sparsity, part.objective.num_chains) for part in parts]
    assert found == [(3, 0.5, 7), (1, 0.5, 7)]
    with pytest.raises(ppgen.UsageError, match="num_steps of Greedy has one number for each of 2 layers"):
        ppgen.make_objective("greedy", num_steps=(3, 1, 1)).stages(a_pair())


@pytest.mark.parametrize("model", ["dbn", "dbm"])
def test_sparse_machines_of_a_stack_are_less_active(x: Any, model: str) -> None:
    def activity(sparsity: float) -> float:
        pair = ppgen.make_pair(model, x.spec, hidden=(6, 4))
        objective = ppgen.make_objective("greedy", sparsity=sparsity, sparsity_target=0.1)
        machine: Any = trained(x, objective=objective, pair=pair, steps=200, lr=0.05).pair.machines[0]
        return float(machine.unit_means(x.rows("train", slice(24))[0]).detach().mean())

    assert activity(20.0) < 0.2 < activity(0.0)


def test_what_a_stage_does_at_its_end_is_done_once(x: Any) -> None:
    pair = a_pair()
    trained(x, objective="greedy", pair=pair, lr=0.1)
    assert torch.equal(pair.recognition_weight_1, pair.weight_1)
    assert not torch.equal(pair.recognition_bias_1, torch.zeros(3))


@pytest.mark.parametrize("step", sampled([2, 3, 4, 6, 8]), ids=lambda step: f"after {step}")
def test_a_run_stopped_in_any_stage_goes_on_to_the_same_bits(x: Any, tmp_path: Path, step: int) -> None:
    trained(x, tmp_path / "whole", objective=ppgen.make_objective(OBJECTIVE, shares=(2, 1)))
    stopped = {"objective": ppgen.make_objective(OBJECTIVE, shares=(2, 1)), "callbacks": [StopAt(step)]}
    run = trained(x, tmp_path / "cut", **stopped)
    assert run.stage is not run.objective
    loaded = ppgen.load(tmp_path / "cut", data=x)
    assert str(loaded.stage) == str(run.stage)
    trained(x, tmp_path / "cut", objective=stopped["objective"], resume=True)
    (whole, facts), (cut, others) = (read_checkpoint(tmp_path / name / CHECKPOINT) for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert (facts["stage"], facts["turn"], facts["cursor"]) == (others["stage"], others["turn"], others["cursor"])


def test_a_run_is_resumed_with_its_own_length_and_layers(x: Any, tmp_path: Path) -> None:
    trained(x, tmp_path / "run", callbacks=[StopAt(4)], steps=8)
    with pytest.raises(ppgen.UsageError, match="stands at turn 4 in stage 'Greedy 2', which began at turn 2"):
        trained(x, tmp_path / "run", resume=True, steps=16)
    with pytest.raises(ppgen.UsageError, match="begun with model options"):
        trained(x, tmp_path / "run", resume=True, pair=a_pair((3, 2, 2)))


def test_stages_are_written_as_text_or_as_a_list() -> None:
    staged = ppgen.make_objective("greedy(num_steps=2), up_down", shares=[3, 1])
    config = objective_config(staged)
    again = ppgen.make_objective(config["name"], **config["options"])
    assert again == staged
    listed = ppgen.factory.as_objective(["greedy", ppgen.inference.UpDown()])
    assert isinstance(listed, Staged)
    assert [type(one).__name__ for one in listed.objectives] == ["Greedy", "UpDown"]


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("greedy, updown", {}, "up_down"),
        ("greedy, up_down", {"shares": [1]}, "one number for each of 2 stages"),
        ("greedy, up_down", {"steps": 3}, "steps"),
        ("greedy(num_steps=0), up_down", {}, "num_steps"),
    ],
)
def test_stages_that_do_not_exist_are_told(text: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ppgen.UsageError, match=words):
        ppgen.make_objective(text, **options)


def test_a_pair_of_one_layer_and_pyros_loop_take_no_stages(x: Any) -> None:
    with pytest.raises(ppgen.UsageError, match="Greedy trains a pair of several layers one after another, got RBM"):
        trained(x, pair=ppgen.make_pair("rbm", ppgen.DataSpec("bits", 4, "binary"), hidden=2))
    pair = a_pair()
    with pytest.raises(ppgen.UsageError, match="trained in stages"):
        ppgen.make_objective("greedy").loss(pair.model, pair.guide, *x.train)


def test_a_parameter_owned_by_its_whole_name_is_owned_alone() -> None:
    pair = a_pair()
    pair.weight_10 = torch.nn.Parameter(torch.zeros(2))
    learner = Learner(pair, torch.nn.Module())
    assert list(learner.owned_by(Player("layer", owns=("pair.weight_1",)))) == ["pair.weight_1"]
    assert {"pair.weight_1", "pair.weight_10"} <= learner.owned_by(Player("all", owns=("pair.weight",))).keys()
