"""The closed forms of v_k and c_k = v_k - dv_k/dlog w_k against differentiation of the bound itself."""

from __future__ import annotations

import pytest
import torch

from ppgen.inference import CIWAE, ELBO, IWELBO, MIWAE, Renyi
from ppgen.objectives.bounds import Reduction

REDUCTIONS = [
    ELBO(num_particles=6),
    IWELBO(num_particles=6),
    Renyi(num_particles=6, alpha=0.3),
    Renyi(num_particles=6, alpha=-2.0),
    CIWAE(num_particles=6, beta=0.2),
    MIWAE(num_particles=3, num_groups=2),
]


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
def test_closed_forms_of_the_weights_equal_derivatives(reduction: Reduction) -> None:
    log_w = 2 * torch.randn(6, 4, dtype=torch.float64)  # (K, B)
    assert torch.allclose(reduction.weights(log_w), Reduction.weights(reduction, log_w))
    assert torch.allclose(reduction.path_weights(log_w), Reduction.path_weights(reduction, log_w))
    assert torch.allclose(reduction.weights(log_w).sum(0), torch.ones(4, dtype=torch.float64))
