"""The GAN pair: its draws, its outputs and priors, what it refuses, and what refuses it."""

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppgen
from ppgen.data import DataSpec
from ppgen.draws.samples import prior_samples
from ppgen.errors import UsageError
from ppgen.inference import ELBO, MMD, DReG, Renyi
from ppgen.models import GAN
from ppgen.pairs.nonfinite import first_nonfinite
from ppgen.pairs.sampling import unconditioned
from ppgen.testing import check_pair
from ppgen.testing.sandbox import program_of

PLANE = DataSpec("plane", 2, "real")
X = torch.zeros(5, 2)


def test_a_draw_is_the_generator_at_a_draw_of_the_prior() -> None:
    pair = GAN(PLANE, 3, hidden=(4,))
    sites = unconditioned(pair.model, (X,))
    assert torch.equal(sites["x"]["value"], pair.generator(sites["z"]["value"]))
    assert sites["z"]["value"].shape == (5, 3)


def test_of_x_only_the_shape_is_read() -> None:
    pair = GAN(PLANE, 3, hidden=(4,))
    assert torch.equal(prior_samples(pair, (X,), 5).x, prior_samples(pair, (X + 7,), 5).x)


@pytest.mark.parametrize(
    ("output", "low", "high"), [("identity", -torch.inf, torch.inf), ("sigmoid", 0.0, 1.0), ("tanh", -1.0, 1.0)]
)
def test_draws_lie_in_the_range_of_the_output_and_start_at_the_mean(output: Any, low: float, high: float) -> None:
    mean = torch.tensor([0.2, 0.7])
    pair = GAN(DataSpec("plane", 2, "real", mean=mean), 3, hidden=(4,), output=output)
    torch.testing.assert_close(pair.generator(torch.zeros(3)), mean)
    with torch.no_grad():
        x = pair.generator(100 * torch.randn(50, 3))
    assert low <= x.min()
    assert x.max() <= high


def test_the_uniform_prior_fills_the_cube() -> None:
    pair = GAN(PLANE, 1000, hidden=(4,), prior="uniform")
    z = pair.prior(torch.zeros(1000)).sample()
    assert -1 <= z.min() < -0.98  # of 1,000 draws none below -0.98: once in 23,000
    assert 0.98 < z.max() <= 1


@pytest.mark.parametrize(
    ("observation", "output"), [("binary", "sigmoid"), ("quantised", "sigmoid"), ("real", "identity")]
)
def test_the_output_follows_the_kind_of_data(observation: Any, output: str) -> None:
    spec = DataSpec("bits", 4, observation, levels=3 if observation == "quantised" else None)
    assert GAN(spec, 2, hidden=(3,)).output == output


def test_prior_and_output_may_be_whatever_makes_one() -> None:
    pair = GAN(PLANE, 3, hidden=(4,), prior=lambda zeros: dist.Exponential(zeros + 1), output=nn.Softplus)
    sites = unconditioned(pair.model, (X,))
    assert (sites["z"]["value"] >= 0).all()
    assert torch.equal(sites["x"]["value"], nn.functional.softplus(pair.generator[0](sites["z"]["value"])))
    run = ppgen.fit(pair, torch.randn(20, 2), MMD(), steps=1, eager=True)  # no range is known that data could leave
    assert run.config["model"]["options"]["output"] == "<class 'torch.nn.modules.activation.Softplus'>"


