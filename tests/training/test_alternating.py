"""Data sets whose batches take turns in one training: order, weights, resuming, compiled steps."""

from __future__ import annotations

import warnings
from collections import Counter
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
from ppgen.inference import ELBO, IWELBO
from ppgen.training.batches import Batches, Interleaved
from tests.training.test_training import _stop_after

LABELLED, UNLABELLED = 7, 23
EAGER: dict[str, Any] = {"eager": True, "validate_every": 4, "lr": 1e-2, "checkpoint_seconds": 0.0}


def rows(num: int, start: int = 0) -> Tensor:
    """(num, 2), all different."""
    return torch.arange(start, start + 2 * num, dtype=torch.float32).reshape(num, 2) / 50


X, Y, ALONE = rows(LABELLED), torch.arange(LABELLED) % 3, rows(UNLABELLED, 100)


class Halves(ppgen.Pair):
    """A label y ~ Categorical(pi), observed for some, and x ~ N(loc_y, 1) of it; another guide for each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(3))
        self.loc = nn.Parameter(torch.linspace(-1, 1, 3))
        self.calls: list[tuple[Tensor, Tensor | None]] = []

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        self.calls.append((x, y))
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0).expand([len(x)]))  # (K, B)
            loc = z if y is None else z + self.loc[y]
            logits = self.logits if y is None else self.logits.log_softmax(0)
            mean = (loc + logits.mean())[..., None] + torch.zeros_like(x)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)
            if y is not None:
                pyro.sample("y", dist.Categorical(logits=self.logits), obs=y)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        with self.data_plate(x):
            shift = 0.0 if y is None else self.loc[y]
            pyro.sample("z", dist.Normal(x.mean(1) - shift, 1.0))


def test_an_epoch_shows_every_datum_of_every_part_once_spread_evenly() -> None:
    batches = Interleaved([(X, Y), (ALONE,)], 4, seed=0)
    assert batches.per_epoch == 2 + 6
    for epoch in range(3):
        places = [batches.at(epoch * 8 + place) for place in range(8)]
        turns = [(part, batches.parts[part].take(rows)) for part, rows in places]
        assert [part for part, _ in turns] == [1, 0, 1, 1, 1, 0, 1, 1]
        for part, data in enumerate(((X, Y), (ALONE,))):
            shown = [torch.cat(entries) for entries in zip(*(b for p, b in turns if p == part), strict=True)]
            order = shown[0][:, 0].argsort()
            assert all(torch.equal(a[order], b) for a, b in zip(shown, data, strict=True))
        sizes = [len(batch[0]) for part, batch in turns if part == 1]
        assert (min(sizes), max(sizes)) == (3, 4)


@pytest.mark.parametrize("sizes", [(1, 99), (5, 5), (3, 10, 20), (7, 1)])
def test_turns_are_shared_in_proportion_at_every_moment(sizes: tuple[int, ...]) -> None:
    """After t of n turns, part p has had n_p t / n of them, give or take one."""
    batches = Interleaved([(torch.zeros(size, 1),) for size in sizes], 1, seed=0)
    taken: Counter[int] = Counter()
    for turn in range(1, sum(sizes) + 1):
        taken[batches.at(turn - 1)[0]] += 1
        assert all(abs(taken[part] - size * turn / sum(sizes)) <= 1 for part, size in enumerate(sizes))


def test_the_turn_and_its_batch_are_a_function_of_seed_and_cursor() -> None:
    one, two = (Interleaved([(X, Y), (ALONE,)], 4, seed=5) for _ in range(2))
    for cursor in (11, 3, 20):
        _ = one.at(cursor)
    assert all(torch.equal(one.at(9)[1][0], other) for other in (two.at(9)[1][0], one.at(9)[1][0]))
    other = Interleaved([(X, Y), (ALONE,)], 4, seed=6)
    assert not all(torch.equal(one.at(n)[1][0], other.at(n)[1][0]) for n in range(8))


def test_one_data_set_has_the_batches_it_had_alone() -> None:
    alone, only = Batches((ALONE,), 4, seed=2), Interleaved([(ALONE,)], 4, seed=2)
    assert only.per_epoch == alone.per_epoch == 5
    assert all(torch.equal(only.at(n)[1], alone.rows(n)) for n in range(12))


def test_a_batch_of_all_data_has_them_in_their_order() -> None:
    for size in (LABELLED, 1000):
        assert all(torch.equal(Batches((X, Y), size, seed=n)[n][0], X) for n in range(3))
    mixed = Interleaved([(X, Y), (ALONE,)], 10, seed=0)
    assert torch.equal(next(rows for part, rows in map(mixed.at, range(4)) if part == 0), torch.arange(len(X)))


def test_the_model_is_called_with_each_part_s_own_arguments() -> None:
    pair = Halves()
    run = ppgen.fit(pair, [(X, Y), (ALONE,)], ELBO(), epochs=1, batch_size=4, **EAGER)
    shown = pair.calls[-8:]
    assert [y is not None for _, y in shown] == [False, True, False, False, False, True, False, False]
    assert len({float(x[0]) for batch, _ in shown for x in batch}) == LABELLED + UNLABELLED
    assert run.metrics[-1]["epoch"] == 1.0
    assert pair.logits.grad is not None


def test_resuming_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _resumes(tmp_path, monkeypatch, EAGER, UNLABELLED)


@pytest.mark.thorough
def test_resuming_compiled_steps_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # every step is compiled
        _resumes(tmp_path, monkeypatch, {**EAGER, "eager": False}, 8)
    eager = Halves()
    ppgen.fit(eager, _parts(8), IWELBO(num_particles=3), steps=12, batch_size=4, **EAGER)
    tensors, _ = read_checkpoint(tmp_path / "whole" / "checkpoint.safetensors")
    assert torch.allclose(tensors["learner.pair.loc"], eager.loc, atol=1e-5)  # twelve steps of 1e-2 in float32


def _parts(unlabelled: int = UNLABELLED) -> list[Any]:
    return [as_dataset((X, Y), valid=(X[:2], Y[:2])), (ALONE[:unlabelled],)]


def _resumes(folder: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], unlabelled: int) -> None:
    def train(name: str, *, resume: bool = False) -> ppgen.Run:
        all_of_it = {"steps": 12, "batch_size": 4, "out": folder / name, "resume": resume, **options}
        return ppgen.fit(Halves(), _parts(unlabelled), IWELBO(num_particles=3), **all_of_it)

    whole = train("whole")
    _stop_after(5, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train("cut")
    monkeypatch.undo()
    cut = train("cut", resume=True)
    one, two = (read_checkpoint(folder / name / "checkpoint.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[0][name], two[0][name]) for name in one[0].keys() | two[0].keys())
    assert one[1]["cursor"] == two[1]["cursor"] == 12
    for a, b in zip(whole.metrics, cut.metrics, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


def _value(data: Any, split: str) -> float:
    """The bound that training reports at the pair as it begins, per datum: one turn a batch, a rate of nearly 0."""
    run = ppgen.fit(Halves(), data, ELBO(num_particles=2000), steps=2, batch_size=100, **{**EAGER, "lr": 1e-12})
    return next(float(line["bound"]) for line in run.metrics if line["split"] == split)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_reports_weigh_every_datum_alike(split: str) -> None:
    parts = [as_dataset((X, Y), valid=(X, Y)), as_dataset((ALONE,), valid=(ALONE,))]
    one, two = (_value(part, split) for part in parts)
    both = (LABELLED * one + UNLABELLED * two) / (LABELLED + UNLABELLED)
    # standard errors of the three, in nats: below 0.02 each (2,000 particles; log-weights deviate by 2 at most)
    assert _value(parts, split) == pytest.approx(both, abs=0.05)
    assert abs(one - two) > 0.2


def test_an_epoch_of_gradients_is_that_of_all_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps on parts of unlike sizes are weighted by their sizes: their sum is proportional to the full gradient."""

    class Mean(ppgen.Pair):
        def __init__(self) -> None:
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(2))

        def model(self, x: Tensor) -> None:
            with self.data_plate(x):
                pyro.sample("x", dist.Normal(self.loc, 1.0).to_event(1), obs=x)

        def guide(self, x: Tensor) -> None:
            pass

    seen = []
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: seen.append(self.param_groups[0]["params"][0].grad))
    few, many = rows(3), rows(20, 10)
    ppgen.fit(Mean(), [few, many], ELBO(), epochs=1, batch_size=10, **EAGER)
    total = torch.stack(seen).sum(0)
    assert torch.allclose(total * 10, -torch.cat([few, many]).sum(0), rtol=1e-5)  # float32; B = 10


