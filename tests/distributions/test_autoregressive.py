"""Features drawn one after another: probabilities of all states, draws and completions against them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor, nn

import ppgen
from ppgen import DataSpec
from ppgen.distributions.autoregressive import Autoregressive, Conditionals, checked_order
from ppgen.distributions.binary_states import digits
from ppgen.distributions.orders import OneStep, OverOrders, known_at_random
from ppgen.distributions.turns import taken_by
from ppgen.errors import UsageError
from ppgen.models import FVBN, MADE, NADE
from ppgen.registry import MODELS

FALSE_ALARMS = 1e-4
"""Of each test by chance, whose seed is fixed."""

STATES = digits(torch.arange(16), 2, 4).double()
SPEC = DataSpec("bits", 4, "binary")
PAIRS: dict[str, Any] = {
    "fvbn": lambda: FVBN(SPEC, order=[2, 0, 3, 1]),
    "made": lambda: MADE(SPEC, (6, 5), order="random"),
    "made of orders": lambda: MADE(SPEC, (6,), num_masks=3, num_orders=2),
    "nade of orders": lambda: NADE(SPEC, 3, order="random", orderless=True, num_orders=2),
    "nade": lambda: NADE(SPEC, 3, order=[1, 3, 0, 2]),
}


def made(name: str) -> Any:
    """The pair's distribution, in float64, at parameters that are no starting values."""
    torch.manual_seed(0)
    pair = PAIRS[name]().double().eval()
    for parameter in pair.parameters():
        nn.init.normal_(parameter)
    return pair.distribution()


@pytest.mark.parametrize("name", PAIRS)
def test_the_probabilities_of_all_states_sum_to_one(name: str) -> None:
    probs = made(name).log_prob(STATES).exp()
    torch.testing.assert_close(probs.sum(), torch.ones(()).double(), rtol=1e-12, atol=0)
    assert probs.max() > 2 * probs.median()


@pytest.mark.parametrize("name", PAIRS)
def test_draws_have_these_probabilities(name: str) -> None:
    fn = made(name)
    torch.manual_seed(1)
    drawn = fn.sample((5_000,))
    assert drawn.dtype == torch.float64
    counts = (drawn[:, None] == STATES).all(-1).double().sum(0)
    assert chisquare(counts.numpy(), 5_000 * fn.log_prob(STATES).exp().detach().numpy()).pvalue > FALSE_ALARMS


@pytest.mark.parametrize("name", ["fvbn", "made", "nade"])
def test_a_completion_has_the_conditional_distribution(name: str) -> None:
    fn = made(name)
    known = torch.zeros(4, dtype=torch.bool)
    known[fn.conditionals.order[:2]] = True
    given = torch.full((5_000, 4), torch.nan).double()  # what is not known is not read
    given[:, known] = torch.tensor([1.0, 0.0]).double()
    torch.manual_seed(2)
    drawn = fn.complete(given, known)
    assert torch.equal(drawn[:, known], given[:, known])
    fits = (STATES[:, known] == given[0, known]).all(-1)
    probs = fn.log_prob(STATES[fits]).softmax(0).detach()
    counts = (drawn[:, None] == STATES[fits]).all(-1).double().sum(0)
    assert chisquare(counts.numpy(), 5_000 * probs.numpy()).pvalue > FALSE_ALARMS


def test_a_mixture_completes_in_an_order_drawn_from_its_posterior() -> None:
    """Orders 2, 0, 3, 1 and 0, 2, 1, 3, features 0 and 2 known: the first is three times as likely given (1, 1)."""
    members = []
    for seed, order in enumerate(([2, 0, 3, 1], [0, 2, 1, 3])):
        torch.manual_seed(seed)
        pair = FVBN(SPEC, order=order).double()
        nn.init.normal_(pair.conditionals.weight, std=2)
        nn.init.constant_(pair.conditionals.bias, 1 - 2 * seed)
        members.append(pair.conditionals)
    fn, known = OverOrders(members), torch.tensor([True, False, True, False])
    given = torch.tensor([[1.0, torch.nan, 0.0, torch.nan], [1.0, torch.nan, 1.0, torch.nan]]).double()
    posterior = fn.log_known(torch.where(known, given, 0), known).softmax(0)
    assert posterior[0, 1] > 0.75
    torch.manual_seed(2)
    drawn = fn.complete(given.expand(5_000, 2, 4), known)
    for number in range(2):
        fits = (STATES[:, known] == given[number, known]).all(-1)
        probs = fn.log_prob(STATES[fits]).softmax(0).detach()
        counts = (drawn[:, number, None] == STATES[fits]).all(-1).double().sum(0)
        assert counts.sum() == 5_000
        assert chisquare(counts.numpy(), 5_000 * probs.numpy()).pvalue > FALSE_ALARMS


