"""Priors by name: densities and draws against what they are made of, what learns, and bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ppgen.data import DataSpec
from ppgen.draws import prior_latents
from ppgen.errors import UsageError
from ppgen.inference import ELBO
from ppgen.layers.priors import VampPrior, inputs_like
from ppgen.models import IWAE, NVDM, SSVAE, VAE
from ppgen.testing.reproduction import check_compiled_step
from tests.marks import thorough
from tests.traced import as_graphs

BITS = DataSpec("tiny", 6, "binary", num_classes=3, num_data=20)
X = torch.tensor([[1.0, 0, 0, 1, 0, 1], [0, 1, 1, 0, 1, 0], [1, 1, 0, 0, 0, 1]])

PRIORS = ["maf(num=2)", "realnvp", "spline", "vamp(num=4)"]


def vae(**options: Any) -> VAE:
    """A pair away from where it starts."""
    pair = VAE(BITS, 3, hidden=(4,), **options)
    for parameter in pair.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return pair


@pytest.mark.parametrize("guide", ["gaussian", "realnvp"])
def test_a_vamp_prior_is_the_mean_of_the_guides_densities_at_its_inputs(guide: str) -> None:
    pair, z = vae(prior="vamp(num=4)", guide=guide), torch.randn(2, 5, 3)
    assert isinstance(pair.prior, VampPrior)
    each = [pair.encoder(u).log_prob(z) for u in pair.prior.inputs().unsqueeze(1)]  # K times (2, 5)
    expected = torch.stack(each).exp().mean(0).log()
    found = pair.prior(X, pair.encoder).expand([5]).log_prob(z)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("guide", ["gaussian", "realnvp"])
def test_draws_of_a_vamp_prior_have_its_moments(guide: str) -> None:
    """Against draws at each input, by two means of each of three numbers: false alarm once in 100,000 (5 errors)."""
    pair = vae(prior="vamp(num=4)", guide=guide)
    assert isinstance(pair.prior, VampPrior)
    with torch.no_grad():
        drawn = prior_latents(pair, (X,), 20_000)["z"]
        each = pair.encoder(pair.prior.inputs()).sample((5_000,)).flatten(0, 1)
    for one, other in ((drawn, each), (drawn.square(), each.square())):
        error = ((one.var(0) + other.var(0)) / 20_000).sqrt()
        assert bool(((one.mean(0) - other.mean(0)).abs() < 5 * error).all())


@pytest.mark.parametrize(
    ("spec", "least", "greatest"),
    [
        (DataSpec("bits", 3, "binary", mean=torch.tensor([0.0, 0.5, 1.0])), 0.0, 1.0),
        (DataSpec("words", 3, "counts", mean=torch.tensor([0.0, 0.5, 9.0])), 0.0, float("inf")),
        (DataSpec("numbers", 3, "real", mean=torch.tensor([-100.0, 0.0, 100.0])), -float("inf"), float("inf")),
    ],
    ids=["bits", "counts", "reals"],
)
def test_pseudo_inputs_are_in_the_space_of_the_data_around_their_mean(
    spec: DataSpec, least: float, greatest: float
) -> None:
    found = inputs_like(spec)(500)().detach()
    assert found.shape == (500, 3)
    assert least < float(found.min()) <= float(found.max()) < greatest
    assert spec.mean is not None
    assert found.median(0).values.argsort().tolist() == [0, 1, 2]
    middle = found[:, 1].median()
    assert float(middle) == pytest.approx(float(spec.mean[1]), abs=0.3)  # of N(0, 1) before the link, 0.06 off


@pytest.mark.parametrize("prior", PRIORS)
def test_every_parameter_of_a_prior_learns(prior: str) -> None:
    pair = vae(prior=prior)
    named = dict(pair.prior.named_parameters())
    loss = ELBO(num_particles=2).differentiable_loss(pair.model, pair.guide, X)
    slopes = torch.autograd.grad(loss, list(named.values()))
    assert named
    assert all(bool(slope.isfinite().all() and slope.any()) for slope in slopes)


@pytest.mark.parametrize("prior", ["maf(num=2)", "vamp(num=4)"])
def test_a_prior_comes_to_the_aggregate_posterior(prior: str) -> None:
    """With guide and decoder held, and codes far from N(0, I), the bound rises by what the divergence falls."""
    pair = vae(prior=prior)
    last = [each for each in pair.encoder.network.modules() if isinstance(each, nn.Linear)][-1]
    last.bias.data += torch.tensor([3.0, -2.0, 1.0, -1.0, -1.0, -1.0])
    bound = ELBO(num_particles=64)
    fixed = vae()
    fixed.load_state_dict({n: p for n, p in pair.state_dict().items() if not n.startswith("prior")})
    optimizer = torch.optim.Adam(pair.prior.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        bound.differentiable_loss(pair.model, pair.guide, X).backward()
        optimizer.step()
    # N(0, I) pays |loc|^2 / 2 = 7 nats a datum at least, of 20 data
    assert bound.loss(pair.model, pair.guide, X) < bound.loss(fixed.model, fixed.guide, X) - 5 * 20


def test_the_top_of_a_hierarchy_has_its_own_inputs() -> None:
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    deep, flat = (
        IWAE(spec, (3, 2), hidden=((4,), (4,)), prior="vamp(num=5)"),
        IWAE(spec, (2,), hidden=((4,),), prior="vamp(num=5)"),
    )
    shapes = [tuple(pair.prior.inputs().shape) for pair in (deep, flat)]  # type: ignore[operator]
    assert shapes == [(5, 3), (5, 6)]


@pytest.mark.parametrize("prior", ["maf(num=2)", *thorough(["realnvp", "spline", "vamp(num=4)"])])
def test_a_traced_step_equals_the_eager_one(prior: str) -> None:
    with as_graphs():
        check_compiled_step(vae(prior=prior), (X,))


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("prior", PRIORS)
def test_a_compiled_step_equals_the_eager_one(prior: str) -> None:
    check_compiled_step(vae(prior=prior), (X,))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"prior": "vampp"}, "expected 'normal' or 'vamp' or a flow such as 'iaf(num=2)', got 'vampp': did you mean"),
        ({"prior": "normal(num=2)"}, "normal has no options, got 'normal(num=2)'"),
        ({"prior": "planar"}, "planar flows are for guides"),
        ({"prior": "vamp(num=2), maf"}, "expected a prior such as 'vamp(num=100)', got 'vamp(num=2), maf': name one."),
        ({"prior": "vamp(k=2)"}, "prior vamp has no option 'k'"),
        ({"prior": "vamp(num=0)"}, "num must be a whole number of at least 1, got 0."),
        (
            {"prior": "vamp, maf"},
            "expected 'normal' or 'vamp' or a flow such as 'iaf(num=2)', got 'vamp, maf': name one",
        ),
        (
            {"prior": "vamp", "guide": "iaf(num=2)"},
            "prior='vamp' scores the guide at any z, and this guide is not scored in one pass",
        ),
    ],
)
def test_bad_input_gets_one_sentence(options: dict[str, Any], sentence: str) -> None:
    for make in (lambda: VAE(BITS, 3, hidden=(4,), **options), lambda: NVDM(COUNTS, 3, hidden=(4,), **options)):
        with pytest.raises(UsageError) as error:
            make()
        assert str(error.value).startswith(sentence)


COUNTS = DataSpec("tiny", 6, "counts", num_data=20)


def test_a_mixture_of_a_guide_that_takes_a_label_too_is_refused() -> None:
    with pytest.raises(UsageError, match="a mixture of a guide that takes data alone"):
        SSVAE(BITS, 2, prior="vamp")
