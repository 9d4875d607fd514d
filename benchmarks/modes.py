"""Modes that generators find on the ring and on the grid, over seeds, beside the published table.

    .venv/bin/python benchmarks/modes.py [--data ring|grid] [--seeds 5] [--only gan-ring,...] [--out runs/modes]

Trains each recipe of the data with each seed, as ``ppgen train`` does, one after another on one thread, and goes on
where it was stopped. Of 2,500 draws: modes with one within three standard deviations, the share of draws that lie so at
a mode, and KL from how they divide among modes to an even division, nats. Means over seeds, with their standard errors.
"""

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from ppgen.draws import prior_samples
from ppgen.evaluation import cover
from ppgen.recipes import Recipe, recipe

RECIPES = {
    "ring": ("gan-ring-collapsed", "gan-ring-nonsaturating", "gan-ring-unrolled", "gan-ring-minibatch", "gan-ring"),
    "grid": ("gan-grid",),
}
"""By data, the plain game first; each says its options in ``ppgen/recipes``."""

SOURCE = "Lin, Khetan, Fanti and Oh 2018, table 1, ten trainings"
PUBLISHED = {
    "ring": {"GAN": (6.3, 0.982, 0.45), "ALI": (6.6, 0.976, 0.36), "PacGAN2": (7.9, 0.956, 0.07)},
    "grid": {"GAN": (17.3, 0.948, 0.70), "ALI": (24.1, 0.957, 0.14), "PacGAN2": (23.8, 0.913, 0.13)},
}

DRAWS = 2500


def measured(given: Recipe, seed: int, out: Path) -> dict[str, float]:
    """One training and what its draws cover."""
    settings = given.model_copy(update={"training": {**given.training, "seed": seed}}).settings
    run = settings.job("cpu").train(out, resume=out.exists(), progress=True)
    assert run.data.modes is not None  # of this data
    found = cover(prior_samples(run.pair, run.data.test, DRAWS).x, run.data.modes)
    share = float(found.high_quality.double().mean())
    seconds = run.metrics[-1]["seconds"]
    return {"modes": found.num_covered, "high_quality": share, "reverse_kl": found.reverse_kl, "seconds": seconds}


def row(values: Sequence[dict[str, float]], name: str, digits: int) -> str:
    """A mean over seeds, and its standard error where there are several."""
    each = [one[name] for one in values]
    mean = f"{statistics.fmean(each):.{digits}f}"
    return mean if len(each) < 2 else f"{mean} ± {statistics.stdev(each) / math.sqrt(len(each)):.{digits}f}"


def table(data: str, found: dict[str, list[dict[str, float]]]) -> Table:
    """What was found, and what was published."""
    shown = Table(title=f"{data}: {DRAWS:,} draws of each training", caption=f"published: {SOURCE}")
    for head in ("", "seeds", "modes", "high quality", "reverse KL, nats", "seconds"):
        shown.add_column(head, justify="right" if head else "left")
    for name, values in found.items():
        numbers = [row(values, key, digits) for key, digits in _DIGITS.items()]
        shown.add_row(name, str(len(values)), *numbers)
    shown.add_section()
    for name, (modes, share, kl) in PUBLISHED[data].items():
        shown.add_row(f"published {name}", "10", f"{modes}", f"{share}", f"{kl}", "")
    return shown


_DIGITS = {"modes": 1, "high_quality": 3, "reverse_kl": 3, "seconds": 0}


def main() -> None:
    """Train what is asked for, and print the table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=RECIPES, default="ring")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", help="names of recipes, with commas between")
    parser.add_argument("--out", type=Path, default=Path("runs/modes"))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, Any]]] = {}
    for name in asked.only.split(",") if asked.only else RECIPES[asked.data]:
        for seed in range(asked.seeds):
            found.setdefault(name, []).append(measured(recipe(name), seed, asked.out / name / f"seed-{seed}"))
    Console().print(table(asked.data, found))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
