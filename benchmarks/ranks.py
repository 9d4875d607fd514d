"""Milliseconds a turn of one training, by as many ranks as there are: the VAE of ``step_time.py``, compiled.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/ranks.py --json one.json
    OMP_NUM_THREADS=1 .venv/bin/torchrun --nproc-per-node 2 benchmarks/ranks.py --json two.json

The batch is that of the training, of which every rank takes its part. Rank 0 prints the median and the fastest of the
rounds, the bytes that a rank puts into a turn's exchange, and the time of an exchange of that size with nothing beside
it. The speed-up is the ratio of the medians of two runs.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from problem import images

from ppgen.data import Dataset, DataSpec
from ppgen.inference import ELBO
from ppgen.machine.devices import choose_device
from ppgen.machine.ranks import joined
from ppgen.models import VAE
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

__all__: list[str] = []

FEATURES = 784


def measure(
    batch: Annotated[int, typer.Option(help="Data in a batch of the training.")] = 512,
    turns: Annotated[int, typer.Option(help="Turns in a round.")] = 20,
    rounds: Annotated[int, typer.Option(help="Rounds.")] = 9,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    file: Annotated[Path | None, typer.Option("--json", help="Write the numbers there.")] = None,
) -> None:
    """Milliseconds a turn by as many ranks as were started."""
    ranks, place = joined(), choose_device(device)
    x = torch.from_numpy(images())
    spec = DataSpec("images", FEATURES, "binary", num_data=len(x), mean=x.mean(0))
    torch.manual_seed(0)
    pair = VAE(spec, latent_dim=50, hidden=(200, 200)).to(place)
    data = Dataset(spec, (x,), (x[:500],), (x[:500],)).to(place)
    trainer = Trainer(pair, data, ELBO(), TrainingOptions(batch_size=batch, schedule="constant"), ranks)
    parameters = [parameter.detach() for parameter in pair.parameters()]
    trainer.take_turn()
    seconds, exchanges = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(turns):
            trainer.take_turn()
        trainer.settle()
        seconds.append((time.perf_counter() - start) / turns)
        start = time.perf_counter()
        for _ in range(turns):
            float(ranks.mean(parameters, 1 / ranks.size)[0].sum())
        exchanges.append((time.perf_counter() - start) / turns)
    found = {
        "ranks": ranks.size,
        "threads": torch.get_num_threads(),
        "batch": batch,
        "device": str(place),
        "turn_ms": 1000 * statistics.median(seconds),
        "fastest_turn_ms": 1000 * min(seconds),
        "exchange_ms": 1000 * statistics.median(exchanges),
        "exchanged_bytes": sum(parameter.numel() * parameter.element_size() for parameter in parameters),
    }
    if ranks.first:
        print(json.dumps(found, indent=2))
        if file is not None:
            file.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    typer.run(measure)
