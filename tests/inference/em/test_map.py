"""MAP against what is known of modes: the linear-Gaussian posterior, ridge regression, a guide of points."""

from __future__ import annotations

from typing import Any, Literal

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoNormal
from sklearn.linear_model import Lasso, Ridge
from torch import Tensor

import ppgen
from ppgen import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import ELBO, MAP
from ppgen.models import LDA, SBN, LinearGaussian
from ppgen.pairs import Program


def regression(x: Tensor, y: Tensor) -> None:
    weight = pyro.sample("weight", dist.Normal(x.new_zeros(x.shape[1]), 0.5).to_event(1))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("y", dist.Normal(x @ weight, 1.0), obs=y)


def regression_data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(30, 3, dtype=torch.float64)
    return x, x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) + torch.randn(30, dtype=torch.float64)


def test_the_exact_guide_is_where_its_mean_is_the_mode() -> None:
    torch.manual_seed(0)
    pair = LinearGaussian(DataSpec("numbers", 4, "real"), 2).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    means = [pair.guide_weight, pair.guide_loc]
    before = torch.autograd.grad(MAP().differentiable_loss(pair.model, pair.guide, x), means)
    pair.set_exact_guide()
    loss = MAP().differentiable_loss(pair.model, pair.guide, x)
    after = torch.autograd.grad(loss, means, retain_graph=True)
    assert min(float(g.abs().max()) for g in before) > 0.1
    assert max(float(g.abs().max()) for g in after) < 1e-12
    (scale,) = torch.autograd.grad(loss, pair.guide_scale, allow_unused=True)
    assert scale is None  # nothing is said of scales


def test_its_value_is_the_joint_density_at_the_mean() -> None:
    torch.manual_seed(0)
    pair = LinearGaussian(DataSpec("numbers", 4, "real"), 2).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    z = x @ pair.guide_weight.T + pair.guide_loc
    of_x = dist.Normal(z @ pair.weight.T + pair.loc, pair.log_noise.exp()).log_prob(x).sum(-1)
    joint = of_x + dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
    assert MAP().loss(pair.model, pair.guide, x) == pytest.approx(-float(joint.sum().detach()), rel=1e-12)


@pytest.mark.parametrize("family", [AutoNormal, AutoDelta])
def test_latents_of_all_data_end_at_those_of_ridge_regression(family: Any) -> None:
    """Prior variance 1/4 under noise 1: a penalty of 4. The gradient is zero there, and not a hundredth beside it."""
    x, y = regression_data()
    best = torch.from_numpy(Ridge(alpha=4.0, fit_intercept=False).fit(x.numpy(), y.numpy()).coef_)
    for at, least, most in ((best, 0.0, 1e-10), (best + 0.01, 0.1, 10.0)):
        pyro.clear_param_store()  # where an autoguide would find those of the one before
        guide = family(regression, init_loc_fn=lambda site, at=at: at)
        pair = ppgen.pair_from(regression, guide)
        pair.prepare(x, y)  # makes the guide's parameters
        loss = MAP().differentiable_loss(pair.model, pair.guide, x, y)
        found = torch.autograd.grad(loss, list(pair.parameters()), allow_unused=True, materialize_grads=True)
        assert least <= max(float(g.abs().max()) for g in found) <= most


def test_with_a_guide_of_points_it_is_the_elbo() -> None:
    x, y = regression_data()
    pair = ppgen.pair_from(regression, AutoDelta(regression))
    assert MAP().loss(pair.model, pair.guide, x, y) == ELBO().loss(pair.model, pair.guide, x, y)


def test_a_mean_outside_the_support_is_taken_into_it() -> None:
    """Means of logarithms of shares are logarithms of no shares."""
    torch.manual_seed(0)
    pair = LDA(DataSpec("words", 5, "counts", num_data=3), 2, topics="dirichlet")
    x = torch.ones(3, 5)
    particles = MAP().draw(Program(pair.model, pair.guide), (x,))
    for name in ("log_theta", "log_topics"):
        shares = particles.guide_sites[name]["value"].exp().sum(-1)
        torch.testing.assert_close(shares, torch.ones_like(shares))
    assert MAP().loss(pair.model, pair.guide, x) == MAP().loss(pair.model, pair.guide, x)  # no noise


