"""Expectation maximization: expected statistics of the latents, then the parameters that maximise, in closed form.

    E step    S = sum_n E_{p(z | x_n, theta)} s(x_n, z)
    M step    theta' = argmax_theta sum_n E log p(x_n, z | theta),    a function of S

What both steps are, the pair says (:class:`ppgen.pairs.maximising.Maximising`). Batches of any size: S is summed over
an epoch, and the M step taken when all N data have been seen, so that whatever the batches are, an epoch is one step of
EM over all of the data, and log p(x) never falls from one to the next (Dempster, Laird and Rubin 1977, theorem 1). The
value is -log p(x), exact, at the parameters that the batch was shown.

``hard`` takes z at its most probable value, classification EM (Celeux and Govaert 1992): it never lowers log p(x, z).
It is all that there is for a pair that knows no expectation, whose value is minus log p(x, z) then.

Online, with ``decay``, an average of statistics follows the batches, and each is followed by an M step
(:mod:`ppgen.objectives.alternating`): no step of EM over all of the data, and it may lower log p(x) (Cappe and
Moulines 2009).

Maximum likelihood from incomplete data via the EM algorithm, Dempster, Laird and Rubin, JRSS B 1977; On-line
expectation-maximization algorithm for latent data models, Cappe and Moulines, JRSS B 2009; A classification EM
algorithm for clustering and two stochastic versions, Celeux and Govaert, 1992.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Gt, Le
from torch import Tensor

from ppgen.objectives.alternating import Alternating
from ppgen.pairs.maximising import Maximising, maximising_pair
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import register_objective

__all__ = ["EM"]


@register_objective(
    "em",
    summary="expectation maximization: both steps in closed form, without a gradient",
    reference="Dempster, Laird and Rubin, Maximum likelihood from incomplete data via the EM algorithm",
    year=1977,
    link="https://doi.org/10.1111/j.2517-6161.1977.tb01600.x",
    tags=("exact", "mixture"),
    tiny=lambda: EM(),
)
@dataclass(frozen=True, kw_only=True)
class EM(Alternating):
    """``decay``: a, of online EM; None: exact EM, a step an epoch. ``hard``: z at its most probable value.

    State: the statistics so far, by the pair's names for them, and online ``steps``, t. Metrics: ``log_evidence``; of a
    pair that is trained hard alone, ``log_joint``.

    Its gradient moves nothing here. Under Pyro's own ``SVI`` it is that of -log p(x), exact.

    >>> import ppgen, torch
    >>> pair = ppgen.models.GMM(ppgen.DataSpec("numbers", 1, "real"), 2)
    >>> pair.start_at(means=[[-1.0], [1.0]])
    >>> run = ppgen.fit(pair, torch.tensor([[-3.0], [-2.0], [3.0], [4.0]]), EM(), epochs=20, progress=False)
    >>> pair.means.detach().round(decimals=2).flatten()
    tensor([-2.5000,  3.5000])
    """

    is_bound = True
    trains_guide = False
    needs_density = True
    needs_closed_form = True

    decay: Annotated[float, Gt(0.5), Le(1)] | None = None
    hard: bool = False

    def pair_of(self, program: Program) -> Any:
        return maximising_pair(program.model, type(self).__name__, hard=self.hard)

    def expected(self, pair: Any, batch: Batch) -> dict[str, Tensor]:
        found: dict[str, Tensor] = pair.expected_statistics(*batch, hard=self.hard)
        return found

    def valued(self, pair: Any, batch: Batch, num_data: float) -> tuple[Tensor, dict[str, Tensor]]:
        name = "log_evidence" if isinstance(pair, Maximising) else "log_joint"
        value = getattr(pair, name)(*batch).mean()
        return -num_data * value, {name: value.detach()}

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        self.pair_of(program)
