"""Signal-to-noise ratios of gradients, as Rainforth et al. (2018, section 4) and Tucker et al. (2019) derive them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ppgen.data import DataSpec
from ppgen.inference import IWELBO, DReG
from ppgen.models import LinearGaussian
from ppgen.objectives.bounds import Bound
from ppgen.pairs.parameters import isolated, swapped
from ppgen.pairs.tracing import Program

DIM, DRAWS = 20, 40_000
PARTICLES = (16, 64, 256)


def _pair(jitter: float) -> LinearGaussian:
    """z ~ N(m, I), x ~ N(z, I), q = N(A x + b, 2/3 I), ``jitter`` away from its optimum A = I / 2, b = m / 2."""
    pair = LinearGaussian(DataSpec("gaussian", DIM, "real"), DIM, guide="mean_field", learn_prior_loc=True).double()
    assert pair.prior_loc is not None
    with torch.no_grad():
        pair.weight.copy_(torch.eye(DIM))
        pair.prior_loc.normal_()
        pair.guide_weight.copy_(torch.eye(DIM) / 2 + jitter / math.sqrt(DIM) * torch.randn(DIM, DIM))
        pair.guide_loc.copy_(pair.prior_loc / 2 + jitter * torch.randn(DIM))
        pair.guide_scale.fill_(0.5 * math.log(2 / 3))
        pair.prior_loc.add_(jitter * torch.randn(DIM))
    return pair


def _ratio(gradients: Tensor) -> float:
    """|mean| / sd over draws (R, D), pooled over D; the mean's own noise is taken off its square."""
    variance = gradients.var(0).sum()
    return float(((gradients.mean(0).square().sum() - variance / len(gradients)) / variance).sqrt())


def _slope(objective: type[IWELBO] | type[DReG], parameter: str, jitter: float) -> float:
    """Slope of log SNR over log K. Each row of the batch is one draw: it has a copy of the parameter of its own."""
    torch.manual_seed(3)
    pair = _pair(jitter)
    x = torch.randn(DIM, dtype=torch.float64) * math.sqrt(2) + pair.get_parameter("prior_loc")
    ratios = [_ratio(torch.cat(_draws(pair, objective(num_particles=k), parameter, x.detach()))) for k in PARTICLES]
    log_k = torch.tensor(PARTICLES).log() - torch.tensor(PARTICLES).log().mean()
    return float((log_k * torch.tensor(ratios).log()).sum() / log_k.square().sum())


def _draws(pair: LinearGaussian, objective: Bound, parameter: str, x: Tensor) -> list[Tensor]:
    rows = min(DRAWS, 4_000_000 // (DIM * objective.total_particles))
    found = []
    for _ in range(DRAWS // rows):
        own = pair.get_parameter(parameter).detach().expand(rows, DIM).clone().requires_grad_()
        with swapped(pair, {parameter: own}), isolated():
            outcome = objective.play("all", Program(pair.model, pair.guide), (x.expand(rows, DIM),), {})
        found.append(torch.autograd.grad(outcome.loss, own)[0])
    return found


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("objective", "parameter", "jitter", "slope"),
    # The laws are asymptotic in K. Near the optimum they set in early; the guide's own gradient needs some distance
    # from it for its signal to be seen in 40,000 draws.
    [(IWELBO, "prior_loc", 0.02, 0.5), (IWELBO, "guide_loc", 0.1, -0.5), (DReG, "guide_loc", 0.02, 0.5)],
)
def test_signal_to_noise_follows_its_law_in_the_number_of_particles(
    objective: type[IWELBO] | type[DReG], parameter: str, jitter: float, slope: float
) -> None:
    assert _slope(objective, parameter, jitter) == pytest.approx(slope, abs=0.1)  # the published tolerance
