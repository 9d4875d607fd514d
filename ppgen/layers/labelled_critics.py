"""A critic of data with labels: their one-hot beside x, or by projection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppgen.errors import UsageError
from ppgen.layers.dense import MLP, glorot, make_activation
from ppgen.layers.labels import one_hot
from ppgen.pairs.rows import is_data

__all__ = ["LabelledCritic", "holds_labels"]


class LabelledCritic(nn.Module):
    """A dense network of leaky ReLUs (slope 0.2) that reads the class of a datum: (x, ..., y) to (B,).

        beside:       f(x, y) = network(x, one_hot(y))                                  (Mirza and Osindero 2014)
        projection:   f(x, y) = v . h(x) + b + e_y . h(x),   h the last hidden layer    (Miyato and Koyama 2018, eq. 4)

    A projection is what the log-ratio of p_data and p_g is where both classify by linear functions of h(x). All numbers
    of a datum stand side by side, x first; what a batch has of whole numbers, (B,), is the label.

    Args:
        batch: an example: x, (B, ...), and what else it holds.
        hidden: sizes of the hidden layers.
        num_classes: C.
        projection: by projection.

    >>> batch = (torch.zeros(5, 3), torch.tensor([0, 1, 1, 0, 1]))
    >>> LabelledCritic(*batch, hidden=(4,), num_classes=2, projection=True)(*batch).shape
    torch.Size([5])
    """

    def __init__(self, *batch: Any, hidden: Sequence[int], num_classes: int, projection: bool = False) -> None:
        super().__init__()
        self.num_classes, self.projection = num_classes, projection
        x, _ = _apart(batch)
        if not projection:
            self.network: nn.Module = MLP(x.shape[1] + num_classes, 1, hidden, "leaky_relu")
            return
        width = hidden[-1] if hidden else x.shape[1]
        below = [MLP(x.shape[1], width, hidden[:-1], "leaky_relu"), make_activation("leaky_relu")] if hidden else []
        self.network = nn.Sequential(*below)
        self.score = glorot(nn.Linear(width, 1))
        self.of_class = nn.Parameter(torch.zeros(num_classes, width))

    def forward(self, *batch: Any) -> Tensor:
        x, y = _apart(batch)
        label = one_hot(y, self.num_classes, x)  # (B, C)
        if not self.projection:
            beside: Tensor = self.network(torch.cat([x, label], -1))
            return beside.squeeze(-1)
        h = self.network(x)  # (B, H)
        scores: Tensor = self.score(h).squeeze(-1) + (h * (label @ self.of_class)).sum(-1)
        return scores

    def features(self, *batch: Any) -> Tensor:
        """The last hidden layer, (B, H)."""
        x, y = _apart(batch)
        if self.projection:
            return self.network(x)  # type: ignore[no-any-return]  # torch's modules return Any
        network: Any = self.network
        found: Tensor = network.features(torch.cat([x, one_hot(y, self.num_classes, x)], -1))
        return found


def holds_labels(batch: Sequence[Any]) -> bool:
    """Whether something beside x is whole numbers, one for each datum."""
    return any(_is_label(part, len(batch[0])) for part in batch[1:])


def _apart(batch: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """The numbers of each datum, x first, (B, D), and its label, (B,)."""
    x, rows = batch[0], len(batch[0])
    labels = [part for part in batch[1:] if _is_label(part, rows)]
    if len(labels) != 1:
        raise UsageError(
            f"a critic of labels reads one, whole numbers of shape (B,), and the batch has {len(labels)}: load the "
            "data with labels=True, or give a critic of one's own."
        )
    numbers = [part for part in batch[1:] if torch.is_tensor(part) and is_data(part, rows) and part is not labels[0]]
    return torch.cat([part.to(x.dtype).reshape(rows, -1) for part in (x, *numbers)], -1), labels[0]


def _is_label(part: Any, rows: int) -> bool:
    return torch.is_tensor(part) and part.shape == (rows,) and not part.is_floating_point()
