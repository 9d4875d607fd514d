"""One training step of each family of pairs: this project's loop beside the same step written by hand in eager PyTorch.

    .venv/bin/python benchmarks/family_steps.py [--repeats 9] [--only rbm,gan] [--json FILE]

A contest is a step of persistent contrastive divergence (784 visible and 500 hidden units, batch 100, 100 chains), or
a turn of a GAN (one step of the critic, one of the generator; dense networks, batch 100). Both sides fetch a batch of
the same 50,000 images, take the gradient and one fused Adam step a player, in float32, on the same threads. They have
turns of half a second in one process, in an order that is reversed every other round; compiling and a warm-up come
before. Prints medians and the median of the ratios of each round.
"""

import json
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
import typer
from problem import images
from rich.console import Console
from rich.table import Table
from tables import environment
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppgen.data import Dataset, DataSpec
from ppgen.inference import PCD, NonSaturating
from ppgen.models import GAN, RBM
from ppgen.objective import Objective
from ppgen.options import TrainingOptions
from ppgen.pair import Pair
from ppgen.trainer import Trainer

__all__: list[str] = []

BATCH, FEATURES, LR = 100, 784, 1e-3
HIDDEN = 500  # of the RBM
LATENT, WIDTHS = 32, (256, 256)  # of the GAN, and of its critic
SECONDS = 0.5  # of one turn

Step = Callable[[], object]
Contest = Callable[[Tensor], tuple[Step, Step]]
"""Data (N, 784) to our step and the step by hand."""


def rbm(x: Tensor) -> tuple[Step, Step]:
    """Persistent contrastive divergence, one sweep a step."""
    spec = DataSpec("images", FEATURES, "binary", num_data=len(x), mean=x.mean(0))
    weight = nn.Parameter(0.01 * torch.randn(FEATURES, HIDDEN))
    visible, hidden = nn.Parameter(torch.zeros(FEATURES)), nn.Parameter(torch.zeros(HIDDEN))
    optimizer = torch.optim.Adam([weight, visible, hidden], lr=LR, fused=True)
    chains, fetch = x[:BATCH], batches(x)

    def free_energy(v: Tensor) -> Tensor:
        return -(v @ visible) - softplus(v @ weight + hidden).sum(-1)

    def by_hand() -> Tensor:
        nonlocal chains
        v = fetch()
        with torch.no_grad():
            h = torch.bernoulli((chains @ weight + hidden).sigmoid())
            chains = torch.bernoulli((h @ weight.T + visible).sigmoid())
        return descend(free_energy(v).mean() - free_energy(chains).mean(), optimizer)

    return turn(RBM(spec, HIDDEN), x, spec, PCD(num_chains=BATCH)), by_hand


def gan(x: Tensor) -> tuple[Step, Step]:
    """The non-saturating losses, one step of each player."""
    spec = DataSpec("images", FEATURES, "real", num_data=len(x), mean=x.mean(0))
    generator = nn.Sequential(*dense(LATENT, *WIDTHS, FEATURES, between=nn.ReLU), nn.Sigmoid())
    critic = nn.Sequential(*dense(FEATURES, *WIDTHS, 1, between=lambda: nn.LeakyReLU(0.2)))
    of_generator, of_critic = (
        torch.optim.Adam(network.parameters(), lr=LR, betas=(0.5, 0.9), fused=True) for network in (generator, critic)
    )
    fetch = batches(x)

    def by_hand() -> Tensor:
        real = fetch()
        with torch.no_grad():
            fake = generator(torch.randn(BATCH, LATENT))
        outputs = critic(torch.cat([real, fake]))
        descend(softplus(-outputs[:BATCH]).mean() + softplus(outputs[BATCH:]).mean(), of_critic)
        fetch()
        return descend(softplus(-critic(generator(torch.randn(BATCH, LATENT)))).mean(), of_generator)

    ours = GAN(spec, LATENT, hidden=WIDTHS, output="sigmoid")
    return turn(ours, x, spec, NonSaturating(hidden=WIDTHS)), by_hand


CONTESTS: dict[str, Contest] = {"rbm": rbm, "gan": gan}
"""The contests by name. To add one: a function of the data that gives our step and the one by hand."""


def dense(*sizes: int, between: Callable[[], nn.Module]) -> list[nn.Module]:
    """Linear layers with activations between them."""
    layers = [nn.Linear(n, m) for n, m in pairwise(sizes)]
    return [module for layer in layers[:-1] for module in (layer, between())] + [layers[-1]]


def batches(x: Tensor) -> Callable[[], Tensor]:
    """A function that gives the next batch of a permutation that is drawn anew each epoch."""
    place, order = 0, torch.randperm(len(x))

    def fetch() -> Tensor:
        nonlocal place, order
        if place + BATCH > len(x):
            place, order = 0, torch.randperm(len(x))
        place += BATCH
        return x[order[place - BATCH : place]]

    return fetch


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """One step down ``loss``."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    optimizer.step()
    return loss.detach()


def turn(pair: Pair, x: Tensor, spec: DataSpec, objective: Objective) -> Step:
    """Our step: a turn of all players of the compiled loop."""
    data = Dataset(spec, (x,), (x[:500],), (x[:500],))
    return Trainer(pair, data, objective, TrainingOptions(batch_size=BATCH, lr=LR, schedule="constant")).take_turn


def measure(sides: tuple[Step, Step], repeats: int) -> list[tuple[float, float]]:
    """Milliseconds a step of both sides, for each round."""
    counts = [max(1, round(SECONDS / time_of(step, 20))) for step in sides]
    rounds = []
    for number in range(repeats):
        taken = {side: 1e3 * time_of(sides[side], counts[side]) for side in ((0, 1), (1, 0))[number % 2]}
        rounds.append((taken[0], taken[1]))
    return rounds


def time_of(step: Step, count: int) -> float:
    """Seconds a step, over ``count`` steps after one that is not timed."""
    step()
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


def main(
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; each side has one turn a round.")] = 9,
    only: Annotated[str | None, typer.Option(help="Contests, separated by commas.", show_default="all")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the results here.")] = None,
) -> None:
    """Measure the contests and print milliseconds a step."""
    names = list(CONTESTS) if only is None else [name.strip() for name in only.split(",")]
    if unknown := [name for name in names if name not in CONTESTS]:
        raise typer.BadParameter(f"unknown contest {unknown[0]!r}: known ones are {', '.join(CONTESTS)}.")
    x, found = torch.from_numpy(images()), {}
    table = Table(
        "step", "ours ms", "by hand ms", "ours/by hand", caption=f"{torch.get_num_threads()} threads, {environment()}"
    )
    for name in names:
        torch.manual_seed(0)
        rounds = measure(CONTESTS[name](x), repeats)
        ours, by_hand = (statistics.median(side) for side in zip(*rounds, strict=True))
        ratio = statistics.median(a / b for a, b in rounds)
        table.add_row(name, f"{ours:.2f}", f"{by_hand:.2f}", f"{ratio:.2f}")
        found[name] = {"ours": ours, "by_hand": by_hand, "ratio": ratio}
    Console().print(table)
    if json_file:
        json_file.write_text(json.dumps({"environment": environment(), "contests": found}, indent=1))


if __name__ == "__main__":
    typer.run(main)
