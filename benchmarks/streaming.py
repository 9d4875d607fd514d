"""Throughput of training on data that stay in files, beside the same data in memory.

    .venv/bin/python benchmarks/streaming.py [--batch 20,100,512] [--rows 200000] [--shards 1] [--json FILE]

A VAE 784-200-200-50-200-200-784 with the ELBO, float32, on random binary rows, which are written to a temporary folder
as ``.npy`` shards. Two trainers of one process, equal but for their data, take turns of half a second in an order that
is reversed every other round. Prints milliseconds a step, and the median over rounds of the throughput of data on
disk in that of resident ones, with its quartiles. The rows are read once before, for the checks, so that they come from
the system's cache where it has room.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ppgen.data import Dataset, DataSpec, on_disk
from ppgen.inference import ELBO
from ppgen.models import VAE
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

__all__: list[str] = []

FEATURES, TURN_SECONDS = 784, 0.5


def write(folder: Path, rows: int, shards: int) -> None:
    """Random pixels, 0 or 1, an eighth of them 1."""
    generator = np.random.default_rng(0)
    for index, part in enumerate(np.array_split(np.arange(rows), shards)):
        shard = np.lib.format.open_memmap(folder / f"x-{index:05d}.npy", "w+", np.float32, (len(part), FEATURES))
        for start in range(0, len(part), 10_000):
            piece = shard[start : start + 10_000]
            piece[:] = generator.random(piece.shape, dtype=np.float32) < 1 / 8


def trainer(x: Any, batch: int) -> Trainer:
    """Of the VAE, past its first steps."""
    spec = DataSpec("pixels", FEATURES, "binary", num_data=len(x))
    torch.manual_seed(0)
    made = Trainer(
        VAE(spec, latent_dim=50, hidden=(200, 200)),
        Dataset(spec, (x,)),
        ELBO(),
        TrainingOptions(batch_size=batch, schedule="constant"),
    )
    for _ in range(20):
        made.take_turn()
    return made


def turn(made: Trainer) -> float:
    """Milliseconds a step over half a second."""
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < TURN_SECONDS:
        made.take_turn()
        steps += 1
    made.settle()
    return 1000 * (time.perf_counter() - start) / steps


def main(
    batch: Annotated[str, typer.Option(help="Batch sizes, separated by commas.")] = "20,100,512",
    rows: Annotated[int, typer.Option(min=1000, help="Rows of 3,136 bytes.")] = 200_000,
    shards: Annotated[int, typer.Option(min=1, help="Files that they are spread over.")] = 1,
    repeats: Annotated[int, typer.Option(min=2, help="Rounds.")] = 15,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the results here.")] = None,
) -> None:
    """Measure both and print milliseconds a step and the ratio."""
    table = Table("batch", "on disk ms", "resident ms", "on disk / resident throughput", "quartiles")
    results = []
    with tempfile.TemporaryDirectory(prefix="streaming-") as name:
        write(Path(name), rows, shards)
        streamed = on_disk(name)
        resident = streamed[:]  # type: ignore[index]
        for size in map(int, batch.split(",")):
            trainers = {"on_disk": trainer(streamed, size), "resident": trainer(resident, size)}
            times: dict[str, list[float]] = {name: [] for name in trainers}
            for number in track(range(repeats), f"batch {size}", console=Console(stderr=True)):
                for peer in list(trainers)[:: -1 if number % 2 else 1]:
                    times[peer].append(turn(trainers[peer]))
            ratios = [here / there for there, here in zip(*times.values(), strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            medians = {name: statistics.median(found) for name, found in times.items()}
            table.add_row(
                str(size), *(f"{value:.2f}" for value in medians.values()), f"{middle:.2f}", f"{low:.2f} to {high:.2f}"
            )
            results.append({"batch": size, "rows": rows, "shards": shards, **medians, "ratio": [low, middle, high]})
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    typer.run(main)
