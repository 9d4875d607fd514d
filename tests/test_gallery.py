"""The notebooks of the gallery run, hold no outputs, and lead on."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from ppgen.training.options import TrainingOptions
from tests.gallery import NOTEBOOKS, cells, run_short
from tests.marks import sampled

GALLERY_PAGE = Path(__file__).resolve().parents[1] / "docs" / "gallery.md"

each = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", sampled(NOTEBOOKS), ids=lambda notebook: notebook.stem)
def test_a_notebook_runs_in_its_short_form(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert TrainingOptions.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(TrainingOptions.__init__.__kwdefaults__, "eager", True)
    run_short(notebook)
    plt.close("all")


@each
def test_a_notebook_holds_no_outputs(notebook: Path) -> None:
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells(notebook, "code"))


@each
def test_a_notebook_has_parameters_for_its_short_form(notebook: Path) -> None:
    (parameters,) = (cell for cell in cells(notebook, "code") if "parameters" in cell["metadata"].get("tags", ()))
    assert set(parameters["metadata"]["short"]) <= set(re.findall(r"^(\w+) = ", parameters["text"], re.MULTILINE))


def test_the_gallery_has_a_line_for_every_notebook() -> None:
    assert re.findall(r"\(gallery/([\w-]+)\.ipynb\)", GALLERY_PAGE.read_text(encoding="utf-8")) == [
        *dict.fromkeys(re.findall(r"gallery/([\w-]+)\.md", (GALLERY_PAGE.parents[1] / "mkdocs.yml").read_text()))
    ]
