"""Generalized EM: Fisher's identity, the closed M step where there is one, monotony, and what it refuses."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import ELBO, GEM, Enumerate
from ppgen.models import GMM, SBN, LinearGaussian, MixtureOfExperts
from ppgen.objectives.discrete.enumeration import Enumeration
from ppgen.objectives.objective import Objective
from ppgen.pairs import Program, run_particles
from ppgen.pairs.joint_states import joint_states
from ppgen.pairs.pair import Pair


class Chain(Pair):
    """c_0, c_1 of two states and an observation at each in a plate of three numbers, under the data's."""

    def __init__(self) -> None:
        super().__init__()
        self.start = torch.nn.Parameter(torch.tensor([0.2, -0.3], dtype=torch.float64))
        self.moves = torch.nn.Parameter(torch.tensor([[0.5, -0.5], [-0.2, 0.7]], dtype=torch.float64))
        self.locs = torch.nn.Parameter(torch.tensor([-1.0, 1.5], dtype=torch.float64))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-2):
            logits: Tensor = self.start
            for t in range(2):
                c = pyro.sample(f"c{t}", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})
                logits = self.moves[c]
                with pyro.plate(f"numbers{t}", 3, dim=-1):
                    pyro.sample(f"x{t}", dist.Normal(self.locs[c], 1.0), obs=x[:, t])

    def guide(self, x: Tensor) -> None:
        """c is summed out."""

    def by_hand(self, x: Tensor) -> Tensor:
        """log p(x, c), (4, B)."""
        start, moves = self.start.log_softmax(-1), self.moves.log_softmax(-1)
        told = dist.Normal(self.locs, 1.0).log_prob(x[..., None]).sum(-2)  # (B, 2, states)
        table = [start[a] + moves[a, b] + told[:, 0, a] + told[:, 1, b] for a in (0, 1) for b in (0, 1)]
        return torch.stack(table)


def gmm() -> tuple[Pair, tuple[Tensor, ...]]:
    return GMM(DataSpec("numbers", 2, "real", num_data=9), 3).double(), (torch.randn(9, 2).double(),)


def sbn() -> tuple[Pair, tuple[Tensor, ...]]:
    return SBN(DataSpec("bits", 4, "binary", num_data=9), layers=(3, 2)).double(), (torch.rand(9, 4).double().round(),)


def chain() -> tuple[Pair, tuple[Tensor, ...]]:
    return Chain(), (torch.randn(9, 2, 3).double(),)


def experts() -> tuple[Pair, tuple[Tensor, ...]]:
    spec = DataSpec("numbers", 3, "real", num_classes=3, num_data=9)
    return MixtureOfExperts(spec, 2).double(), (torch.randn(9, 3).double(), torch.arange(9) % 3)


MAKERS = [gmm, sbn, chain, experts]


def made(maker: Callable[[], Any]) -> tuple[Any, Program, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    pair, batch = maker()
    return pair, Program(pair.model, pair.guide), batch


def gradient(loss: Tensor, pair: Pair) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(pair.parameters()), allow_unused=True, materialize_grads=True))


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_the_slope_of_q_is_that_of_the_evidence_where_a_turn_begins(maker: Callable[[], Any]) -> None:
    pair, program, batch = made(maker)
    objective = GEM()
    state = objective.initial_state(program, batch)
    evidence, q = (objective.play(player, program, batch, state).loss for player in ("expect", "maximise"))
    expected = gradient(evidence, pair)
    assert max(float(g.abs().max()) for g in expected) > 0.1
    torch.testing.assert_close(gradient(q, pair), expected)


@pytest.mark.parametrize("num_particles", [1, 4])
def test_the_states_of_a_chain_are_those_by_hand(num_particles: int) -> None:
    pair, program, (x,) = made(chain)
    table = joint_states(run_particles(program, (x,), num_particles), "a test")
    assert table.shape == (4, num_particles, 9)
    expected = pair.by_hand(x)[:, None].expand_as(table)
    torch.testing.assert_close(table.sort(0).values, expected.sort(0).values)  # in whatever order of states


