"""The network's energy against quadrature, and its chains against the density."""

import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

import ppgen
from ppgen.chains.hamiltonian import hamiltonian_move
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import PCD
from ppgen.models import NeuralEnergy
from ppgen.report.density import density_in_the_plane
from tests.machines import FALSE_ALARM

DRAWS = 4000


def density(size: int, **options: object) -> NeuralEnergy:
    torch.manual_seed(2)
    spec = DataSpec("numbers", size, "real", mean=torch.full((size,), 0.3))
    return NeuralEnergy(spec, (6,), base_scale=1.5, unit=0.8, step_size=0.7, num_leapfrogs=2, **options).double()  # type: ignore[arg-type]


def quantiles(pair: NeuralEnergy, num: int, b: float) -> Tensor:
    """Independent draws of p_b in one dimension, by the inverse of its distribution function, (num, 1)."""
    grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    with torch.no_grad():
        cdf = pair.log_tempered(grid[:, None], b).softmax(0).cumsum(0)
    return grid[torch.searchsorted(cdf, torch.rand(num, dtype=torch.float64)).clamp_max(20_000)][:, None]


def test_the_free_energy_is_the_networks_energy_and_the_gaussian() -> None:
    pair, v = density(2), torch.randn(5, 2, dtype=torch.float64)
    gaussian = ((v - 0.3) ** 2).sum(1) / (2 * 1.5**2)
    torch.testing.assert_close(pair.free_energy(v), pair.network((v - 0.3) / 0.8)[:, 0] + gaussian)


def test_log_z_is_the_integral() -> None:
    pair = density(1)

    def p(v: float) -> float:
        return float((-pair.free_energy(torch.tensor([v], dtype=torch.float64))).detach().exp())

    integral, _ = integrate.quad(p, -15, 15, epsabs=1e-10)
    assert float(pair.exact_log_z().exp()) == pytest.approx(integral, rel=1e-8)


def test_annealing_ends_at_the_quadrature() -> None:
    pair = density(2)
    found = ppgen.log_z(pair, num_temperatures=50, num_chains=100)
    assert found.value == pytest.approx(float(pair.exact_log_z()), abs=5 * found.standard_error + 1e-3)


@pytest.mark.parametrize("b", [0.0, 1.0])
def test_a_sweep_leaves_the_distribution_invariant(b: float) -> None:
    """Moved draws and fresh ones, by the Kolmogorov-Smirnov test."""
    pair = density(1)
    moved = pair.tempered_sweep(quantiles(pair, DRAWS, b), b)
    found = stats.ks_2samp(moved[:, 0].numpy(), quantiles(pair, DRAWS, b)[:, 0].numpy())
    assert found.pvalue > FALSE_ALARM


def test_without_metropolis_a_large_step_does_not() -> None:
    torch.manual_seed(0)
    s = torch.randn(DRAWS, 1)
    for _ in range(5):
        s = hamiltonian_move(lambda v: -v.square().sum(-1) / 2, s, 1.6, 1, metropolis=False)
    assert stats.kstest(s[:, 0].numpy(), "norm").pvalue < FALSE_ALARM


def test_a_move_to_where_the_density_is_not_a_number_is_refused() -> None:
    s = torch.zeros(7, 1)
    moved = hamiltonian_move(lambda v: (v.sum(-1) * torch.inf).square() * 0 - v.sum(-1) ** 2, s, 0.1, 1)
    assert torch.equal(moved, s)


def test_the_gradient_is_that_of_the_likelihood_by_quadrature() -> None:
    """The chains' phase with weights of a grid in place of chains, against autograd of F + log Z by finite sums."""
    pair, data = density(1), torch.randn(4, 1, dtype=torch.float64)
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None]
    leaves = list(pair.parameters())
    exact = pair.free_energy(data).mean() + (-pair.free_energy(grid)).logsumexp(0)
    p = (-pair.free_energy(grid)).softmax(0).detach()
    phases = pair.free_energy(data).mean() - (p * pair.free_energy(grid)).sum()
    for one, other in zip(torch.autograd.grad(exact, leaves), torch.autograd.grad(phases, leaves), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("objective", ["cd", "pcd", "score_matching", "denoising_score_matching", "nce"])
def test_every_objective_of_real_data_trains_it(objective: str) -> None:
    run = ppgen.fit(density(2).float(), torch.randn(20, 2), objective, steps=2, eager=True)
    assert len(run.metrics)


@pytest.mark.thorough
@pytest.mark.parametrize("objective", ["denoising_score_matching", "parallel_tempering"])
def test_its_step_is_compiled(objective: str) -> None:
    """Slopes within a step and all: what cannot be compiled says so by a warning, and warnings are errors here."""
    run = ppgen.fit(density(2).float(), torch.randn(20, 2), objective, steps=2)
    assert len(run.metrics)


def test_the_network_sees_lengths_in_its_unit() -> None:
    """Of half the unit, everything that the network sees is at half the distance from the mean."""
    pair, other, step = density(2), density(2), torch.randn(5, 2, dtype=torch.float64)
    other.unit = pair.unit / 2
    torch.testing.assert_close(pair.energy(0.3 + step), other.energy(0.3 + step / 2))


def test_a_share_of_the_chains_starts_anew() -> None:
    pair = density(2).float()
    pair.base_mean.fill_(1000.0)
    pair.step_size = 1e-4
    state = {"chains": torch.zeros(2000, 2)}
    objective = PCD(num_chains=2000, restart=0.25)
    with torch.no_grad():
        chains, _, _ = objective.negative(pair, torch.zeros(1, 2), state)
    share = float((chains[:, 0] > 500).float().mean())
    assert share == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 2000) ** 0.5)


def test_discrete_data_are_refused() -> None:
    with pytest.raises(UsageError, match="real data"):
        NeuralEnergy(DataSpec("bits", 2, "binary"))


def test_exact_log_z_of_three_dimensions_is_refused() -> None:
    with pytest.raises(UsageError, match="importance sampling"):
        density(3).exact_log_z()


def test_a_density_that_reaches_beyond_the_grid_is_refused() -> None:
    pair = density(1)
    pair.energy = lambda v: -20 * v.abs().sum(-1)  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="reaches beyond"):
        pair.exact_log_z()


def test_a_density_narrower_than_the_grid_is_refused() -> None:
    pair = density(1)
    pair.energy = lambda v: (v.sum(-1) / 2e-4).square()  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="as narrow"):
        pair.exact_log_z()


def test_the_page_pictures_the_density_in_the_plane() -> None:
    run = ppgen.fit(density(2).float(), torch.randn(20, 2), "cd", steps=1, eager=True)
    section = density_in_the_plane(run)
    assert section is not None
    assert len(section.figures) == 1
