"""The page of a pair without a density."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyro
import pytest

from ppgen.inference import MMD
from ppgen.pages.numbers import number
from ppgen.report import page as report
from ppgen.runs.run import Run
from tests.implicit import Push, ring
from tests.reported import Page, trained


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Page]:
    """A run of an implicit pair on points, and its page."""
    pyro.set_rng_seed(0)
    data = ring(60)
    return trained(data, MMD(), Push(data.spec), tmp_path_factory.mktemp("pushed"))


def test_the_page_of_an_implicit_pair_says_that_its_number_is_no_likelihood(pushed: tuple[Run, Page]) -> None:
    run, page = pushed
    assert "Test log-likelihood under a Parzen window" in page.text
    assert any("of 50 samples, not the model's likelihood" in part for part in page.text)
    assert {"Measures", "modes covered", "parzen sigma", "two sample p value"} <= set(page.text)
    assert {"Traversal of codes", "Interpolation"} <= set(page.text)
    assert not {"Likelihood", "Reconstructions", "Latent traversal"} & set(page.text)
    assert run.evaluation is not None
    assert {measure.meaning for measure in run.evaluation.measures} <= set(page.text)


def test_points_stand_beside_data_and_modes_at_the_end_and_over_training(pushed: tuple[Run, Page]) -> None:
    _, page = pushed
    labels = [str(chart["aria-label"]) for chart in page.all("svg")]
    assert "60 test data beside 500 samples." in labels
    assert "500 samples after 0, 1, 2 and 4 steps." in labels
    assert any("Crosses: the known modes." in part for part in page.text)


def test_the_loss_of_an_objective_without_a_bound_is_drawn_with_one_sign(pushed: tuple[Run, Page]) -> None:
    run, page = pushed
    valid = [line["loss"] for line in run.metrics if line["split"] == "valid"]
    labels = " ".join(str(chart["aria-label"]) for chart in page.all("svg"))
    assert f"valid loss: {number(valid[0])} at first, {number(valid[-1])} at last." in labels


def test_a_page_is_made_without_the_pictures_of_a_damaged_file(pushed: tuple[Run, Page], tmp_path: Path) -> None:
    (tmp_path / "snapshots.safetensors").write_bytes(b"cut")
    again = dataclasses.replace(pushed[0], directory=tmp_path)  # has read nothing yet
    assert any("it holds pictures alone: delete it" in part for part in Page(report.render(again)).text)
