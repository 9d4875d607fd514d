"""The card of a run: what it says, when it is written, and what of a person's it leaves alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ppgen
from ppgen.runs.card import CARD, card, write_card
from tests.doubles import Line, data

SAVED = Path(__file__).with_name("saved")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that an earlier version wrote, evaluated and diagnosed, without a card."""
    return Path(shutil.copytree(SAVED / "vae", tmp_path / "r"))


def test_it_says_what_the_run_is_its_numbers_and_whether_to_believe_them(folder: Path) -> None:
    run, text = ppgen.load(folder), card(folder)
    assert run.evaluation is not None
    assert run.diagnosis is not None
    assert text.startswith("# vae on digits by iwelbo\n")
    assert "| objective | `iwelbo(num_particles=2)` |" in text
    assert run.evaluation.sentence in text
    assert run.diagnosis.tally in text
    assert all(finding.title in text for finding in run.diagnosis)


def test_it_is_written_with_training_and_anew_with_an_evaluation_and_a_diagnosis(a_run: Path) -> None:
    file = a_run / CARD
    assert "has not been evaluated" in file.read_text()
    run = ppgen.load(a_run)
    found = run.evaluate(particles=2, num_data=3)
    assert found.sentence in file.read_text()
    assert "has not been diagnosed" in file.read_text()
    diagnosis = run.diagnose(num_data=3, num_particles=30, questions=["importance"])
    assert diagnosis.tally in file.read_text()


def test_what_a_person_writes_around_it_stays(a_run: Path) -> None:
    file = a_run / CARD
    file.write_text(f"My run.\n\n{file.read_text()}\nThanks.\n")
    ppgen.load(a_run).evaluate(particles=2, num_data=3)
    text = file.read_text()
    assert text.startswith("My run.\n\n---\nlibrary_name: ppgen\n")
    assert text.endswith("<!-- end of card -->\n\nThanks.\n")
    assert "K = 2, 3 data" in text


def test_a_readme_of_somebodys_own_is_left_alone(folder: Path) -> None:
    (folder / CARD).write_text("mine")
    write_card(folder)
    assert (folder / CARD).read_text() == "mine"


def test_it_says_what_must_be_given_again_to_load_the_run(tmp_path: Path) -> None:
    ppgen.fit(Line(), data(12), "elbo", steps=1, eager=True, out=tmp_path)
    text = (tmp_path / CARD).read_text()
    assert 'run = ppgen.load("this folder", pair=..., data=...)' in text
    assert "# data= the data, as they were given to fit" in text


def test_a_bar_in_a_name_does_not_break_its_table(folder: Path) -> None:
    lines = card(folder).splitlines()
    assert all(line.replace("\\|", "").count("|") in (0, 3, 6) for line in lines if line.startswith("|"))
