"""Discrete latents summed out of the model, or scored: mixtures, topics, a global switch, stick breaking."""

# The idioms as they are public: Pyro's decorators, modules and guides are untyped.
# mypy: disable-error-code="untyped-decorator, no-any-return"

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoDelta, AutoNormal, init_to_median
from torch import Tensor, nn

from ppgen.inference import REINFORCE
from tests.public.case import FLOAT32, Case, Made

__all__ = ["CASES"]


@config_enumerate
def waiting_times(data: Tensor) -> None:
    """Three kinds of visitor; log waiting times have a mean of their kind and one scale: ``locs[assignment]``."""
    weights = pyro.sample("weights", dist.Dirichlet(0.8 * torch.ones(3)))
    scale = pyro.sample("scale", dist.LogNormal(-0.5, 0.6))
    with pyro.plate("components", 3):
        locs = pyro.sample("locs", dist.Normal(1.0, 4.0))
    with pyro.plate("data", len(data)):
        assignment = pyro.sample("assignment", dist.Categorical(weights))
        pyro.sample("obs", dist.Normal(locs[assignment], scale), obs=data)


def visitors(guide: type[AutoDelta] | type[AutoNormal]) -> Made:
    exposed = poutine.block(waiting_times, expose=["weights", "scale", "locs"])
    options = {} if guide is AutoDelta else {"init_scale": 0.05}
    data = torch.tensor([-0.3, 0.1, 0.4, 1.9, 2.3, 2.2, 5.1, 4.8, 5.5, 0.2])
    return Made(waiting_times, guide(exposed, init_loc_fn=init_to_median(num_samples=20), **options), (data,))


SHARES, SLOPES, OFFSETS, NOISE = (
    torch.tensor([0.5, 0.3, 0.2]),
    torch.tensor([1.0, -0.5, 0.2]),
    torch.tensor([-1.0, 0.5, 2.0]),
    0.6,
)


class Dial(nn.Module):
    """x ~ N(slope_c z + offset_c, noise^2): one of three straight lines, summed; the place z on it is inferred."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, 2)

    @config_enumerate
    def model(self, x: Tensor) -> None:
        with pyro.plate("readings", len(x)):
            z = pyro.sample("z", dist.Normal(torch.tensor(0.0), 1.0))
            line = pyro.sample("line", dist.Categorical(SHARES))
            pyro.sample("x", dist.Normal(SLOPES[line] * z + OFFSETS[line], NOISE), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("dial", self)
        loc, width = self.encoder(x.unsqueeze(-1)).unbind(-1)
        with pyro.plate("readings", len(x)):
            pyro.sample("z", dist.Normal(0.3 * loc, 1.2 + 0.2 * width.tanh()))


def dial() -> Made:
    pair = Dial()
    return Made(pair.model, pair.guide, (torch.tensor([-1.2, 0.3, 2.1, 0.9, -0.4, 3.0]),))


def dial_evidence(x: Tensor) -> Tensor:
    """log sum_c share_c N(x; offset_c, slope_c^2 + noise^2), (B,), in nats: z integrated by hand."""
    each = dist.Normal(OFFSETS, (SLOPES.square() + NOISE**2).sqrt()).log_prob(x.unsqueeze(-1))  # (B, 3)
    return (SHARES.log() + each).logsumexp(-1)


NUM_TOPICS, NUM_WORDS, NUM_DOCUMENTS, LENGTH = 2, 5, 6, 4


@config_enumerate
def topics(words: Tensor) -> None:
    """Words (length, documents), each of a topic that is summed; topics are shares of words, documents of topics."""
    with pyro.plate("topics", NUM_TOPICS):
        pull = pyro.sample("pull", dist.Gamma(2.0, 2.0))
        shares = pyro.sample("shares", dist.Dirichlet(torch.ones(NUM_WORDS)))
    with pyro.plate("documents", NUM_DOCUMENTS) as index:
        assert index is not None
        mix = pyro.sample("mix", dist.Dirichlet(pull))
        with pyro.plate("words", LENGTH):
            topic = pyro.sample("topic", dist.Categorical(mix))
            pyro.sample("word", dist.Categorical(shares[topic]), obs=words[:, index])


def topics_guide(predictor: nn.Module, words: Tensor) -> None:
    """A network reads a document's counts; the topics are points, their pull is a Gamma."""
    points = dist.Dirichlet(torch.ones(NUM_WORDS)).sample((NUM_TOPICS,))
    shares = pyro.param("shares_at", lambda: points, constraint=dist.constraints.simplex)
    pull = pyro.param("pull_at", lambda: torch.ones(NUM_TOPICS), constraint=dist.constraints.positive)
    with pyro.plate("topics", NUM_TOPICS):
        pyro.sample("pull", dist.Gamma(20 * pull, 20.0))
        pyro.sample("shares", dist.Delta(shares, event_dim=1))
    pyro.module("predictor", predictor)
    with pyro.plate("documents", NUM_DOCUMENTS) as index:
        assert index is not None
        ones = torch.ones(LENGTH, len(index))
        counts = torch.zeros(NUM_WORDS, len(index)).scatter_add(0, words[:, index], ones)
        pyro.sample("mix", dist.Delta(predictor(counts.transpose(0, 1)), event_dim=1))


def documents() -> Made:
    predictor = nn.Sequential(nn.Linear(NUM_WORDS, 4), nn.Sigmoid(), nn.Linear(4, NUM_TOPICS), nn.Softmax(-1))
    words = torch.randint(NUM_WORDS, (LENGTH, NUM_DOCUMENTS))
    return Made(topics, lambda words: topics_guide(predictor, words), (words,), columns=False)


