"""Eight schools in three spellings, and the groups of InferenceData that such models have."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

POSTERIOR_GROUPS = {"posterior", "posterior_predictive", "log_likelihood", "sample_stats"}
PRIOR_GROUPS = {"prior", "prior_predictive"}
EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def centred(errors: Tensor, effects: Tensor) -> None:
    """Eight schools, Rubin 1981."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", len(effects)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, errors), obs=effects)


def non_centred(errors: Tensor, effects: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", len(effects)):
        t = pyro.sample("t", dist.Normal(0.0, 1.0))
        theta = pyro.deterministic("theta", mu + tau * t)
        pyro.sample("y", dist.Normal(theta, errors), obs=effects)


def unplated(errors: Tensor, effects: Tensor) -> None:
    """As in Pyro's own example, which has no plate."""
    mu = pyro.sample("mu", dist.Normal(torch.zeros(1), 5.0))
    eta = pyro.sample("eta", dist.Normal(torch.zeros(8), 1.0))
    pyro.sample("y", dist.Normal(mu + 3 * eta, errors), obs=effects)
