"""The conservative log-likelihood against the density that annealing ends at, all paths enumerated."""

from __future__ import annotations

import torch
from torch import Tensor

import ppgen
from ppgen.chains.annealing import temperatures
from ppgen.chains.raising import raised
from ppgen.data import DataSpec
from ppgen.distributions.binary_states import binary_states
from ppgen.models import RBM

BETAS = temperatures(3, "linear")


def machine() -> RBM:
    torch.manual_seed(5)
    pair = RBM(DataSpec("bits", 3, "binary"), 2).double()
    for parameter in (*pair.parameters(), pair.base_bias):
        torch.nn.init.normal_(parameter, 0.0, 1.5)
    return pair


def where_annealing_ends(pair: RBM) -> tuple[Tensor, Tensor]:
    """All data, (8, 3), and the probability that a chain from the base ends there, by the matrices of its sweeps."""
    v = next(binary_states(3, pair.weight))
    h = next(binary_states(2, pair.weight))
    p = pair.log_tempered(v, 0.0).softmax(0)
    for b in BETAS[1:-1].tolist():
        joint = v @ (pair.visible_bias * b + pair.base_bias * (1 - b))[:, None]
        joint = joint + b * (v @ pair.weight @ h.T + h @ pair.hidden_bias)  # (8, 4), log p~_b(v, h)
        p = (p @ joint.softmax(1)) @ joint.softmax(0).T
    return v, p


@torch.no_grad()
def test_the_weights_are_unbiased_for_the_density_that_annealing_ends_at() -> None:
    """Eight normal tests at 4.5 standard errors: a false alarm in 18,000."""
    pair = machine()
    v, p = where_annealing_ends(pair)
    assert abs(float(p.sum()) - 1) < 1e-12
    num = 40_000
    each = raised(pair, v.repeat(num, 1), BETAS, 1).reshape(num, 8).exp()
    assert float(((each.mean(0) - p).abs() / (each.std(0) / num**0.5)).max()) < 4.5
    exact = pair.log_tempered(v, 1.0).softmax(0)
    assert float((p - exact).abs().max()) > 0.02  # not the pair's own, in three temperatures


@torch.no_grad()
def test_its_mean_is_below_the_log_density_and_rises_with_the_chains() -> None:
    pair = machine()
    v, p = where_annealing_ends(pair)
    gaps = []
    for num_chains in (1, 8):
        gap = p.log() - raised(pair, v.repeat(2_000, 1), BETAS, num_chains).reshape(2_000, 8)
        gaps.append(float(gap.mean()))
        assert gaps[-1] > 4 * float(gap.mean(1).std()) / 2_000**0.5
    assert gaps[1] < gaps[0] / 3


def test_an_evaluation_with_both_sides_has_it_beside_the_number(few_sweeps: None) -> None:
    pair, x = machine(), torch.rand(20, 3, dtype=torch.float64).round()
    options = {"num_temperatures": 100, "num_chains": 30, "sandwich": True}
    found = ppgen.evaluation.evaluate(pair, x, particles=1, log_z=options, progress=False)
    beside = {measure.name: measure for measure in found.measures}
    conservative, gap = beside["raise_log_likelihood"], beside["raise_gap"]
    assert abs(conservative.value + gap.value - found.log_likelihood) < 1e-6
    assert gap.standard_error is not None
    assert abs(gap.value) < 0.2
    without = ppgen.evaluation.evaluate(pair, x, particles=1, log_z=options | {"sandwich": False}, progress=False)
    assert not without.measures
