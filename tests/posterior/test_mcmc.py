"""Draws of MCMC in ArviZ's terms."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

from ppgen.posterior.groups import mcmc_groups
from ppgen.posterior.inference_data import to_inference_data
from tests.posterior.eight_schools import (
    EFFECTS,
    ERRORS,
    POSTERIOR_GROUPS,
    PRIOR_GROUPS,
    centred,
    non_centred,
    unplated,
)


@pytest.mark.parametrize("model", [centred, non_centred, unplated])
def test_mcmc_converts_chain_by_chain(model: Callable[..., None]) -> None:
    mcmc = MCMC(NUTS(model, max_tree_depth=3), num_samples=20, warmup_steps=20, disable_progbar=True)
    mcmc.run(ERRORS, EFFECTS)
    idata = to_inference_data(mcmc)
    assert set(idata.groups()) == POSTERIOR_GROUPS | PRIOR_GROUPS | {"observed_data"}
    assert idata.posterior.attrs["draws"] == "mcmc"
    assert idata.sample_stats["diverging"].sizes == {"chain": 1, "draw": 20}
    np.testing.assert_array_equal(idata.posterior["mu"].values[0], mcmc.get_samples()["mu"].reshape(-1))
    np.testing.assert_array_equal(idata.observed_data["y"], EFFECTS)
    assert idata.log_likelihood["y"].sizes[idata.log_likelihood["y"].dims[-1]] == 8


def test_mcmc_log_likelihood_is_that_of_its_draws() -> None:
    mcmc = MCMC(NUTS(centred, max_tree_depth=3), num_samples=10, warmup_steps=10, disable_progbar=True)
    mcmc.run(ERRORS, EFFECTS)
    expected = dist.Normal(mcmc.get_samples()["theta"], ERRORS).log_prob(EFFECTS)
    np.testing.assert_allclose(to_inference_data(mcmc).log_likelihood["y"].values[0], expected, rtol=1e-5)


def test_all_draws_of_all_chains_are_scored_one_after_another() -> None:
    """Two chains of three draws of mu, of which the second chain's last came of a divergence."""

    def model(effects: Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(torch.zeros(()), 5.0))
        with pyro.plate("school", len(effects)):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=effects)

    draws = torch.arange(6.0).reshape(2, 3)
    mcmc = SimpleNamespace(
        _samples={"mu": draws},
        kernel=SimpleNamespace(model=model),
        get_samples=lambda group_by_chain: {"mu": draws},
        diagnostics=lambda: {"divergences": {"chain 0": [], "chain 1": [2]}},
    )
    groups = mcmc_groups(mcmc, (EFFECTS,), {})
    expected = dist.Normal(draws.reshape(6, 1), 1.0).log_prob(EFFECTS)
    torch.testing.assert_close(groups.log_likelihood["y"].values, expected)
    assert groups.posterior_predictive["y"].values.shape == (6, 8)
    assert groups.prior_predictive["y"].values.shape == (500, 8)
    assert groups.sample_stats["diverging"].values.tolist() == [False] * 5 + [True]
    assert groups.chains == 2


def test_mcmc_with_latents_summed_out_has_no_log_likelihood() -> None:
    def mixture(x: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(torch.zeros(2), 3.0).to_event(1))
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.ones(2)), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(loc[k], 1.0), obs=x)

    mcmc = MCMC(NUTS(mixture, max_plate_nesting=1), num_samples=5, warmup_steps=5, disable_progbar=True)
    mcmc.run(torch.tensor([-2.0, 2.0, 2.5]))
    groups = to_inference_data(mcmc).groups()
    assert "log_likelihood" not in groups
    assert "posterior_predictive" in groups
