"""The hybrid objective of energy-based pairs with labels against sums over all states."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.distributions.binary_states import binary_states
from ppgen.inference import CD, Hybrid
from ppgen.pairs.running import Program

D, C = 4, 3


@pytest.fixture
def pair() -> Any:
    torch.manual_seed(0)
    made: Any = ppgen.make_pair(
        "rbm", ppgen.DataSpec("bits", D, "binary", num_classes=C), hidden=3, labels=True
    ).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.8)
    return made


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    (x,) = binary_states(D, torch.zeros((), dtype=torch.float64))
    return x, torch.arange(len(x)) % C


def test_without_a_generative_term_it_is_minus_log_p_of_the_label(pair: Any, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    h = next(binary_states(3, x))
    joint = pair.label_bias[:, None] + pair.label_weight @ h.T  # (C, 2^H)
    joint = joint + (x @ pair.weight @ h.T + h @ pair.hidden_bias)[:, None] + (x @ pair.visible_bias)[:, None, None]
    exact = -joint.logsumexp(-1).log_softmax(-1)[torch.arange(len(x)), y].sum()
    loss = Hybrid(weight=0).differentiable_loss(pair.model, pair.guide, x, y)
    assert torch.allclose(loss, exact, atol=1e-12)
    found, expected = (torch.autograd.grad(value, pair.label_weight)[0] for value in (loss, exact))
    assert torch.allclose(found, expected, atol=1e-12)


def test_the_generative_term_is_that_of_contrastive_divergence(pair: Any, batch: tuple[Tensor, Tensor]) -> None:
    losses = []
    for objective in (Hybrid(weight=0), Hybrid(weight=0.5, num_steps=2), CD(num_steps=2)):
        torch.manual_seed(1)
        losses.append(objective.differentiable_loss(pair.model, pair.guide, *batch))
    assert torch.allclose(losses[1], losses[0] + 0.5 * losses[2], atol=1e-10)


def test_persistent_chains_go_on(pair: Any, batch: tuple[Tensor, Tensor]) -> None:
    objective, program = Hybrid(num_chains=7), Program(pair.model, pair.guide)
    state = objective.initial_state(program, batch)
    outcome = objective.play("all", program, batch, state)
    assert objective.chains(outcome.state).shape == (7, D + C)  # type: ignore[union-attr]
    assert float(outcome.metrics["label_log_prob"].detach()) < 0


def test_fine_tuning_tells_digits_better_than_greedy_learning_alone() -> None:
    data = ppgen.load_data("digits", labels=True)
    pair: Any = ppgen.make_pair("dbn", data.spec, hidden=(30, 40), labels=True)
    x, y = data.test
    options: dict[str, Any] = {"batch_size": 100, "lr": 0.02, "eager": True, "progress": False}
    errors = []
    for objective, steps in (("greedy", 200), (Hybrid(weight=0), 500)):
        ppgen.fit(pair, data, objective, steps=steps, **options)
        errors.append(float((pair.classify(x).argmax(-1) != y).double().mean()))
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.25  # by chance 0.9


@pytest.mark.parametrize(
    ("model", "labels", "words"),
    [("rbm", False, "RBM has no labels"), ("boltzmann", None, "Boltzmann has no labels")],
)
def test_a_pair_without_labels_is_refused(model: str, labels: bool | None, words: str) -> None:
    options = {} if labels is None else {"labels": labels}
    pair: Any = ppgen.make_pair(model, ppgen.DataSpec("bits", D, "binary", num_classes=C), hidden=2, **options)
    with pytest.raises(ppgen.UsageError, match=words):
        Hybrid().loss(pair.model, pair.guide, torch.zeros(2, D))


def test_an_autoencoder_without_labels_and_chains_of_one_are_refused() -> None:
    spec = ppgen.DataSpec("bits", D, "binary", num_classes=C)
    x, y = torch.zeros(2, D), torch.zeros(2, dtype=torch.int64)
    plain, labelled = (ppgen.models.Autoencoder(spec, (2,), labels=labels) for labels in (False, True))
    program = Program(labelled.model, labelled.guide)
    assert "Autoencoder has no labels" in str(Hybrid().refuses(Program(plain.model, plain.guide), (x, y)))
    assert "num_chains of Hybrid are those of an energy-based pair" in str(
        Hybrid(num_chains=5).refuses(program, (x, y))
    )
    with pytest.raises(ppgen.UsageError, match="takes labels 0 to 2, got 3 in row 1"):
        Hybrid(weight=0).loss(labelled.model, labelled.guide, x, torch.tensor([0, 3]))
    assert Hybrid(weight=0.5).refuses(program, (x, y)) is None