def test_what_has_no_mean_is_refused() -> None:
    def model(x: Tensor) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        pyro.sample("z", dist.Cauchy(0.0, 1.0))

    with pytest.raises(UsageError, match=r"MAP puts latents at the guide's mean, and that of site 'z' is not finite"):
        ppgen.fit(ppgen.pair_from(model, guide), torch.zeros(5), MAP(), steps=1, progress=False)
    bits = SBN(DataSpec("bits", 3, "binary"), layers=(2,))
    with pytest.raises(UsageError, match=r"site 'z1' .* no reparameterized sample"):
        ppgen.fit(bits, torch.ones(5, 3), MAP(), steps=1, progress=False)


class _Regression(ppgen.Pair):
    """y = w . x + noise of scale 1; w a parameter of two axes."""

    def __init__(self, num_data: int) -> None:
        super().__init__(data_size=num_data)
        self.weight = torch.nn.Parameter(torch.zeros(1, 3, dtype=torch.float64))

    def model(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("y", dist.Normal((x @ self.weight.T)[..., 0], 1.0), obs=y)

    def guide(self, x: Tensor, y: Tensor) -> None:
        """No latents."""


@pytest.mark.parametrize("prior", ["laplace", "normal"])
def test_a_prior_of_weights_is_that_of_lasso_and_of_ridge_regression(prior: Literal["laplace", "normal"]) -> None:
    """Two halves of the data, each standing for all: the gradient of the mean of their losses is zero at the solution
    of scikit-learn, which has a weight at zero by the Laplace prior."""
    x, y = regression_data()
    y = y - 0.5 * x[:, 2]  # of no great effect
    fit = (
        Lasso(alpha=1 / (30 * 0.05), fit_intercept=False, tol=1e-12)
        if prior == "laplace"
        else Ridge(4.0, fit_intercept=False)
    )
    best = torch.from_numpy(fit.fit(x.numpy(), y.numpy()).coef_)
    objective, pair = MAP(prior=prior, scale=0.05 if prior == "laplace" else 0.5), _Regression(30)

    def gradient(weight: Tensor) -> Tensor:
        with torch.no_grad():
            pair.weight.copy_(weight)
        halves = [objective.differentiable_loss(pair.model, pair.guide, x[i], y[i]) for i in (slice(15), slice(15, 30))]
        return torch.autograd.grad(torch.stack(halves).mean(), pair.weight)[0][0]

    kept = best != 0
    assert int(kept.sum()) == (3 if prior == "normal" else 2)
    assert float(gradient(best)[kept].abs().max()) < 1e-8
    assert float(gradient(best + 0.01)[kept].abs().min()) > 0.05


@pytest.mark.parametrize(
    ("latent", "said"),
    [
        (dist.LogisticNormal(torch.zeros(2), torch.ones(2)), r"the LogisticNormal of site 'z' states none"),
        (dist.ProjectedNormal(torch.ones(3)), r"site 'z' is continuous on .*, to which torch has no bijection .*: MAP"),
    ],
    ids=["no mean", "on a sphere"],
)
def test_a_latent_that_cannot_be_put_at_its_mean_is_named(latent: Any, said: str) -> None:
    def model(x: Tensor) -> None:
        z = pyro.sample("z", latent)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(z[0], 1.0), obs=x)

    def guide(x: Tensor) -> None:
        pyro.sample("z", latent)

    with pytest.raises(UsageError, match=said):
        MAP().loss(model, guide, torch.zeros(5))


def test_a_prior_without_weights_is_refused() -> None:
    bare = pyro.poutine.block(regression)
    with pytest.raises(UsageError, match=r"a prior for weights of a module, got the bare function"):
        MAP(prior="laplace").differentiable_loss(bare, lambda x, y: None, *regression_data())
