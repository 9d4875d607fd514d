"""A critic of labels: what it is a function of, and what it is not."""

from typing import Any

import pytest
import torch

from ppgen.errors import UsageError
from ppgen.layers.labelled_critics import LabelledCritic

X, Z = torch.randn(6, 2, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
Y = torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize("hidden", [(), (4,), (5, 4)])
def test_a_projection_is_linear_in_the_last_hidden_layer(hidden: tuple[int, ...]) -> None:
    critic: Any = LabelledCritic(X, Y, hidden=hidden, num_classes=3, projection=True).double()
    torch.nn.init.normal_(critic.of_class)
    h = critic.network(X.reshape(6, 6))
    assert h.shape == (6, hidden[-1] if hidden else 6)
    by_hand = (h * (critic.score.weight[0] + critic.of_class[Y])).sum(1) + critic.score.bias
    torch.testing.assert_close(critic(X, Y), by_hand)


def test_a_projection_starts_without_a_word_on_labels() -> None:
    critic = LabelledCritic(X, Y, hidden=(4,), num_classes=3, projection=True).double()
    assert torch.equal(critic(X, Y), critic(X, (Y + 1) % 3))


def test_beside_x_the_label_is_its_one_hot() -> None:
    critic = LabelledCritic(X, Z, Y, hidden=(4,), num_classes=3).double()
    beside = torch.cat([X.reshape(6, 6), Z, torch.eye(3, dtype=torch.float64)[Y]], 1)
    assert torch.equal(critic(X, Z, Y), critic.network(beside).squeeze(-1))


@pytest.mark.parametrize("batch", [(X,), (X, Y, Y), (X, Y.double())], ids=["none", "two", "numbers"])
def test_it_reads_one_label(batch: tuple[torch.Tensor, ...]) -> None:
    with pytest.raises(UsageError, match="a critic of labels reads one, whole numbers"):
        LabelledCritic(*batch, hidden=(4,), num_classes=3)
