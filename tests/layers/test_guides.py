"""Guides that flows bend: as the Gaussian at first, of every pair, exact where they can be, compiled and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.data import DataSpec
from ppgen.draws.embedding import embedding
from ppgen.errors import UsageError
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import ELBO, STL, AnalyticKL, DReG, Enumerate
from ppgen.layers.guides import amortised
from ppgen.layers.networks import MLP
from ppgen.models import CTM, CVAE, IWAE, NVDM, SSVAE, VAE, FactorAnalysis, LinearGaussian, NoisyICA, ProdLDA, VaDE
from ppgen.testing.reproduction import check_compiled_step
from tests.marks import thorough
from tests.traced import as_graphs

BITS = DataSpec("tiny", 6, "binary", num_classes=3, num_data=20)
COUNTS, REALS = DataSpec("tiny", 6, "counts", num_data=20), DataSpec("tiny", 4, "real", num_data=20)
X, Y = torch.tensor([[1.0, 0, 0, 1, 0, 1], [0, 1, 1, 0, 1, 0], [1, 1, 0, 0, 0, 1]]), torch.tensor([0, 2, 1])

GUIDES = ["iaf(num=2)", "planar", "realnvp", "spline"]
BENT = [*GUIDES, "semi_implicit"]

PAIRS: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "vae": (lambda **options: VAE(BITS, 3, hidden=(4,), **options), (X,)),
    "iwae": (lambda **options: IWAE(BITS, (3, 2), hidden=((4,), (4,)), **options), (X,)),
    "cvae": (lambda **options: CVAE(BITS, 2, hidden=(4,), **options), (X, Y)),
    "vade": (lambda **options: VaDE(BITS, 2, 3, hidden=(4,), **options), (X,)),
    "ss_vae": (lambda **options: SSVAE(BITS, 2, hidden=(4,), classifier=(4,), **options), (X, Y)),
    "nvdm": (lambda **options: NVDM(COUNTS, 2, hidden=(4,), **options), (X,)),
    "prodlda": (lambda **options: ProdLDA(COUNTS, 3, hidden=(4, 3), **options), (X,)),
    "ctm": (lambda **options: CTM(COUNTS, 3, hidden=(4,), **options), (X,)),
    "linear_gaussian": (lambda **options: LinearGaussian(REALS, 2, **options), (X[:, :4],)),
    "factor_analysis": (lambda **options: FactorAnalysis(REALS, 2, **options), (X[:, :4],)),
    "noisy_ica": (lambda **options: NoisyICA(REALS, 3, **options), (X[:, :4],)),
}


@pytest.mark.parametrize("guide", BENT)
@pytest.mark.parametrize("name", PAIRS)
def test_every_parameter_of_a_flow_learns_in_every_pair(name: str, guide: str) -> None:
    make, batch = PAIRS[name]
    pair = make(guide=guide)
    for parameter in pair.parameters():  # off the places where a product of two is flat
        parameter.data += 0.1 * torch.randn(parameter.shape)
    flows = {name: p for name, p in pair.named_parameters() if "flow." in name}
    bound = ELBO(num_particles=2)
    objective = Enumerate(bound=bound) if isinstance(pair, SSVAE) else bound  # whose label is discrete
    loss = objective.differentiable_loss(pair.model, pair.guide, *batch)
    slopes = torch.autograd.grad(loss, list(flows.values()))
    assert flows
    assert all(bool(slope.isfinite().all()) and float(slope.abs().max()) > 0 for slope in slopes)


@pytest.mark.parametrize("name", PAIRS)
def test_a_gaussian_guide_has_the_parameters_it_always_had(name: str) -> None:
    assert not [each for each, _ in PAIRS[name][0]().named_parameters() if "flow" in each or "prior.inputs" in each]


@pytest.mark.parametrize("name", PAIRS)
def test_an_unknown_guide_is_refused_when_the_pair_is_made(name: str) -> None:
    with pytest.raises(UsageError, match="or a flow such as 'iaf\\(num=2\\)', got 'iav': did you mean 'iaf'"):
        PAIRS[name][0](guide="iav(num=2)")


@pytest.mark.parametrize("guide", ["iaf(num=2)", "realnvp"])
def test_an_affine_flow_starts_as_the_gaussian(guide: str) -> None:
    bent, x, z = amortised(guide, 3, lambda size: MLP(6, size, hidden=(5,))), torch.randn(7, 6), torch.randn(7, 3)
    found = bent(x)
    torch.testing.assert_close(found.log_prob(z), found.base_dist.log_prob(z), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(bent.centre(x), found.base_dist.mean)


def _exact(guide: str) -> LinearGaussian:
    """Whose flow scales and shifts each z_i, of no context, and whose Gaussian makes up for both."""
    pair = LinearGaussian(REALS, 3, guide="full").double()
    bent = LinearGaussian(REALS, 3, guide=guide).double()
    for parameter in pair.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    pair.set_exact_guide()
    bent.load_state_dict({**bent.state_dict(), **pair.state_dict()})
    assert bent.flow is not None
    for name, parameter in bent.flow.named_parameters():
        if name.endswith("layers.1.bias"):  # the outputs of its networks
            parameter.data = 0.3 * torch.randn_like(parameter)
    with torch.no_grad():
        zero = torch.zeros(1, 4, dtype=torch.float64)
        unit = torch.distributions.Normal(torch.zeros(4, 3, dtype=torch.float64), 1.0)
        ends = torch.cat([zero.new_zeros(1, 3), torch.eye(3, dtype=torch.float64)])
        for transform in bent.flow(unit, zero).transforms:
            ends = transform(ends)
        shift, slopes = ends[0], (ends[1:] - ends[0]).T  # T(z) = slopes z + shift
        inverse = torch.linalg.inv(slopes)
        scale = torch.linalg.cholesky(inverse @ _covariance(pair) @ inverse.T)
        bent.guide_weight.copy_(inverse @ pair.guide_weight)
        bent.guide_loc.copy_(inverse @ (pair.guide_loc - shift))
        bent.guide_scale.copy_(scale.tril(-1) + scale.diagonal().log().diag())
    return bent


def _covariance(pair: LinearGaussian) -> Tensor:
    found: Tensor = pair.posterior(torch.zeros(1, 4, dtype=torch.float64)).covariance_matrix.detach().squeeze(0)
    return found


@pytest.mark.parametrize("objective", [STL(num_particles=4), DReG(num_particles=4)], ids=["stl", "dreg"])
@pytest.mark.parametrize("guide", ["iaf(num=2)", "realnvp"])
def test_at_the_exact_posterior_every_parameter_of_a_flow_guide_has_zero_gradient(guide: str, objective: Any) -> None:
    pair, x = _exact(guide), X[:, :4].double()
    log_w = ppgen.log_weights(pair, (x,), num_particles=3)
    torch.testing.assert_close(log_w, pair.log_evidence(x).expand(3, -1), rtol=1e-9, atol=1e-9)
    named = {name: p for name, p in pair.named_parameters() if name.startswith(("flow", "guide"))}
    slopes = {}
    for each in (ELBO(num_particles=4), objective):
        loss = each.differentiable_loss(pair.model, pair.guide, x)
        found = torch.autograd.grad(loss, list(named.values()))
        slopes[type(each)] = max(float(slope.abs().max()) for slope in found)
    assert slopes[ELBO] > 0.1  # where the score is left in
    assert slopes[type(objective)] < 1e-9  # rounding of float64, of the score's size


@pytest.mark.parametrize("guide", ["iaf(num=2)", "semi_implicit", *thorough(["planar", "realnvp", "spline"])])
def test_a_traced_step_equals_the_eager_one(guide: str) -> None:
    with as_graphs():
        check_compiled_step(*_tiny(guide))


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_a_compiled_step_equals_the_eager_one(guide: str) -> None:
    check_compiled_step(*_tiny(guide))


def _tiny(guide: str) -> tuple[VAE, tuple[Tensor, ...]]:
    return VAE(BITS, 3, hidden=(4,), guide=guide), (X,)


@pytest.mark.parametrize("guide", ["iaf(num=2)", *thorough(["planar", "realnvp", "spline"])])
def test_training_resumes_to_the_same_bits(guide: str, tmp_path: Path) -> None:
    data = ppgen.load_data("digits")
    options: dict[str, Any] = {"eager": True, "seed": 1, "progress": False, "schedule": "constant", "lr": 1e-2}

    def fit(steps: int, name: str, **more: Any) -> None:
        torch.manual_seed(0)
        ppgen.fit(
            VAE(data.spec, 2, hidden=(4,), guide=guide),
            data,
            STL(),
            steps=steps,
            out=tmp_path / name,
            **options,
            **more,
        )

    fit(6, "whole")
    fit(3, "cut")
    fit(6, "cut", resume=True)
    one, two = (read_checkpoint(tmp_path / name / "checkpoint.safetensors")[0] for name in ("whole", "cut"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("guide", ["iaf(num=2)", "planar"])
def test_labels_are_summed_out_beside_a_flow(guide: str) -> None:
    """The sum over labels is that of each label's own bound, within ten standard errors of both."""
    pair = SSVAE(BITS, 2, hidden=(4,), classifier=(4,), guide=guide).eval().requires_grad_(False)
    loss = Enumerate(num_particles=3000).loss(pair.model, pair.guide, X) * len(X) / 20  # of these data alone
    q = pair.classify(X)  # (B, C)
    given = [ppgen.log_weights(pair, (X, torch.full_like(Y, label)), num_particles=3000) for label in range(3)]
    bounds = torch.stack(given, -1)  # (K, B, C)
    error = float((2 * q.square() * bounds.var(0) / 3000).sum().sqrt())
    assert loss == pytest.approx(float(-(q * (bounds.mean(0) - q.log())).sum()), abs=10 * error)
    assert error < 0.1


def test_a_divergence_without_a_closed_form_is_sampled_with_a_word() -> None:
    pair, batch = _tiny("iaf(num=2)")
    with pytest.warns(UserWarning, match="samples the divergence of 'z', for torch has no divergence"):
        AnalyticKL().loss(pair.model, pair.guide, *batch)


def test_an_embedding_is_the_mean_of_a_flow_guides_draws() -> None:
    pair, (x,) = _tiny("planar")
    found = embedding(pair, (x,), num_particles=4000).values
    z = pair.encoder(x).sample((4000,))
    error = z.std(0) * (2 / 4000) ** 0.5
    assert bool(((found - z.mean(0)).abs() < 5 * error).all())  # nine numbers: false alarm once in 200,000


@pytest.mark.parametrize("make", [LinearGaussian, FactorAnalysis])
def test_closed_forms_of_a_linear_pair_refuse_a_guide_that_a_flow_bends(make: Any) -> None:
    pair = make(REALS, 2, guide="planar")
    with pytest.raises(UsageError, match="a guide that a flow bends learns by a gradient"):
        pair.set_exact_guide()
    with pytest.raises(UsageError, match="as it is made has none"):
        ppgen.make_objective("em").loss(pair.model, pair.guide, X[:, :4])
