"""One training step of each family of pairs: this project's loop beside the same step written by hand in PyTorch.

    .venv/bin/python benchmarks/family_steps.py [--repeats 9] [--only rbm,gan] [--json FILE]

A contest is a step of persistent contrastive divergence (784 visible and 500 hidden units, batch 100, 100 chains), a
turn of a GAN (one step of the critic, one of the generator; dense networks, batch 100), or a step of a sigmoid belief
network 784-200-200 at batch 24 and K = 5, by VIMCO or by REINFORCE with leave-one-out baselines. All sides fetch a
batch of the same 50,000 images, take the gradient and one fused Adam step a player, in float32, on the same threads.
They have turns of half a second in one process, in an order that is reversed every other round; compiling and a warm-up
come before. Prints medians and the median of the ratios of each round.
"""

import json
import math
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
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from ppgen.data import Dataset, DataSpec
from ppgen.inference import PCD, REINFORCE, VIMCO, NonSaturating
from ppgen.models import GAN, RBM, SBN
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

__all__: list[str] = []

BATCH, FEATURES, LR = 100, 784, 1e-3
HIDDEN = 500  # of the RBM
LATENT, WIDTHS = 32, (256, 256)  # of the GAN, and of its critic
LAYERS, SBN_BATCH, PARTICLES = (200, 200), 24, 5  # of the sigmoid belief network
SECONDS = 0.5  # of one turn

Step = Callable[[], object]
Reduce = Callable[[Tensor], Tensor]
Contest = Callable[[Tensor], dict[str, Step]]
"""Data (N, 784) to the sides' steps by name; the first is ours."""


def rbm(x: Tensor) -> dict[str, Step]:
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

    return {"ours": turn(RBM(spec, HIDDEN), x, PCD(num_chains=BATCH)), "eager": by_hand}


def gan(x: Tensor) -> dict[str, Step]:
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
    return {"ours": turn(ours, x, NonSaturating(hidden=WIDTHS)), "eager": by_hand}


def sbn(x: Tensor, objective: Objective, signal: Callable[[Tensor], Tensor], bound: Reduce) -> dict[str, Step]:
    """A sigmoid belief network; ``signal`` maps log-weights (K, B) to what multiplies the score."""
    spec = DataSpec("images", FEATURES, "binary", num_data=len(x), mean=x.mean(0))
    sizes = (FEATURES, *LAYERS)
    encoders = nn.ModuleList(nn.Linear(down, up) for down, up in pairwise(sizes))
    decoders = nn.ModuleList(nn.Linear(up, down) for down, up in pairwise(sizes))
    prior, mean = nn.Parameter(torch.zeros(LAYERS[-1])), x.mean(0)
    parameters = [*encoders.parameters(), *decoders.parameters(), prior]
    optimizer = torch.optim.Adam(parameters, lr=LR, fused=True)
    fetch = batches(x, SBN_BATCH)

    def loss(v: Tensor) -> Tensor:
        below, states, log_q = (v - mean).expand(PARTICLES, -1, -1), [], v.new_zeros(PARTICLES, len(v))
        for encoder in encoders:
            logits = encoder(below)  # (K, B, units)
            states.append(torch.bernoulli(logits.detach().sigmoid()))
            log_q = log_q + bernoulli(logits, states[-1])
            below = 2 * states[-1] - 1
        log_p = bernoulli(prior, states[-1])
        for decoder, above, at in zip(decoders, states, [v, *states], strict=False):
            log_p = log_p + bernoulli(decoder(2 * above - 1), at)
        log_w = log_p - log_q  # (K, B)
        return -(bound(log_w) + (signal(log_w.detach()) * log_q).sum(0)).mean()

    def step(of: Callable[[Tensor], Tensor]) -> Step:
        return lambda: descend(of(fetch()), optimizer)

    ours = turn(SBN(spec, LAYERS), x, objective, SBN_BATCH)
    return {"ours": ours, "eager": step(loss), "torch.compile": step(torch.compile(loss))}


