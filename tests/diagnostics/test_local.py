"""Local optimisation finds the best of a family, whose bound is known in closed form."""

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import constraints

import ppgen
from ppgen.chains.posterior import LatentChains
from ppgen.data import DataSpec, linear_gaussian_truth
from ppgen.diagnostics.local import LocalWeights, Search, _Own, local_log_weights, moved
from ppgen.diagnostics.richer import Full
from ppgen.distributions.log_dirichlet import LogDirichlet
from ppgen.errors import UsageError
from ppgen.models import LinearGaussian
from ppgen.pairs.latents import set_apart, side_by_side
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Program
from ppgen.testing.yardsticks import BernoulliYardstick, SharedYardstick
from tests.discrete_doubles import Blend
from tests.marks import thorough

EXACT = 2e-3
"""Nats by which a bound may miss that of its family's best, as an average over 32 data."""


def at_truth(guide: Any = "full", **options: Any) -> tuple[LinearGaussian, Tensor]:
    """The data's own parameters in the model, a guide at N(0, I), and 32 data."""
    data, truth = ppgen.load_data("linear_gaussian", **options), linear_gaussian_truth(**options)
    pair = LinearGaussian(data.spec, truth.weight.shape[1], noise=truth.noise, guide=guide)
    with torch.no_grad():
        pair.weight.copy_(truth.weight)
        pair.loc.copy_(truth.loc)
    return pair, data.test[0][:32]


