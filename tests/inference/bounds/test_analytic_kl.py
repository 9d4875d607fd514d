"""Closed-form divergences: where they hold, where they must not be used, and that the expectation is the same."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from torch import Tensor, nn
from torch.distributions import kl_divergence

from ppgen.inference import ELBO, AnalyticKL
from ppgen.models import IWAE
from ppgen.pairs.divergence import divergences, site_kl
from ppgen.pairs.function_pair import pair_from
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Particles, Program, run_particles
from ppgen.registry import MODELS
from tests.doubles import Chain, Line, Shared, data


def particles_of(pair: Pair, num_particles: int = 3) -> Particles:
    return run_particles(Program(pair.model, pair.guide), (data(4),), num_particles)


def test_one_latent_has_its_exact_divergence() -> None:
    particles = particles_of(pair := Line())
    loc, scale = pair.slope * data(4)[:, 0] + pair.shift, pair.log_scale.exp()
    expected = kl_divergence(dist.Normal(loc, scale), dist.Normal(0.0, 1.0))
    torch.testing.assert_close(site_kl(particles, "z"), expected.expand(3, 4))


def test_a_site_that_depends_on_what_the_guide_draws_later_is_sampled() -> None:
    """Model z2 -> z1, guide z1 -> z2: p(z1 | z2) knows z1's own draw through z2, so only z2 has a closed form."""
    particles = particles_of(pair := Chain())
    z1, z2 = (particles.guide_sites[name]["value"] for name in ("z1", "z2"))
    prior = dist.Normal(pair.top * z2, pair.log_spread.exp())
    posterior = dist.Normal(pair.slope1 * data(4)[:, 0] + pair.shift1, pair.log_scale1.exp())
    torch.testing.assert_close(site_kl(particles, "z1"), posterior.log_prob(z1) - prior.log_prob(z1))
    top = dist.Normal(pair.slope2 * z1 + pair.shift2, pair.log_scale2.exp())
    torch.testing.assert_close(site_kl(particles, "z2"), kl_divergence(top, dist.Normal(0.0, 1.0)))


def test_the_two_layers_of_burda_et_al_follow_the_rule() -> None:
    tiny = MODELS["iwae"].tiny
    assert MODELS["iwae"].cls is IWAE
    assert tiny is not None
    pair, batch = tiny()
    particles = run_particles(Program(pair.model, pair.guide), batch, 3)
    sampled = {n: particles.log_prob(n, particles.guide_sites) - particles.log_prob(n) for n in ("z1", "z2")}
    torch.testing.assert_close(site_kl(particles, "z1"), sampled["z1"])
    assert not torch.allclose(site_kl(particles, "z2"), sampled["z2"])
    assert (site_kl(particles, "z2") >= 0).all()


class _TopDown(Chain):
    """The model's order in the guide, too: both divergences have a closed form."""

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            z2 = pyro.sample("z2", dist.Normal(self.slope2 * x[:, 0], self.log_scale2.exp()))
            pyro.sample("z1", dist.Normal(self.slope1 * z2 + x[:, 0], self.log_scale1.exp()))


def test_a_guide_in_the_models_order_has_both_in_closed_form() -> None:
    particles = particles_of(pair := _TopDown())
    z2 = particles.guide_sites["z2"]["value"]
    below = dist.Normal(pair.slope1 * z2 + data(4)[:, 0], pair.log_scale1.exp())
    expected = kl_divergence(below, dist.Normal(pair.top * z2, pair.log_spread.exp()))
    torch.testing.assert_close(site_kl(particles, "z1"), expected)
    assert (site_kl(particles, "z2") >= 0).all()


def test_a_divergence_without_closed_form_is_sampled() -> None:
    class Odd(Line):
        def guide(self, x: Tensor) -> None:
            with self.data_plate(x):
                pyro.sample("z", dist.StudentT(5.0, self.slope * x[:, 0], self.log_scale.exp()))

    particles = particles_of(Odd())
    torch.testing.assert_close(site_kl(particles, "z"), particles.log_q - particles.log_prob("z"))


@pytest.mark.parametrize("kind", [Line, Chain, Shared])
def test_exact_and_sampled_divergences_have_one_expectation(kind: type[Pair]) -> None:
    pair = kind()
    losses = {}
    for objective in (AnalyticKL(num_particles=2), ELBO(num_particles=2)):
        draws = torch.tensor([objective.loss(pair.model, pair.guide, data(200)) for _ in range(50)])
        losses[type(objective)] = (draws.mean(), draws.var() / 50)
    (mean, variance), (other, other_variance) = losses.values()
    assert (mean - other).abs() < 3 * (variance + other_variance).sqrt()


@pytest.mark.parametrize("kind", [AutoNormal, AutoMultivariateNormal])
def test_the_latents_of_an_autoguide_have_one_divergence_together(kind: type[nn.Module]) -> None:
    pair = pair_from((model := Chain()).model, kind(model.model))
    particles = particles_of(pair)
    (divergence,) = divergences(particles)
    prior = particles.log_prob("z1") + particles.log_prob("z2")
    assert torch.equal(divergence, particles.log_q - prior)


def test_it_says_which_divergences_it_samples_and_why() -> None:
    pair, autoguided = Chain(), pair_from((chain := Chain()).model, AutoNormal(chain.model))
    found = AnalyticKL().sampled_sites(Program(pair.model, pair.guide), (data(4),))
    assert found == {"z1": "the model draws it given 'z2', which the guide draws after it"}
    assert AnalyticKL().sampled_sites(Program(Line().model, Line().guide), (data(4),)) == {}
    with pytest.warns(UserWarning, match="AnalyticKL is ELBO here, and samples the divergence of 'z2', for the guide"):
        AnalyticKL().loss(autoguided.model, autoguided.guide, data(4))
    AnalyticKL().loss(autoguided.model, autoguided.guide, data(4))  # which is said once
