"""The sections of a run's report: functions of the run that give a :class:`Section`, or None where there is nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from markupsafe import Markup
from numpy.typing import NDArray

from ppgen.chains import SWEEPS
from ppgen.charts import Chart, Curve, Vectors, draw_curves, draw_panels
from ppgen.draws import Traversal, latent_traversal, prior_samples, reconstructions
from ppgen.metrics import score
from ppgen.pictures import conditions, grey_range, grid, picture_shape, png

if TYPE_CHECKING:
    from ppgen.runs import Run

__all__ = [
    "COLUMNS",
    "Figure",
    "Section",
    "configuration",
    "drawn",
    "grey",
    "layout",
    "likelihood",
    "name_of",
    "name_of_value",
    "number",
    "picture",
    "pictured",
    "reconstruction",
    "samples",
    "texts",
    "training",
    "traversal",
    "versions",
]

COLUMNS = 10
"""Pictures side by side, at most."""

_CHART_SCALE = 1.4
"""CSS pixels of the page to a point of a chart, at most."""

_TILE = 76
"""Width of a picture on the page, in CSS pixels, at most."""


@dataclass(frozen=True)
class Figure:
    """A picture or chart as an element of the page, and what stands below it."""

    body: Markup
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """One part of the page. All texts are plain: the page escapes them.

    ``facts`` are names and values in groups, each under its heading; ``table`` is rows, the first the header.
    """

    title: str
    text: str = ""
    figures: tuple[Figure, ...] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    table: tuple[tuple[str, ...], ...] = ()


def number(value: float, digits: int = 2) -> str:
    """A number as the page shows it: thousands apart, a true minus sign.

    >>> number(-1234.567)
    '−1,234.57'
    """
    return f"{value:,.{digits}f}".replace("-", "−")


def pictured(
    title: str, applies: Callable[[Run], bool] = lambda run: True
) -> Callable[[Callable[[Run], Iterator[Figure]]], Callable[[Run], Section | None]]:
    """Make a section of a function that yields figures: None for a run to which it does not apply.

    Where the pair cannot give the figures, the section says why.
    """

    def decorate(figures: Callable[[Run], Iterator[Figure]]) -> Callable[[Run], Section | None]:
        @wraps(figures)
        def section(run: Run) -> Section | None:
            if not applies(run):
                return None
            try:
                return Section(title, figures=tuple(figures(run)))
            except (RuntimeError, ValueError) as error:
                return Section(title, f"There is no such picture of this pair: {error}")

        return section

    return decorate


def training(run: Run) -> Section | None:
    """What training reported, and the objective's value on the validation data, against steps and against seconds."""
    if not run.metrics:
        return None
    last = run.metrics[-1]
    text = (
        f"{last['step']:,} steps, {number(last['epoch'], 1)} passes over the training data, "
        f"{number(last['seconds'], 1)} seconds. A point of the training curve is the mean over the steps since the one "
        "before; validation is under fixed random numbers."
    )
    return Section("Training", text, tuple(_training_chart(run, place) for place in ("steps", "seconds")))


def likelihood(run: Run) -> Section | None:
    """The bound against the number of particles, with standard errors; None where it was not evaluated or is flat."""
    if run.evaluation is None or run.pair.exact_guide:
        return None
    split, points = run.evaluation["split"], run.evaluation["curve"]
    K, bound, error = ([p[key] for p in points] for key in ("num_particles", "log_likelihood", "standard_error"))
    chart = draw_curves([Curve("", K, bound, error)], x_label="particles K", y_label="nats per datum", log_x=True)
    alt = f"{number(bound[0])} nats per datum at K = {K[0]:,}, {number(bound[-1])} at K = {K[-1]:,}."
    text = (
        f"The bound of K particles on the log-likelihood of the {split} data: below log p(x) in expectation, tighter "
        "as K grows. While the curve still climbs, the truth is higher. A bar is one standard error of the mean over "
        f"{run.evaluation['num_data']:,} data."
    )
    rows = [(f"{k:,}", number(value), number(se)) for k, value, se in zip(K, bound, error, strict=True)]
    return Section("Likelihood", text, (drawn(chart, alt),), table=(("K", "nats per datum", "standard error"), *rows))


