"""Seconds an epoch of persistent contrastive divergence: this project's trainer beside scikit-learn's ``BernoulliRBM``.

    .venv/bin/python benchmarks/rbm_epoch.py [--epochs 5] [--hidden 500] [--json FILE]

Both train 784 binary visible and ``hidden`` hidden units in float32 on the same 50,000 images, in batches of 100, with
100 persistent chains and one sweep a step, on the same threads. They take epochs in turn, in an order that is
reversed every other round; compiling and a warm-up epoch of each come before. Prints medians and the median ratio.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from problem import images
from rich.console import Console
from rich.table import Table
from sklearn.neural_network import BernoulliRBM

from ppgen.data import Dataset, DataSpec
from ppgen.inference import PCD
from ppgen.models import RBM
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

__all__: list[str] = []

BATCH, FEATURES = 100, 784


def ours(x: torch.Tensor, hidden: int) -> Callable[[], None]:
    """An epoch of the compiled trainer."""
    spec = DataSpec("images", FEATURES, "binary", num_data=len(x), mean=x.mean(0))
    data = Dataset(spec, (x,), (x[:500],), (x[:500],))
    options = TrainingOptions(batch_size=BATCH, lr=1e-3, schedule="constant")
    trainer = Trainer(RBM(spec, hidden), data, PCD(num_chains=BATCH), options)

    def epoch() -> None:
        for _ in range(trainer.turns_per_epoch):
            trainer.take_turn()

    return epoch


def scikit_learn(x: torch.Tensor, hidden: int) -> Callable[[], None]:
    """An epoch of ``partial_fit`` over a permutation."""
    array = x.numpy()
    machine = BernoulliRBM(n_components=hidden, batch_size=BATCH, learning_rate=0.01, random_state=0)
    generator = np.random.default_rng(0)

    def epoch() -> None:
        order = generator.permutation(len(array))
        for start in range(0, len(array), BATCH):
            machine.partial_fit(array[order[start : start + BATCH]])

    return epoch


def main(
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each, in turn.")] = 5,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden units.")] = 500,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the results here.")] = None,
) -> None:
    """Measure both and print seconds an epoch."""
    x = torch.from_numpy(images())
    peers = {"ours": ours(x, hidden), "scikit_learn": scikit_learn(x, hidden)}
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for number in range(epochs + 1):
        for name in list(peers)[:: -1 if number % 2 else 1]:
            start = time.perf_counter()
            peers[name]()
            if number:
                seconds[name].append(time.perf_counter() - start)
    ratio = statistics.median(a / b for a, b in zip(*seconds.values(), strict=True))
    table = Table("peer", "s an epoch", "best", title=f"{hidden} hidden units, {torch.get_num_threads()} threads")
    for name, taken in seconds.items():
        table.add_row(name, f"{statistics.median(taken):.2f}", f"{min(taken):.2f}")
    console = Console()
    console.print(table)
    console.print(f"ours/scikit_learn {ratio:.2f}")
    if json_file:
        json_file.write_text(
            json.dumps({"hidden": hidden, "seconds": seconds, "ratio": ratio}, indent=1), encoding="utf-8"
        )


if __name__ == "__main__":
    typer.run(main)
