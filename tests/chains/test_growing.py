"""log Z of documents of every length, against sums over all hidden states, float64."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.chains.growing import grown
from ppgen.data import DataSpec
from ppgen.distributions.bag_of_words import draw_words
from ppgen.distributions.binary_states import binary_states
from tests.machines import FALSE_ALARM, p_value

V, H, C = 5, 3, 2
SIZES = torch.tensor([1, 3, 3, 7, 30, 3], dtype=torch.float64)


def a_machine(seed: int = 0, spread: float = 0.6, **options: Any) -> Any:
    torch.manual_seed(seed)
    spec = DataSpec("words", V, "counts", num_classes=C if options.get("labels") else None)
    pair: Any = ppgen.make_pair("rbm", spec, hidden=H, **options).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, std=spread)
    torch.nn.init.normal_(pair.base_bias, std=spread)
    return pair


def bits(pair: Any) -> Tensor:
    (h,) = binary_states(pair.units.num_bits, pair.weight.detach())
    return h


def documents(num: int) -> Tensor:
    """All documents of ``num`` words, (S, V)."""
    each = torch.cartesian_prod(*[torch.arange(num + 1.0, dtype=torch.float64)] * V)
    return each[each.sum(1) == num]


@pytest.mark.parametrize("num", [1, 2, 4])
@pytest.mark.parametrize("labels", [False, True])
def test_the_exact_log_z_of_a_length_is_the_sum_over_its_documents(num: int, labels: bool) -> None:
    pair = a_machine(labels=labels)
    x = documents(num)
    found = pair.exact_log_zs(torch.tensor([num, 9]).double())[0]
    assert torch.allclose(found, (-pair.free_energy(x)).logsumexp(0).detach(), atol=1e-12)


@pytest.mark.parametrize("labels", [False, True])
def test_whole_rungs_of_the_path_have_the_log_z_of_their_length(labels: bool) -> None:
    pair = a_machine(labels=labels)
    path, h, n = pair.growing(), bits(pair), torch.tensor([1.0, 2, 5, 30]).double()
    found = path.log_tempered(h, n[:, None]).logsumexp(-1)
    assert torch.allclose(found, pair.exact_log_zs(n), atol=1e-12)
    assert torch.allclose(path.log_tempered(h, torch.zeros(())).logsumexp(-1), path.base_log_z(), atol=1e-12)


def test_between_two_lengths_the_path_is_continuous() -> None:
    pair = a_machine()
    path, h = pair.growing(), bits(pair)
    below, above = (path.log_tempered(h, torch.tensor(n).double()) for n in (3 - 1e-9, 3.0))
    assert torch.allclose(below, above, atol=1e-7)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("n", [0.0, 0.4, 3.0, 3.7])
def test_a_sweep_leaves_every_rung_invariant(n: float, labels: bool) -> None:
    """A chi-square test of 20,000 exact draws, swept once."""
    pair, num = a_machine(labels=labels), 20_000
    path, h = pair.growing(), bits(pair)
    law = path.log_tempered(h, torch.tensor(n).double()).softmax(0).detach()
    drawn = path.base_sample(num) if n == 0 else h[torch.multinomial(law, num, replacement=True)]
    moved = path.tempered_sweep(drawn, torch.tensor(n).double())
    for states in (drawn, moved):
        assert p_value((states @ 2.0 ** torch.arange(H).double()).long(), law) > FALSE_ALARM


def test_chains_of_their_own_numbers_of_words_sweep_side_by_side() -> None:
    """Two halves of 10,000 chains each, at 1 and at 6 words: a chi-square test of each."""
    pair, num = a_machine(), 10_000
    path, h = pair.growing(), bits(pair)
    n = torch.tensor([1.0, 6.0]).double().repeat_interleave(num)
    laws = [path.log_tempered(h, size).softmax(0).detach() for size in (n[0], n[-1])]
    drawn = torch.cat([h[torch.multinomial(law, num, replacement=True)] for law in laws])
    moved = (path.tempered_sweep(drawn, n) @ 2.0 ** torch.arange(H).double()).long()
    for law, found in zip(laws, moved.split(num), strict=True):
        assert p_value(found, law) > FALSE_ALARM


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("spacing", ["linear", "adaptive"])
def test_the_mean_weight_is_unbiased_at_every_length(spacing: Any, labels: bool) -> None:
    """Few rungs, many chains; a normal test at 4.5 standard errors for each of four lengths."""
    pair, num = a_machine(labels=labels), 20_000
    torch.manual_seed(1)
    with torch.no_grad():
        found = grown(pair, SIZES, 4, num, spacing)
        ratio = (found.log_w - pair.exact_log_zs(found.sizes)[:, None]).exp()
    assert found.sizes.tolist() == [1, 3, 7, 30]
    assert found.shares.tolist() == pytest.approx([1 / 6, 1 / 2, 1 / 6, 1 / 6])
    assert bool(((ratio.mean(1) - 1).abs() < 4.5 * ratio.std(1) / math.sqrt(num)).all())


def test_estimates_lie_on_both_sides_and_within_their_errors() -> None:
    """20 machines; within 4 of their standard errors of the exact mean over data."""
    for seed in range(20):
        pair = a_machine(seed)
        exact = ppgen.log_z(pair, exact=True, sizes=SIZES)
        found = ppgen.log_z(pair, num_temperatures=30, num_chains=50, sizes=SIZES, seed=seed)
        assert exact.value == pytest.approx(float(pair.exact_log_zs(SIZES).mean()), abs=1e-12)
        assert abs(found.value - exact.value) < 4 * found.standard_error + 1e-3
        assert found.sizes == exact.sizes == (1, 3, 7, 30)
        assert found.of(SIZES).mean() == pytest.approx(found.value)  # type: ignore[union-attr]


def test_the_error_of_the_mean_is_the_spread_of_repetitions() -> None:
    """40 repetitions: their standard deviation over the reported error leaves [0.65, 1.5] less than once in 1,000."""
    pair = a_machine(spread=1.0)
    found = [ppgen.log_z(pair, num_temperatures=8, num_chains=100, sizes=SIZES, seed=seed) for seed in range(40)]
    values = torch.tensor([each.value for each in found])
    reported = torch.tensor([each.standard_error for each in found])
    assert 0.65 < float(values.std() / reported.square().mean().sqrt()) < 1.5


def test_chains_that_go_down_err_upward() -> None:
    """Above the exact mean in expectation, by more than 3 of their errors below it less than once in 700; and closer
    with more rungs."""
    pair = a_machine(spread=1.0)
    exact = ppgen.log_z(pair, exact=True, sizes=SIZES).value
    coarse, fine = (
        ppgen.log_z(pair, num_temperatures=num, num_chains=200, sizes=SIZES, sandwich=True) for num in (2, 100)
    )
    for found in (coarse, fine):
        assert found.upper is not None
        assert found.upper_standard_error is not None
        assert found.upper > exact - 3 * found.upper_standard_error
    assert coarse.upper - exact > fine.upper - exact  # type: ignore[operator]
    assert fine.upper == pytest.approx(exact, abs=0.2)


def test_documents_of_the_usual_length_have_the_pair_s_own_path() -> None:
    pair = a_machine(length=3)
    plain = ppgen.log_z(pair, num_temperatures=10, num_chains=5)
    assert ppgen.log_z(pair, num_temperatures=10, num_chains=5, sizes=torch.full((4,), 3.0)) == plain


def test_words_are_drawn_in_their_numbers_whichever_way() -> None:
    torch.manual_seed(0)
    probs = torch.rand(4000, 8, dtype=torch.float64)
    for length in (torch.tensor(0.0), torch.tensor(3.0), torch.tensor(90.0), torch.arange(4000.0) % 5):
        found = draw_words(probs, length.double())
        assert torch.equal(found.sum(1), length.double().expand(4000))
    rates = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
    for words in (1.0, 60.0):  # one by one, and by halving
        mean = draw_words(rates.expand(20_000, -1), torch.tensor(words).double()).mean(0)
        assert bool(((mean - words * rates).abs() < 5 * (words * rates * (1 - rates) / 20_000).sqrt()).all())