@pictured("Reconstructions")
def reconstruction(run: Run) -> Iterator[Figure]:
    """Test data and what the pair makes of them."""
    shape, columns = layout(run)
    num = min(2 * COLUMNS, len(run.data.test[0])) // columns * columns
    batch = tuple(part[:num] for part in run.data.test)
    x, mean = batch[0], reconstructions(run.pair, batch).mean
    if shape is None:
        panels = {f"datum {i}": [Vectors(x[[i]], 1, marker="o"), Vectors(mean[[i]])] for i in range(min(6, num))}
        caption = f"Test data (with points), and {_again(run)} for each."
        yield drawn(draw_panels(panels), f"{len(panels)} test data and their reconstructions.", caption)
    else:
        both = zip(x.split(columns), mean.split(columns), strict=True)
        pixels = grid(torch.cat([row for rows in both for row in rows]), shape, columns, grey=grey(run), band=2)
        caption = f"Test data; below each, {_again(run)}."
        yield Figure(picture(pixels, columns, f"{num} test data, each above its reconstruction."), caption)


@pictured("Samples")
def samples(run: Run) -> Iterator[Figure]:
    """What the model makes by itself."""
    shape, columns = layout(run)
    classes = run.data.spec.num_classes
    columns = columns if classes is None else min(classes, columns)
    num = 24 if columns == 1 else 6 * columns
    draws = prior_samples(run.pair, conditions(run.data, num), num, start=run.chains)
    if shape is None:
        x = run.data.test[0][:num]
        panels = {"test data": [Vectors(x, 1, 0.5)], "samples": [Vectors(draws.x, 0, 0.5)]}
        caption = f"Test data, and as many draws of the model: {_how(run, 'z ~ p(z), x ~ p(x | z)')}."
        yield drawn(draw_panels(panels), f"{len(x)} test data beside {num} samples.", caption)
    else:
        labels = "" if classes is None else f" Labels 0 to {classes - 1} in turn, row by row."
        caption = f"{_how(run, 'Means of p(x | z), z ~ p(z)')}.{labels}"
        yield Figure(picture(grid(draws.mean, shape, columns, grey=grey(run)), columns, f"{num} samples."), caption)


@pictured("Latent traversal", applies=lambda run: run.pair.normalised)
def traversal(run: Run) -> Iterator[Figure]:
    """What single latents do."""
    shape, _ = layout(run)
    walk = latent_traversal(run.pair, tuple(part[:64] for part in run.data.test))
    use = [f"{number(float(kl))} nats" for kl in walk.kl]
    first, last = (f"{float(q):g}" for q in walk.quantiles[[0, -1]])
    caption = (
        f"Test datum 0, made again with one latent moved from the {first} to the {last} quantile of its prior, all "
        "else held. The latents of most use come first: those of largest KL(q(z | x) || p(z)), a mean over test data."
    )
    alt = f"{len(use)} latents moved along their priors: {', '.join(walk.labels)}."
    if shape is None:
        steps = torch.linspace(0.2, 1, len(walk.quantiles)).tolist()
        panels = {
            f"{label}, {kl}": [Vectors(mean[None], 0, step) for mean, step in zip(row, steps, strict=True)]
            for label, kl, row in zip(walk.labels, use, walk.means, strict=True)
        }
        yield drawn(draw_panels(panels), alt, f"{caption} The stronger the line, the higher the quantile.")
    else:
        yield Figure(_strips(run, shape, walk, use), caption)


def configuration(run: Run) -> Section:
    """All that rebuilds the run."""
    config = run.config
    size = sum(parameter.numel() for parameter in run.pair.parameters())
    groups = {
        "model": {"name": name_of(config["model"]), **config["model"]["options"], "parameters": f"{size:,}"},
        "data": {"name": config["data"].get("name", run.data.spec.name), **config["data"].get("options", {})},
        "objective": {"name": name_of(config["objective"]), **config["objective"]["options"]},
        "training": config["training"],
    }
    return Section("Configuration", facts={title: texts(group) for title, group in groups.items()})


