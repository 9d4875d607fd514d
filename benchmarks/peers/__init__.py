"""The peers: functions that make a training step, one file a family or a library.

Each takes ``(batch_size, num_particles, device)`` and gives a :class:`Step`: the fetch of a minibatch, the loss, its
gradient and the update. `contests.py` says which peers meet. To add one: 1. write its function, or an estimator's four
as one `common.Estimator`; 2. name it there; 3. for the VAE, start from `problem.first_values()`, fetch by
`problem.index_batches()`, run `bench.py --check`.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Step"]

Loss = TypeVar("Loss")


class Step(Generic[Loss]):
    """A whole training step: calling it runs `update`, which may return before the device is done.

    Args:
        update: runs one step and returns its loss as the peer's library has it.
        read: waits for that loss and turns it into a number of nats per datum.
        per_call: training steps that one call makes, for what is run many steps at a time.
    """

    def __init__(self, update: Callable[[], Loss], read: Callable[[Loss], float], per_call: float = 1) -> None:
        self.update, self.read, self.per_call = update, read, per_call

    def __call__(self) -> None:
        self.last = self.update()

    def loss(self) -> float:
        """Loss of the last step in nats per datum, once everything asked of the device is done."""
        return self.read(self.last)
