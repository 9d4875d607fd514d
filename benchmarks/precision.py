"""What products in bfloat16 do to a bound: a small VAE on `digits`, trained in float32 and in bf16 from the same seeds.

    python benchmarks/precision.py [--seeds 7]

Prints the importance-weighted bound (K = 5) of the validation data after 300 steps, in full precision, of both, and the
mean of their differences with its standard error.
"""

import math
import statistics
from typing import Annotated

import torch
import typer

import ppgen
from ppgen.inference import IWELBO
from ppgen.machine.precision import Precision
from ppgen.models import VAE
from ppgen.training.options import TrainingOptions

__all__: list[str] = []

OBJECTIVE = IWELBO(num_particles=5)


def main(seeds: Annotated[int, typer.Option(help="From 0 on.")] = 7) -> None:
    """Train and compare."""
    differences = []
    for seed in range(seeds):
        exact, rounded = bound(seed, "float32"), bound(seed, "bf16")
        differences.append(rounded - exact)
        print(f"seed {seed}: float32 {exact:.4f}, bf16 {rounded:.4f} nats")
    error = statistics.stdev(differences) / math.sqrt(seeds)
    print(f"bf16 less float32: {statistics.mean(differences):.5f}, standard error {error:.5f} nats")


def bound(seed: int, precision: Precision) -> float:
    """Of the validation data, in nats per datum."""
    data = ppgen.load_data("digits")
    torch.manual_seed(seed)
    pair = VAE(data.spec, latent_dim=5, hidden=(50,))
    options = TrainingOptions(
        steps=300, batch_size=100, lr=3e-3, validate_every=300, seed=seed, eager=True, precision=precision
    )
    run = ppgen.fit(pair, data, OBJECTIVE, device="cpu", training=options)
    return float(run.metrics[-1]["bound"])


if __name__ == "__main__":
    typer.run(main)
