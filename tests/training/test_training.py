"""Training: the loop, resuming to the bit, early stopping, what cannot go on."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.data import as_dataset
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import ELBO, IWELBO, Beta
from ppgen.models import VAE
from ppgen.schedules import linear
from ppgen.training.batches import Batches
from ppgen.training.options import TrainingOptions
from ppgen.training.stopping import EarlyStopping
from ppgen.training.trainer import Trainer
from tests.doubles import Line, data

QUICK: dict[str, Any] = {"eager": True, "batch_size": 10, "lr": 1e-2, "validate_every": 5, "checkpoint_seconds": 0.0}


def _data(rows: int = 60) -> ppgen.Dataset:
    generator = torch.Generator().manual_seed(7)
    x = (torch.rand(rows, 6, generator=generator) < torch.linspace(0.1, 0.9, 6)).float()
    return ppgen.dataset_from(x, observation="binary")


def _pair(data: ppgen.Dataset, seed: int = 0) -> VAE:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VAE(data.spec, 2, hidden=(4,))


def test_batches_show_every_datum_once_an_epoch_and_repeat_from_their_cursor() -> None:
    data = (torch.arange(10.0), torch.arange(10))
    batches = Batches(data, 3, seed=1)
    shown = torch.cat([batches[n][0] for n in range(3)])
    assert len(shown.unique()) == 9
    assert not torch.equal(shown, torch.cat([batches[n][0] for n in range(3, 6)]))
    assert all(torch.equal(a, b) for a, b in zip(batches[4], Batches(data, 3, seed=1)[4], strict=True))
    assert not torch.equal(batches[0][0], Batches(data, 3, seed=2)[0][0])


def test_a_batch_of_all_the_data_is_made_once_and_is_no_part_of_them() -> None:
    data = torch.arange(10.0)
    batches = Batches((data,), 10, seed=1)
    (first,) = batches[0]
    assert batches[1][0] is first
    first[0] = 7
    assert torch.equal(batches[2][0], torch.arange(10.0))
    assert torch.equal(data, torch.arange(10.0))


@pytest.mark.parametrize("objective", [ELBO, 3], ids=["a class", "a number"])
def test_what_is_no_objective_is_refused_before_anything_is_written(objective: Any, tmp_path: Path) -> None:
    with pytest.raises(ppgen.UsageError, match=r"expected an objective, such as ppgen.inference.ELBO\(\)"):
        ppgen.fit(_pair(_data()), _data(), objective, steps=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_objective_may_be_given_by_its_registered_name() -> None:
    run = ppgen.fit(_pair(_data()), _data(), "iwelbo", steps=1, eager=True)
    assert type(run.objective).__name__ == "IWELBO"


def test_fit_raises_the_bound_and_leaves_global_state_alone() -> None:
    data = _data(300)
    pair = _pair(data)
    before = torch.get_rng_state()
    run = ppgen.fit(pair, data, ELBO(), steps=200, **{**QUICK, "validate_every": 50})
    bounds = [line["bound"] for line in run.metrics if line["split"] == "valid"]
    assert bounds[-1] > bounds[0]
    assert run.directory is None
    assert torch.equal(before, torch.get_rng_state())
    assert not dict(pyro.get_param_store())


def test_metrics_hold_the_train_report_and_the_validation_bound(tmp_path: Path) -> None:
    data = _data()
    run = ppgen.fit(_pair(data), data, ELBO(), steps=10, out=tmp_path / "run", **QUICK)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines == run.metrics
    assert [(line["step"], line["split"]) for line in lines] == [
        (5, "train"),
        (5, "valid"),
        (10, "train"),
        (10, "valid"),
    ]
    assert set(lines[0]) >= {"loss", "bound", "gradient_norm", "learning_rate", "epoch", "seconds"}
    assert lines[0]["loss"] == pytest.approx(-lines[0]["bound"])


@pytest.mark.parametrize(
    "objective", [IWELBO(num_particles=3), Beta(beta=linear(0.0, 1.0, 20))], ids=["iwelbo", "beta"]
)
def test_a_run_that_was_stopped_ends_with_the_same_bits(
    tmp_path: Path, objective: ppgen.Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _data()
    whole = ppgen.fit(_pair(data), data, objective, steps=17, out=tmp_path / "whole", patience=50, **QUICK)
    _stop_after(7, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        ppgen.fit(_pair(data), data, objective, steps=17, out=tmp_path / "cut", patience=50, **QUICK)
    monkeypatch.undo()
    again = ppgen.fit(
        _pair(data, seed=5), data, objective, steps=17, out=tmp_path / "cut", resume=True, patience=50, **QUICK
    )
    one, two = (read_checkpoint(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "cut"))
    assert one[0].keys() == two[0].keys()
    assert all(torch.equal(one[0][name], two[0][name]) for name in one[0])
    assert _untimed(whole.metrics) == _untimed(again.metrics)
    assert {k: v for k, v in one[1].items() if k not in ("seconds", "metrics", "record")} == {
        k: v for k, v in two[1].items() if k not in ("seconds", "metrics", "record")
    }


@pytest.mark.parametrize("patience", [None, 1], ids=["to the end", "with patience"])
def test_a_run_that_was_lengthened_ends_with_the_bits_of_one_that_was_long(
    tmp_path: Path, patience: int | None
) -> None:
    """Seven turns end between two validations, and with the best parameters of an earlier one."""
    data, options = _data(), {**QUICK, "schedule": "constant", "patience": patience, "window": 1, "lr": 0.3}
    long = ppgen.fit(_pair(data), data, ELBO(), steps=30, out=tmp_path / "long", **options)
    for steps, seed in ((7, 0), (13, 5), (30, 6)):
        resume = steps > 7
        last = ppgen.fit(
            _pair(data, seed), data, ELBO(), steps=steps, out=tmp_path / "lengthened", resume=resume, **options
        )
    one, two = (read_checkpoint(tmp_path / name / "checkpoint.safetensors")[0] for name in ("long", "lengthened"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert _untimed(long.metrics) == _untimed(last.metrics)
    assert all(torch.equal(a, b) for a, b in zip(long.pair.parameters(), last.pair.parameters(), strict=True))


def test_the_best_parameters_are_those_that_are_used_and_the_last_those_that_are_gone_on_from(tmp_path: Path) -> None:
    data = ppgen.load_data("digits")
    pair = VAE(data.spec, 2, hidden=(4,))
    options = {**QUICK, "lr": 1.0, "patience": 2, "window": 1, "validate_every": 1}
    ppgen.fit(pair, data, ELBO(), steps=40, out=tmp_path, **options)
    tensors, _ = read_checkpoint(tmp_path / "checkpoint.safetensors")
    loaded = ppgen.load(tmp_path).pair.state_dict()
    assert all(torch.equal(loaded[name], tensors[f"best.pair.{name}"]) for name in loaded)
    assert not all(torch.equal(loaded[name], tensors[f"learner.pair.{name}"]) for name in loaded)
    assert all(torch.equal(loaded[name], value) for name, value in pair.state_dict().items())


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path: Path) -> None:
    data = _data()
    ppgen.fit(_pair(data), data, ELBO(), steps=7, out=tmp_path, **QUICK)
    before = read_checkpoint(tmp_path / "checkpoint.safetensors")[0]
    run = ppgen.fit(_pair(data, 3), data, ELBO(), steps=7, out=tmp_path, resume=True, **QUICK)
    after = read_checkpoint(tmp_path / "checkpoint.safetensors")[0]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [line["step"] for line in run.metrics] == [5, 5, 7, 7]


def test_what_was_recorded_after_the_checkpoint_is_cut_off_on_resume(tmp_path: Path) -> None:
    data = _data()
    ppgen.fit(_pair(data), data, ELBO(), steps=5, out=tmp_path, **QUICK)
    file = tmp_path / "metrics.jsonl"
    kept = file.read_text()
    file.write_text(kept + '{"step": 6, "split": "tr')
    run = ppgen.fit(_pair(data), data, ELBO(), steps=10, out=tmp_path, resume=True, **QUICK)
    assert file.read_text().startswith(kept)
    assert [line["step"] for line in run.metrics] == [5, 5, 10, 10]


def test_a_run_is_not_resumed_with_another_objective_or_seed(tmp_path: Path) -> None:
    data = _data()
    ppgen.fit(_pair(data), data, ELBO(), steps=5, out=tmp_path, **QUICK)
    with pytest.raises(ppgen.UsageError, match=r"objective name = 'elbo'.*'iwelbo'"):
        ppgen.fit(_pair(data), data, IWELBO(), steps=5, out=tmp_path, resume=True, **QUICK)
    with pytest.raises(ppgen.UsageError, match="training seed = 0, this one has 3"):
        ppgen.fit(_pair(data), data, ELBO(), steps=5, out=tmp_path, resume=True, seed=3, **QUICK)
    with pytest.raises(ppgen.UsageError, match="holds a run already"):
        ppgen.fit(_pair(data), data, ELBO(), steps=5, out=tmp_path, **QUICK)


def test_load_gives_the_trained_pair_back(tmp_path: Path) -> None:
    data = ppgen.load_data("digits")
    pair = VAE(data.spec, 2, hidden=(4,))
    run = ppgen.fit(pair, data, ELBO(), steps=5, out=tmp_path, **QUICK)
    loaded = ppgen.load(tmp_path)
    assert loaded.metrics == run.metrics
    assert loaded.objective == ELBO()
    assert all(torch.equal(a, b) for a, b in zip(pair.parameters(), loaded.pair.parameters(), strict=True))
    assert loaded.evaluate(particles=10, num_data=20) == run.evaluate(particles=10, num_data=20)


def test_early_stopping_stops_and_keeps_the_best() -> None:
    stopping, module = EarlyStopping(patience=2, window=1), nn.Linear(1, 1)
    for bound, weight in ((0.0, 1.0), (2.0, 2.0), (1.0, 3.0), (1.5, 4.0)):
        assert not stopping.done
        nn.init.constant_(module.weight, weight)
        stopping.see(bound, module)
    assert stopping.done
    stopping.take_best(module)
    assert module.weight.item() == 2.0


def test_a_window_smooths_a_noisy_bound() -> None:
    stopping = EarlyStopping(patience=2, window=4)
    for step in range(20):
        stopping.see(step + 3.0 * (-1) ** step, nn.Linear(1, 1))
        assert not stopping.done


def test_clip_norm_bounds_the_gradient_that_the_optimizer_sees() -> None:
    data = _data()
    pair = _pair(data)
    ppgen.fit(pair, data, ELBO(), steps=1, clip_norm=1e-3, **QUICK)
    norm = torch.stack([p.grad.norm() for p in pair.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-4)


def test_the_learning_rate_follows_its_schedule() -> None:
    data = _data()
    run = ppgen.fit(_pair(data), data, ELBO(), steps=10, schedule="cosine", **QUICK)
    rates = [line["learning_rate"] for line in run.metrics if line["split"] == "train"]
    assert rates == pytest.approx([0.5e-2, 0.0])


def test_a_schedule_of_particles_and_one_of_beta_train() -> None:
    data = _data()
    growing = ppgen.make_objective("iwelbo", num_particles="stepwise((0, 5), (1, 4))")
    run = ppgen.fit(_pair(data), data, growing, steps=10, **QUICK)
    assert len(run.metrics) == 4
    ppgen.fit(_pair(data), data, Beta(beta=linear(0, 1, 5)), steps=10, **QUICK)


def test_functions_with_pyro_param_and_module_train() -> None:
    data = _data(200)
    encoder = nn.Linear(6, 2)

    def model(x: Tensor) -> None:
        weight = pyro.param("weight", torch.zeros(1, 6))
        spread = pyro.param("spread", torch.ones(()), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, spread).expand([1]).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z @ weight).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x), dim=-1):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    before = encoder.weight.detach().clone()
    run = ppgen.fit(ppgen.pair_from(model, guide), data, ELBO(), steps=50, **{**QUICK, "validate_every": 25})
    bounds = [line["bound"] for line in run.metrics if line["split"] == "valid"]
    assert bounds[-1] > bounds[0]
    assert not torch.equal(before, encoder.weight)
    assert len(list(run.pair.parameters())) == 4


def test_an_autoguide_and_a_plain_module_train() -> None:
    data = _data(200)

    def model(x: Tensor) -> None:
        rate = pyro.sample("rate", dist.Beta(x.new_ones(6), x.new_ones(6)).to_event(1))
        with pyro.plate("data", 120, subsample=torch.arange(len(x)), dim=-1):
            pyro.sample("x", dist.Bernoulli(rate).to_event(1), obs=x)

    guide = pyro.infer.autoguide.AutoNormal(model)
    options = {**QUICK, "lr": 0.05, "validate_every": 100}
    ppgen.fit(ppgen.pair_from(model, guide), data, ELBO(), steps=300, **options)
    posterior = guide.median()["rate"]
    rows = data.train[0]
    exact = (1 + rows.sum(0)) / (2 + len(rows))
    assert torch.allclose(posterior, exact, atol=0.1)  # the posterior's standard deviation is at most 0.045

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = VAE(data.spec, 2, hidden=(4,))

        def model(self, x: Tensor) -> None:
            self.inner.model(x)

        def guide(self, x: Tensor) -> None:
            self.inner.guide(x)

    run = ppgen.fit(Plain(), data, ELBO(), steps=20, **QUICK)
    assert len(list(run.pair.parameters())) == len(list(_pair(data).parameters()))


class _Branches(ppgen.Pair):
    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(6))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            shift = 0.1 if x.sum() > 3 else 0.0
            pyro.sample("x", dist.Bernoulli(logits=self.logits + shift).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pass


def test_a_pair_that_cannot_be_traced_trains_eagerly_and_says_where_once() -> None:
    data = _data()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ppgen.fit(_Branches(), data, ELBO(), steps=3, **{**QUICK, "eager": False})
    messages = [str(w.message) for w in caught if "trains eagerly" in str(w.message)]
    assert len(messages) == 1
    assert "test_training.py" in messages[0]


@pytest.mark.slow
def test_a_compiled_run_equals_an_eager_one_and_resumes_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, options = _data(), {**QUICK, "eager": False}
    whole = _pair(data)
    ppgen.fit(whole, data, IWELBO(num_particles=3), steps=12, out=tmp_path / "whole", **options)
    eager = _pair(data)
    ppgen.fit(eager, data, IWELBO(num_particles=3), steps=12, **QUICK)
    for a, b in zip(whole.parameters(), eager.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)  # float32 rounding over twelve Adam steps of 1e-2
    _stop_after(7, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        ppgen.fit(_pair(data), data, IWELBO(num_particles=3), steps=12, out=tmp_path / "cut", **options)
    monkeypatch.undo()
    ppgen.fit(_pair(data), data, IWELBO(num_particles=3), steps=12, out=tmp_path / "cut", resume=True, **options)
    one, two = (read_checkpoint(tmp_path / name / "checkpoint.safetensors")[0] for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def _stop_after(turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during a turn."""
    import os
    import signal

    from ppgen.training.trainer import Trainer

    take_turn = Trainer.take_turn

    def interrupted(self: Trainer) -> None:
        if self.turn + 1 == turns:
            os.kill(os.getpid(), signal.SIGINT)
        take_turn(self)

    monkeypatch.setattr(Trainer, "take_turn", interrupted)


