"""Runs with a made-up record, and their pages taken apart."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from pathlib import Path

import torch
from torch import Tensor

import ppgen
from ppgen import Pair
from ppgen.data import Dataset, DataSpec
from ppgen.inference import ELBO
from ppgen.models import VAE
from ppgen.objectives.objective import Objective
from ppgen.registry import MODELS
from ppgen.report import page as report
from ppgen.runs.config import describe
from ppgen.runs.run import Run
from ppgen.training.options import TrainingOptions

__all__ = ["METRICS", "Page", "pictures_run", "run_of", "tiny_run", "trained"]

VOID = {"meta", "link", "img", "br", "hr", "input"}
METRICS = [
    {"step": step, "epoch": step / 2, "seconds": step / 10, "split": split, "bound": -5.0 - 1 / step}
    for step in (1, 2, 3)
    for split in ("train", "valid")
]


class Page(HTMLParser):
    """The elements of a page; it refuses one that is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += [data.strip()] if data.strip() else []

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def run_of(pair: Pair, spec: DataSpec, batch: tuple[Tensor, ...], directory: Path | None = None) -> Run:
    """A run of an untrained pair, with a made-up record."""
    spec = dataclasses.replace(spec, num_data=None)
    data, objective = Dataset(spec, batch, batch, batch), ELBO()
    return Run(pair, data, objective, describe(pair, data, objective, TrainingOptions()), list(METRICS), directory)


def tiny_run(name: str, directory: Path | None = None) -> Run:
    """The tiny case of a registered pair as a run."""
    pair, batch = MODELS[name].tiny()  # type: ignore[misc]  # registered with one
    spec = next(value for value in pair.arguments.values() if isinstance(value, DataSpec))
    return run_of(pair, spec, batch, directory)


def pictures_run(directory: Path | None = None) -> Run:
    """A run on pictures of 3 x 4 pixels."""
    spec = DataSpec("greys", 12, "quantised", image_shape=(3, 4), levels=5)
    return run_of(VAE(spec, 2, hidden=(4,)), spec, (torch.randint(5, (12, 12)) / 4,), directory)


def trained(data: Dataset, objective: Objective, pair: Pair, out: Path, steps: int = 4) -> tuple[Run, Page]:
    """A run of a few steps, evaluated, and its page."""
    run = ppgen.fit(pair, data, objective, steps=steps, batch_size=8, validate_every=2, eager=True, out=out)
    run.evaluate(particles=2, num_samples=50)
    return run, Page(report.render(run))
