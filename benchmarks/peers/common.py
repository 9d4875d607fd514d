"""What the peers of several families are made of: data, batches, our turn, a step by hand and stock Pyro's."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import problem
import pyro
import torch
from pyro.infer import ELBO, SVI
from torch import Tensor, nn

from peers import Step
from ppgen.data import Dataset, DataSpec
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer

__all__ = ["LR", "Estimator", "Loss", "batches", "by_hand", "dense", "descend", "pictures", "svi", "turns"]

LR = problem.LEARNING_RATE

Loss = tuple[nn.Module, Callable[[Tensor], Tensor]]
"""What learns, and the loss of a batch."""


@dataclass(frozen=True)
class Estimator:
    """An estimator of ours and the same by hand on binary images: the four peers of a contest.

    Args:
        pair: ours, by what the data are.
        objective: ours, by the number of particles.
        loss: by hand, by all the data and the number of particles.
        num_data: of the images; None: all.
    """

    pair: Callable[[DataSpec], Pair]
    objective: Callable[[int], Objective]
    loss: Callable[[Tensor, int], Loss]
    num_data: int | None = None

    def ours(self, batch_size: int, num_particles: int, device: str, *, eager: bool = False) -> Step[None]:
        """A turn of ours, compiled where the objective can be."""
        spec, x = pictures("binary", self.num_data)
        return turns(self.pair(spec), x, self.objective(num_particles), batch_size, eager=eager)

    def eager(self, batch_size: int, num_particles: int, device: str) -> Step[None]:
        """The same without a compiler."""
        return self.ours(batch_size, num_particles, device, eager=True)

    def handwritten(
        self, batch_size: int, num_particles: int, device: str, through: Callable[..., Any] = lambda f: f
    ) -> Step[Tensor]:
        """By hand."""
        _, x = pictures("binary", self.num_data)
        modules, loss = self.loss(x, num_particles)
        fetch, optimizer = batches(x, batch_size), torch.optim.Adam(modules.parameters(), lr=LR, fused=True)
        loss = through(loss)
        return by_hand(lambda: descend(loss(fetch()), optimizer))

    def handwritten_compiled(self, batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
        """By hand, the loss under `torch.compile`."""
        return self.handwritten(batch_size, num_particles, device, torch.compile)


def pictures(observation: str, num: int | None = None) -> tuple[DataSpec, Tensor]:
    """The first ``num`` of the common images (None: all) as data of this kind, and what they are."""
    x = torch.from_numpy(problem.images())[:num]
    return DataSpec("images", x.shape[1], observation, num_data=len(x), mean=x.mean(0)), x


def batches(x: Tensor, size: int) -> Callable[[], Tensor]:
    """A function that gives the next batch of a permutation that is drawn anew each epoch."""
    place, order = 0, torch.randperm(len(x))

    def fetch() -> Tensor:
        nonlocal place, order
        if place + size > len(x):
            place, order = 0, torch.randperm(len(x))
        place += size
        return x[order[place - size : place]]

    return fetch


def turns(pair: Pair, x: Tensor, objective: Objective, size: int, *, eager: bool = False, lr: float = LR) -> Step[None]:
    """Ours: a turn of all players of the loop, compiled or eager, with all the checks of a real run."""
    spec = DataSpec("images", x.shape[1], "real", num_data=len(x))
    data = Dataset(spec, (x,), (x[:100],), (x[:100],))
    options = TrainingOptions(batch_size=size, lr=lr, schedule="constant", eager=eager)
    torch.manual_seed(0)
    trainer = Trainer(pair, data, objective, options)
    return Step(trainer.take_turn, lambda _: next(iter(trainer.report().values())))


def by_hand(update: Callable[[], Tensor]) -> Step[Tensor]:
    """A step that returns its loss."""
    return Step(update, lambda loss: loss.item())


def svi(pair: Pair, x: Tensor, bound: ELBO, size: int, lr: float = LR) -> Step[float]:
    """Stock Pyro on the same pair, its validation on, as it comes."""
    fetch, step = batches(x, size), SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": lr}), bound)
    return Step(lambda: step.step(fetch()), lambda loss: loss / size)


def dense(*sizes: int, between: Callable[[], nn.Module]) -> list[nn.Module]:
    """Linear layers with activations between them."""
    layers = [nn.Linear(n, m) for n, m in pairwise(sizes)]
    return [module for layer in layers[:-1] for module in (layer, between())] + [layers[-1]]


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """One step down ``loss``."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    optimizer.step()
    return loss.detach()