def test_a_mixture_whose_orders_do_not_all_begin_with_what_is_known_completes_nothing() -> None:
    fn, known = made("made of orders"), torch.zeros(4, dtype=torch.bool)
    known[fn.members[0].conditionals.order[:1]] = True
    assert fn.members[0].completes(known)
    assert not fn.completes(known)
    with pytest.raises(UsageError, match="in each where there are several"):
        fn.complete(torch.zeros(4).double(), known)


def test_what_is_known_behind_the_unknown_is_refused() -> None:
    fn = made("fvbn")  # order 2, 0, 3, 1
    with pytest.raises(UsageError, match="known features to stand first in the model's order"):
        fn.complete(torch.zeros(4).double(), torch.tensor([True, False, False, False]))


def test_a_mixture_over_orders_is_the_log_of_the_mean_of_probabilities() -> None:
    fn = made("made of orders")
    assert isinstance(fn, OverOrders)
    each = torch.stack([Autoregressive(one.conditionals).log_prob(STATES) for one in fn.members])
    torch.testing.assert_close(fn.log_probs(STATES), each)
    torch.testing.assert_close(fn.log_prob(STATES), each.exp().mean(0).log())
    assert len({tuple(one.conditionals.order.tolist()) for one in fn.members}) == 2


class _Steps(Conditionals):
    """Real features, each about that before it."""

    def forward(self, x: Tensor) -> Any:
        return torch.distributions.Normal(torch.cat([torch.ones_like(x[..., :1]), x[..., :-1]], -1), 0.5)


def test_a_step_of_an_order_is_the_mean_over_all_orders() -> None:
    """Of 20,000 draws of an order and a place, to five standard errors."""
    torch.manual_seed(0)
    pair = NADE(SPEC, 3, orderless=True).double()
    for parameter in pair.parameters():
        nn.init.normal_(parameter)
    x = STATES[[6]]
    each = [NADE(SPEC, 3, orderless=True, order=order).double() for order in itertools.permutations(range(4))]
    for one in each:
        one.network.load_state_dict(pair.network.state_dict())
    exact = torch.stack([one.distribution().log_prob(x) for one in each]).mean()
    data = x.expand(20_000, 4)
    estimates = OneStep(pair.distribution().conditionals, pair.network.given, known_at_random(data)).log_prob(data)
    error = estimates.std() / 20_000**0.5
    assert (estimates.mean() - exact).abs() < 5 * error < 0.2


def test_it_is_drawn_and_scored_in_plates_as_any_distribution() -> None:
    fn = Autoregressive(_Steps(torch.arange(3))).expand([5])
    assert (fn.batch_shape, fn.event_shape, fn.has_rsample) == ((5,), (3,), False)
    drawn = fn.sample((7,))
    assert drawn.shape == (7, 5, 3)
    assert fn.log_prob(drawn).shape == (7, 5)
    assert fn.log_prob(drawn[0, 0]).shape == (5,)


@pytest.mark.parametrize("name", [name for name, spec in MODELS.items() if "autoregressive" in spec.tags])
def test_a_long_draw_is_taken_feature_by_feature_by_whoever_asks(name: str) -> None:
    make = MODELS[name].tiny
    assert make is not None
    pair, (x,) = make()
    fn, taken = pair.distribution(), list[int]()

    def take(items: Sequence[int], what: str) -> Iterator[int]:
        for item in items:
            taken.append(item)
            yield item

    with taken_by(take):
        fn.sample((2,))
    num_members = len(fn.members) if isinstance(fn, OverOrders) else 1
    assert len(taken) == num_members * x.shape[1]
    fn.sample()
    assert len(taken) == num_members * x.shape[1]


@pytest.mark.parametrize("order", [[0, 1], [0, 0, 1], [1, 2, 3], [0.0, 1.0, 2.0]])
def test_an_order_that_is_no_permutation_is_refused(order: Any) -> None:
    with pytest.raises(UsageError, match="each of the 3 features 0 to 2 once, got"):
        checked_order(order, 3)


def test_draws_go_through_the_order() -> None:
    pair = ppgen.make_pair("fvbn", DataSpec("bits", 3, "binary"), order=[2, 1, 0])
    torch.manual_seed(0)
    x = pair.distribution().sample((4,))
    torch.manual_seed(0)
    expected = torch.zeros(4, 3)
    for i in [2, 1, 0]:
        expected[:, i] = torch.bernoulli(torch.full((4,), 0.5))
    assert torch.equal(x, expected)