def test_pictures_may_be_made_by_convolutions() -> None:
    spec = DataSpec("pictures", 64, "real", image_shape=(8, 8))
    pair = GAN(spec, 2, hidden=(8,), network="conv", channels=(4, 2))
    assert [module.out_channels for module in pair.modules() if isinstance(module, nn.ConvTranspose2d)] == [2, 1]
    assert prior_samples(pair, (torch.zeros(3, 64),), 3).x.shape == (3, 64)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"prior": "norml"}, "prior must be 'normal' or 'uniform', or what makes a Pyro distribution .*, got 'norml'"),
        ({"prior": torch.sin}, "prior=.*sin.* must make a Pyro distribution of each of 32 zeros, .* and makes tensor"),
        ({"output": "sigmod"}, "output must be 'identity' or 'sigmoid' or 'tanh', or what makes .*, got 'sigmod'"),
        ({"output": nn.Linear}, "output=.*Linear.* cannot be called with"),
        ({"latent_dim": 0}, "latent_dim must be a whole number of at least 1"),
        ({"hidden": (0,)}, "hidden must be a list of whole numbers of at least 1"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        GAN(PLANE, **options)


@pytest.mark.usefixtures("graphs_as_they_are")
def test_a_normalised_generator_draws_each_datum_by_itself_once_trained() -> None:
    pair = GAN(PLANE, 3, hidden=(4,), batch_norm=True)
    assert check_pair(pair, (torch.randn(6, 2),)).ok
    pair.generator(torch.randn(100, 3))  # moves the running statistics
    pair.eval()
    z = torch.randn(5, 3)
    torch.testing.assert_close(pair.generator(z)[:2], pair.generator(z[:2]))


def test_counts_have_no_generator() -> None:
    with pytest.raises(UsageError, match="GAN makes real numbers, and data 'words' are counts"):
        GAN(DataSpec("words", 4, "counts"), 2)


@pytest.mark.parametrize(("output", "x"), [("sigmoid", -0.1), ("tanh", 255.0)])
def test_data_outside_the_generators_range_are_refused(output: Any, x: float) -> None:
    data = torch.full((10, 2), x)
    with pytest.raises(UsageError, match=f"output='{output}' makes numbers from .*: rescale the data"):
        ppgen.fit(GAN(PLANE, 2, hidden=(3,), output=output), data, MMD(), steps=1, eager=True)


@pytest.mark.parametrize("objective", [ELBO(), DReG(), Renyi()], ids=lambda o: type(o).__name__)
def test_a_bound_refuses_a_pair_without_a_density(objective: Any) -> None:
    with pytest.raises(UsageError, match="needs a density of x, and GAN is implicit"):
        ppgen.fit(GAN(PLANE, 2, hidden=(3,)), torch.randn(30, 2), objective, steps=1, eager=True)


def test_log_weights_of_a_pair_without_a_density_are_refused() -> None:
    with pytest.raises(UsageError, match="log_weights needs a density of x, and GAN is implicit"):
        ppgen.log_weights(GAN(PLANE, 2, hidden=(3,)), (X,), 10)


@pytest.mark.usefixtures("graphs_as_they_are")
def test_rules_hold_or_do_not_apply_for_a_stated_reason() -> None:
    report = check_pair(GAN(DataSpec("plane", 2, "real", num_data=60), 3, hidden=(4,)), (torch.randn(6, 2),))
    assert report.ok
    apart = {result.check: result.message for result in report.results if result.verdict == "not applicable"}
    of_pairs_in_turn = {"check_reads_earlier_features", "check_draws_in_turn", "check_entropy_of_draws"}
    assert set(apart) == {"check_log_weights", "check_loss_falls", "check_stock_svi", *of_pairs_in_turn}
    assert {message for rule, message in apart.items() if rule not in of_pairs_in_turn} == {
        "the pair is implicit: it states how x is drawn, and no density of x"
    }


class Mixed(torch.nn.Module):
    """Takes the mean over the batch away."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(-2, keepdim=True)


@pytest.mark.usefixtures("graphs_as_they_are")
def test_draws_that_depend_on_their_company_are_found() -> None:
    pair = GAN(PLANE, 3, hidden=(4,))
    pair.generator.append(Mixed())
    report = check_pair(pair, (torch.randn(6, 2),))
    assert "check_batch_independence" in {result.check for result in report.broken}


def test_what_is_not_finite_is_a_draw() -> None:
    pair = GAN(PLANE, 3, hidden=(4,))
    assert "every site of the pair is" in first_nonfinite(program_of(pair), (X,))
    with torch.no_grad():
        next(pair.generator.parameters()).fill_(torch.nan)
    assert first_nonfinite(program_of(pair), (X,)) == "the value of site 'x' of the model is not finite"
