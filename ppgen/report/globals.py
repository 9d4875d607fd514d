"""Sections of the report on latents of the whole data set: the weights of their draws, and refits to simulated data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from ppgen.diagnostics.finding import Finding
from ppgen.diagnostics.questions.global_calibration import Refits
from ppgen.diagnostics.questions.global_importance import AllData
from ppgen.pages.charts import Curve, plot_bars, plot_curves
from ppgen.pages.elements import Figure, figure_of
from ppgen.pages.numbers import number
from ppgen.report.parts import of_question

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["global_refits", "global_weights"]

_BINS = 10


@of_question("global_importance", AllData, "Weights of the whole data set's latents")
def global_weights(run: Run, found: Finding, details: AllData) -> Iterator[Figure]:
    """How much of all the weight the draws of the largest weights carry."""
    log_w = torch.tensor(details.log_weights, dtype=torch.float64)
    carried = log_w.softmax(0).sort(descending=True).values.cumsum(0)  # (S,)
    draws = list(range(1, len(log_w) + 1))
    curves = [
        Curve("found", draws, (100 * carried).tolist()),
        Curve("equal weights", draws, [100 * s / len(draws) for s in draws]),
    ]
    first, half = f"{float(carried[0]):.0%}", int((carried < 0.5).sum()) + 1
    yield figure_of(
        plot_curves(curves, x_label="draws, the heaviest first", y_label="percent of the weight", log_x=True),
        f"The heaviest of {len(log_w):,} draws carries {first} of the weight, the {half:,} heaviest half of it.",
        f"How much of the weight of {len(log_w):,} draws for all {details.num_data:,} training data the "
        f"heaviest carry: the first {first}; half of it is reached at draw {half:,}. Draws of the posterior itself "
        "would weigh the same; a curve that starts near 100 is a posterior seen through one draw.",
    )


@of_question("global_calibration", Refits, "Refits to simulated data sets")
def global_refits(run: Run, found: Finding, details: Refits) -> Iterator[Figure]:
    """Where the truth of each simulated data set lies in the guide refitted to it, in the least symmetric dimension."""
    for name, shares in details.shares.items():
        counts = torch.histc(torch.tensor(shares), _BINS, 0.0, 1.0).tolist()
        yield figure_of(
            plot_bars(dict(enumerate(counts, 1)), x_label=f"tenths of Q({name} < truth)", y_label="data sets"),
            f"Shares of the refitted guides below the truth of {name}, in {len(shares)} data sets.",
            f"The share of the refitted guide's draws of {name} below the truth, in {len(shares)} simulated data sets: "
            f"mean {number(sum(shares) / len(shares))}. More in the right half: the guide sits too low; in the left "
            "half: too high. Piled up at both ends alike: in the middle, and too narrow.",
        )
