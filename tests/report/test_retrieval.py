"""The page of a run whose features were held against labels: precision along recall, nearest neighbours."""

from __future__ import annotations

import json

import torch

from ppgen.data import DataSpec
from ppgen.evaluation import Evaluation
from ppgen.models import CVAE
from ppgen.pages.numbers import number
from ppgen.report import page as report
from ppgen.runs.run import Run
from tests.reported import Page, run_of


def labelled_run(spec: DataSpec, x: torch.Tensor) -> Run:
    return run_of(CVAE(spec, 2, hidden=(4,)), spec, (x, torch.arange(len(x)) % 3))


def pictures() -> Run:
    return labelled_run(DataSpec("bits", 12, "binary", image_shape=(3, 4), num_classes=3), torch.rand(12, 12).round())


def test_the_page_shows_precision_along_recall_and_the_nearest_neighbours() -> None:
    run = pictures()
    found = run.evaluate(particles=2)
    run.evaluation = found
    page = Page(report.render(run))
    assert {"Retrieval", "Nearest neighbours"} <= set(page.text)
    along = found.measures[1].along
    assert along is not None
    assert all(number(value) in page.text for value in along.value)
    assert sum("nearest neighbours" in str(image["alt"]) for image in page.all("img")) == 6


def test_neighbours_among_documents_are_told_in_words() -> None:
    spec = DataSpec("words", 4, "counts", num_classes=3, vocabulary=("ant", "bee", "cat", "dog"))
    run = labelled_run(spec, torch.poisson(torch.ones(12, 4)) + 1)
    run.evaluation = run.evaluate(particles=2)
    text = report.render(run)
    assert "Nearest neighbours" in text
    assert "no such picture" not in text


def test_a_run_without_labels_has_neither() -> None:
    run = pictures()
    run.evaluation = run.evaluate(particles=2, labels=False)
    assert not {"Retrieval", "Nearest neighbours"} & set(Page(report.render(run)).text)


def test_the_curve_is_read_back_as_it_was_written() -> None:
    found = pictures().evaluate(particles=2)
    assert Evaluation.from_json(json.loads(json.dumps(found.to_json()))) == found
