"""The phases of up-down against autograd of the objectives that they state, summed over all states."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.distributions.binary_states import binary_states
from ppgen.pairs.running import Program

ROUNDS, COPIES = 24, 500


@pytest.fixture(scope="module")
def pair() -> Any:
    torch.manual_seed(3)
    made: Any = ppgen.make_pair("dbn", ppgen.DataSpec("bits", 3, "binary"), hidden=(2, 3, 2)).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.6)
    return made


def all_of(units: int) -> Tensor:
    (states,) = binary_states(units, torch.zeros((), dtype=torch.float64))
    return states


def drawn_gradients(pair: Any, x: Tensor) -> dict[str, Tensor]:
    """Of the loss per datum, (ROUNDS, ...) for each parameter; chains of 60 sweeps have forgotten where they began."""
    objective = ppgen.inference.UpDown(num_steps=60)
    program, names = Program(pair.model, pair.guide), [name for name, _ in pair.named_parameters()]
    torch.manual_seed(0)
    rounds = []
    for _ in range(ROUNDS):
        outcome = objective.play("all", program, (x.repeat(COPIES, 1),), {})
        rounds.append(torch.autograd.grad(outcome.loss / outcome.num_data, list(pair.parameters())))
    return {name: torch.stack(values) for name, values in zip(names, zip(*rounds, strict=True), strict=True)}


def test_the_gradient_is_that_of_the_bound_for_the_model_and_of_the_dreams_for_the_guide(pair: Any) -> None:
    x, states = all_of(3)[[1, 3, 6]], all_of(5)
    latents = dict(zip(("h_1", "h_2"), states[:, None].split((2, 3), -1), strict=True))
    log_p, log_q = pair._log_joint(x, latents), pair._log_q(x, latents)  # (S, B)
    log_z = pair.log_tempered(all_of(3), 1.0).logsumexp(0)
    bound = (log_q.exp().detach() * log_p).sum(0).mean() - log_z
    v = all_of(3)
    each = pair._log_joint(v, latents)
    dreams = (each - log_z).exp().detach()  # p(v, h)
    stated = -bound - (dreams * pair._log_q(v, latents)).sum()
    exact = torch.autograd.grad(stated, list(pair.parameters()))
    found = drawn_gradients(pair, x)
    for (name, rounds), gradient in zip(found.items(), exact, strict=True):
        error = rounds.std(0) / ROUNDS**0.5
        assert bool(((rounds.mean(0) - gradient).abs() < 5 * error + 1e-9).all()), name


def test_persistent_chains_go_on_and_the_guide_learns_from_their_dreams(pair: Any) -> None:
    objective, program, x = ppgen.inference.UpDown(num_chains=7), Program(pair.model, pair.guide), all_of(3)
    torch.manual_seed(0)
    state = objective.initial_state(program, (x,))
    outcome = objective.play("all", program, (x,), state)
    assert outcome.state["chains"].shape == (7, 3) == state["chains"].shape
    assert objective.chains(outcome.state) is outcome.state["chains"]
    assert not torch.equal(outcome.state["chains"], state["chains"])


def test_a_machine_without_directed_layers_is_refused() -> None:
    rbm: Any = ppgen.make_pair("rbm", ppgen.DataSpec("bits", 3, "binary"), hidden=2)
    with pytest.raises(ppgen.UsageError, match="UpDown needs directed layers below an energy-based machine, got RBM"):
        ppgen.inference.UpDown().loss(rbm.model, rbm.guide, torch.zeros(2, 3))
