"""``ppgen embed``: where a run's guide puts its data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppgen.cli.options import DataMoved, Device, ModelAgain, RunFolder, Which
from ppgen.data.dataset import SPLITS
from ppgen.runs.load import load

__all__ = ["embed"]


def embed(
    run: RunFolder,
    split: Annotated[
        str | None,
        typer.Option(metavar="|".join(SPLITS), help="Which data.", show_default="test, or the last that there is"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write: .npz, .csv or .parquet.", show_default="embedding.npz in the run"),
    ] = None,
    particles: Annotated[int, typer.Option(help="Draws of the guide, where a mean is not known at once.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    which: Which = None,
    model: ModelAgain = None,
    data: DataMoved = None,
    device: Device = "auto",
) -> None:
    """Write the mean of the latents of every datum of a split, as a table of numbers.

    Of a bit it is its probability, of a class one for each; of an energy-based model that of its hidden units.
    """
    from ppgen.runs.samples_file import save_embedding  # what draws pictures is slow to load

    found, path = load(run, pair=model, data=data, which=which, device=device), out or run / "embedding.npz"
    made = save_embedding(found, path, split=split, num_particles=particles, seed=seed, progress=True)
    print(f"{path}: {len(made.values):,} data, {len(made.names):,} numbers each ({made.names[0]} to {made.names[-1]})")
