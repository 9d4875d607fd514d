"""Tempered transitions leave the mode that sweeps stay in; what they leave alone is in ``tests/chains``."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ppgen
from ppgen.inference import TemperedTransitions


def test_chains_leave_a_mode_that_sweeps_stay_in() -> None:
    pair: Any = ppgen.make_pair("rbm", ppgen.DataSpec("bits", 6, "binary"), hidden=6).double()
    with torch.no_grad():
        pair.weight.fill_(2.5)  # all units on, or all off
        pair.visible_bias.fill_(-7.5)
        pair.hidden_bias.fill_(-7.5)
    torch.manual_seed(0)
    swept = tempered = torch.ones(200, 6, dtype=torch.float64)
    objective = TemperedTransitions(num_temperatures=10, lowest=0.0)
    for _ in range(30):
        swept, tempered = pair.sweep(swept), objective.transition(pair, pair.sweep(tempered))[0]
    assert float(swept.mean()) > 0.9
    assert 0.4 < float(tempered.mean()) < 0.6


def test_a_pair_whose_sweeps_are_not_reversible_is_refused() -> None:
    pair: Any = ppgen.make_pair("boltzmann", ppgen.DataSpec("bits", 4, "binary"))
    with pytest.raises(ppgen.UsageError, match="sweeps that are reversible, and those of Boltzmann are not"):
        TemperedTransitions().loss(pair.model, pair.guide, torch.zeros(2, 4))
