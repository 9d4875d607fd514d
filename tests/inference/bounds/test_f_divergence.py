"""The evidence less an f-divergence: its limit by quadrature, its place among bounds, its special case."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from ppgen.errors import UsageError
from ppgen.inference import ELBO, IWELBO, FDivergence
from tests.doubles import Line
from tests.inference.truth import F, X, elbo, error_of_mean, expectation, less_divergence, line_log_w, value_draws

LOG_2 = math.log(2)


@pytest.mark.parametrize("f", F)
def test_it_tends_to_the_evidence_less_the_divergence(f: Any) -> None:
    pair = Line()
    evidence = float(pair.log_evidence(torch.tensor([[X]], dtype=torch.float64)).detach())
    divergence = expectation(
        lambda p, e: F[f]((line_log_w(p, e) - evidence).exp().clamp_min(1e-300)), elbo, pair.state_dict(), particles=1
    )
    draws = value_draws(FDivergence(num_particles=2000, f=f), pair, 300)
    assert float(draws.mean()) == pytest.approx(evidence - float(divergence), abs=4 * error_of_mean(draws) + 5e-3)
    assert float(divergence) > 0.02  # so that leaving it out would be seen


@pytest.mark.parametrize("f", F)
def test_it_is_below_the_importance_weighted_bound_draw_by_draw(f: Any) -> None:
    log_w = 3 * torch.randn(6, 40, dtype=torch.float64)
    value = FDivergence(num_particles=6, f=f).reduce(log_w)
    torch.testing.assert_close(value, less_divergence(f)(log_w))
    assert (value < IWELBO(num_particles=6).reduce(log_w)).all()
    same = torch.full((6, 1), -1.5, dtype=torch.float64)
    torch.testing.assert_close(FDivergence(f=f).reduce(same), same[0])


def test_with_the_reverse_divergence_it_is_the_elbo() -> None:
    log_w = torch.randn(6, 40, dtype=torch.float64)
    torch.testing.assert_close(FDivergence(f="reverse_kl").reduce(log_w), ELBO().reduce(log_w))


@pytest.mark.parametrize(("f", "divergence"), [("forward_kl", LOG_2), ("chi2", 1.0), ("hellinger", 2 - 2**0.5)])
def test_a_particle_without_weight_has_no_part_in_a_divergence_that_is_finite_there(f: Any, divergence: float) -> None:
    log_w = torch.tensor([[0.0], [-torch.inf]], dtype=torch.float64)  # r is 2 and 0
    assert float(FDivergence(num_particles=2, f=f).reduce(log_w)) == pytest.approx(-LOG_2 - divergence)


def test_an_unknown_divergence_is_refused() -> None:
    with pytest.raises(UsageError, match="f of FDivergence"):
        FDivergence(f="wasserstein")  # type: ignore[arg-type]