def versions(run: Run) -> Section:
    """What it ran on."""
    facts = {**run.config["versions"], "device": run.config["device"], "data (SHA-256)": run.config["data"]["sha256"]}
    return Section("Versions", facts={"": texts(facts)})


def name_of(config: Mapping[str, Any]) -> str:
    """The registered name of a model or objective, or its class's."""
    return str(config.get("name") or config.get("class") or "not registered")


def name_of_value(run: Run) -> str:
    """What the objective's value may be called: a bound on log p(x), or just the objective."""
    return "bound" if run.objective.is_bound else "objective"


def texts(group: Mapping[str, Any]) -> dict[str, str]:
    """Names and values as the page shows them."""
    return {key.replace("_", " "): _text(value) for key, value in group.items()}


def _text(value: Any) -> str:
    if isinstance(value, Mapping) and "options" in value:
        return ", ".join([name_of(value), *(f"{k} = {v}" for k, v in texts(value["options"]).items())])
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)


def _training_chart(run: Run, unit: str) -> Figure:
    place = {"steps": "step"}.get(unit, unit)
    train = [line for line in run.metrics if line["split"] == "train"]
    keys = [key for key in train[-1] if key.endswith("bound")] or [key for key in train[-1] if key.endswith("loss")]
    curves = [Curve(f"train {key}", [line[place] for line in train], [line[key] for line in train]) for key in keys]
    valid = [line for line in run.metrics if line["split"] == "valid"]
    name = f"valid {name_of_value(run)}"
    curves.append(Curve(name, [line[place] for line in valid], [score(line) for line in valid]))
    ends = [f"{c.label}: {number(c.y[0])} at first, {number(c.y[-1])} at last." for c in curves if c.y]
    alt = f"Nats per datum against {unit}. {' '.join(ends)}"
    return drawn(draw_curves(curves, x_label=unit, y_label="nats per datum"), alt)


def _how(run: Run, by_prior: str) -> str:
    """How samples were drawn."""
    start = "draws of its base distribution" if run.chains is None else "its persistent chains"
    return by_prior if run.pair.normalised else f"Markov chains after {SWEEPS:,} sweeps from {start}"


def _again(run: Run) -> str:
    """How a datum was made again."""
    return "the mean of p(x | z) at one draw z of the guide" if run.pair.normalised else "a draw by one sweep from it"


def layout(run: Run) -> tuple[tuple[int, ...] | None, int]:
    """How a datum is drawn, and how many stand side by side."""
    columns = 1 if run.data.spec.image_shape is None else min(COLUMNS, len(run.data.test[0]))
    return picture_shape(run.data.spec), columns


def grey(run: Run) -> tuple[float, float]:
    return grey_range(run.data.spec, run.data.test[0])


def drawn(chart: Chart, alt: str, caption: str = "") -> Figure:
    """The SVG itself: it takes its colours, light or dark, from the page."""
    width = round(_CHART_SCALE * 72 * chart.figure.get_figwidth())
    return Figure(Markup('<div style="max-width: {}px">{}</div>').format(width, Markup(chart.svg(alt))), caption)


def picture(pixels: NDArray[np.uint8], columns: int, alt: str) -> Markup:
    """An ``<img>`` that holds its own file."""
    height, width, _ = pixels.shape
    shown = columns * _TILE
    source = base64.b64encode(png(pixels)).decode()
    return Markup('<img src="data:image/png;base64,{}" alt="{}" width="{}" height="{}" style="width: {}px">').format(
        source, alt, width, height, shown
    )


def _strips(run: Run, shape: tuple[int, ...], walk: Traversal, use: list[str]) -> Markup:
    """A row for each latent: its name and use, and the pictures along it."""
    strip = Markup('<div class="strip"><p>{} <small>{}</small></p>{}</div>')
    rows = [grid(row, shape, len(row), grey=grey(run)) for row in walk.means]
    images = [
        picture(row, len(walk.quantiles), f"{label}, low to high") for row, label in zip(rows, walk.labels, strict=True)
    ]
    return Markup("").join(map(strip.format, walk.labels, use, images))
