"""Dequantisation: what K particles bound is the probability of a cell; logit space against closed forms."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy.integrate import quad
from torch import Tensor

import ppgen
from ppgen import DataSpec
from ppgen.distributions.grey_levels import Cell, GreyLevel, cell_edges
from ppgen.draws import prior_samples
from ppgen.errors import UsageError
from ppgen.evaluation.core import evaluate
from ppgen.layers.dequantisation import Dequantisation, LogitSpace, Observed
from ppgen.models import RealNVP

LEVELS = DataSpec("levels", 2, "quantised", levels=4)
GRID = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)).double() / 3  # each x there is


class Smooth(ppgen.Pair):
    """Grey levels of independent Gaussians, whose cells have known probabilities."""

    def __init__(self, kind: Dequantisation, alpha: float) -> None:
        super().__init__()
        self.observed = Observed(LEVELS, kind, alpha, (4,))
        self.density = dist.Normal(torch.tensor([0.3, 0.6]).double(), torch.tensor(0.4).double()).to_event(1)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            self.observed.observe(self.density, x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            self.observed.infer(x)

    def log_cells(self, x: Tensor) -> Tensor:
        """log of the density's integral over a cell, by its cumulative distribution."""
        edges: tuple[Tensor, ...] = cell_edges(x, 4)
        if self.observed.alpha:
            edges = tuple((self.observed.alpha + (1 - 2 * self.observed.alpha) * edge).logit() for edge in edges)
        low, high = (self.density.base_dist.cdf(edge) for edge in edges)
        found: Tensor = (high - low).log().sum(-1)
        return found


@pytest.mark.parametrize("alpha", [0.0, 0.05])
@pytest.mark.parametrize("kind", ["uniform", "variational"])
def test_particles_bound_the_probability_of_a_level_and_meet_it(kind: Any, alpha: float) -> None:
    """The mean weight is unbiased: 5 of its standard errors off at none of 16 cells (a chance of 1e-5)."""
    pair = Smooth(kind, alpha).double()
    if pair.observed.noise is not None:
        for parameter in pair.observed.noise.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    log_w = ppgen.log_weights(pair, (GRID,), num_particles=4_000)
    weights = log_w.exp()
    off = (weights.mean(0) - pair.log_cells(GRID).exp()) / (weights.std(0) / math.sqrt(len(weights)))
    assert off.abs().max() < 5
    assert (log_w.mean(0) < pair.log_cells(GRID) + 1e-3).all()


@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_outer_levels_have_what_lies_beyond_and_their_bounds_have_not(alpha: float) -> None:
    """By quadrature of a density of s over the line, cut where levels meet, against its cumulative distribution."""
    density = dist.Normal(torch.tensor(0.3).double(), torch.tensor(2.0).double())
    space = LogitSpace(alpha) if alpha else dist.transforms.identity_transform
    edges = space.inv(torch.linspace(0, 1, 5).double())
    ends = [-20.0, *edges.tolist(), 20.0]  # 9 deviations away and more

    def level_at(s: float, k: int) -> float:
        at = torch.tensor(s, dtype=torch.float64)
        return float((density.log_prob(at) + GreyLevel(space(at), 4).log_prob(torch.tensor(k / 3).double())).exp())

    pieces = [[quad(level_at, *part, args=(k,))[0] for part in pairwise(ends)] for k in range(4)]
    levels, cells = torch.tensor(pieces, dtype=torch.float64).sum(1), density.cdf(edges).diff()
    outside = torch.stack([density.cdf(edges[0]), torch.zeros(()), torch.zeros(()), 1 - density.cdf(edges[-1])])
    torch.testing.assert_close(levels.sum(), torch.ones(()).double(), rtol=1e-8, atol=0)
    torch.testing.assert_close(levels, cells + outside, rtol=1e-7, atol=0)
    assert outside[0] > 0.01  # cells are what bounds go to: the test above


