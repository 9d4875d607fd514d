"""A run that was not trained, with findings by hand in its directory: what sections of the report draw from.

What a section says is read back as numbers and names, whatever the words around them.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import torch

from ppgen import make_pair
from ppgen.data import Dataset, DataSpec
from ppgen.diagnostics.result import Diagnosis
from ppgen.inference import ELBO
from ppgen.pages.elements import Figure
from ppgen.runs.config import describe
from ppgen.runs.directory import DIAGNOSIS
from ppgen.runs.run import Run
from ppgen.training.options import TrainingOptions

__all__ = ["diagnosed", "found", "label_of", "numbers_in"]


def diagnosed(folder: Path, *findings: dict[str, Any]) -> Run:
    """The run in ``folder``, of eight data of zeros."""
    x = torch.zeros(8, 3)
    data = Dataset(DataSpec("tiny", 3, "real"), (x,), (x,), (x,))
    pair, objective = make_pair("vae", data.spec), ELBO()
    diagnosis = Diagnosis(findings=(), split="test", num_data=8, num_particles=10, seed=0)
    (folder / DIAGNOSIS).write_text(json.dumps({**diagnosis.to_json(), "findings": findings}))
    return Run(pair, data, objective, describe(pair, data, objective, TrainingOptions()), [], folder)


def found(question: str, details: dict[str, Any], threshold: float = 0.2) -> dict[str, Any]:
    """A finding of that question, as ``diagnosis.json`` has it."""
    return {"question": question, "title": "?", "status": "warn", "threshold": threshold, "details": details}


def label_of(figure: Figure) -> str:
    """What a figure says to those who do not see it."""
    return html.unescape(str(figure.body).split('aria-label="')[1].split('"')[0])


def numbers_in(text: str) -> list[float]:
    """The numbers of a text in its order, those in names such as ``z[0]`` left out; percentages are shares."""
    found = re.findall(r"(?<![\w\[.])([−-]?\d[\d,]*(?:\.\d+)?)(%?)", text)
    plain = ((float(number.replace("−", "-").replace(",", "").rstrip(".")), percent) for number, percent in found)
    return [round(number / 100, 6) if percent else number for number, percent in plain]
