"""Rules that store patterns: what they make of them, in parts and at once, and what they refuse."""

from typing import Any

import pytest
import torch
from pyro.infer import SVI
from pyro.optim import PyroOptim
from torch import Tensor

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import Hebb, PseudoInverse
from ppgen.models import Hopfield
from ppgen.objectives.storing import Storing
from ppgen.testing.sandbox import program_of
from ppgen.training.options import TrainingOptions
from ppgen.training.progress import Progress
from ppgen.training.trainer import Trainer

RULES: tuple[Storing, ...] = (Hebb(), PseudoInverse())


def patterns(num: int, size: int, seed: int = 0) -> Tensor:
    return torch.rand(num, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).round()


def stored(x: Tensor, objective: Any, **options: Any) -> Hopfield:
    pair = Hopfield(DataSpec("bits", x.shape[1], "binary", num_data=len(x))).double()
    ppgen.fit(pair, x, objective, **{"epochs": 1, "progress": False, **options})
    return pair


def without_diagonal(matrix: Tensor) -> Tensor:
    return matrix - matrix.diagonal().diag()


def test_hebbs_rule_is_the_sum_of_outer_products() -> None:
    x = patterns(7, 12)
    s = 2 * x - 1
    expected = sum(torch.outer(one, one) for one in s) / 12
    torch.testing.assert_close(Hebb().couplings(x), without_diagonal(torch.as_tensor(expected)))


def test_the_pseudo_inverse_rule_is_the_projection_on_the_patterns() -> None:
    """By the correlations of the patterns, as it is written: (1 / D) sum_pq s_p (C^-1)_pq s_q, C = S S' / D."""
    x = patterns(7, 12)
    s = 2 * x - 1
    expected = s.T @ torch.linalg.inv(s @ s.T / 12) @ s / 12
    torch.testing.assert_close(PseudoInverse().couplings(x), without_diagonal(expected))


def test_the_two_rules_are_one_for_orthogonal_patterns() -> None:
    two = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    x = (torch.kron(two, torch.kron(two, two))[:5] + 1) / 2
    torch.testing.assert_close(Hebb().couplings(x), PseudoInverse().couplings(x))


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_patterns_shown_in_parts_are_stored_as_all_at_once_and_once(rule: Storing, batch_size: int) -> None:
    x = patterns(8, 20)
    pair = stored(x, rule, batch_size=batch_size, epochs=3)
    torch.testing.assert_close(pair.weight.detach(), rule.couplings(x))
    assert not bool(pair.visible_bias.any())


@pytest.mark.parametrize("rule", [Hebb(num_patterns=5), PseudoInverse(num_patterns=5)], ids=str)
def test_so_many_patterns_are_stored_as_were_asked_for(rule: Storing) -> None:
    """All data are shown at once, in their own order."""
    x = patterns(8, 20)
    torch.testing.assert_close(stored(x, rule).weight.detach(), rule.couplings(x[:5]))


@pytest.mark.parametrize("num", [1, 10, 29, 30])
def test_the_pseudo_inverse_recalls_independent_patterns_exactly(num: int) -> None:
    x = patterns(num, 30)
    assert torch.linalg.matrix_rank(2 * x - 1) == num
    pair = stored(x, "pseudo_inverse", batch_size=4)
    assert torch.equal(pair.recall(x, 5).end, x)


def test_a_unit_that_no_other_tells_of_stays() -> None:
    """Its row of the projection is its own alone."""
    x = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.float64)
    pair = stored(x, "pseudo_inverse")
    assert not bool(pair.weight[1].any())
    assert torch.equal(pair.recall(x, 5).end, x)


def test_the_value_has_hebbs_rule_for_its_gradient() -> None:
    x = patterns(6, 9)
    pair = Hopfield(DataSpec("bits", 9, "binary"), temperature=1.0).double()
    loss = Hebb().differentiable_loss(pair.model, pair.guide, x)
    (slope,) = torch.autograd.grad(loss, [pair.weight])
    torch.testing.assert_close(-2 * slope / 9, Hebb().couplings(x))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_step_changes_nothing_by_itself(rule: Storing) -> None:
    x = patterns(6, 9)
    pair = Hopfield(DataSpec("bits", 9, "binary")).double()
    state = rule.initial_state(program_of(pair), (x,))
    outcome = rule.play("all", program_of(pair), (x,), state)
    assert not bool(pair.weight.any())
    assert not any(bool(value.any()) for value in state.values())
    assert outcome.assigned.keys() == {"weight"}
    assert int(outcome.state["num_stored"]) == 6
    assert (
        float(outcome.metrics["stable"]) == float((pair.recall(x, 1, synchronous=True).end == x).double().mean()) or 1
    )


