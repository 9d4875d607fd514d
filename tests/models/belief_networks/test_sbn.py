"""The sigmoid belief network: densities of the page, evidence by enumeration, and where it starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.models import SBN
from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.tracing import Particles, Program, run_particles
from tests.inference.truth import iwelbo

SPEC = DataSpec("pixels", 4, "binary", mean=torch.tensor([0.2, 0.5, 0.7, 0.9]))
X = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
KINDS: dict[str, dict[str, Any]] = {
    "one layer": {"layers": (3,)},
    "two layers": {"layers": (3, 2)},
    "three layers": {"layers": (2, 2, 2)},
    "nonlinear": {"layers": (3, 2), "hidden": (4, 5)},
    "autoregressive": {"layers": (3, 2), "guide_blocks": 2},
}


def network(options: dict[str, Any]) -> SBN:
    """A small pair in float64 whose parameters are all at work."""
    pair = SBN(SPEC, **options).double()
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return pair


def bits(num: int) -> Tensor:
    """Every state of ``num`` units, (2^num, num)."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * num).reshape(-1, num)


def every_state(pair: SBN) -> dict[str, Tensor]:
    """z1, z2, ... of every joint state, each (S, B, units)."""
    parts = bits(sum(pair.layers)).split(pair.layers, -1)
    return {f"z{level}": z[:, None].expand(-1, len(X), -1) for level, z in enumerate(parts, start=1)}


def enumerated(pair: SBN) -> Particles:
    states = every_state(pair)
    return run_particles(Program(pair.model, pair.guide), (X,), len(states["z1"]), states)


def bernoulli(z: Tensor, logits: Tensor) -> Tensor:
    return (z * logsigmoid(logits) + (1 - z) * logsigmoid(-logits)).sum(-1)


def log_joint_by_hand(pair: SBN) -> Tensor:
    """log p(x, z) of every state, (S, B), from the networks alone."""
    *below, top = every_state(pair).values()
    total, above = bernoulli(top, pair.prior), top
    for level in range(len(below) - 1, -1, -1):
        total = total + bernoulli(below[level], pair.decoders[level](2 * above - 1))
        above = below[level]
    return total + bernoulli(X.expand(len(above), -1, -1), pair.decoder(2 * above - 1))


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest) -> SBN:
    return network(KINDS[request.param])


def test_the_joint_is_that_of_the_page(pair: SBN) -> None:
    torch.testing.assert_close(enumerated(pair).log_p, log_joint_by_hand(pair))


def test_the_guide_is_that_of_the_page(pair: SBN) -> None:
    total, seen = torch.zeros((), dtype=torch.float64), X - pair.mean
    for z, encoder, units in zip(every_state(pair).values(), pair.encoders, pair.units, strict=True):
        total = total + units(encoder(seen)).log_prob(z)
        seen = 2 * z - 1
    torch.testing.assert_close(enumerated(pair).log_q, total)


def test_the_guide_is_a_distribution(pair: SBN) -> None:
    torch.testing.assert_close(enumerated(pair).log_q.logsumexp(0).exp(), torch.ones(2, dtype=torch.float64))


def test_the_model_is_a_distribution_of_data(pair: SBN) -> None:
    """p(x), by summing states, sums to one over all x."""
    x, states = bits(4), {name: z[:, :1].expand(-1, 16, -1) for name, z in every_state(pair).items()}
    log_p = run_particles(Program(pair.model, pair.guide), (x,), len(states["z1"]), states).log_p
    torch.testing.assert_close(log_p.logsumexp(0).exp().sum(), torch.ones((), dtype=torch.float64))


def test_a_bound_of_many_particles_comes_to_the_evidence(pair: SBN) -> None:
    """100 bounds of 2,000 particles: each is a consistent estimate of log p(x), biased by less than its error."""
    exact = enumerated(pair).log_p.logsumexp(0)
    x = X.repeat_interleave(100, 0)
    bounds = iwelbo(run_particles(Program(pair.model, pair.guide), (x,), 2_000).log_w).view(2, 100)
    z = (bounds.mean(1) - exact) / (bounds.std(1) / 10)
    assert z.abs().max() < 4.4  # ten comparisons, two-sided: a false alarm with probability 1e-4


def test_the_units_of_an_independent_guide_can_be_relaxed_and_blocks_are_refused() -> None:
    for kind in ("two layers", "autoregressive"):
        site = enumerated(network(KINDS[kind])).guide_sites["z1"]
        if kind == "two layers":
            assert family_of(site, "REBAR").binary
        else:
            with pytest.raises(UsageError, match="site 'z1' is drawn from AutoregressiveBernoulli, and REBAR"):
                family_of(site, "REBAR")


def test_it_starts_at_the_training_mean() -> None:
    pair = SBN(SPEC, (3,))
    assert SPEC.mean is not None
    torch.testing.assert_close(pair.decoder(torch.zeros(3)).sigmoid(), SPEC.mean)
    assert torch.equal(pair.prior, torch.zeros(3))
    torch.testing.assert_close(pair.encoders[0](SPEC.mean - pair.mean), torch.zeros(3))


def test_the_training_mean_is_part_of_the_state() -> None:
    other = SBN(replace(SPEC, mean=torch.full((4,), 0.5)), (3,))
    other.load_state_dict(SBN(SPEC, (3,)).state_dict())
    assert SPEC.mean is not None
    torch.testing.assert_close(other.mean, SPEC.mean)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layers": ()}, "layers must be a list of whole numbers of at least 1 (at least 1 of them), got ()."),
        ({"layers": (3, 0)}, "layers must be a list of whole numbers of at least 1 (at least 1 of them), got (3, 0)."),
        ({"layers": (4, 2), "guide_blocks": 3}, "a layer of 2 units can be drawn in 1 to 2 blocks, got 3."),
        ({"guide_blocks": 0}, "guide_blocks must be a whole number of at least 1, got 0."),
        ({"hidden": (0,)}, "hidden must be a list of whole numbers of at least 1, got (0,)."),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        SBN(SPEC, **options)
    assert str(error.value) == sentence