def gaps(pair: Any, x: Tensor, found: LocalWeights) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x) less the bounds of the amortised, the own and the full family, (B,) each."""
    exact = pair.log_evidence(x).detach().double()
    assert found.full is not None
    amortised, own, full = (exact - log_w.mean(0) for log_w in (found.amortised, found.own, found.full))
    return amortised, own, full


def correlated() -> tuple[LinearGaussian, Tensor, float]:
    """A pair with a mean-field guide whose posterior is strongly correlated, and KL(its best || posterior).

    The best has the precision matrix's diagonal: KL = (sum_i log P_ii - log det P) / 2.
    """
    pair, x = at_truth("mean_field", num_features=3)
    with torch.no_grad():
        pair.weight[:, 1] = pair.weight[:, 0] + 0.1
    precision = torch.linalg.inv(pair.posterior(x).covariance_matrix.detach()[0].double())
    return pair, x, float((precision.diagonal().log().sum() - torch.logdet(precision)) / 2)


@pytest.mark.thorough
def test_from_a_guide_far_off_the_posterior_is_found_in_a_family_that_holds_it() -> None:
    torch.manual_seed(0)
    pair, x = at_truth("full")
    amortised, own, full = gaps(pair, x, local_log_weights(pair, (x,)))
    assert float(amortised.mean()) > 10
    assert abs(float(own.mean())) < EXACT
    assert abs(float(full.mean())) < 1e-4


def test_a_search_that_ends_lower_than_it_began_found_nothing() -> None:
    torch.manual_seed(0)
    pair, x = at_truth("full")
    pair.set_exact_guide()
    found = local_log_weights(pair, (x,), 50, Search(num_steps=1, lr=10.0))
    assert torch.equal(found.own, found.amortised)


def test_weights_of_a_covariance_near_to_singular_are_still_proper() -> None:
    torch.manual_seed(0)
    pair, x = at_truth("full", latent_dim=10)
    family = _Own(Program(pair.model, pair.guide), (x,))
    full = Full(family, family.start())
    width = full.mean.shape[-1]
    scale = (30 * torch.randn(width, width).tril(-1) - 4 * torch.eye(width)).expand(len(x), -1, -1)
    log_w = full.log_weights({"loc": full.start()["loc"], "scale": scale}, full.chains(1000))
    excess = log_w.logsumexp(0) - math.log(len(log_w)) - pair.log_evidence(x)
    assert float(excess.detach().max()) < 14  # by Markov's inequality above with a probability of 32 exp(-14) < 1e-4


def test_the_moments_of_own_are_those_of_256_draws_or_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    chains = Full.chains

    def counted(self: Full, num: int) -> LatentChains:
        asked.append(num)
        return chains(self, num)

    monkeypatch.setattr(Full, "chains", counted)
    for latent_dim in (2, 70):
        pair, x = at_truth("full", latent_dim=latent_dim)
        family = _Own(Program(pair.model, pair.guide), (x,))
        Full(family, family.start())
    assert asked == [256, 280]


def test_at_the_exact_guide_nothing_is_gained() -> None:
    torch.manual_seed(0)
    pair, x = at_truth("full")
    pair.set_exact_guide()
    for gap in gaps(pair, x, local_log_weights(pair, (x,), search=Search(num_steps=100))):
        assert float(gap.abs().max()) < 1e-3


@pytest.mark.parametrize("factor", thorough([0.5, 0.6, 1.5]))
def test_a_guide_of_the_wrong_scale_loses_the_closed_form_and_local_optimisation_wins_it_back(factor: float) -> None:
    """KL(N(m, c^2 V) || N(m, V)) = L (c^2 - 1 - 2 log c) / 2; within 5 standard errors of 1,000 draws of 32 data."""
    torch.manual_seed(0)
    pair, x = at_truth("full")
    pair.set_exact_guide()
    with torch.no_grad():
        pair.guide_scale.add_(math.log(factor) * torch.eye(2) + (factor - 1) * pair.guide_scale.tril(-1))
    found = local_log_weights(pair, (x,))
    amortised, own, _ = gaps(pair, x, found)
    error = float(found.amortised.std(0).mean()) / (1000 * 32) ** 0.5
    assert abs(float(amortised.mean()) - (factor**2 - 1 - 2 * math.log(factor))) < 5 * error
    assert abs(float(own.mean())) < EXACT


def test_a_mean_field_guide_of_a_correlated_posterior_loses_the_closed_form_and_full_covariance_nothing() -> None:
    torch.manual_seed(0)
    pair, x, expected = correlated()
    found = local_log_weights(pair, (x,), 4000)
    _, own, full = gaps(pair, x, found)
    error = float(found.own.std(0).mean()) / (4000 * 32) ** 0.5
    assert expected > 0.5
    assert -5 * error < float(own.mean()) - expected < 5 * error + 0.01
    assert abs(float(full.mean())) < EXACT


class Bow(Pair):
    """z ~ N(0, I), x | z ~ N(z_2 - z_1^2, 1/4): a posterior along a parabola, and a guide at the prior."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.curve(z), 0.25).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x.new_zeros(2).expand(len(x), 2), 1.0).to_event(1))

    def curve(self, z: Tensor) -> Tensor:
        return (z[..., 1] - z[..., 0].square()).unsqueeze(-1)

    def log_evidence(self, x: Tensor) -> Tensor:
        """By the sum over a grid of z, (B,), in nats: of a density this smooth it is the integral to rounding."""
        grid = torch.linspace(-6, 6, 601, dtype=torch.float64)
        z = torch.cartesian_prod(grid, grid)
        log_prior = dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
        log_p = log_prior + dist.Normal(self.curve(z), 0.25).log_prob(x[:, None]).sum(-1)
        found: Tensor = log_p.logsumexp(-1) + 2 * (grid[1] - grid[0]).log()
        return found


@pytest.mark.thorough
def test_a_flow_comes_nearer_to_a_curved_posterior_than_any_gaussian() -> None:
    """All gaps are above zero but for the error of 4,000 draws."""
    torch.manual_seed(0)
    pair, x = Bow(), torch.tensor([[0.0], [1.0], [-1.0], [-2.0]], dtype=torch.float64)
    found = local_log_weights(pair, (x,), 4000)
    assert found.flow is not None
    _, own, full = (float(gap.mean()) for gap in gaps(pair, x, found))
    bent = float((pair.log_evidence(x) - found.flow.mean(0)).mean())
    assert own > full > 0.2
    assert -0.02 < bent < full / 4


@pytest.mark.parametrize("guide", ["planar", *thorough(["iaf"])])
def test_a_guide_that_a_flow_bends_is_searched_by_its_gaussian(guide: str) -> None:
    """Also where the flow scores nothing but what it drew."""
    torch.manual_seed(0)
    pair = LinearGaussian(DataSpec("numbers", 3, "real"), 2, guide=guide)
    found = local_log_weights(pair, (3 * torch.randn(4, 3),), 200, Search(num_steps=50))
    assert float((found.own.mean(0) - found.amortised.mean(0)).mean()) > 1
    assert found.flow is not None
    assert bool(found.flow.isfinite().all())


