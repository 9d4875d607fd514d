"""Orders of NADE and MADE: what they are judged by, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ppgen
from ppgen import DataSpec
from ppgen.errors import UsageError
from ppgen.evaluation import evaluate
from ppgen.models import FVBN, MADE, NADE
from ppgen.testing import PAIR_CHECKS, NotApplicable

SPEC = DataSpec("bits", 4, "binary")


@pytest.mark.parametrize(
    "make",
    [
        lambda: NADE(SPEC, 3, orderless=True, num_orders=3),
        lambda: MADE(SPEC, (5,), num_masks=3, num_orders=2),
    ],
    ids=["nade", "made"],
)
def test_an_evaluation_is_exact_in_each_order_and_in_their_mixture(make: Any) -> None:
    torch.manual_seed(0)
    pair, x = make().double(), torch.rand(30, 4).round().double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter)
    found = evaluate(pair, x, particles=1, progress=False)
    each = pair.distribution().log_probs(x).detach()
    assert found.method == "exact"
    assert found.log_likelihood == pytest.approx(float(each.exp().mean(0).log().mean()), rel=1e-6)
    values = {measure.name: measure.value for measure in found.measures}
    for number in range(3):
        assert values[f"log_likelihood_of_order_{number + 1}"] == pytest.approx(float(each[number].mean()), rel=1e-6)
    assert values["log_likelihood_of_orders"] == pytest.approx(found.log_likelihood, rel=1e-6)


@pytest.mark.parametrize("name", [name for name, check in PAIR_CHECKS.items() if not check.slow])
def test_a_network_of_all_orders_keeps_the_rules(name: str) -> None:
    spec = DataSpec("bits", 4, "binary", num_data=20)
    try:
        PAIR_CHECKS[name].function(NADE(spec, 3, orderless=True, num_orders=2), (torch.rand(5, 4).round(),))
    except NotApplicable:
        pytest.skip("says nothing of it")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FVBN(DataSpec("numbers", 3, "real")), "needs binary data, but data 'numbers' are real"),
        (lambda: MADE(DataSpec("numbers", 3, "real")), "needs binary data, but data 'numbers' are real"),
        (lambda: NADE(DataSpec("numbers", 3, "real")), "needs binary data, but data 'numbers' are real"),
        (lambda: FVBN(SPEC, order=[0, 1, 2, 2]), "each of the 4 features 0 to 3 once"),
        (lambda: ppgen.make_pair("nade", SPEC, order="backwards"), "'raster', 'random', or a permutation"),
        (lambda: NADE(SPEC, num_orders=2), "give orderless=True"),
        (lambda: MADE(SPEC, num_orders=2), "num_masks=1 and num_orders=2"),
    ],
)
def test_what_makes_no_order_is_refused(make: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()
