"""Questions fail, end and are interrupted one by one; what was found is kept."""

import json
import logging
import time
from pathlib import Path

import pytest
import torch

import ppgen
from ppgen.cli import main
from ppgen.diagnostics import QUESTIONS, Case, Diagnosis, Finding, asks, core
from ppgen.errors import UsageError
from ppgen.machine.progress import track
from tests.diagnostics.linear import data_of, exact, scaled

NAMES = ["importance", "collapse", "aggregate"]


def test_a_question_that_refuses_is_unanswered_and_the_others_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    @asks("Has it a tail?")
    def picky(case: Case) -> Finding | None:
        raise UsageError("it has no tail.")

    monkeypatch.setattr(core, "QUESTIONS", [picky, *QUESTIONS])
    pair = exact(torch.randn(4, 2))
    found = ppgen.diagnose(pair, data_of(pair, 20), questions=["picky", "importance"])
    assert (found["picky"].status, found["picky"].title) == ("unknown", "Has it a tail?")
    assert found["picky"].meaning == "No answer: it has no tail."
    assert found["importance"].status == "good"


@pytest.mark.parametrize(
    "error", [KeyError("z"), MemoryError(), ZeroDivisionError(), AssertionError(), OSError(2, "no")]
)
def test_whatever_a_question_raises_is_its_own_and_the_others_are_asked(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @asks("Does it hold?")
    def broken(case: Case) -> Finding | None:
        raise error

    monkeypatch.setattr(core, "QUESTIONS", [broken, *QUESTIONS])
    pair = exact(torch.randn(4, 2))
    with caplog.at_level(logging.DEBUG, "ppgen"):
        found = ppgen.diagnose(pair, data_of(pair, 20), num_particles=200, questions=["broken", "importance"])
    assert found["broken"].status == "unknown"
    assert found["broken"].meaning.startswith("No answer: ")
    assert found["broken"].meaning.endswith(".")
    assert found["importance"].status == "good"
    logged = caplog.records[0].exc_info
    assert logged is not None
    assert error in (logged[1], getattr(logged[1], "__cause__", None))


def test_ctrl_c_ends_a_diagnosis_and_what_was_found_is_kept(
    run: ppgen.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @asks("Is there time?")
    def stopped(case: Case) -> Finding | None:
        raise KeyboardInterrupt

    monkeypatch.setattr(core, "QUESTIONS", [*(q for q in QUESTIONS if q.name in NAMES[:1]), stopped, *QUESTIONS[-1:]])
    with pytest.raises(KeyboardInterrupt):
        run.diagnose(tmp_path, num_data=20, num_particles=200)
    kept = Diagnosis.from_json(json.loads((tmp_path / "diagnosis.json").read_text()))
    assert [one.question for one in kept] == NAMES[:1]
    assert kept.not_asked == ("stopped", QUESTIONS[-1].name)
    assert kept.verdict != "good"
    assert f"Stopped before these were asked: stopped, {QUESTIONS[-1].name}." in kept.sentence
    assert [file.name for file in tmp_path.iterdir()] == ["diagnosis.json"]
    options = ["--num-data", "20", "--particles", "200", "--out", str(tmp_path)]
    assert main(["diagnose", str(run.directory), *options]) == 130
    assert f"stopped; {tmp_path / 'diagnosis.json'} holds the 1 answers" in capsys.readouterr().err


def test_answers_that_cannot_be_written_as_they_come_are_not_lost(
    run: ppgen.Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*given: object, **options: object) -> None:
        raise UsageError("the disk is full.")

    monkeypatch.setattr("ppgen.runs.run.write_all", full)
    options = ["--num-data", "20", "--particles", "200", "--ask", "importance", "--ask", "collapse"]
    assert main(["diagnose", str(run.directory), *options]) == 2
    said = capsys.readouterr()
    assert "used?" in said.out  # the title of the second question, in a narrow column
    assert said.err == "ppgen: the disk is full.\n"


def test_a_question_out_of_time_says_so_and_the_others_have_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    @asks("Is it quick?")
    def slow(case: Case) -> Finding | None:
        for _ in track(range(1000), "slowly", False):
            time.sleep(0.01)
        return Finding(status="good")

    @asks("Is it there?")
    def there(case: Case) -> Finding | None:
        return Finding(status="good")

    monkeypatch.setattr(core, "QUESTIONS", [slow, there])
    pair = exact(torch.randn(4, 2))
    data = data_of(pair, 20)
    found = ppgen.diagnose(pair, data, budget=0.05)
    assert found["slow"].status == "unknown"
    assert found["slow"].meaning.startswith("No answer: it takes longer than the 0.05 seconds of its budget")
    assert found["there"].status == "good"
    with pytest.raises(UsageError, match="budget must be"):
        ppgen.diagnose(pair, data, budget=0.0)


def test_debug_shows_where_a_question_failed(
    run: ppgen.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @asks("Does it hold?")
    def broken(case: Case) -> Finding | None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(core, "QUESTIONS", [broken])
    options = ["diagnose", str(run.directory), "--num-data", "20", "--out", str(tmp_path)]
    assert main(options) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert main([*options, "--debug"]) == 0
    assert 'raise ZeroDivisionError("by nothing")' in capsys.readouterr().err


def test_numbers_do_not_depend_on_which_questions_are_asked_nor_touch_the_random_state() -> None:
    pair = scaled(exact(torch.randn(4, 2)), 0.8)
    data = data_of(pair, 20)
    before = torch.get_rng_state()
    whole, part = (ppgen.diagnose(pair, data, questions=names) for names in (NAMES, NAMES[1:2]))
    assert torch.equal(before, torch.get_rng_state())
    assert whole["collapse"] == part["collapse"]
