"""This project: the turn of `Trainer`, its step one compiled graph, with all the checks of a real run."""

from __future__ import annotations

import problem
import torch
from torch import nn

from peers import Step
from ppgen.data import Dataset, DataSpec
from ppgen.inference import ELBO, IWELBO
from ppgen.machine.precision import Precision
from ppgen.models import VAE
from ppgen.pairs.pair import Pair
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

__all__ = ["dataset", "make_eager", "make_step"]


def make_step(
    batch_size: int, num_particles: int, device: str, *, eager: bool = False, precision: Precision = "float32"
) -> Step[None]:
    """One turn of the training loop; its batches come in an order of its own."""
    data = dataset().to(device)
    pair = VAE(data.spec, problem.LATENT).to(device)
    fill(pair)
    objective = ELBO() if num_particles == 1 else IWELBO(num_particles=num_particles)
    options = TrainingOptions(
        batch_size=batch_size, lr=problem.LEARNING_RATE, schedule="constant", eager=eager, precision=precision
    )
    torch.manual_seed(0)
    trainer = Trainer(pair, data, objective, options)

    def read(_: None) -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return trainer.report()["loss"]

    return Step(trainer.take_turn, read)


def make_eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The same turn without a compiler."""
    return make_step(batch_size, num_particles, device, eager=True)


def dataset() -> Dataset:
    """The common images; the splits that a step does not touch are a few of them."""
    x = torch.from_numpy(problem.images())
    spec = DataSpec("bench", x.shape[1], "binary", num_data=len(x))
    return Dataset(spec, (x,), (x[:100],), (x[:100],))


def fill(pair: Pair) -> None:
    """Give the pair's dense layers, encoder first, the common first values."""
    encoder, decoder = problem.first_values()
    linears = [module for module in pair.modules() if isinstance(module, nn.Linear)]
    for linear, (weight, bias) in zip(linears, encoder + decoder, strict=True):
        linear.weight.data = torch.from_numpy(weight.T.copy()).to(linear.weight.device)
        linear.bias.data = torch.from_numpy(bias).to(linear.bias.device)
