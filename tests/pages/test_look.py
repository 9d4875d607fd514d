"""The look of data: chosen by their spec, and the same wherever they are drawn."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest
import torch

from ppgen.data import Dataset, DataSpec
from ppgen.pages.charts import Vectors, plot_panels, plot_sorted
from ppgen.pages.look import Columns, Documents, Look, Panels, Pictures, Texts, look_of

GREYS = DataSpec("greys", 12, "quantised", image_shape=(3, 4), levels=5)
BITS = DataSpec("bits", 12, "binary")
NUMBERS = DataSpec("numbers", 12, "real")
PLANE = DataSpec("plane", 2, "real")
WORDS = DataSpec("words", 3, "counts", vocabulary=("ape", "bee", "cat"))
ORDERED = DataSpec("texts", 3, "symbols", vocabulary=("ape", "bee", "cat"))


TABLE = DataSpec("table", 3, "real")
KINDS = {"age": "real", "income": "real", "score": "real", "bought": "categorical (no, yes)"}


def look(spec: DataSpec) -> Look:
    x = torch.rand(30, spec.num_features).round()
    x[:, 0] = 1  # a document has a word
    return look_of(Dataset(spec, (x,), (x,), (x,), kinds=KINDS if spec is TABLE else {}))


@pytest.mark.parametrize(
    ("spec", "kind", "few", "means"),
    [
        (GREYS, Pictures, 10, True),
        (BITS, Pictures, 20, False),
        (NUMBERS, Panels, 20, False),
        (PLANE, Panels, 500, False),
        (WORDS, Documents, 20, False),
        (ORDERED, Texts, 20, False),
        (TABLE, Columns, 20, False),
    ],
    ids=["images", "bits", "numbers", "plane", "words", "texts", "table"],
)
def test_the_spec_chooses_the_look(spec: DataSpec, kind: type[Look], few: int, means: bool) -> None:
    found = look(spec)
    assert (type(found), found.few, found.means) == (kind, few, means)


def test_black_and_white_are_the_extremes_of_pictures_of_real_numbers() -> None:
    x = torch.linspace(-3, 5, 24).view(2, 12)
    spec = dataclasses.replace(NUMBERS, image_shape=(3, 4))
    found = look_of(Dataset(spec, (x,), (x,), (x,)))
    assert isinstance(found, Pictures)
    assert found.grey == (-3, 5)


@pytest.mark.parametrize("spec", [GREYS, BITS, NUMBERS, PLANE, WORDS, ORDERED, TABLE], ids=lambda spec: spec.name)
def test_every_look_draws_everything(spec: DataSpec) -> None:
    from matplotlib.image import imread

    found, x = look(spec), torch.rand(10, spec.num_features)
    named = {"first": x[:5], "last": x[5:]}
    figures = [
        found.samples(x, "test data", "samples.", "Drawn."),
        found.rows(named, "rows.", "In rows."),
        found.paths(named, "paths.", "On paths."),
        found.pairs(x, x, "pairs.", "In pairs."),
        found.each({"one": x[0], "other": x[1]}, "each.", "Each."),
    ]
    assert all(figure.caption.endswith(".") for figure in figures)
    words = ("samples", "rows", "paths", "pairs", "each")
    assert all(word in str(figure.body) for word, figure in zip(words, figures, strict=True))
    assert imread(io.BytesIO(found.file(x))).shape[2] == 4


def test_documents_are_told_by_their_words_the_most_frequent_first() -> None:
    x = torch.tensor([[0.0, 3.0, 12.0], [0.25, 0.0, 0.0]])
    figure = look(WORDS).pairs(x[:1], x[1:], "pairs", "In pairs.")
    cells = re.findall(r"<td[^>]*>(.*?)</td>", str(figure.body).replace("\N{NO-BREAK SPACE}", " "))
    assert cells == ["cat 12, bee 3", "ape 0.25"]
    assert "<svg" not in figure.body


def test_rows_of_a_table_are_told_by_the_names_of_their_columns() -> None:
    figure = look(TABLE).each({"datum 7": torch.tensor([43.25, 41000.0, -0.5])}, "worst", "Worst.")
    cells = re.findall(r"<td[^>]*>(.*?)</td>", str(figure.body).replace("\N{NO-BREAK SPACE}", " "))
    assert cells == ["datum 7", "age 43.2, income 41,000, score −0.5"]


def test_a_datum_stands_over_its_name() -> None:
    figure = look(GREYS).each({"datum 7: 0.93": torch.zeros(12), "datum 1: 0.5": torch.zeros(12)}, "worst", "Worst.")
    assert re.findall(r"<div><img [^>]*><p>(.*?)</p></div>", str(figure.body)) == ["datum 7: 0.93", "datum 1: 0.5"]


def test_points_in_the_plane_have_one_unit_both_ways() -> None:
    chart = plot_panels({"data": [Vectors(torch.randn(5, 2))], "samples": [Vectors(torch.randn(5, 2))]})
    assert [axes.get_aspect() for axes in chart.figure.axes] == [1, 1]
    assert plot_panels({"": [Vectors(torch.randn(5, 3))]}).figure.axes[0].get_aspect() == "auto"


def test_a_long_line_takes_no_more_room_than_its_pixels() -> None:
    """Ten lines over 1,000 features, as paths of 10 bytes a feature 100 kB."""
    chart = plot_panels({"": [Vectors(torch.rand(10, 1000))]})
    assert len(chart.svg("spikes")) < 60_000


def test_a_cloud_of_points_says_its_style_once() -> None:
    svg = plot_panels({"": [Vectors(torch.rand(500, 2), opacity=0.5)]}).svg("cloud")
    assert svg.count("opacity") < 20
    assert max(len(decimals) for decimals in re.findall(r" x=\"\d+\.(\d+)\"", svg)) <= 2


def test_sorted_numbers_end_at_all_of_them() -> None:
    chart = plot_sorted([("k-hat", [0.3, 0.1, 0.2, 0.4])], 0.7, of="data", y_label="k-hat")
    numbers, limit = (line.get_xydata().tolist() for line in chart.figure.axes[0].lines)  # type: ignore[union-attr]
    assert numbers == [[25, 0.1], [50, 0.2], [75, 0.3], [100, 0.4]]
    assert limit == [[0, 0.7], [100, 0.7]]
