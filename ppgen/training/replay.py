"""A step that gave a number that is not finite, taken again with its own random numbers, under a watch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ppgen.errors import shown
from ppgen.pairs.nonfinite import ALL_FINITE, Watch
from ppgen.pairs.tracing import Program
from ppgen.training.gradient_norm import gradient_norm
from ppgen.training.learner import Learner

__all__ = ["WatchedLearner", "what_is_not_finite"]


class WatchedLearner(Learner):
    """The same parameters, and a program whose sites are watched: its steps are not compiled."""

    def __init__(self, learner: Learner, watch: Watch) -> None:
        super().__init__(learner.pair, learner.objective, learner.data_size)
        self.watch = watch

    @property
    def program(self) -> Program:
        return self.watch.over(super().program)


def what_is_not_finite(watch: Watch, loss: Tensor, gradients: Mapping[str, Tensor]) -> str:
    """The site where it arose; where every site is finite, the parameter whose gradient is not, or the loss."""
    if watch.first:
        return watch.first
    name = next((name for name, gradient in gradients.items() if not bool(torch.isfinite(gradient).all())), None)
    if name is not None:
        return f"the gradient of parameter {shown(name)} is not finite, though every site of the pair is"
    if not bool(torch.isfinite(loss)):
        return ALL_FINITE
    found = [*gradients.values()]
    if found and not bool(torch.isfinite(gradient_norm(found, clipped=False))):
        norm = float(gradient_norm(found, clipped=True))
        return f"the gradient's norm is {norm:.0e} where the loss is {float(loss):.0e}, and optimizers keep its square"
    return "the loss or its gradient is not finite as it was compiled, and is with eager=True and the same draws"
