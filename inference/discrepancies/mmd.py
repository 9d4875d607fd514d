"""Generative moment matching: the maximum mean discrepancy between data and draws, and no critic.

    MMD^2 = mean_ij k(x_i, x_j) + mean_ij k(x'_i, x'_j) - 2 mean_ij k(x_i, x'_j),        k = sum_b RBF(., .; b s)

The squared distance between the kernel means of two empirical distributions (no unit): never negative, its expectation
minimal where p_g = p_data. The means hold the terms i = j, as in Pyro's ``Trace_MMD``, whose kernels these are; for
draws those are constant, so that the gradient is that of the unbiased estimate. s is the median distance between two
data of the first batch (Gretton et al. 2012), kept as state, or ``scale``, fixed in the units of x; several b see
structure of several sizes. A batch is all that the kernel sees: use hundreds of data.

``root`` takes the root of the whole, sqrt(MMD^2), as the paper trains by: its gradient is that of MMD^2 over 2 MMD,
which does not vanish near the optimum (Li et al. 2015, section 3.4). The paper's kernels for pictures in [0, 1] are
exp(-|x - x'|^2 / 2 w) with w = 2, 5, 10, 20, 40 and 80, here ``bandwidths`` sqrt(w) and ``scale`` = 1.

Generative Moment Matching Networks, Li, Swersky and Zemel, ICML 2015; Training Generative Neural Networks via Maximum
Mean Discrepancy Optimization, Dziugaite, Roy and Ghahramani, UAI 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Len
from torch import Tensor

from ppgen.arguments import Positive
from ppgen.errors import UsageError
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import AVERAGED, Outcome, State
from ppgen.pairs.joint import check_latent, latent_of
from ppgen.pairs.rows import x_of
from ppgen.pairs.sampling import data_size, generated
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import register_objective

__all__ = ["MMD"]


@register_objective(
    "mmd",
    summary="generative moment matching: kernel means of data and draws, without a critic",
    reference="Li, Swersky and Zemel, Generative moment matching networks",
    year=2015,
    link="https://arxiv.org/abs/1502.02761",
    tags=("samples",),
    tiny=lambda: MMD(bandwidths=(1.0,)),
)
@dataclass(frozen=True, kw_only=True)
class MMD(Objective):
    """``bandwidths``: b, over s; ``root``: of MMD^2; ``scale``: s in the units of x, None for the median distance.

    ``site``: a latent, at which the model's draws are compared with the guide's, the codes of data, in the place of x;
    what the guide says is held still there.

    State: ``median``, (), s.

    >>> near, far = torch.zeros(1, 2), torch.full((1, 2), 100.0)
    >>> unit, objective = torch.tensor(1.0), MMD(bandwidths=(1.0,))
    >>> objective.discrepancy(near, near, unit), objective.discrepancy(near, far, unit)
    (tensor(0.), tensor(2.))
    """

    is_bound = False
    needs_samples = True
    unit = ""
    shards = AVERAGED

    bandwidths: Annotated[Sequence[Positive], Len(1)] = (0.1, 0.25, 0.5, 1.0, 2.0)
    root: bool = False
    scale: Positive | None = None
    site: str = ""

    def initial_state(self, program: Program, batch: Batch) -> State:
        x = self._data(program, batch)
        if self.scale is not None:
            return {"median": x.new_tensor(self.scale)}
        apart = torch.pdist(x)  # (B (B - 1) / 2,)
        if not bool((apart > 0).any()):
            raise UsageError(
                f"MMD takes its unit of bandwidth from distances between data, and all {len(x)} rows are equal: give "
                "data that differ, or a larger batch."
            )
        return {"median": apart[apart > 0].median()}

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        drawn = latent_of(program.model, batch, self.site) if self.site else generated(program, batch)
        value = self.discrepancy(self._data(program, batch), _rows(drawn), state["median"])
        num_data = data_size(program, batch)
        return Outcome(num_data * value, num_data, {"mmd": value}, state)

    def _data(self, program: Program, batch: Batch) -> Tensor:
        """The batch, or the codes that the guide has for it, (B, F)."""
        if not self.site:
            return _rows(x_of(batch, type(self).__name__))
        with torch.no_grad():
            return _rows(latent_of(program.guide, batch, self.site))

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        if self.site:
            check_latent(program, batch, self.site, type(self).__name__)

    def discrepancy(self, real: Tensor, fake: Tensor, median: Tensor) -> Tensor:
        """MMD^2 or its root, of (B, D) and (B', D) -> ()."""
        x, y = real / median, fake / median
        square = self._mean(x, x) + self._mean(y, y) - 2 * self._mean(x, y)
        return (square + 1e-12).sqrt() if self.root else square

    def _mean(self, x: Tensor, y: Tensor) -> Tensor:
        """mean_ij k(x_i, y_j) in units of s; the distances, which cost the most, are those of all kernels."""
        squares = (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.mT).clamp(min=0)  # (B, B')
        return torch.stack([(squares / (-2 * b**2)).exp().mean() for b in self.bandwidths]).sum()


def _rows(x: Tensor) -> Tensor:
    """(B, ...) to (B, D)."""
    return x.reshape(len(x), -1)
