"""How models are called and scaled: lists, no arguments at all, sequential plates, masks, weights of data."""

# The idioms as they are public: Pyro's decorators, modules and guides are untyped.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from tests.public.case import Case, Made

__all__ = ["CASES"]

TOSSES = [torch.tensor(float(side)) for side in (1, 1, 0, 1, 0, 1, 1)]


def tosses(data: list[Tensor]) -> None:
    """A bottle cap thrown some times: a list of 0-dim tensors, each observed at a site of its own."""
    fairness = pyro.sample("latent_fairness", dist.Beta(4.0, 4.0))
    for number in range(len(data)):
        pyro.sample(f"obs_{number}", dist.Bernoulli(fairness), obs=data[number])


def tosses_in_turn(data: list[Tensor]) -> None:
    """The same in a sequential plate."""
    fairness = pyro.sample("latent_fairness", dist.Beta(4.0, 4.0))
    for number in pyro.plate("tosses", len(data)):
        pyro.sample(f"obs_{number}", dist.Bernoulli(fairness), obs=data[int(number)])


def tosses_guide(data: list[Tensor]) -> None:
    alpha = pyro.param("alpha_q", torch.tensor(7.0), constraint=dist.constraints.positive)
    beta = pyro.param("beta_q", torch.tensor(6.5), constraint=dist.constraints.positive)
    pyro.sample("latent_fairness", dist.Beta(alpha, beta))


def tosses_evidence(data: list[Tensor]) -> Tensor:
    """log B(4 + heads, 4 + tails) / B(4, 4), (1,), in nats."""
    heads = torch.stack(data).sum()
    sides, before = torch.stack([4 + heads, 4 + len(data) - heads]), torch.tensor([4.0, 4.0])
    return (log_beta(sides) - log_beta(before)).unsqueeze(0)


def log_beta(sides: Tensor) -> Tensor:
    return sides.lgamma().sum() - sides.sum().lgamma()


DEPTHS = torch.tensor([1.0, 2.2, 0.4, 1.7, 3.0])


def sounding() -> None:
    """Depths of a lake: the data are a global of the file, and nothing is an argument."""
    with pyro.plate("soundings", len(DEPTHS)):
        true = pyro.sample("true", dist.Normal(1.5, 1.0))
        pyro.sample("depth", dist.Normal(true, 0.5), obs=DEPTHS)


def sounding_guide() -> None:
    loc = pyro.param("loc", lambda: DEPTHS.clone())
    scale = pyro.param("scale", lambda: 0.5 * torch.ones(len(DEPTHS)), constraint=dist.constraints.positive)
    with pyro.plate("soundings", len(DEPTHS)):
        pyro.sample("true", dist.Normal(loc, scale))


def sounding_evidence() -> Tensor:
    """log N(x; 1.5, 1 + 0.25), (B,), in nats."""
    return dist.Normal(1.5, 1.25**0.5).log_prob(DEPTHS)


def two_lakes(first: Tensor, second: Tensor) -> None:
    """Two plates side by side, neither inside the other: whose log-weights should be per datum?"""
    with pyro.plate("first", len(first)):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(a, 0.8), obs=first)
    with pyro.plate("second", len(second)):
        b = pyro.sample("b", dist.Normal(1.0, 1.0))
        pyro.sample("y", dist.Normal(b, 0.8), obs=second)


def two_lakes_guide(first: Tensor, second: Tensor) -> None:
    pull = pyro.param("pull", torch.tensor(0.5))
    scale = pyro.param("scale", torch.tensor(0.7), constraint=dist.constraints.positive)
    with pyro.plate("first", len(first)):
        pyro.sample("a", dist.Normal(pull * first, scale))
    with pyro.plate("second", len(second)):
        pyro.sample("b", dist.Normal(pull * second + 0.4, scale))


def two_lakes_evidence(first: Tensor, second: Tensor) -> Tensor:
    """log N(x; 0, 1.64) + log N(y; 1, 1.64) of all, (1,), in nats."""
    spread = (1 + 0.8**2) ** 0.5
    both = dist.Normal(0.0, spread).log_prob(first).sum() + dist.Normal(1.0, spread).log_prob(second).sum()
    return both.unsqueeze(0)


def unmasked(x: Tensor, include_prior: bool = True) -> None:
    """Places of beacons, whose prior a keyword masks out."""
    with pyro.plate("beacons", len(x)):
        with poutine.mask(mask=include_prior):
            place = pyro.sample("place", dist.Normal(0.0, 3.0))
        pyro.sample("heard", dist.Normal(place, 1.0).mask(torch.isfinite(x)), obs=x.nan_to_num())


def unmasked_guide(x: Tensor, include_prior: bool = True) -> None:
    pull = pyro.param("pull", torch.tensor(0.8))
    with pyro.plate("beacons", len(x)):
        pyro.sample("place", dist.Normal(pull * x, 0.9))


def survey(answers: Tensor, weights: Tensor) -> None:
    """Answers to a survey, each standing for as many people as its weight says: a scale by datum."""
    noise = pyro.param("noise", torch.tensor(0.8), constraint=dist.constraints.positive)
    with pyro.plate("respondents", len(answers)), poutine.scale(scale=weights):
        mood = pyro.sample("mood", dist.Normal(0.0, 1.0))
        pyro.sample("answer", dist.Normal(mood, noise), obs=answers)


def survey_guide(answers: Tensor, weights: Tensor) -> None:
    pull = pyro.param("pull", torch.tensor(0.6))
    with pyro.plate("respondents", len(answers)), poutine.scale(scale=weights):
        pyro.sample("mood", dist.Normal(pull * answers, 0.7))


def surveyed() -> Made:
    batch = torch.tensor([0.3, -1.2, 0.9, 1.5, -0.4]), torch.tensor([1.0, 3.0, 0.5, 2.0, 1.5])
    return Made(survey, survey_guide, batch)


CASES = [
    Case(
        "tosses",
        "tutorial/svi_part_i.ipynb: a list of observations, raw pyro.param, no plate",
        lambda: Made(tosses, tosses_guide, (TOSSES,)),
        weights="joint",
        log_evidence=tosses_evidence,
    ),
    Case(
        "tosses_in_turn",
        "tutorial/svi_part_ii.ipynb: a sequential plate",
        lambda: Made(tosses_in_turn, tosses_guide, (TOSSES,)),
        weights="joint",
        log_evidence=tosses_evidence,
    ),
    Case(
        "soundings",
        "tutorial/intro_long.ipynb: no arguments at all, the data closed over",
        lambda: Made(sounding, sounding_guide),
        num_data=5,
        log_evidence=sounding_evidence,
    ),
    Case(
        "two_lakes",
        "tutorial/tensor_shapes.ipynb: two independent plates of data, so joint",
        lambda: Made(two_lakes, two_lakes_guide, (torch.tensor([0.2, -0.9, 1.1]), torch.tensor([1.5, 0.3]))),
        weights="joint",
        log_evidence=two_lakes_evidence,
    ),
    Case(
        "beacons",
        "tutorial/gmm.ipynb and examples/hmm.py: poutine.mask(mask=False) around the prior of each datum",
        lambda: Made(unmasked, unmasked_guide, (torch.tensor([1.0, -2.0, 0.5, 2.5]),), {"include_prior": False}),
        num_data=4,
    ),
    Case(
        "survey",
        "poutine.scale with a tensor: a weight for each datum",
        surveyed,
        num_data=5,
    ),
]