def _untimed(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in metrics]


def test_an_evaluation_of_the_parameters_before_is_not_kept_when_training_goes_on(tmp_path: Path) -> None:
    data = _data()
    run = ppgen.fit(_pair(data), data, ELBO(), steps=2, out=tmp_path, **QUICK)
    run.evaluate(particles=2)
    assert run.evaluation is not None
    assert ppgen.fit(_pair(data), data, ELBO(), steps=4, out=tmp_path, resume=True, **QUICK).evaluation is None


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_validation_is_per_datum_however_the_data_are_cut(rows: int) -> None:
    """Under the exact guide every log-weight is log p(x): the loss is minus its mean over the 5 data held out."""
    pair, held_out = Line().land(), data(5, seed=2)
    options = TrainingOptions(eager=True, batch_size=4, steps=1)
    trainer = Trainer(pair, as_dataset(data(12), valid=held_out), ELBO(), options)
    expected = float(pair.log_evidence(held_out).detach().mean())
    found = trainer.validate(rows)
    assert found["loss"] == pytest.approx(-expected)
    assert found["bound"] == pytest.approx(expected)


def test_a_guide_with_parameters_for_each_datum_is_trained_on_all_data_at_once() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def fit(batch_size: int) -> None:
        pyro.clear_param_store()
        pair = ppgen.pair_from(model, pyro.infer.autoguide.AutoNormal(model))
        ppgen.fit(pair, torch.ones(6), ELBO(), eager=True, batch_size=batch_size, steps=1)

    with pytest.raises(
        ppgen.UsageError, match=r"parameters for each datum \(z\), and batches of 3 of 6 data would share"
    ):
        fit(3)
    fit(6)
