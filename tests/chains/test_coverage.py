"""The intervals of log Z cover it as often as they say, on 100 machines that can be enumerated."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from scipy import stats
from torch import Tensor
from torch.nn.functional import softplus

from ppgen.chains.annealing import annealed, temperatures
from ppgen.chains.enough import within
from ppgen.chains.intervals import CONFIDENCE
from ppgen.chains.log_z import LogZ, _estimate
from ppgen.distributions.binary_states import binary_states

_MACHINES, _REPEATS, _CHAINS = 100, 6, 30
_LEVEL = 1e-3
"""Of a binomial test: how often an interval of just its stated confidence is refused."""


class Machines:
    """Binary machines of random sizes of weights side by side, a path for each: states (..., N, D)."""

    def __init__(self, num: int, visible: int = 7, hidden: int = 5) -> None:
        torch.manual_seed(19)
        scale = 1 + 2 * torch.rand(num, 1, 1, dtype=torch.float64)
        self.weight = scale * torch.randn(num, visible, hidden, dtype=torch.float64)
        self.visible_bias = torch.randn(num, visible, dtype=torch.float64)
        self.hidden_bias = torch.randn(num, hidden, dtype=torch.float64)

    def base_sample(self, num: int) -> Tensor:
        return torch.rand(num, *self.visible_bias.shape, dtype=torch.float64).round()

    def base_log_z(self) -> Tensor:
        return torch.tensor(math.log(2) * sum(self.weight.shape[1:]), dtype=torch.float64)

    def log_tempered(self, s: Tensor, b: Tensor) -> Tensor:
        return b * (s * self.visible_bias).sum(-1) + softplus(b.unsqueeze(-1) * self._logits(s)).sum(-1)

    def tempered_sweep(self, s: Tensor, b: Tensor) -> Tensor:
        h = torch.bernoulli((b * self._logits(s)).sigmoid())
        return torch.bernoulli((b * (self.visible_bias + torch.einsum("...nh,ndh->...nd", h, self.weight))).sigmoid())

    def exact(self) -> tuple[Tensor, Tensor]:
        """log Z of each, (N,), and log p~ of all states, (2^D, N)."""
        states = next(binary_states(self.weight.shape[1], self.weight))
        log_p = self.log_tempered(states[:, None], torch.ones((), dtype=torch.float64))
        return log_p.logsumexp(0), log_p

    def draws(self, num: int) -> Tensor:
        """Exact ones, (num, N, D)."""
        states, (_, log_p) = next(binary_states(self.weight.shape[1], self.weight)), self.exact()
        return states[torch.multinomial(log_p.T.softmax(-1), num, replacement=True).T]

    def _logits(self, s: Tensor) -> Tensor:
        return torch.einsum("...nd,ndh->...nh", s, self.weight) + self.hidden_bias


@cache
def found(num_temperatures: int, *, down: bool = False) -> list[LogZ]:
    """Of every machine, as often as it is repeated: log Z, or from above log (1 / Z)."""
    path, betas = Machines(_MACHINES), temperatures(num_temperatures, "linear")
    torch.manual_seed(num_temperatures)
    num, base = _REPEATS * _CHAINS, path.base_log_z()
    if down:
        log_w = annealed(path, path.draws(num), betas.flip(0)) - base
    else:
        log_w = annealed(path, path.base_sample(num), betas) + base
    return [_estimate(w, num_temperatures) for of_one in log_w.T for w in of_one.split(_CHAINS)]


def truths() -> list[float]:
    exact: list[float] = Machines(_MACHINES).exact()[0].repeat_interleave(_REPEATS).tolist()
    return exact


def holds(covered: list[bool], stated: float) -> bool:
    """Whether so many of independent intervals are no fewer than their stated confidence allows."""
    return float(stats.binom.cdf(sum(covered), len(covered), stated)) > _LEVEL


def covers(interval: LogZ, truth: float) -> bool:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low <= truth <= interval.high


def test_intervals_cover_log_z_as_often_as_they_say() -> None:
    """Of few temperatures, half of them of fewer than 20 effective chains, and of more."""
    for num_temperatures in (6, 40):
        assert holds([covers(*each) for each in zip(found(num_temperatures), truths(), strict=True)], CONFIDENCE)


def test_each_end_leaves_out_its_own_half() -> None:
    half = (1 + CONFIDENCE) / 2
    assert holds([(each.low or 0.0) <= truth for each, truth in zip(found(6), truths(), strict=True)], half)
    assert holds([truth <= (each.high or 0.0) for each, truth in zip(found(6), truths(), strict=True)], half)


def test_the_symmetric_interval_of_the_same_weights_is_refused() -> None:
    """The test above can fail: of the delta method's error bars too many lie below log Z."""
    covered = [
        abs(each.value - truth) <= 1.96 * each.standard_error for each, truth in zip(found(6), truths(), strict=True)
    ]
    assert not holds(covered, CONFIDENCE)


def test_log_z_from_above_is_covered_from_exact_draws() -> None:
    """Its upper end, which is the one in use. The other would not hold: reverse weights are largest at rare states."""
    above = found(6, down=True)
    assert holds(
        [truth <= -(each.low or 0.0) for each, truth in zip(above, truths(), strict=True)], (1 + CONFIDENCE) / 2
    )


def test_intervals_cover_where_the_last_run_was_chosen_by_its_weights() -> None:
    """Temperatures are doubled from 6 on until the chains are worth 20, or three runs are over."""
    chosen = []
    for n in range(_MACHINES * _REPEATS):

        def run(num: int, _: int, n: int = n) -> tuple[LogZ, Callable[[], LogZ]]:
            return found(num)[n], lambda: found(num)[n]

        chosen.append(within(42 * _CHAINS, run, 6, _CHAINS, False))
    assert len({each.num_temperatures for each in chosen}) == 3
    assert holds([covers(*each) for each in zip(chosen, truths(), strict=True)], CONFIDENCE)


def test_intervals_of_many_effective_chains_are_about_as_wide_as_the_error_says() -> None:
    widths = [((each.high or 0.0) - (each.low or 0.0)) / (2 * 1.96 * each.standard_error) for each in found(80)]
    assert 1.0 < float(torch.tensor(widths).median()) < 1.4