class HalfWrong(Pair):
    """z ~ N(0, 1), x | z ~ N(z, 1); q = N(x / 2 + 1[x > 0], 1/2): the posterior for x <= 0, off by one above."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x[..., 0]), 1.0))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x[..., 0] / 2 + (x[..., 0] > 0), 0.5**0.5))

    def log_evidence(self, x: Tensor) -> Tensor:
        """Exact, (B,), in nats."""
        evidence: Tensor = dist.Normal(torch.zeros_like(x[..., 0]), 2**0.5).log_prob(x[..., 0])
        return evidence


def test_the_gap_of_amortisation_is_found_at_the_data_that_have_it() -> None:
    """(1)^2 / (2 * 1/2) = 1 nat where the loc is wrong by one; within 5 standard errors."""
    torch.manual_seed(0)
    x = torch.linspace(-2, 2, 20, dtype=torch.float64)[:, None]
    found = local_log_weights(HalfWrong(), (x,))
    amortised, own, _ = gaps(HalfWrong(), x, found)
    error = found.amortised.std(0) / 1000**0.5
    assert float(own.abs().max()) < 0.01
    assert float(amortised[:10].abs().max()) < 1e-3
    assert ((amortised[10:] - 1).abs() < 5 * error[10:]).all()


def test_discrete_latents_are_moved_by_the_score_and_have_no_full_covariance() -> None:
    """One Bernoulli holds its posterior: log p(x) is reached."""
    torch.manual_seed(0)
    pair, x = BernoulliYardstick(), torch.tensor([-1.0, 1.5], dtype=torch.float64)
    found = local_log_weights(pair, (x,))
    assert found.full is None
    exact = pair.log_evidence(x)
    assert float((exact - found.amortised.mean(0)).max()) > 0.02
    assert float((exact - found.own.mean(0)).abs().max()) < 5e-3


def test_sites_that_depend_on_each_other_are_moved_together() -> None:
    """Two discrete sites and one that is reparameterized: the bound rises and stays below the evidence."""
    torch.manual_seed(0)
    pair = Blend()
    mass, log_w = pair.atoms(pair.parameters_once())
    exact = float((mass.log() + log_w).logsumexp(0).detach())
    found = local_log_weights(pair, pair.batch, 4000)
    before, after = float(found.amortised.mean()), float(found.own.mean())
    error = float(found.own.std()) / 4000**0.5
    assert before + 5 * error < after < exact + 5 * error


class Apart(Pair):
    """c ~ Bernoulli(1/2), z ~ N(0, I), s ~ LogNormal(0, 1), x | c, z, s ~ N(z + c + s, 1); a guide of each alone."""

    def __init__(self, binary: bool) -> None:
        super().__init__()
        self.binary = binary

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            c = pyro.sample("c", dist.Bernoulli(x.new_tensor(0.5))) if self.binary else x.new_zeros(())
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            s = pyro.sample("s", dist.LogNormal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z + c.unsqueeze(-1) + s.unsqueeze(-1), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            if self.binary:
                pyro.sample("c", dist.Bernoulli(x.new_tensor(0.3)))
            pyro.sample("z", dist.Normal(x / 2, 0.8).to_event(1))
            pyro.sample("s", dist.LogNormal(x[..., 0], 0.5))


def test_a_reparameterized_site_beside_a_discrete_one_has_the_pathwise_gradient_alone() -> None:
    """Of log w in loc, along z = loc + 0.8 e: -z + (x - z - c - s) + (z - loc) / 0.8^2, a mean over particles."""
    x, num = torch.tensor([[0.3, -0.4], [1.2, 0.5], [-1.0, 2.0]], dtype=torch.float64), 5
    family = _Own(Program(Apart(binary=True).model, Apart(binary=True).guide), (x,))
    shifts = {key: shift.requires_grad_() for key, shift in family.start().items()}
    torch.manual_seed(0)
    values = {name: site["value"].detach() for name, site in family.run(shifts, num).guide_sites.items()}
    torch.manual_seed(0)
    (found,) = torch.autograd.grad(family.bound(shifts, num), shifts["z", "loc"])
    c, z, s = values["c"][..., None], values["z"], values["s"][..., None]  # (K, B, 1), (K, B, 2), (K, B, 1)
    torch.testing.assert_close(found, (x - 2 * z - c - s + (z - x / 2) / 0.8**2).mean(0))


def test_unconstrained_latents_side_by_side_go_back_to_their_sites() -> None:
    x = torch.randn(3, 2, dtype=torch.float64)
    family = _Own(Program(Apart(binary=False).model, Apart(binary=False).guide), (x,))
    full = Full(family, family.start())
    chains = full.chains(5)
    u = chains.unconstrained(chains.start())
    numbers = side_by_side(chains.particles, u)
    found = set_apart(chains.particles, numbers, u)
    assert numbers.shape == (5, 3, 3)
    assert found.keys() == u.keys() == {"z", "s"}
    assert all(torch.equal(value, u[name]) for name, value in found.items())


def test_latents_of_the_whole_data_set_are_held() -> None:
    torch.manual_seed(0)
    pair, x = SharedYardstick(), torch.tensor([-1.0, 1.5], dtype=torch.float64)
    with torch.no_grad():
        pair.log_s.fill_(-12.0)
    found = local_log_weights(pair, (x,))
    exact = dist.Normal(pair.b, (1 + pair.w.square()).sqrt()).log_prob(x).detach()
    assert found.full is not None
    assert float((exact - found.full.mean(0)).abs().max()) < 0.01


FAMILIES = {
    "normal": (dist.Normal(torch.tensor([0.3, 1.0]), 0.5).to_event(1), {"loc": torch.ones(2)}),
    "log-normal": (dist.LogNormal(torch.tensor([0.3]), 0.5), {"loc": torch.zeros(1), "scale": torch.ones(1)}),
    "full": (dist.MultivariateNormal(torch.zeros(2), torch.tensor([[2.0, 0.5], [0.5, 1.0]])), {"loc": torch.ones(2)}),
    "bernoulli": (dist.Bernoulli(probs=torch.tensor([0.3, 0.9])).to_event(1), {"logits": torch.ones(2)}),
    "one-hot": (dist.OneHotCategorical(logits=torch.randn(2, 3)).to_event(1), {"logits": torch.ones(2, 3)}),
    "log-dirichlet": (LogDirichlet(torch.tensor([0.3, 1.0])), {"concentration": torch.ones(2)}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_distribution_moved_by_nothing_is_itself_and_otherwise_another(family: str) -> None:
    fn, shifts = FAMILIES[family]
    value, nothing = fn.sample(), {name: torch.zeros_like(shift) for name, shift in shifts.items()}
    torch.testing.assert_close(moved(fn, nothing).log_prob(value), fn.log_prob(value))
    apart = {name: shift * torch.arange(1.0, shift.numel() + 1).view_as(shift) for name, shift in shifts.items()}
    assert not torch.allclose(moved(fn, apart).log_prob(value), fn.log_prob(value))
    assert moved(fn, apart).batch_shape == fn.batch_shape


class _Unheard(constraints.Constraint):
    def check(self, value: Any) -> Tensor:
        return torch.ones_like(value, dtype=torch.bool)


class Odd(dist.Normal):
    """A normal distribution whose loc is constrained in a way that torch has no transform for."""

    arg_constraints = {"loc": _Unheard(), "scale": constraints.positive}  # noqa: RUF012  # torch's protocol


class Opaque(HalfWrong):
    """Its guide cannot be moved."""

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", Odd(x[..., 0], 1.0))


def test_a_family_that_cannot_be_moved_is_named() -> None:
    with pytest.raises(UsageError, match="site 'z' of the guide is drawn from Odd, whose parameters"):
        local_log_weights(Opaque(), (torch.zeros(2, 1),))


def test_parameters_and_gradients_are_left_alone() -> None:
    pair = LinearGaussian(DataSpec("x", 3, "real"), 2)
    before = [value.clone() for value in pair.parameters()]
    local_log_weights(pair, (torch.randn(4, 3),), 10, Search(num_steps=2))
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, pair.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_steps": 0}, "num_steps of a search must be a whole number of at least 1, got 0"),
        ({"num_particles": 1}, "num_particles of a search must be a whole number of at least 2, got 1"),
        ({"lr": 0.0}, "lr of a search must be a number above 0, got 0.0"),
    ],
)
def test_a_search_of_nothing_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Search(**options)
