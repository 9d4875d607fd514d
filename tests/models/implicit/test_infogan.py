"""The InfoGAN pair: its codes, what its network says of them, and what it refuses."""

from typing import Any

import pytest
import torch

from ppgen.data import DataSpec
from ppgen.draws.samples import prior_latents
from ppgen.errors import UsageError
from ppgen.models import InfoGAN
from ppgen.pairs.sampling import unconditioned
from ppgen.pairs.traces import sites_of
from ppgen.testing import check_pair

PLANE = DataSpec("plane", 2, "real")
X = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))


def test_a_draw_is_the_generator_at_codes_and_noise() -> None:
    pair = InfoGAN(PLANE, 3, num_categories=4, num_uniform=2, hidden=(5,))
    sites = unconditioned(pair.model, (X,))
    latents = torch.cat([sites[name]["value"] for name in ("c", "u", "z")], -1)
    assert latents.shape == (5, 4 + 2 + 3)
    assert torch.equal(sites["x"]["value"], pair.generator(latents))


def test_codes_follow_their_priors() -> None:
    pair = InfoGAN(PLANE, 1, num_categories=4, num_uniform=1, hidden=(5,))
    drawn = prior_latents(pair, (X,), 4000)
    shares = drawn["c"].mean(0)
    torch.testing.assert_close(shares, torch.full((4,), 0.25), rtol=0, atol=5 * (0.25 * 0.75 / 4000) ** 0.5)
    assert -1 <= drawn["u"].min() < -0.98 < 0.98 < drawn["u"].max() < 1  # no draw beyond: once in 10^17
    small = prior_latents(InfoGAN(PLANE, 1, noise_scale=0.1, num_uniform=1, hidden=(5,)), (X,), 4000)["z"]
    assert abs(small.std() - 0.1) < 5 * 0.1 / 8000**0.5


def test_what_the_network_says_is_what_the_guide_draws_from() -> None:
    pair = InfoGAN(PLANE, 3, num_categories=4, num_uniform=2, hidden=(5,))
    sites = sites_of(pair.guide, X)
    torch.testing.assert_close(sites["c"]["fn"].probs, pair.category_probs(X))
    u = sites["u"]["fn"]
    assert u.sample((500,)).abs().max() <= 1
    median = pair.uniform_medians(X)
    below = (u.sample((20_000,)) < median).float().mean(0)
    torch.testing.assert_close(below, torch.full_like(median, 0.5), rtol=0, atol=5 * 0.5 / 20_000**0.5)


def test_the_density_of_a_uniform_code_integrates_to_one() -> None:
    pair = InfoGAN(PLANE, 3, num_categories=0, num_uniform=1, hidden=(5,)).double()
    u = torch.linspace(-1, 1, 20_001, dtype=torch.float64)[1:-1]
    site = sites_of(pair.guide, X[:1].double())["u"]
    density = site["fn"].log_prob(u[:, None, None]).exp()[:, 0]
    assert torch.trapezoid(density, u).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize(("categories", "uniform", "names"), [(0, 2, ["u", "z"]), (3, 0, ["c", "z"])])
def test_one_kind_of_code_may_be_left_out(categories: int, uniform: int, names: list[str]) -> None:
    pair = InfoGAN(PLANE, 2, num_categories=categories, num_uniform=uniform, hidden=(4,))
    assert list(prior_latents(pair, (X,), 3)) == names
    assert check_pair(pair, (torch.randn(6, 2),)).ok


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_categories": 0, "num_uniform": 0}, "give two categories or more, or a uniform code"),
        ({"num_categories": 1}, "got num_categories=1 and num_uniform=2"),
        ({"num_categories": -1}, "num_categories must be a whole number of at least 0"),
        ({"output": "sigmod"}, "output must be 'identity' or 'sigmoid' or 'tanh'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        InfoGAN(PLANE, 2, **options)


def test_data_outside_the_generators_range_are_refused() -> None:
    pair = InfoGAN(PLANE, 2, hidden=(4,), output="sigmoid")
    with pytest.raises(UsageError, match="an InfoGAN with output='sigmoid' makes numbers from 0 to 1"):
        pair.prepare(X)
