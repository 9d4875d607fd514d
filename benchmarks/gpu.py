"""A turn on a GPU, for each family: one CUDA graph here, beside the same step by hand, and beside stock Pyro.

    python benchmarks/gpu.py [--repeats 5] [--json FILE]

By hand is the VAE of `problem.py` with everything a step does in one CUDA graph: rows by a cursor on the device, the
loss under `torch.compile`, its gradient, one fused capturable Adam. All sides of a row take turns in one process, their
times are read after the device has ended. The other rows are ours alone, graph and step by step. It needs a GPU, a few
minutes, and torch 2.11 or newer.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import problem
import torch
import typer
from peers import ours, stock_pyro
from peers.handwritten import make_loss
from rich.console import Console
from rich.table import Table
from tables import environment
from torch_problem import networks

from ppgen.data import Dataset, DataSpec, load_data
from ppgen.inference import PCD, VIMCO, WassersteinGP
from ppgen.machine.precision import Precision
from ppgen.models import GAN, RBM, SBN
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

__all__: list[str] = []

DEVICE = "cuda"
SECONDS = 0.4  # of one turn of a side
VAES = [(20, 1), (100, 1), (512, 1), (4096, 1), (100, 50), (512, 50)]

Step = Callable[[], object]


def by_hand(batch_size: int, num_particles: int) -> Step:
    """The whole step of the VAE in one CUDA graph."""
    encoder, decoder = networks(DEVICE)
    loss = torch.compile(make_loss(encoder, decoder, num_particles), fullgraph=True, dynamic=False)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=problem.LEARNING_RATE, fused=True, capturable=True)
    data = torch.from_numpy(problem.images()).to(DEVICE)
    order, within = torch.randperm(len(data), device=DEVICE), torch.arange(batch_size, device=DEVICE)
    cursor = torch.zeros((), dtype=torch.long, device=DEVICE)

    def step() -> None:
        value = loss(data[order[(cursor + within) % len(data)]])
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        optimizer.step()
        cursor.add_(batch_size)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def replay(_: object = (step, optimizer)) -> None:  # what the graph reads must live as long as it does
        graph.replay()

    return replay


def vae(batch_size: int, num_particles: int) -> dict[str, Step]:
    """The VAE of the other benchmarks."""
    return {
        "graph": ours.make_step(batch_size, num_particles, DEVICE).update,
        "by hand, one graph": by_hand(batch_size, num_particles),
        "stock Pyro": stock_pyro.make_step(batch_size, num_particles, DEVICE).update,
    }


def precisions(batch_size: int, num_particles: int) -> dict[str, Step]:
    """That VAE's turn, its products of matrices in each precision."""
    names: dict[str, Precision] = {"graph": "float32", "tf32": "tf32", "bf16": "bf16"}
    return {
        name: ours.make_step(batch_size, num_particles, DEVICE, precision=precision).update
        for name, precision in names.items()
    }


def family(make: Callable[[DataSpec], Pair], data: Dataset, objective: Objective, batch_size: int) -> dict[str, Step]:
    """Ours, as one graph and step by step."""

    def trainer() -> Trainer:
        torch.manual_seed(0)
        return Trainer(make(data.spec).to(DEVICE), data, objective, options)

    options = TrainingOptions(batch_size=batch_size, schedule="constant")
    apart = trainer()
    apart._books._can_capture = False  # type: ignore[attr-defined]
    return {"graph": trainer().take_turn, "step by step": apart.take_turn}


def rows() -> dict[str, Callable[[], dict[str, Step]]]:
    """The rows by name."""
    images, ring = ours.dataset().to(torch.device(DEVICE)), load_data("ring").to(torch.device(DEVICE))
    found: dict[str, Callable[[], dict[str, Step]]] = {}
    for batch_size, k in VAES:
        found[f"VAE, batch {batch_size}, K {k}"] = lambda size=batch_size, k=k: vae(size, k)
    found["VAE, batch 512, K 50, in three precisions"] = lambda: precisions(512, 50)
    found["SBN 784-200-200, VIMCO K 5, batch 24"] = lambda: family(
        lambda spec: SBN(spec, (200, 200)), images, VIMCO(num_particles=5), 24
    )
    found["RBM 500, PCD, batch 100"] = lambda: family(lambda spec: RBM(spec, 500), images, PCD(), 100)
    found["WGAN-GP on ring, batch 128"] = lambda: family(lambda spec: GAN(spec), ring, WassersteinGP(), 128)
    return found


def measure(sides: dict[str, Step], repeats: int) -> dict[str, Any]:
    """Microseconds of each side: median over rounds, and the first side's median ratio to it."""
    counts = {name: max(3, round(SECONDS / seconds(step, 30))) for name, step in sides.items()}
    rounds = [{name: 1e6 * seconds(step, counts[name]) for name, step in sides.items()} for _ in range(repeats)]
    first = next(iter(sides))
    return {
        name: {
            "us": statistics.median(turn[name] for turn in rounds),
            "ratio": statistics.median(turn[first] / turn[name] for turn in rounds),
        }
        for name in sides
    }


def seconds(step: Step, count: int) -> float:
    """Of a step, over ``count`` of them."""
    step()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


def main(
    repeats: Annotated[int, typer.Option(min=1, help="Rounds.")] = 5,
    only: Annotated[str, typer.Option(help="Rows whose names hold this.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the results here.")] = None,
) -> None:
    """Measure all rows and print microseconds a turn."""
    if not torch.cuda.is_available():
        raise typer.BadParameter("torch sees no GPU here.")
    name, found = torch.cuda.get_device_name(), {}
    table = Table("row", "side", "us", "graph/side", "first s", title="a turn", caption=f"{name}, {environment()}")
    for row, make in ((row, make) for row, make in rows().items() if only in row):
        start = time.perf_counter()
        sides = make()
        next(iter(sides.values()))()
        torch.cuda.synchronize()
        first = time.perf_counter() - start
        found[row] = measure(sides, repeats)
        for side, numbers in found[row].items():
            ratio = "" if side == "graph" else f"{numbers['ratio']:.3f}"
            table.add_row(row, side, f"{numbers['us']:.0f}", ratio, f"{first:.1f}" if side == "graph" else "")
        print(row, {side: round(numbers["us"]) for side, numbers in found[row].items()}, flush=True)
    Console(width=110).print(table)
    if json_file:
        written = {"device": name, "environment": environment(), "rows": found}
        json_file.write_text(json.dumps(written, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