def test_the_share_of_stable_bits_is_that_of_what_has_been_stored() -> None:
    x, pair = patterns(9, 12), Hopfield(DataSpec("bits", 12, "binary")).double()
    outcome = Hebb().play("all", program_of(pair), (x,), Hebb().initial_state(program_of(pair), (x,)))
    with torch.no_grad():
        pair.weight.copy_(outcome.assigned["weight"])
    found = float(outcome.metrics["stable"])
    assert 0.5 < found < 1
    assert found == float((pair.recall(x, 1, synchronous=True).end == x).double().mean())


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_training_that_was_stopped_stores_the_same_bits(rule: Storing) -> None:
    data = ppgen.data.as_dataset(patterns(8, 20).float())
    whole, cut, resumed = (
        Trainer(
            Hopfield(DataSpec("bits", 20, "binary", num_data=8)), data, rule, TrainingOptions(epochs=2, batch_size=3)
        )
        for _ in range(3)
    )
    for trainer, turns in ((whole, 6), (cut, 2)):
        for _ in range(turns):
            trainer.take_turn()
    stopped = {name: value.clone() for name, value in cut.tensors().items()}
    assert 4 <= int(stopped["state.num_stored"]) < 8
    resumed.restore(stopped, Progress(**cut.facts()))
    for _ in range(4):
        resumed.take_turn()
    expected, found = whole.tensors(), resumed.tensors()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not any(name.startswith("optimizer.") for name in expected)  # nothing is descended


def test_what_is_stored_may_be_trained_on() -> None:
    x = patterns(8, 20)
    pair = stored(x, "hebb, pseudolikelihood", steps=4, eager=True)
    assert not torch.equal(pair.weight.detach(), Hebb().couplings(x))
    assert float((pair.weight.detach() - Hebb().couplings(x)).abs().max()) < 0.01  # three steps of Adam at 1e-3


DEPENDENT = torch.cat([patterns(3, 20), 1 - patterns(1, 20)])


@pytest.mark.parametrize(
    ("x", "objective", "words"),
    [
        (DEPENDENT, "pseudo_inverse", "linearly independent patterns, and of the 4 that were stored only 3 are"),
        (patterns(21, 20), "pseudo_inverse", "at most 20 patterns of 20 units, .* is to store 21: set num_patterns"),
        (patterns(4, 20), "hebb(num_patterns=5)", "num_patterns = 5 of Hebb, and there are 4 data to store"),
        (patterns(4, 20), "hebb(num_patterns=0)", "num_patterns"),
    ],
)
def test_what_cannot_be_stored_is_told(x: Tensor, objective: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        stored(x, objective)


def test_a_training_that_has_shown_too_few_patterns_says_so() -> None:
    with pytest.raises(UsageError, match="num_patterns = 5 of Hebb, and training has shown 2 patterns"):
        stored(patterns(6, 20), "hebb(num_patterns=5)", batch_size=2, steps=1)


@pytest.mark.parametrize(
    ("model", "options"), [("rbm", {"hidden": 3}), ("boltzmann", {"hidden": 2}), ("boltzmann", {})]
)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_pairs_that_are_no_memory_are_refused(rule: Storing, model: str, options: dict[str, Any]) -> None:
    pair = ppgen.make_pair(model, DataSpec("bits", 4, "binary"), **options)
    said = f"{type(rule).__name__} stores patterns in an associative memory of visible units, got {type(pair).__name__}"
    assert said in (rule.refuses(program_of(pair), (torch.zeros(2, 4),)) or "")


def test_pyros_own_loop_takes_steps_of_hebbs_rule() -> None:
    x, pair = patterns(1, 6), Hopfield(DataSpec("bits", 6, "binary")).double()
    svi = SVI(pair.model, pair.guide, PyroOptim(torch.optim.SGD, {"lr": 0.01}), loss=Hebb())
    svi.step(x)
    torch.testing.assert_close(pair.weight.detach().sign(), Hebb().couplings(x).sign())
