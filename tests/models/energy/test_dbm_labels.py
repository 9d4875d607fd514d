"""Deep Boltzmann machines with a layer of labels, against sums over all states."""

from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.distributions.binary_states import binary_states
from ppgen.errors import UsageError
from ppgen.models import DBM
from ppgen.models.energy import dbm

D, C = 3, 3


def all_of(units: int) -> Tensor:
    (states,) = binary_states(units, torch.zeros((), dtype=torch.float64))
    return states


@pytest.fixture(params=[(3, 2), (2, 2, 2)], ids=str)
def pair(request: pytest.FixtureRequest) -> DBM:
    return machine(request.param)


def machine(hidden: tuple[int, ...]) -> DBM:
    torch.manual_seed(0)
    spec = ppgen.DataSpec("bits", D, "binary", num_classes=C)
    pair = DBM(spec, hidden, labels=True, tolerance=1e-12, rounds=1000).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.8)
    return pair


def log_joint(pair: DBM) -> Tensor:
    """log p~(x, y, h) of every x, y and h, (2^D, C, 2^sum hidden), as it is written on paper."""
    x, h = all_of(D)[:, None, None], all_of(sum(pair.hidden)).split(pair.hidden, -1)
    total = x @ pair.visible_bias + (x @ pair.weight_1 * h[0]).sum(-1) + h[0] @ pair.hidden_bias_1
    for k in range(1, len(h)):
        weight, bias = getattr(pair, f"weight_{k + 1}"), getattr(pair, f"hidden_bias_{k + 1}")
        total = total + (h[k - 1] @ weight * h[k]).sum(-1) + h[k] @ bias
    joint: Tensor = total + pair.label_bias[:, None] + pair.label_weight @ h[-1].T
    return joint.detach()


def labelled(pair: DBM) -> Tensor:
    """Every x with every y, (2^D, C, D + C)."""
    x = all_of(D)
    return torch.stack([pair.datum((x, torch.full((len(x),), y))) for y in range(C)], 1)


def states(pair: DBM) -> Tensor:
    """Every state of a chain, (S, D + H2), with C more where the label is even."""
    binary = all_of(D + pair.hidden[1])
    if len(pair.hidden) == 2:
        return binary
    return torch.cat([binary.repeat_interleave(C, 0), torch.eye(C, dtype=torch.float64).repeat(len(binary), 1)], -1)


def test_free_energies_and_classes_are_sums_of_the_joint(pair: DBM) -> None:
    joint, x = log_joint(pair), all_of(D)
    torch.testing.assert_close(-pair.free_energy(labelled(pair)).detach(), joint.logsumexp(-1))
    torch.testing.assert_close(-pair.free_energy(x).detach(), joint.logsumexp((1, 2)))
    torch.testing.assert_close(pair.classify(x).detach(), joint.logsumexp(-1).softmax(-1))
    torch.testing.assert_close(pair.exact_log_z(), joint.logsumexp((0, 1, 2)))
    torch.testing.assert_close(pair.log_tempered(states(pair), 1.0).detach().logsumexp(0), joint.logsumexp((0, 1, 2)))


def test_log_weights_are_of_the_datum_with_its_label(pair: DBM) -> None:
    x, y = all_of(D), torch.arange(2**D) % C
    log_w = ppgen.log_weights(pair, (x, y), num_particles=3)
    torch.testing.assert_close(log_w, log_joint(pair).logsumexp(-1)[torch.arange(len(x)), y].expand(3, -1))


def test_the_mean_field_bounds_both(pair: DBM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbm, "SUMMED", 0)
    bounded = machine(pair.hidden)
    for v in (labelled(pair), all_of(D)):
        gap = (bounded.free_energy(v) - pair.free_energy(v)).detach()
        assert bool(((gap >= 0) & (gap < 0.5)).all())


def test_a_chain_starts_at_a_datum_with_its_label_or_without(pair: DBM) -> None:
    for v in (all_of(D), labelled(pair)[:, 0]):
        s = pair.state_at(v)
        assert s.shape == (2**D, states(pair).shape[1])
        assert torch.equal(pair.visible(s), all_of(D))


def test_it_trains_on_labels_layer_by_layer_and_as_a_whole() -> None:
    data = ppgen.load_data("digits", labels=True, binarize="threshold")
    pair = DBM(data.spec, (20, 10), labels=True)
    before: Any = pair.label_weight.detach().clone()
    ppgen.fit(pair, data, "greedy, mean_field_pcd", steps=6, batch_size=50, seed=0, eager=True)
    assert not torch.equal(pair.label_weight, before)


def test_data_without_labels_are_refused() -> None:
    with pytest.raises(UsageError, match="come without labels"):
        DBM(ppgen.DataSpec("bits", 4, "binary"), (3, 2), labels=True)
