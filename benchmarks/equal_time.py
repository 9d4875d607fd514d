"""What ``auto`` reaches beside the estimators that it chooses from, in the same time of the processor.

    .venv/bin/python benchmarks/equal_time.py [--pair sbn|vae|gmvae] [--seeds 5] [--seconds 30] [--json FILE]

Binarized MNIST, batches of 100, Adam at 0.001. Every training is a process of its own, on one core that all of a seed
share in turns of a second: what else the machine does meets all of them. Its time is that of the processor from its
first step on; what is compiled, and the first measurement of ``auto``, are before it. The number is the bound of 2,000
test pictures in nats per datum, by eight draws of it for each.
"""

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

import ppgen
from ppgen.inference import Auto
from ppgen.pairs.reductions import log_mean_exp
from ppgen.training.callbacks import Training

__all__: list[str] = []

ESTIMATORS = {
    "sbn": "reinforce(num_particles=4), disarm(num_particles=2), rebar(num_particles=2), arm(num_particles=4)",
    "vae": "iwelbo(num_particles=8), dreg(num_particles=8), gdreg(num_particles=8)",
    "gmvae": "reinforce(num_particles=4), disarm(num_particles=2), disarm(num_particles=8)",
}
"""Those of one bound, by pair."""

TURN, DRAWS, PICTURES = 1.0, 8, 2000


@dataclass(frozen=True)
class Row:
    """A training's end: ``steps`` that it made, its ``bound``, and which estimator was ``played`` from which step."""

    pair: str
    seed: int
    objective: str
    steps: int
    bound: float
    played: list[tuple[int, str]]


class _Until(ppgen.Callback):
    """Stops a training after so many seconds of the processor from its first step on."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.begin, self.steps = seconds, 0.0, 0

    def after_step(self, training: Training) -> None:
        self.begin, self.steps = self.begin or time.process_time(), training.step
        if time.process_time() - self.begin > self.seconds:
            training.stop()


def trained(told: Connection, name: str, number: int, seed: int, seconds: float) -> None:
    """Train by one of the estimators, or by ``auto``, the last, in a process of its own, and send the row."""
    data, until, auto = ppgen.load_data("binarized_mnist"), _Until(seconds), chooser(name)
    torch.manual_seed(seed)
    pair = ppgen.make_pair(name, data.spec, **({"layers": (200,)} if name == "sbn" else {}))
    endless: dict[str, Any] = {"steps": 10**6, "validate_every": 10**6, "checkpoint_every": 10**6, "progress": False}
    rule, label = [*zip(auto.rules, auto.names, strict=True), (auto, "auto")][number]
    run = ppgen.fit(pair, data, rule, batch_size=100, schedule="constant", seed=seed, callbacks=[until], **endless)
    played = [(line["step"], line["played"]) for line in run.metrics if line["split"] == "choice"]
    found = bound(pair, data.test[0][:PICTURES], 8 if name == "vae" else 1)
    told.send(Row(name, seed, label, until.steps, found, played))


def chooser(name: str) -> Auto:
    """``auto`` of the pair's estimators."""
    return Auto(estimators=ESTIMATORS[name])  # type: ignore[arg-type]  # a text is read


def bound(pair: Any, pictures: torch.Tensor, particles: int) -> float:
    """The mean importance-weighted bound of so many particles, the ELBO's for one."""
    torch.manual_seed(0)
    log_w = ppgen.log_weights(pair, (pictures,), DRAWS * particles).unflatten(0, (DRAWS, particles))
    return float(torch.stack([log_mean_exp(draw) for draw in log_w]).mean())


def in_turns(name: str, seed: int, seconds: float, core: int) -> list[Row]:
    """All trainings of a seed, a turn after another."""
    spawn = get_context("spawn")
    started = []
    for number in range(len(chooser(name).rules) + 1):
        heard, told = spawn.Pipe(duplex=False)
        process = spawn.Process(target=trained, args=(told, name, number, seed, seconds))
        process.start()
        os.sched_setaffinity(process.pid or 0, {core})
        os.kill(process.pid or 0, signal.SIGSTOP)
        started.append((process, heard))
    while any(process.is_alive() for process, _ in started):
        for process, _ in started:
            if process.is_alive():
                os.kill(process.pid or 0, signal.SIGCONT)
                process.join(TURN)
                if process.is_alive():
                    os.kill(process.pid or 0, signal.SIGSTOP)
    return [heard.recv() for _, heard in started]


def main(
    pair: Annotated[str, typer.Option(help="One of " + ", ".join(ESTIMATORS))] = "sbn",
    seeds: Annotated[int, typer.Option(help="From 0 on.")] = 5,
    seconds: Annotated[float, typer.Option(help="Of each training.")] = 30.0,
    core: Annotated[int, typer.Option(help="That all share.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the rows, seed by seed.")] = None,
) -> None:
    """Train a pair by each estimator and by auto, and print what they reach."""
    os.environ |= {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    rows: list[Row] = []
    for seed in range(seeds):
        rows += in_turns(pair, seed, seconds, core)
        if json_file is not None:
            json_file.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    _print(rows)


def _print(rows: Sequence[Row]) -> None:
    table = Table("seed", "objective", "steps", "bound, nats", "played")
    for row in rows:
        played = ", ".join(f"{name} from {step}" for step, name in row.played)
        table.add_row(str(row.seed), row.objective, f"{row.steps:,}", f"{row.bound:.2f}", played)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
