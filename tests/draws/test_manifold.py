"""The plane of a latent of two numbers: what the model makes at the quantiles of its prior."""

from __future__ import annotations

import pytest
import scipy.stats
import torch

from ppgen.data import DataSpec
from ppgen.draws import has_manifold, latent_manifold
from ppgen.errors import UsageError
from ppgen.models import IWAE, VAE, VQVAE, VaDE
from ppgen.report import page
from tests.reported import Page, pictures_run

BITS, ROW = DataSpec("bits", 6, "binary"), (torch.zeros(1, 6),)


def test_the_means_are_those_of_the_decoder_at_the_normal_quantiles() -> None:
    pair = VAE(BITS, 2, hidden=(4,)).double()
    plane = latent_manifold(pair, (ROW[0].double(),), side=5)
    q = scipy.stats.norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9])
    for i in range(5):
        for j in range(5):
            z = torch.tensor([q[j], q[i]]).double()
            torch.testing.assert_close(plane.values[i, j], z)
            torch.testing.assert_close(plane.means[i, j], pair.decoder(z).sigmoid().detach())


def test_of_a_mixture_for_prior_the_quantiles_are_those_of_draws() -> None:
    torch.manual_seed(0)
    pair = VaDE(BITS, 2, 3, hidden=(4,))
    values = latent_manifold(pair, ROW, side=4).values  # (4, 4, 2)
    components = torch.distributions.Normal(pair.locs.detach(), pair.log_scales.detach().exp())
    for dim, z in ((0, values[0, :, 0]), (1, values[:, 0, 1])):
        below = components.cdf(z[:, None, None].expand(4, 1, 2))[..., dim].mean(-1)  # equal weights
        # an order statistic of 10,000 draws: sd of F at most 0.005, five of them
        torch.testing.assert_close(below, torch.tensor([0.125, 0.375, 0.625, 0.875]), atol=0.025, rtol=0)


def test_only_two_continuous_numbers_are_a_plane() -> None:
    pairs = [VAE(BITS, 2, hidden=()), IWAE(BITS, (3, 2)), VAE(BITS, 3, hidden=()), VQVAE(BITS, 1, 4, 2, hidden=())]
    assert [has_manifold(pair, ROW) for pair in pairs] == [True, True, False, False]
    with pytest.raises(UsageError, match="a first latent in the data plate of two continuous numbers"):
        latent_manifold(pairs[2], ROW)


def test_the_page_has_it_of_pictures() -> None:
    text = Page(page.render(pictures_run())).text
    assert "Latent manifold" in text
