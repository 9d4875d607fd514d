"""The best parameters by a windowed validation bound, and early stopping on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ppgen.training.learner import check_state, under

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """Keeps the parameters of the best validation bound, and says when it has stopped rising.

    Single bounds are noisy, so means over the last ``window`` validations are compared: training is done when
    ``patience`` validations have passed without a new best mean. Before there is a first mean the last are the best.

    Args:
        patience: None: never stop.
        window: validations in a mean.
    """

    def __init__(self, patience: int | None, window: int) -> None:
        self.patience, self.window = patience, window
        self.bounds: list[float] = []
        self.best: dict[str, Tensor] = {}

    @property
    def done(self) -> bool:
        """Whether to stop."""
        means = self._means()
        return (
            self.patience is not None and len(means) - 1 - means.index(max(means)) >= self.patience if means else False
        )

    def see(self, bound: float, learner: nn.Module, *, keep: bool = True) -> None:
        """Take note of one validation, and with ``keep`` of the parameters, if it is the best."""
        self.bounds.append(bound)
        means = self._means()
        if keep and (not means or means[-1] == max(means)):
            self.best = {name: value.clone() for name, value in learner.state_dict().items()}

    def trend(self, bound: float) -> str:
        """How a new bound stands to the mean of the last ones."""
        recent = self.bounds[-self.window :]
        return f"({bound - sum(recent) / len(recent):+.2f})" if recent else ""

    def take_best(self, learner: nn.Module) -> None:
        """Give the learner the best parameters, when there is a patience."""
        if self.patience is not None and self.best:
            learner.load_state_dict(self.best)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {f"best.{name}": value for name, value in self.best.items()}

    def restore(self, tensors: Mapping[str, Tensor], bounds: Sequence[float], learner: nn.Module) -> None:
        """Go on from :meth:`tensors` and the bounds until then.

        Raises:
            UsageError: the tensors are not those of the learner.
        """
        best = under("best.", tensors)
        self.bounds, self.best = list(bounds), check_state(learner, best) if best else {}

    def _means(self) -> list[float]:
        ends = range(self.window, len(self.bounds) + 1)
        return [sum(self.bounds[end - self.window : end]) / self.window for end in ends]
