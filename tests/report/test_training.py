"""The page's section on training: of one player, of several, of none."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.inference import ELBO, IWELBO, MMD, PCD, Auto, EnergyDistance, Hinge, NonSaturating
from ppgen.models import VAE, Boltzmann
from ppgen.pages.numbers import number
from ppgen.report import page as report
from ppgen.report.training import training
from ppgen.runs import record
from ppgen.training import stepping
from ppgen.training.metrics import evened
from tests.diagnosed import label_of
from tests.implicit import Push, ring
from tests.reported import Page, pictures_run, tiny_run, trained


def test_a_run_without_a_record_has_a_page() -> None:
    run = pictures_run()
    run.metrics = []
    page = Page(report.render(run))
    assert "Training" not in page.text
    assert "none yet" in page.text


def test_a_record_cut_before_its_first_validation_has_a_page() -> None:
    run = pictures_run()
    run.metrics = run.metrics[:1]
    assert "Training" in Page(report.render(run)).text


def test_the_page_of_a_trained_run_tells_its_training(tmp_path: Path) -> None:
    data = ppgen.load_data("digits")
    pair = VAE(data.spec, 2, hidden=(4,))
    run = ppgen.fit(pair, data, IWELBO(num_particles=2), steps=3, eager=True, out=tmp_path / "run")
    page = Page(report.write_report(run).read_text(encoding="utf-8"))
    assert any(part.startswith("3 steps, 0.0 passes") for part in page.text)
    assert f"{number(run.metrics[-1]['bound'])}" in page.text
    assert any("iwelbo" in part and "num particles = 2" in part for part in page.text)


def test_pictures_over_training_are_a_row_for_each_moment(tmp_path: Path) -> None:
    spec = DataSpec("greys", 12, "quantised", image_shape=(3, 4), levels=5)
    train, valid, test = ((torch.randint(5, (12, 12)) / 4,) for _ in range(3))
    _, page = trained(Dataset(spec, train, valid, test), ELBO(), VAE(spec, 2, hidden=(4,)), tmp_path)
    alts = [image["alt"] for image in page.all("img")]
    for moment in ("0 steps", "1 step", "2 steps", "4 steps"):
        assert f"10 samples after 0, 1, 2 and 4 steps. {moment}" in alts
        assert moment in page.text


def test_every_player_has_a_chart_of_its_own_loss(tmp_path: Path) -> None:
    data = ring(60)
    run, page = trained(data, NonSaturating(hidden=(4,)), Push(data.spec), tmp_path)
    labels = " ".join(str(chart["aria-label"]) for chart in page.all("svg"))
    for player in ("critic", "generator"):
        loss = [line[f"{player}/loss"] for line in run.metrics if line["split"] == "train"]
        assert f"train {player} loss: {number(loss[0])} at first, {number(loss[-1])} at last." in labels
    assert "valid critic loss" in labels
    assert "valid generator loss" not in labels
    margin = [line["critic/real"] - line["critic/fake"] for line in run.metrics if line["split"] == "train"]
    assert f"critic at data less at samples: {number(margin[0])} at first, {number(margin[-1])} at last." in labels
    ends = {
        key: [line[f"critic/{key}"] for line in run.metrics if line["split"] == "train"] for key in ("real", "fake")
    }
    for key, where in (("real", "data"), ("fake", "samples")):
        first, last = number(ends[key][0]), number(ends[key][-1])
        assert f"critic at {where}: {first} at first, {last} at last." in labels
    for player in ("critic", "generator"):
        norm = [line[f"{player}/gradient_norm"] for line in run.metrics if line["split"] == "train"]
        assert f"gradient of the {player}: {number(norm[0])} at first, {number(norm[-1])} at last." in labels
    assert any("validation is of the critic alone" in part for part in page.text)


def test_an_energy_based_run_shows_energies_and_says_that_its_loss_is_no_fit() -> None:
    run = tiny_run("rbm")
    run.objective = PCD(num_chains=4)
    run.metrics = [
        {"step": step, "epoch": 1.0, "seconds": 1.0, "split": split, "loss": 0.1, "free_energy": energy}
        for step, energy in ((1, -2.0), (2, -3.0))
        for split in ("train", "valid")
    ]
    without = training(run)
    assert without is not None
    assert "less that of chains" not in without.text  # as of patterns that are stored
    run.metrics = [{**line, "energy_gap": 0.1} for line in run.metrics]
    section = training(run)
    assert section is not None
    first, second = map(label_of, section.figures)
    assert "train: −2.00 at first, −3.00 at last. valid: −2.00 at first, −3.00 at last." in first
    assert "train loss" in second
    assert "no measure of fit" in section.text


def test_a_last_report_of_a_few_steps_is_taken_with_the_one_before() -> None:
    """400 steps of loss 2 and 100 of loss 12: a mean of 4; one of half as many steps stands by itself."""
    reports: list[dict[str, Any]] = [
        {"step": 400, "seconds": 1.0, "loss": 2.0},
        {"step": 500, "seconds": 2.0, "loss": 12.0},
    ]
    assert evened(reports) == [reports[0], {"step": 500, "seconds": 2.0, "loss": 4.0}]
    reports[1]["step"] = 600
    assert evened(reports) == reports
    assert evened(reports[:1]) == reports[:1]


def test_seconds_of_training_are_without_those_of_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compilation that takes an hour leaves the record's seconds as they are."""
    data = ring(20)
    clock = itertools.count()
    hour = 3600.0

    def compiled(step: Any, *arguments: Any, choices: Any) -> Any:
        for _ in range(int(hour)):
            next(clock)
        return step

    monkeypatch.setattr(stepping, "compiled", compiled)
    monkeypatch.setattr(stepping, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    monkeypatch.setattr(record, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    run = ppgen.fit(Push(data.spec), data, MMD(), steps=1, batch_size=8)
    assert 0 < run.metrics[-1]["seconds"] < 100


def test_a_criterion_of_energies_is_told_as_a_fit_and_a_negative_phase_is_not() -> None:
    data = ppgen.dataset_from(torch.rand(40, 3).round())
    said = {}
    for objective in ("pseudolikelihood", "pcd"):
        run = ppgen.fit(Boltzmann(data.spec), data, objective, steps=2, eager=True)
        section = training(run)
        assert section is not None
        said[objective] = section.text
        assert "Filters" not in Page(report.render(run)).text  # no hidden units
    assert "no measure of fit" in said["pcd"]
    assert "no measure of fit" not in said["pseudolikelihood"]
    assert all("Free energies are known up to log Z" in text for text in said.values())


@pytest.mark.parametrize(("loss", "real", "told"), [(1e-4, 9.0, True), (0.3, 9.0, False), (1e-4, 0.1, False)])
def test_a_critic_that_tells_every_draw_from_data_is_named(loss: float, real: float, told: bool) -> None:
    """A loss of zero with outputs far apart, and not one of zero because they agree, as a Wasserstein loss is."""
    run = ppgen.fit(Push(DataSpec("plane", 2, "real")), ring(), NonSaturating(hidden=(3,)), steps=1, eager=True)
    line = next(line for line in run.metrics if line["split"] == "train")
    run.metrics = [line | {"step": step} for step in range(10, 50, 10)]
    run.metrics += [
        line | {"step": s, "critic/loss": loss, "critic/real": real, "critic/fake": 0} for s in (50, 60, 70)
    ]
    found = training(run)
    assert found is not None
    assert ("critic's loss has been zero since step 50: it tells every draw from data" in found.text) == told


@pytest.mark.thorough
def test_a_loss_that_is_no_nats_is_not_drawn_as_nats(tmp_path: Path) -> None:
    data = ring(60)
    for objective, axis in ((MMD(), "loss against"), (EnergyDistance(), "loss in the units of x against")):
        _, page = trained(data, objective, Push(data.spec), tmp_path / type(objective).__name__)
        labels = " ".join(str(chart["aria-label"]).lower() for chart in page.all("svg"))
        assert axis in labels
        assert "nats per datum against" not in labels


def test_a_page_names_the_options_that_were_chosen(tmp_path: Path) -> None:
    data = ring(60)
    game = Hinge(hidden=(4,), r1=0.5)
    _, page = trained(data, game, Push(data.spec), tmp_path)
    assert "trained with hinge, r1 = 0.5, hidden = [4]" in page.text


def test_what_a_choosing_run_played_is_told_with_the_work_of_each() -> None:
    data = ppgen.load_data("linear_gaussian", num_features=3, num_data=50)
    options: dict[str, Any] = {"steps": 4, "batch_size": 10, "eager": True, "progress": False}
    run = ppgen.fit(ppgen.models.LinearGaussian(data.spec), data, Auto(every=2), **options)
    assert {"split": "choice", "step": 2}.items() <= run.metrics[1].items()
    run.metrics[0]["played"], run.metrics[1]["played"] = "elbo", "stl"
    page = Page(report.render(run))
    assert any("elbo from step 0, stl from step 2" in part for part in page.text)
    assert "root mean square x seconds of a gradient" in page.text  # at the axis
    run.metrics = run.metrics[:1]  # a record that was cut before its first report
    assert "Training" not in Page(report.render(run)).text
