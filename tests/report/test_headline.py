"""What stands first on the page: the number, and the verdict of the diagnosis."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import ppgen
from ppgen.diagnostics.proof import Line
from ppgen.inference import ELBO, MMD, PCD
from ppgen.pages.numbers import number
from ppgen.report import page as report
from ppgen.report import proof
from ppgen.report.diagnosis import verdict
from tests.diagnosed import diagnosed, found
from tests.implicit import Push, ring
from tests.reported import Page, pictures_run, tiny_run


def test_the_headline_is_the_evaluation(tmp_path: Path) -> None:
    run = pictures_run(tmp_path)
    found = run.evaluate(particles=20)
    page = Page(report.render(run))
    assert number(found.log_likelihood) in page.text
    assert f"± {number(found.standard_error)}" in page.text
    assert found.sentence in page.text
    assert f"(K = 20, 12 data), {number(found.bits_per_dim or 0, 3)} bits per dimension" in found.sentence
    rows = [cell for point in found.curve for cell in (number(point.log_likelihood), number(point.standard_error))]
    assert all(row in page.text for row in rows)
    assert "Likelihood" in page.text


def test_a_run_without_evaluation_says_how_to_get_one(tmp_path: Path) -> None:
    page = Page(report.render(pictures_run(tmp_path)))
    assert "Last validation bound" in page.text
    assert "−5.33" in page.text
    assert any(f"ppgen evaluate {tmp_path}" in part for part in page.text)
    assert "Likelihood" not in page.text


def test_an_objective_that_is_no_bound_is_not_called_one() -> None:
    class NoBound(ELBO):
        is_bound = False

    run = pictures_run()
    run.objective = NoBound()
    assert "Last validation objective" in Page(report.render(run)).text


def test_an_implicit_pair_that_was_not_evaluated_has_no_number_in_its_place(tmp_path: Path) -> None:
    data = ring(60)
    run = ppgen.fit(Push(data.spec), data, MMD(), steps=2, batch_size=8, eager=True, out=tmp_path)
    assert report.headline(run).value == "none yet"
    assert report.headline(run).unit == ""
    assert "gives measures of its samples" in report.headline(run).notes[0]


def test_the_verdict_stands_beside_the_number_with_what_is_not_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "SECTIONS", [])
    warned = found("importance", {}) | {
        "title": "Well?",
        "number": 0.6,
        "threshold": 0.52,
        "direction": "at most",
        "quantity": "k-hat",
    }
    run = diagnosed(tmp_path, found("gaps", {}) | {"status": "good", "title": "Small?"}, warned)
    header = Page(report.render(run)).text
    assert "2 questions: 1 good, 1 in part" in header
    assert "in part: Well? k-hat 0.6, at most 0.52" in header
    assert not any("Small?" in part for part in header)


def test_a_run_that_was_not_diagnosed_says_how_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SECTIONS", [])
    assert any(f"ppgen diagnose {tmp_path}" in part for part in Page(report.render(pictures_run(tmp_path))).text)


def test_warnings_come_before_what_is_good_which_is_folded(tmp_path: Path) -> None:
    statuses = {"gaps": "good", "importance": "warn", "sandwich": "bad", "calibration": "good"}
    findings = [found(name, {}) | {"status": status, "title": name} for name, status in statuses.items()]
    section = verdict(diagnosed(tmp_path, *findings))
    assert section is not None
    lights, folded = str(section.figures[0].body).split("<details>")
    assert re.findall(r"<strong>(\w+)</strong>", lights) == ["sandwich", "importance"]
    assert re.findall(r"<strong>(\w+)</strong>", folded) == ["gaps", "calibration"]
    assert "<summary>2 questions found good</summary>" in folded


def test_a_light_leads_to_the_line_that_says_what_it_is_worth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(question="gaps", sound=7, red=0, yellow=1, kind="guide", bins=((1, 2),) * 4, nine_tenths=1.25)
    monkeypatch.setattr(proof, "proof_of", lambda: {"gaps": line})
    findings = [found(name, {}) | {"status": "good", "title": name} for name in ("gaps", "recall")]
    section = verdict(diagnosed(tmp_path, *findings))
    assert section is not None
    lights, lines = (str(figure.body) for figure in section.figures)
    assert re.findall(r'href="#(.*?)"', lights) == re.findall(r'<tr id="(.*?)"', lines) == ["proof-gaps"]
    assert re.findall(r"<td>(.*?)</td>", lines) == ["gaps", "7", "0", "1", "guide", *["1 of 2"] * 4, "1.2"]


def test_a_small_error_is_told_by_its_own_digits(tmp_path: Path) -> None:
    run = pictures_run(tmp_path)
    found = dataclasses.replace(run.evaluate(particles=2), log_likelihood=-1.23456, standard_error=0.00123)
    run.keep(found)
    first = report.headline(run)
    assert (first.value, first.error) == ("−1.2346", "0.0012")
    assert "-1.2346 ± 0.0012 nats" in found.sentence


def test_the_loss_of_an_energy_based_pair_is_no_headline() -> None:
    run = tiny_run("rbm")
    run.objective = PCD(num_chains=4)
    run.metrics = [{"step": 1, "epoch": 1.0, "seconds": 1.0, "split": "valid", "loss": 0.1}]
    first = report.headline(run)
    assert (first.what, first.value) == ("Test log-likelihood", "none yet")
