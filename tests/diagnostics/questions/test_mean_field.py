"""The mean field's gap by annealing is that of the sums over all hidden units."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from ppgen.data import DataSpec
from ppgen.diagnostics import diagnose
from ppgen.diagnostics.questions import mean_field as question
from ppgen.diagnostics.questions.mean_field import annealed_free_energy
from ppgen.models import DBM, RBM, Boltzmann
from ppgen.models.energy import boltzmann, dbm
from ppgen.pairs.energy import EnergyPair

SPEC = DataSpec("bits", 4, "binary")


def random(pair: EnergyPair) -> EnergyPair:
    torch.manual_seed(0)
    for parameter in pair.parameters():
        nn.init.normal_(parameter, 0.0, 0.8)
    return pair.double()


MACHINES: dict[str, Callable[[], EnergyPair]] = {
    "two layers": lambda: DBM(SPEC, (3, 2)),
    "three layers": lambda: DBM(SPEC, (3, 2, 2)),
    "boltzmann": lambda: Boltzmann(SPEC, 4),
}


@pytest.mark.parametrize("make", MACHINES.values(), ids=list(MACHINES))
def test_annealing_at_a_datum_ends_at_its_free_energy(make: Callable[[], EnergyPair]) -> None:
    pair, v = random(make()), torch.eye(4, dtype=torch.float64).repeat(8, 1)
    found = annealed_free_energy(pair, v, num_temperatures=100)
    torch.testing.assert_close(found.mean(), pair.free_energy(v).detach().mean(), rtol=0, atol=0.05)


def test_a_diagnosis_says_how_much_the_mean_field_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = random(DBM(SPEC, (3, 2)))
    monkeypatch.setattr(dbm, "SUMMED", 0)
    monkeypatch.setattr(question, "_TEMPERATURES", 100)
    pair = random(DBM(SPEC, (3, 2)))
    x = torch.rand(20, 4).round().double()
    found = diagnose(pair, (x,), split="train", questions=["mean_field"])["mean_field"]
    gap = (exact.mean_field_free_energy(x) - exact.free_energy(x)).mean().detach()
    assert found.number == pytest.approx(float(gap), abs=0.1)
    assert found.status == "good"


@pytest.mark.parametrize("make", [lambda: RBM(SPEC, 3), lambda: DBM(SPEC, (3, 2)), lambda: Boltzmann(SPEC, 2)])
def test_it_does_not_arise_where_hidden_units_are_summed_out(make: Callable[[], EnergyPair]) -> None:
    assert boltzmann.SUMMED >= 2
    found = diagnose(make(), (torch.rand(8, 4).round(),), split="train", questions=["mean_field"])
    assert not found.findings
