"""f_gan: conjugates by their definition, the bound and where it is tight, by quadrature; its relatives among losses."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from scipy.optimize import minimize_scalar

from ppgen.errors import UsageError
from ppgen.inference import FGAN, Minimax, NonSaturating
from ppgen.inference.adversarial.f_gan import DIVERGENCES, Name
from tests.inference.adversarial.densities import CONVEX, P, Q, f_divergence, risk

V = torch.linspace(-1.9, 3, 25, dtype=torch.float64)
"""Above -2, where the supremum of pearson is at a positive u."""
R = (P / Q).clamp(1e-12, 1e12)
OPTIMAL = {
    "kl": 1 + R.log(),
    "reverse_kl": R.log(),
    "pearson": 2 * (R - 1),
    "neyman": 2 * R.log(),
    "squared_hellinger": R.log() / 2,
    "jensen_shannon": R.log(),
    "gan": R.log(),
    "total_variation": 50 * (R - 1).sign(),
}
NAMES: Any = list(DIVERGENCES)


def test_every_divergence_of_the_paper_has_its_formulas() -> None:
    assert {*NAMES} == {*get_args(Name)} == {*CONVEX} == {*OPTIMAL}


@pytest.mark.parametrize("name", NAMES)
def test_the_conjugate_is_the_supremum_that_defines_it(name: str) -> None:
    """Over u = exp(s), s in [-12, 12]."""
    chosen, convex = DIVERGENCES[name], CONVEX[name]
    for v in V:
        t = chosen.activation(v).item()
        found = minimize_scalar(
            lambda s, t=t: convex(torch.tensor(s, dtype=torch.float64).exp()).item() - t * math.exp(s),
            bounds=(-12, 12),
            method="bounded",
            options={"xatol": 1e-10},
        )
        if name == "total_variation":  # u t - |u - 1| / 2 has its corner at 1
            assert chosen.conjugate(v).item() == pytest.approx(t, rel=1e-12)
            assert -found.fun == pytest.approx(t, abs=1e-6)
        else:
            assert chosen.conjugate(v).item() == pytest.approx(-found.fun, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_a_larger_output_says_data(name: str) -> None:
    assert (DIVERGENCES[name].activation(V).diff() > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_bound_is_the_divergence_at_its_optimal_critic_and_below_it_elsewhere(name: Any) -> None:
    objective, optimal = FGAN(divergence=name), OPTIMAL[name]
    best = -risk(objective, optimal).item()
    assert best == pytest.approx(f_divergence(name), rel=1e-9)
    for moved in (optimal + 0.3, optimal - 0.3, 0.7 * optimal, torch.zeros_like(optimal)):
        assert -risk(objective, moved).item() < best - (1e-3 if name != "total_variation" else -1e-9)


def test_the_generator_minimises_the_divergence_and_by_choice_the_alternative() -> None:
    fake = torch.tensor([0.5, -1.0], dtype=torch.float64)
    by_hand = -(math.exp(0.5 - 1) + math.exp(-1.0 - 1)) / 2
    assert FGAN(divergence="kl").generator_loss(fake).item() == pytest.approx(by_hand, rel=1e-12)
    assert FGAN(divergence="kl", alternative=True).generator_loss(fake).item() == pytest.approx(0.25, rel=1e-12)


def test_gan_is_minimax_and_its_alternative_does_not_saturate() -> None:
    gan = FGAN(divergence="gan")
    torch.testing.assert_close(gan.critic_loss(V, V + 1), Minimax().critic_loss(V, V + 1))
    torch.testing.assert_close(gan.generator_loss(V), Minimax().generator_loss(V))
    other = FGAN(divergence="gan", alternative=True)
    torch.testing.assert_close(other.generator_loss(V), NonSaturating().generator_loss(V))


def test_a_divergence_is_in_nats_where_it_has_logarithms() -> None:
    nats = {name for name in NAMES if FGAN(divergence=name).unit == "nats"}
    assert nats == {"kl", "reverse_kl", "jensen_shannon", "gan"}


def test_an_unknown_divergence_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"divergence of FGAN must be 'kl' or 'reverse_kl' or .*, got 'chi'"):
        FGAN(divergence="chi")  # type: ignore[arg-type]