REGIMES, CHANCES = torch.tensor([-1.0, 0.0, 1.5]), torch.tensor([0.2, 0.5, 0.3])


@config_enumerate
def season(yields: Tensor) -> None:
    """One regime of all fields, summed; it stands beside the plate of the fields, not inside it."""
    spread = pyro.param("spread", torch.tensor(1.0), constraint=dist.constraints.positive)
    regime = pyro.sample("regime", dist.Categorical(CHANCES))
    with pyro.plate("fields", len(yields)):
        pyro.sample("yield", dist.Normal(REGIMES[regime], spread), obs=yields)


def no_guide(*batch: Tensor) -> None:
    """Every latent is summed."""


def season_evidence(yields: Tensor) -> Tensor:
    """log sum_r p(r) prod_i N(x_i; loc_r, 1), (1,), in nats."""
    each = dist.Normal(REGIMES, 1.0).log_prob(yields.unsqueeze(-1)).sum(0)
    return (CHANCES.log() + each).logsumexp(-1, keepdim=True)


MOST = 4


def broken_sticks(beta: Tensor) -> Tensor:
    """Shares of a stick broken at beta, (..., T - 1) to (..., T)."""
    left = (1 - beta).cumprod(-1)
    return F.pad(beta, (0, 1), value=1.0) * F.pad(left, (1, 0), value=1.0)


def colonies(sizes: Tensor) -> None:
    """A Dirichlet process mixture, truncated at four kinds; which kind a colony is of is scored, not summed."""
    with pyro.plate("sticks", MOST - 1):
        beta = pyro.sample("beta", dist.Beta(1.0, 1.3))
    with pyro.plate("kinds", MOST):
        centre = pyro.sample("centre", dist.Normal(0.0, 3.0))
    with pyro.plate("data", len(sizes)):
        kind = pyro.sample("kind", dist.Categorical(broken_sticks(beta)))
        pyro.sample("size", dist.Normal(centre[kind], 0.7), obs=sizes)


def colonies_guide(sizes: Tensor) -> None:
    concentration = pyro.param("concentration", lambda: 1 + torch.rand(MOST - 1), constraint=dist.constraints.positive)
    at = pyro.param("at", lambda: 2 * torch.randn(MOST))
    shares = dist.Dirichlet(torch.ones(MOST))
    kinds = pyro.param("kinds_of", lambda: shares.sample((len(sizes),)), constraint=dist.constraints.simplex)
    with pyro.plate("sticks", MOST - 1):
        pyro.sample("beta", dist.Beta(torch.ones(MOST - 1), concentration))
    with pyro.plate("kinds", MOST):
        pyro.sample("centre", dist.Normal(at, 0.3))
    with pyro.plate("data", len(sizes)):
        pyro.sample("kind", dist.Categorical(kinds))


def sticks() -> Made:
    return Made(colonies, colonies_guide, (math.pi * torch.tensor([-1.0, -0.9, 0.1, 0.0, 1.2, 1.1, 0.2]),))


ENUMERATED = TraceEnum_ELBO(max_plate_nesting=1)

PER_DATUM = {
    **FLOAT32,
    "check_batch_sizes": "its guide has a parameter for each datum",
    "check_batch_independence": "its guide has a parameter for each datum, in their order",
}

CASES = [
    Case(
        "visitors_at_a_point",
        "tutorial/gmm.ipynb: locs[assignment] with the assignment enumerated, AutoDelta of a blocked model",
        lambda: visitors(AutoDelta),
        weights="global",
        num_data=10,
        stock=ENUMERATED,
        summed=("assignment",),
        repeats=4,
        looped=True,
        broken=FLOAT32,
    ),
    Case(
        "visitors",
        "tutorial/gmm.ipynb: the same under AutoNormal",
        lambda: visitors(AutoNormal),
        weights="global",
        num_data=10,
        stock=ENUMERATED,
        summed=("assignment",),
        compiled=True,
        looped=True,
        broken=FLOAT32,
    ),
    Case(
        "dial",
        "tutorial/enumeration.ipynb: a class summed beside a reparameterized latent of each datum",
        dial,
        num_data=6,
        stock=ENUMERATED,
        summed=("line",),
        log_evidence=dial_evidence,
        compiled=True,
        broken=FLOAT32,
    ),
    Case(
        "documents",
        "examples/lda.py: words' topics summed, an amortized guide of Deltas, data with documents in the last dim",
        documents,
        weights="global",
        num_data=NUM_DOCUMENTS,
        stock=TraceEnum_ELBO(max_plate_nesting=2),
        summed=("topic",),
        looped=True,
        broken=FLOAT32,
    ),
    Case(
        "season",
        "tutorial/enumeration.ipynb: a latent of all data, summed beside a plate of observations",
        lambda: Made(season, no_guide, (torch.tensor([0.3, 1.9, 0.8, 1.1, 0.2]),)),
        weights="joint",
        stock=ENUMERATED,
        summed=("regime",),
        log_evidence=season_evidence,
        repeats=4,
        broken=FLOAT32,
    ),
    Case(
        "colonies",
        "tutorial/dirichlet_process_mixture.ipynb: stick breaking, pyro.param for each datum, assignments scored",
        sticks,
        weights="global",
        num_data=7,
        same_gradient=False,  # stock scores each assignment by what all data weigh, and not by its own datum
        ours=lambda num_particles: REINFORCE(num_particles=num_particles, baseline="none"),
        looped=None,
        broken=PER_DATUM,
    ),
]