def vimco(x: Tensor) -> dict[str, Step]:
    """The importance-weighted bound, with the others' geometric mean in each particle's place."""

    def bound(log_w: Tensor) -> Tensor:
        return log_w.logsumexp(0) - math.log(PARTICLES)

    def signal(log_w: Tensor) -> Tensor:
        others = (log_w.sum(0) - log_w) / (PARTICLES - 1)
        without = torch.where(torch.eye(PARTICLES, dtype=torch.bool)[..., None], others, log_w)  # (K, K, B)
        return bound(log_w) - (without.logsumexp(1) - math.log(PARTICLES))

    return sbn(x, VIMCO(num_particles=PARTICLES), signal, bound)


def leave_one_out(x: Tensor) -> dict[str, Step]:
    """The ELBO, with the others' mean as the baseline."""
    objective = REINFORCE(num_particles=PARTICLES, baseline="leave_one_out")

    def signal(log_w: Tensor) -> Tensor:
        return (log_w - (log_w.sum(0) - log_w) / (PARTICLES - 1)) / PARTICLES

    return sbn(x, objective, signal, lambda log_w: log_w.mean(0))


CONTESTS: dict[str, Contest] = {"rbm": rbm, "gan": gan, "vimco": vimco, "reinforce": leave_one_out}
"""The contests by name. To add one: a function of the data that gives our step and those by hand."""


def bernoulli(logits: Tensor, value: Tensor) -> Tensor:
    """log Bernoulli(value; sigmoid(logits)), summed over units: (..., D) -> (...,)."""
    logits, value = torch.broadcast_tensors(logits, value)
    return -binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)


def dense(*sizes: int, between: Callable[[], nn.Module]) -> list[nn.Module]:
    """Linear layers with activations between them."""
    layers = [nn.Linear(n, m) for n, m in pairwise(sizes)]
    return [module for layer in layers[:-1] for module in (layer, between())] + [layers[-1]]


def batches(x: Tensor, size: int = BATCH) -> Callable[[], Tensor]:
    """A function that gives the next batch of a permutation that is drawn anew each epoch."""
    place, order = 0, torch.randperm(len(x))

    def fetch() -> Tensor:
        nonlocal place, order
        if place + size > len(x):
            place, order = 0, torch.randperm(len(x))
        place += size
        return x[order[place - size : place]]

    return fetch


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """One step down ``loss``."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    optimizer.step()
    return loss.detach()


def turn(pair: Pair, x: Tensor, objective: Objective, size: int = BATCH) -> Step:
    """Our step: a turn of all players of the compiled loop."""
    kind = "binary" if pair.has_weights else "real"
    data = Dataset(DataSpec("images", FEATURES, kind, num_data=len(x)), (x,), (x[:500],), (x[:500],))
    return Trainer(pair, data, objective, TrainingOptions(batch_size=size, lr=LR, schedule="constant")).take_turn


def measure(sides: dict[str, Step], repeats: int) -> list[dict[str, float]]:
    """Milliseconds a step of each side, for each round."""
    counts = {name: max(1, round(SECONDS / time_of(step, 20))) for name, step in sides.items()}
    rounds = []
    for number in range(repeats):
        order = list(sides)[:: -1 if number % 2 else 1]
        rounds.append({name: 1e3 * time_of(sides[name], counts[name]) for name in order})
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
    caption = f"{torch.get_num_threads()} threads, {environment()}"
    table = Table("step", "side", "ms", "ours/side", title="a step, by hand beside", caption=caption)
    for name in names:
        torch.manual_seed(0)
        rounds = measure(CONTESTS[name](x), repeats)
        found[name] = {}
        for side in rounds[0]:
            taken = statistics.median(turns[side] for turns in rounds)
            ratio = statistics.median(turns["ours"] / turns[side] for turns in rounds)
            found[name][side] = {"ms": taken, "ratio": ratio}
            table.add_row(name, side, f"{taken:.2f}", "" if side == "ours" else f"{ratio:.2f}")
        table.add_section()
    Console().print(table)
    if json_file:
        json_file.write_text(json.dumps({"environment": environment(), "contests": found}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
