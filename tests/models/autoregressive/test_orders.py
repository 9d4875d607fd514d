"""Orders of NADE and MADE: what they are judged by, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ppgen
from ppgen import DataSpec
from ppgen.distributions.orders import OverOrders
from ppgen.errors import UsageError
from ppgen.evaluation import evaluate
from ppgen.models import FVBN, MADE, NADE
from ppgen.testing import PAIR_CHECKS, CheckFailed, NotApplicable, check_draws_in_turn, check_entropy_of_draws

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


class _FirstOrderAlone(OverOrders):
    """A mixture that is scored as one, and drawn from in its first order."""

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return _FirstOrderAlone([one.conditionals for one in self.members], batch_shape)

    def sample(self, sample_shape: Any = ()) -> Any:
        return self.members[0].sample(sample_shape)


class _DrawnInOneOrder(MADE):
    def distribution(self) -> Any:
        return _FirstOrderAlone([one.conditionals for one in super().distribution().members])


def test_draws_that_are_not_of_the_mixture_have_another_entropy() -> None:
    torch.manual_seed(0)
    pair, batch = _DrawnInOneOrder(SPEC, (6,), num_masks=2, num_orders=2), (torch.rand(5, 4).round(),)
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter)
    check_draws_in_turn(pair, batch)  # each order by itself is drawn as it is scored
    with pytest.raises(CheckFailed, match=r"nats .* from the entropy of all states"):
        check_entropy_of_draws(pair, batch)


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
