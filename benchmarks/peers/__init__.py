"""The peers, one file each, which offers `make_step(batch_size, num_particles, device) -> Step`.

A step fetches the next minibatch by a permutation, takes the loss (ELBO for K = 1, IWELBO for K > 1), its
gradient and one Adam update. To add a peer: 1. put a file here with `make_step`; 2. start from
`problem.first_values()` and fetch by `problem.index_batches()`; 3. run `step_time.py --check`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

__all__ = ["Step", "peer_names"]

Loss = TypeVar("Loss")


class Step(Generic[Loss]):
    """A whole training step: calling it runs `update`, which may return before the device is done.

    Args:
        update: runs one step and returns its loss as the peer's library has it.
        read: waits for that loss and turns it into a number of nats per datum.
    """

    def __init__(self, update: Callable[[], Loss], read: Callable[[Loss], float]) -> None:
        self.update, self.read = update, read

    def __call__(self) -> None:
        self.last = self.update()

    def loss(self) -> float:
        """Loss of the last step in nats per datum, once everything asked of the device is done."""
        return self.read(self.last)


def peer_names() -> list[str]:
    """Names of the files here, ours first."""
    files = {path.stem for path in Path(__file__).parent.glob("*.py")} - {"__init__"}
    return sorted(files, key=lambda name: (name != "ours", name))
