"""Experts mixed and multiplied, against sums by hand; what they learn."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import GEM
from ppgen.models import MixtureOfExperts
from ppgen.pairs import Program, run_particles
from ppgen.pairs.joint_states import joint_states
from tests.marks import thorough


def crossed(num: int = 200) -> tuple[Tensor, Tensor]:
    """Two classes on four corners, like corners alike: no line parts them."""
    torch.manual_seed(0)
    x = torch.randn(num, 2, dtype=torch.float64)
    return x, (x.prod(-1) > 0).long()


def made(combine: Literal["mixture", "product"], num_experts: int = 3) -> MixtureOfExperts:
    torch.manual_seed(1)
    return MixtureOfExperts(DataSpec("corners", 2, "real", num_classes=2), num_experts, combine=combine).double()


def test_a_mixture_is_the_sum_over_its_experts() -> None:
    pair, (x, y) = made("mixture"), crossed(7)
    gate = pair.gate(x - pair.mean).softmax(-1)  # type: ignore[misc]
    by_hand = sum(gate[:, c, None] * expert(x - pair.mean).softmax(-1) for c, expert in enumerate(pair.experts))
    torch.testing.assert_close(pair.classify(x), by_hand)
    found = ppgen.log_weights(pair, (x, y), num_particles=2)
    torch.testing.assert_close(found, by_hand.gather(1, y[:, None]).log().T.expand(2, 7))


def test_a_product_is_that_of_its_experts_made_to_sum_to_one() -> None:
    pair, (x, y) = made("product"), crossed(7)
    by_hand = torch.stack([expert(x - pair.mean).softmax(-1) for expert in pair.experts]).prod(0)
    by_hand = by_hand / by_hand.sum(-1, keepdim=True)
    torch.testing.assert_close(pair.classify(x), by_hand)
    found = ppgen.log_weights(pair, (x, y), num_particles=1)[0]
    torch.testing.assert_close(found, by_hand.gather(1, y[:, None])[:, 0].log())
    torch.testing.assert_close(pair.responsibilities(x, y), torch.full((7, 3), 1 / 3, dtype=torch.float64))


def test_responsibilities_are_the_posterior_of_the_model() -> None:
    pair, batch = made("mixture"), crossed(7)
    table = joint_states(run_particles(Program(pair.model, pair.guide), batch, 1), "a test")
    torch.testing.assert_close(pair.responsibilities(*batch), table[:, 0].softmax(0).T)


@pytest.mark.parametrize("objective", ["elbo", *thorough([GEM()])], ids=str)
def test_a_mixture_of_lines_bends_and_a_product_of_lines_is_a_line(objective: str | GEM) -> None:
    x, y = crossed()
    pair = made("mixture", 4)
    ppgen.fit(pair, (x, y), objective, steps=60, batch_size=200, lr=0.2, seed=0, progress=False, eager=True)
    assert float((pair.classify(x).argmax(-1) == y).double().mean()) > 0.9
    product = made("product", 4)
    ppgen.fit(product, (x, y), "elbo", steps=60, batch_size=200, lr=0.2, seed=0, progress=False, eager=True)
    assert float((product.classify(x).argmax(-1) == y).double().mean()) < 0.7


def test_data_without_labels_are_refused() -> None:
    with pytest.raises(UsageError, match="MixtureOfExperts"):
        MixtureOfExperts(DataSpec("numbers", 2, "real"))
    with pytest.raises(UsageError, match="GEM sums over the states of latents, and the pair has none"):
        ppgen.fit(made("product"), crossed(7), GEM(), steps=1, progress=False)


def test_labels_that_leave_a_class_empty_are_refused() -> None:
    spec = DataSpec("corners", 2, "real", num_classes=3)
    x, y = crossed(20)
    with pytest.raises(
        UsageError, match="class 2 of 3 is left without data, of which MixtureOfExperts could learn: give"
    ):
        ppgen.fit(MixtureOfExperts(spec).double(), (x, y), "elbo", steps=1, progress=False, eager=True)
    labels = torch.where(torch.arange(20) < 2, 2, y)
    ppgen.fit(MixtureOfExperts(spec).double(), (x, labels), "elbo", steps=1, progress=False, eager=True)
