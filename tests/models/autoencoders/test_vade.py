"""VaDE: the sum over components is exact, one component is the VAE, the bound is below log p(x) by quadrature."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.models import VAE, VaDE
from ppgen.pairs.tracing import Program, run_particles

BITS = DataSpec("bits", 6, "binary", num_data=20)


def vade(latent_dim: int, num_components: int) -> tuple[VaDE, Tensor]:
    """In float64, all parameters random, and five data."""
    torch.manual_seed(3)
    pair = VaDE(BITS, latent_dim, num_components, hidden=(4,)).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return pair, torch.rand(5, 6).double().round()


def test_a_log_weight_has_the_mixture_for_prior() -> None:
    pair, x = vade(2, 3)
    one = run_particles(Program(pair.model, pair.guide), (x,), 7)
    z = one.guide_sites["z"]["value"]  # (K, B, latent)
    components = Independent(Normal(pair.locs, pair.log_scales.exp()), 1)
    prior = MixtureSameFamily(Categorical(logits=pair.logits), components).log_prob(z)
    wanted = prior + pair.likelihood(pair.decoder(z), x).log_prob(x) - pair.encoder(x).log_prob(z)
    assert torch.allclose(one.log_w, wanted)
    assert torch.allclose(pair.log_prior(z), prior)


def test_one_standard_component_is_the_vae() -> None:
    pair, x = vade(2, 1)
    with torch.no_grad():
        pair.locs.zero_()
        pair.log_scales.zero_()
    vae = VAE(BITS, 2, hidden=(4,)).double()
    vae.load_state_dict({k: v for k, v in pair.state_dict().items() if k in vae.state_dict()})
    found = []
    for each in (pair, vae):
        torch.manual_seed(1)
        found.append(ppgen.log_weights(each, (x,), num_particles=9))
    assert torch.allclose(found[0], found[1])


def test_the_bound_is_below_log_p_by_quadrature_and_many_particles_reach_it() -> None:
    pair, x = vade(1, 3)
    z = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None, None]  # (G, 1, 1)
    log_joint = pair.log_prior(z) + pair.likelihood(pair.decoder(z), x).log_prob(x)  # (G, B)
    truth = (log_joint.logsumexp(0) + math.log(24 / 4000)).detach()  # (B,)
    log_w = ppgen.log_weights(pair, (x,), num_particles=20_000).detach()
    weights = (log_w - log_w.max(0).values).exp()
    reached = weights.mean(0).log() + log_w.max(0).values
    error = weights.std(0) / weights.mean(0) / 20_000**0.5
    assert bool(((reached - truth).abs() < 5 * error).all())  # five standard errors, delta method
    bound, of_bound = log_w.mean(0), log_w.std(0) / 20_000**0.5
    assert bool((bound + 5 * of_bound < truth).all())


def test_responsibilities_are_the_posterior_of_the_component_at_the_mean_code() -> None:
    pair, x = vade(2, 3)
    z = pair.encode(x)
    each = torch.stack(
        [Normal(m, s.exp()).log_prob(z).sum(-1) for m, s in zip(pair.locs, pair.log_scales, strict=True)]
    )
    joint = pair.logits.softmax(-1)[:, None] * each.exp()  # (C, B)
    assert torch.allclose(pair.responsibilities(x), (joint / joint.sum(0)).T)


def test_a_start_from_codes_is_the_fitted_mixture() -> None:
    from sklearn.mixture import GaussianMixture

    pair, _ = vade(2, 3)
    x = torch.rand(60, 6).double().round()
    codes = pair.encode(x).detach().numpy()
    pair.start_from_codes(x, seed=2)
    found = GaussianMixture(3, covariance_type="diag", random_state=2).fit(codes)
    assert torch.allclose(pair.log_prior(torch.from_numpy(codes)), torch.from_numpy(found.score_samples(codes)))


def test_fewer_codes_than_components_are_refused() -> None:
    pair, x = vade(2, 6)
    with pytest.raises(UsageError, match="num_components=6 needs as many codes, got 5 data"):
        pair.start_from_codes(x)
