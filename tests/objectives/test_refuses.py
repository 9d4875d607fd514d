"""Where an objective and a pair are matched: one question, asked before the first step, that leaves nothing behind."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.inference import ELBO, IWELBO, Beta, DisARM, Enumerate, NonSaturating
from ppgen.objectives.objective import Objective, capability
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Program
from ppgen.schedules import linear
from ppgen.testing.yardsticks import BernoulliYardstick, CountedYardstick, GaussianYardstick, SharedYardstick, data


class Counting(GaussianYardstick):
    """Counts the runs of its guide."""

    runs = 0

    def guide(self, x: Tensor, labels: Any = None) -> None:
        self.runs += 1
        super().guide(x)

    def model(self, x: Tensor, labels: Any = None) -> None:
        super().model(x)


class Normalised(Pair):
    """Batch statistics, dropout, and a parameter of the store's."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(1), nn.Dropout(0.5)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, pyro.param("scale", torch.tensor(1.0))).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.drop(self.norm(x)), 1.0).to_event(1))


REFUSED: list[tuple[Objective, Pair, str]] = [
    (ELBO(), BernoulliYardstick(), "site 'z' of the guide is drawn from Bernoulli"),
    (IWELBO(), SharedYardstick(), "IWELBO takes its bound for each datum by itself, but 'm' stands outside"),
    (DisARM(), GaussianYardstick(), "DisARM is for discrete latents"),
    (Enumerate(), GaussianYardstick(), "all have reparameterized samples: make one discrete, or use"),
    (NonSaturating(), CountedYardstick(), "site 'x' of the model is not reparameterized"),
]


@pytest.mark.parametrize(("objective", "pair", "sentence"), REFUSED, ids=lambda case: type(case).__name__)
def test_all_who_ask_say_the_one_sentence(objective: Objective, pair: Pair, sentence: str) -> None:
    why = objective.refuses(Program(pair.model, pair.guide), data(6))
    assert why is not None
    assert sentence in why
    with pytest.raises(ppgen.UsageError) as of_training:
        ppgen.fit(pair, data(6), objective, steps=1, eager=True)
    with pytest.raises(ppgen.UsageError) as of_comparison:
        ppgen.compare(pair, data(6), [objective])
    assert str(of_training.value) == str(of_comparison.value) == why
    if len(objective.players()) == 1:
        with pytest.raises(ppgen.UsageError) as of_pyro:
            objective.loss(pair.model, pair.guide, *data(6))
        assert str(of_pyro.value) == why


def test_the_question_leaves_nothing_behind() -> None:
    pair, x = Normalised(), torch.randn(4, 1)
    before, seed = copy.deepcopy(pair.state_dict()), torch.get_rng_state()
    assert IWELBO().refuses(Program(pair.model, pair.guide), (x,)) is None
    assert torch.equal(torch.get_rng_state(), seed)
    assert not list(pyro.get_param_store().keys())
    for name, value in pair.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_pair_that_breaks_a_rule_of_its_own_is_refused_by_it() -> None:
    pair, other = GaussianYardstick(), SharedYardstick()
    why = ELBO().refuses(Program(other.model, pair.guide), data(6))
    assert why is not None
    assert "site 'm' is latent in the model and missing in the guide" in why


def test_pyros_loops_look_at_a_pair_once_for_each_kind_of_arguments() -> None:
    pair, objective = Counting(), Beta(beta=linear(0.0, 1.0, 10))
    objective.at(0).loss(pair.model, pair.guide, *data(6))
    first, pair.runs = pair.runs, 0
    for step in range(3):
        objective.at(step).loss(pair.model, pair.guide, *data(6))
    assert (first > 1, pair.runs) == (True, 3)
    objective.at(3).loss(pair.model, pair.guide, *data(6), ["a"] * 6)
    assert pair.runs > 4


def test_another_pair_and_another_objective_are_looked_at() -> None:
    objective, continuous, discrete = ELBO(), GaussianYardstick(), BernoulliYardstick()
    objective.loss(continuous.model, continuous.guide, *data(6))
    with pytest.raises(ppgen.UsageError, match="drawn from Bernoulli"):
        objective.loss(discrete.model, discrete.guide, *data(6))
    with pytest.raises(ppgen.UsageError, match="for discrete latents"):
        DisARM().loss(continuous.model, continuous.guide, *data(6))


def test_a_capability_may_depend_on_hyper_parameters() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Sometimes(ELBO):
        joint: bool = True

        @capability
        def per_datum(self) -> bool:
            return not self.joint

    pair = SharedYardstick()
    program = Program(pair.model, pair.guide)
    assert Sometimes().refuses(program, data(6)) is None
    assert "'m' stands outside" in str(Sometimes(joint=False).refuses(program, data(6)))
    assert (Objective.per_datum, ELBO.per_datum) == (False, False)
