"""What their pages say that a density can reach of synthetic data in the plane."""

from __future__ import annotations

import math

import numpy as np
import pytest

import ppgen


def test_the_entropy_of_moons_by_quadrature_of_their_density() -> None:
    """log 2 and the entropy of one moon, apart from the other by ten standard deviations; the density of data is that
    of an arc, 400 nodes over t, summed over squares of a quarter of a standard deviation."""
    noise = 0.05
    nodes, weights = np.polynomial.legendre.leggauss(400)
    t, weights = (nodes + 1) * np.pi / 2, weights / 2
    step = noise / 4
    across, up = np.arange(-1.4, 1.4, step), np.arange(-0.4, 1.4, step)
    kernels = [
        np.exp(-0.5 * ((axis - at[:, None]) / noise) ** 2) for axis, at in ((across, np.cos(t)), (up, np.sin(t)))
    ]
    p = (weights[:, None] * kernels[0]).T @ kernels[1] / (2 * np.pi * noise**2)
    assert p.sum() * step**2 == pytest.approx(1.0, abs=1e-6)
    entropy = math.log(2) - (p * np.log(np.maximum(p, 1e-300))).sum() * step**2
    assert -entropy == pytest.approx(-0.2892, abs=1e-4)


@pytest.mark.parametrize(("name", "known"), [("ring", 4.2930), ("grid", -0.0653)])
def test_the_entropy_of_a_mixture_is_that_of_modes_apart(name: str, known: float) -> None:
    """Against the mean log-density of 10,000 data, whose standard error is 0.01: 4 of them."""
    data = ppgen.load_data(name)
    assert data.modes is not None
    centres, scale = data.modes.centres, data.modes.scale
    assert -math.log(len(centres)) - math.log(2 * math.pi * scale**2) - 1 == pytest.approx(known, abs=1e-4)
    x = data.test[0].double()
    far = (x[:, None] - centres.double()).square().sum(-1) / (2 * scale**2)
    log_p = (-far).logsumexp(1) - math.log(len(centres)) - math.log(2 * math.pi * scale**2)
    assert float(log_p.mean()) == pytest.approx(known, abs=0.04)
