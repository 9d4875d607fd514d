"""``ppgen sample``: draws from a run's model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppgen.cli.options import DataMoved, Device, ModelAgain, RunFolder, Which
from ppgen.data.dataset import SPLITS
from ppgen.runs.load import load

__all__ = ["sample"]


def sample(
    run: RunFolder,
    num_samples: Annotated[int, typer.Option("-n", "--num-samples", help="How many.")] = 64,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write: .png a picture, .csv or .npz the numbers.", show_default="samples.png in the run"
        ),
    ] = None,
    complete: Annotated[
        str | None,
        typer.Option(
            metavar=f"{'|'.join(SPLITS)}|FILE",
            help="Pictures of a split, or of a .npy file, whose upper halves are given and lower halves drawn.",
            show_default="whole data are drawn",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    which: Which = None,
    model: ModelAgain = None,
    data: DataMoved = None,
    device: Device = "auto",
) -> None:
    """Draw from a run's model, as a picture or a table of numbers.

    An energy-based model is drawn from by Markov chains: 1,000 sweeps from where training left them. An autoregressive
    one completes pictures, too (--complete test).
    """
    from ppgen.runs.samples_file import save_completions, save_samples  # what draws pictures is slow to load

    found = load(run, pair=model, data=data, which=which, device=device)
    path = out or run / "samples.png"
    if complete is not None:
        num = save_completions(found, complete, num_samples, path, seed=seed)
        print(f"{path}: {num} pictures of {complete}, their lower halves drawn given the upper ones")
        return
    drawn = save_samples(found, num_samples, path, seed=seed)
    print(f"{path}: {num_samples} samples from the {drawn.drawn_from}")
