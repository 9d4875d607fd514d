"""Topics by class on the page: shares that documents have by construction, and nothing without classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import ppgen
from ppgen.data import Dataset
from ppgen.inference import EM
from ppgen.models import PLSA, VAE
from ppgen.pages.elements import Section
from ppgen.report.page import SECTIONS
from ppgen.report.trends import trends
from ppgen.runs.config import describe
from ppgen.runs.run import Run
from ppgen.training.options import TrainingOptions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Documents of 1990 are of one topic, those of 2000 a quarter and those of 2010 wholly of another."""
    for year, text in {
        "1990": "sea sea ship",
        "2000": "sea sea ship" + 3 * " law law jury",
        "2010": "law law jury",
    }.items():
        (tmp_path / year).mkdir()
        for number in range(6):
            (tmp_path / year / f"{number}.txt").write_text(text)
    return tmp_path


def _section(data: Dataset, pair: Any = None) -> Section | None:
    pair = pair or _topical(data)
    return trends(Run(pair, data, EM(), describe(pair, data, EM(), TrainingOptions()), []))


def _topical(data: Dataset) -> PLSA:
    """Topics over (jury, law, sea, ship)."""
    pair = PLSA(data.spec, num_topics=2)
    pair.topic_logits.data = torch.tensor([[1, 2, 1e-9, 1e-9], [1e-9, 1e-9, 2, 1]]).log()
    return pair


def test_each_class_has_its_shares_of_the_topics(folder: Path) -> None:
    section = _section(ppgen.load_data("texts", file=str(folder), valid=0.0, test=0.5))
    assert trends in SECTIONS
    assert section is not None
    assert re.findall(r">([^<>]+)</text>", section.figures[0].body) == [
        *("1990", "2000", "2010", "class", "topic 0", "topic 1"),
        *("0", "75", "100", "100", "25", "0"),
    ]
    assert "9 documents (test data)" in section.text


def test_main_topics_are_held_against_the_classes(folder: Path) -> None:
    (folder / "2000").rename(folder.parent / "elsewhere")
    section = _section(ppgen.load_data("texts", file=str(folder), valid=0.0, test=0.5))
    assert section is not None
    assert "an adjusted Rand index of 1.00 and a normalised mutual information of 1.00" in section.text


def test_there_is_none_without_classes_or_topics_or_of_other_data(folder: Path) -> None:
    data = ppgen.load_data("texts", file=["sea ship", "law jury"], valid=0.0, test=0.0)
    assert _section(data) is None
    named = ppgen.load_data("texts", file=str(folder), valid=0.0, test=0.5)
    assert _section(named, VAE(named.spec, 2, hidden=(4,))) is None
    pair = _topical(named)
    for path in folder.glob("*/*.txt"):
        path.write_text(path.read_text() + " ship law")
    assert _section(named, pair) is None