def test_the_evidence_of_a_belief_network_is_that_of_all_its_states() -> None:
    _, program, (x,) = made(sbn)
    outcome = GEM().play("expect", program, (x,), GEM().initial_state(program, (x,)))
    exact = Enumeration.of(program, (x,), "a test").log_evidence().mean()
    torch.testing.assert_close(outcome.metrics["bound"], exact)


def test_where_the_m_step_has_a_closed_form_q_has_no_slope_there() -> None:
    pair, program, (x,) = made(gmm)
    objective = GEM()
    state = objective.initial_state(program, (x,))
    with torch.no_grad():
        for name, value in pair.maximised(pair.expected_statistics(x)).items():
            pair.get_parameter(name).copy_(value)
    slopes = gradient(objective.play("maximise", program, (x,), state).loss, pair)
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-12
    fresh = objective.play("maximise", program, (x,), objective.initial_state(program, (x,))).loss
    assert max(float(slope.abs().max()) for slope in gradient(fresh, pair)) > 0.01  # EM has not converged


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_small_steps_on_all_data_never_lower_the_evidence(maker: Callable[[], Any]) -> None:
    pair, program, batch = made(maker)
    values = []
    for _ in range(5):
        values.append(float(GEM().play("expect", program, batch, GEM().initial_state(program, batch)).loss.detach()))
        ppgen.fit(pair, batch, GEM(), steps=3, batch_size=9, lr=1e-3, seed=0, progress=False, eager=True)
    assert all(after < before for before, after in pairwise(values))


@pytest.mark.thorough
@pytest.mark.parametrize("objective", [Enumerate(), GEM(gradient_steps=2)], ids=str)
def test_all_states_of_three_bits_are_in_a_compiled_step(objective: Objective) -> None:
    found = []
    for eager in (True, False):
        torch.manual_seed(0)
        pair = SBN(DataSpec("bits", 4, "binary", num_data=9), layers=(3,))
        x = torch.rand(9, 4).round()
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*trains eagerly")
            ppgen.fit(pair, x, objective, steps=3, batch_size=9, seed=0, progress=False, eager=eager)
        found.append({name: value.detach().clone() for name, value in pair.named_parameters()})
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_what_it_cannot_sum_is_said() -> None:
    x = torch.randn(5, 3)
    linear = LinearGaussian(DataSpec("numbers", 3, "real"))
    with pytest.raises(UsageError, match="site 'z' is drawn from MultivariateNormal, and GEM knows the discrete"):
        ppgen.fit(linear, x, GEM(), steps=1, progress=False)
    with pytest.raises(UsageError, match="GEM sums over the states of latents, and the pair has none"):
        ppgen.fit(ppgen.models.ICA(DataSpec("numbers", 3, "real")), x, GEM(), steps=1, progress=False)
    whole = GMM(DataSpec("numbers", 3, "real"), 2, bayesian=True)
    with pytest.raises(UsageError, match="stands outside the data plate"):
        ppgen.fit(whole, x, GEM(), steps=1, progress=False)


def test_a_latent_in_a_further_plate_is_named() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-2), pyro.plate("words", 3, dim=-1):
            c = pyro.sample("c", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(c, 1.0), obs=x)

    with pytest.raises(UsageError, match="site 'c' stands in the plate 'words': move it, or choose 'elbo'"):
        ppgen.fit(ppgen.pair_from(model, lambda x: None), torch.randn(5, 3), GEM(), steps=1, progress=False)


def test_one_step_is_the_gradient_of_the_evidence() -> None:
    """By elbo, which is exact for a mixture: the same parameters after a turn of one step."""
    found = []
    for objective in (GEM(gradient_steps=1), ELBO()):
        pair, _, (x,) = made(gmm)
        ppgen.fit(pair, x, objective, steps=2, batch_size=9, seed=0, progress=False, eager=True)
        found.append([value.detach() for value in pair.parameters()])
    torch.testing.assert_close(found[0], found[1])