def test_a_loaded_run_and_a_diagnosis_look_at_the_first_part(tmp_path: Path) -> None:
    run = ppgen.fit(Halves(), _parts(), ELBO(), steps=3, batch_size=4, out=tmp_path, **EAGER)
    again = ppgen.load(tmp_path, pair=Halves(), data=_parts())
    assert again.data.sha256 == run.data.sha256
    assert (found := again.evaluate(particles=3)).split == "valid"
    assert found.num_data == 2
    assert again.diagnose(split="train", num_particles=200, questions=["importance"]).num_data == LABELLED


def test_parts_that_the_model_does_not_take_are_refused() -> None:
    with pytest.raises(ppgen.UsageError, match="batches of 3 tensors, and the model takes"):
        ppgen.fit(Halves(), [(X, Y), (X, Y, Y)], ELBO(), steps=1, **EAGER)


def test_latents_of_the_whole_data_set_are_not_weighed_by_one_part() -> None:
    class Shared(ppgen.Pair):
        def __init__(self) -> None:
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(()))

        def model(self, x: Tensor) -> None:
            g = pyro.sample("g", dist.Normal(0.0, 1.0))
            with self.data_plate(x):
                pyro.sample("x", dist.Normal(g[..., None] + torch.zeros_like(x), 1.0).to_event(1), obs=x)

        def guide(self, x: Tensor) -> None:
            pyro.sample("g", dist.Normal(self.loc, 1.0))

    for question in ("global_importance", "leave_one_out"):
        found = ppgen.diagnose(Shared(), as_dataset([X, ALONE]), num_particles=200, questions=[question]).findings[0]
        assert (found.status, "one of 2 parts" in found.meaning) == ("unknown", True)
        alone = ppgen.diagnose(Shared(), X, num_particles=200, questions=[question]).findings[0]
        assert "parts" not in alone.meaning
