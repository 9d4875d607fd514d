"""What the peers of several families are made of: data, batches, our turn, a step by hand and stock Pyro's."""

from collections.abc import Callable
from itertools import pairwise

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

__all__ = ["LR", "batches", "by_hand", "dense", "descend", "pictures", "svi", "turns"]

LR = problem.LEARNING_RATE


def pictures(observation: str) -> tuple[DataSpec, Tensor]:
    """The common images as data of this kind, and what they are."""
    x = torch.from_numpy(problem.images())
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