@pytest.mark.parametrize("kind", ["uniform", "variational"])
@pytest.mark.parametrize("levels", [3, 17, 256])
def test_no_draw_of_the_guide_falls_out_of_its_cell(kind: Any, levels: int) -> None:
    """In float32 a draw may round to the border: it must count as inside for model and guide."""
    spec = DataSpec("levels", 50, "quantised", levels=levels)
    torch.manual_seed(0)
    x = torch.randint(levels, (2_000, 50)) / (levels - 1)
    with pyro.plate("data", len(x)), poutine.trace() as tracer:
        Observed(spec, kind).infer(x)
    site: Any = tracer.trace.nodes["y"]
    assert torch.isfinite(site["fn"].log_prob(site["value"])).all()
    assert (GreyLevel(site["value"], levels).log_prob(x) == 0).all()


def test_the_edges_of_a_cell_are_in_it_and_what_is_beyond_is_not() -> None:
    low, high = cell_edges(torch.linspace(0, 1, 17), 17)
    cell, width = Cell(low, high), high - low  # type: ignore[no-untyped-call]
    for edge in (low, high):
        torch.testing.assert_close(cell.log_prob(edge), torch.full((17,), math.log(17.0)))
    assert (cell.log_prob(low - 0.01 * width) == -torch.inf).all()
    assert (cell.log_prob(high + 0.01 * width) == -torch.inf).all()


def test_a_number_has_one_level_whatever_it_is() -> None:
    torch.manual_seed(0)
    y = 3 * torch.randn(500)
    probabilities = torch.stack([GreyLevel(y, 5).log_prob(torch.tensor(k / 4)).exp() for k in range(5)])
    assert (probabilities.sum(0) == 1).all()
    assert (GreyLevel(y, 5).log_prob(GreyLevel(y, 5).sample()) == 0).all()


@pytest.mark.parametrize("alpha", [0.05, 1e-6])
def test_logit_space_against_its_formula_and_its_jacobian(alpha: float) -> None:
    space, y = LogitSpace(alpha), torch.linspace(0, 1, 33).double()
    s = space.inv(y)
    torch.testing.assert_close(s, torch.logit(alpha + (1 - 2 * alpha) * y))
    torch.testing.assert_close(space(s), y)
    slopes = torch.autograd.functional.jacobian(space, s).diagonal()
    torch.testing.assert_close(space.log_abs_det_jacobian(s, y), slopes.log())


def test_logit_space_loses_no_digits_beside_one() -> None:
    """1 - y is exact there, alpha + (1 - 2 alpha) y is not: float32 against float64, of what is 1e-6 from 1."""
    y = torch.tensor([1.0, 1 - 2**-20])
    torch.testing.assert_close(LogitSpace(1e-6).inv(y).double(), LogitSpace(1e-6).inv(y.double()), rtol=1e-6, atol=0)


def test_samples_are_grey_levels_and_evaluation_gives_bits_per_dimension() -> None:
    x = (torch.arange(8.0)[:, None] % 4 / 3).expand(8, 2)
    pair = RealNVP(LEVELS, num=2, hidden=(8,))
    drawn = prior_samples(pair, (x,), 20).x * 3
    torch.testing.assert_close(drawn, drawn.round())
    found = evaluate(pair, ppgen.Dataset(LEVELS, (x,), (x,), (x,)), particles=2)
    assert found.method == "bound"
    assert found.bits_per_dim == pytest.approx(-found.log_likelihood / (2 * math.log(2)))


@pytest.mark.parametrize(
    ("spec", "options", "sentence"),
    [
        (DataSpec("bits", 4, "binary"), {}, "a flow is a density of real numbers.*binary.*binarize='none'"),
        (LEVELS, {"dequantisation": "none"}, "grey levels, at which it would grow .*dequantisation='uniform'"),
        (DataSpec("r", 4, "real"), {"dequantisation": "variational"}, "is that of grey levels, .* leave it out"),
        (DataSpec("r", 4, "real"), {"alpha": 0.05}, r"numbers in \[0, 1\], and data 'r' are real .* leave alpha out"),
        (LEVELS, {"alpha": 0.5}, "alpha .*must be .*below 0.5|alpha .*less than 0.5"),
    ],
)
def test_what_has_no_density_is_refused(spec: DataSpec, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        RealNVP(spec, **options)
