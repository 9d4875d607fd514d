"""VSBC where the refitted guide can hold the posterior of a global latent, and where it cannot reach it."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from ppgen.diagnostics.global_calibration import global_shares
from ppgen.diagnostics.uniformity import symmetry_p
from ppgen.errors import UsageError
from tests.doubles import Line, Shared, data


class AboveZero(Shared):
    """The guide's mean is positive, and the prior's draws are not."""

    def guide(self, x: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(softplus(self.at), self.log_width.exp()))  # (K, 1)
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.slope * x[:, 0] + self.pull * mean, self.log_scale.exp()))  # (K, B)


@pytest.mark.slow
def test_a_guide_that_can_hold_the_posterior_is_symmetric() -> None:
    """Refits of a Gaussian guide to a Gaussian posterior. False alarms: 1 in 100; the seed is fixed."""
    shares, names = global_shares(Shared(), (data(8),), 40)
    assert names == ["mean"]
    assert float(symmetry_p(shares)) > 0.01
    assert float(shares.mean()) == pytest.approx(0.5, abs=4.5 * (1 / 12 / 40) ** 0.5)


@pytest.mark.slow
def test_a_guide_held_to_one_side_is_found_there() -> None:
    """Too high: nearly all of g* below zero lie below all draws."""
    shares, _ = global_shares(AboveZero(), (data(8),), 40)
    assert float(symmetry_p(shares)) < 0.01
    assert float(shares.mean()) < 0.4


def test_a_refit_leaves_the_pair_as_it_was() -> None:
    pair = Shared()
    before = {name: value.clone() for name, value in pair.state_dict().items()}
    shares, _ = global_shares(pair, (data(8),), 2, 3)
    assert shares.shape == (2, 1)
    assert all(torch.equal(value, before[name]) for name, value in pair.state_dict().items())
    assert all(value.grad is None for value in pair.parameters())


def test_a_pair_without_global_latents_is_refused() -> None:
    with pytest.raises(UsageError, match="VSBC is for latents outside the data plate"):
        global_shares(Line(), (data(8),), 2)
