"""Moment matching of an autoencoder's codes: who moves in which stage, and what is compared."""

from __future__ import annotations

import pytest
import torch

import ppgen
from ppgen.data import DataSpec
from ppgen.draws.samples import prior_samples
from ppgen.errors import UsageError
from ppgen.inference import MMD
from ppgen.models import GMMNCodes
from ppgen.testing.sandbox import program_of


def tiny() -> GMMNCodes:
    torch.manual_seed(0)
    return GMMNCodes(DataSpec("rows", 4, "real", num_data=10), 2, hidden=(3,), codes=(5, 2)).double()


def test_codes_of_data_and_of_draws_are_compared() -> None:
    pair, x, objective = tiny(), torch.randn(6, 4, dtype=torch.float64), MMD(site="code", scale=1.0)
    program = program_of(pair)
    torch.manual_seed(1)
    outcome = objective.play("all", program, (x,), objective.initial_state(program, (x,)))
    torch.manual_seed(1)
    _, z = (pair.prior(torch.zeros(6, 2, dtype=torch.float64)).sample() for _ in range(2))  # the guide draws first
    expected = objective.discrepancy(pair.encode(x), pair.coder(z), torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(outcome.metrics["mmd"], expected)
    outcome.loss.backward()
    moved = {name.split(".")[0] for name, weight in pair.named_parameters() if weight.grad is not None}
    assert moved == {"coder"}  # what the guide says stands still


def test_each_stage_moves_its_own_networks() -> None:
    pair, x = tiny().float(), torch.randn(10, 4)
    before = {name: weight.clone() for name, weight in pair.named_parameters()}
    ppgen.fit(pair, x, "reconstruction", steps=2, eager=True)
    middle = {name: weight.clone() for name, weight in pair.named_parameters()}
    ppgen.fit(pair, x, "mmd(site=code)", steps=2, eager=True)
    for name, weight in pair.named_parameters():
        codes = name.startswith("coder.")
        assert torch.equal(before[name], middle[name]) == codes, name
        assert torch.equal(middle[name], weight) != codes, name


@pytest.mark.parametrize(
    ("site", "sentence"),
    [
        ("cod", "at site='cod', and the real latents of a datum that both draw are z, code: name one of them"),
        ("z", "at site='z', which depends on none of its parameters: name a latent that it makes"),
    ],
)
def test_a_site_at_which_nothing_can_be_compared_is_refused(site: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        MMD(site=site).check(program_of(tiny()), (torch.zeros(3, 4, dtype=torch.float64),))


@pytest.mark.thorough
@pytest.mark.usefixtures("graphs_as_they_are")
def test_draws_come_to_the_data_through_the_codes() -> None:
    """A line in space with noise: means within 0.2, deviations within 0.25."""
    along = torch.randn(400, 1)
    x = torch.cat([along, -along, 2 * along], 1) + torch.tensor([1.0, 2.0, 0.0]) + 0.1 * torch.randn(400, 3)
    torch.manual_seed(0)
    pair = GMMNCodes(DataSpec("line", 3, "real", num_data=400), 2, hidden=(32,), codes=(16, 1))
    ppgen.fit(pair, x, "reconstruction, mmd(site=code)", steps=1000, batch_size=200, lr=1e-2, seed=0)
    draws = prior_samples(pair, (x,), 2000).x
    torch.testing.assert_close(draws.mean(0), x.mean(0), rtol=0, atol=0.2)
    torch.testing.assert_close(draws.std(0), x.std(0), rtol=0.15, atol=0.1)
    assert torch.corrcoef(draws.T)[0, 1] < -0.9
