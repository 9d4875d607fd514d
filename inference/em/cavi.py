"""Coordinate ascent on the bound, both steps in closed form: variational Bayes of conjugate pairs.

    L = E_q [log p(x, z, theta) - log q(z) - log q(theta)]  <=  log p(x),        q(z) q(theta), no other restriction

    for each datum      q(z_n)    proportional to  exp E_q(theta) log p(x_n, z_n | theta)
    for all of them     q(theta)  proportional to  p(theta) exp sum_n E_q(z) log p(x_n, z_n | theta)

where z are latents of a datum, and theta those of all the data: weights, means and precisions of a mixture. Where
p(theta) is conjugate, q(theta) is of its family, and its parameters are the prior's and sums S over data. What both
are, the pair says (:class:`ppgen.pairs.maximising.Conjugate`). An epoch is one step of both, in batches of any size,
and L never falls from one to the next; the value is -L, exact, at the q(theta) that the batch was shown.

Online, with ``decay``, each step moves the natural parameters of q(theta) towards those that a batch asks for: that is
stochastic variational inference, along the natural gradient. Where ``elbo`` sums z out, its bound is above L.

Attias: A Variational Bayesian Framework for Graphical Models, 2000; Hoffman, Blei, Wang, Paisley: Stochastic
Variational Inference, JMLR 2013 (eq. 26 and figure 4); Blei, Kucukelbir, McAuliffe: Variational Inference, a Review for
Statisticians, 2017, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Gt, Le
from torch import Tensor

from ppgen.objectives.alternating import Alternating
from ppgen.pairs.maximising import conjugate_pair
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import register_objective

__all__ = ["CAVI"]


@register_objective(
    "cavi",
    summary="coordinate ascent variational inference of conjugate pairs, without a gradient",
    reference="Blei, Kucukelbir and McAuliffe, Variational inference: a review for statisticians",
    year=2017,
    link="https://arxiv.org/abs/1601.00670",
    tags=("bound", "exact", "mixture"),
    tiny=lambda: CAVI(),
)
@dataclass(frozen=True, kw_only=True)
class CAVI(Alternating):
    """``decay``: a, of stochastic variational inference; None: a step an epoch.

    State: the statistics so far, by the pair's names for them, and online ``steps``, t. Metrics: ``bound``, L / N.

    Its gradient moves nothing here. Under Pyro's own ``SVI`` it is that of -L.

    >>> import ppgen, torch
    >>> pair = ppgen.models.DPMixture(ppgen.DataSpec("numbers", 1, "real"), 5, scale=0.5)
    >>> pair.start_at([[-4.0], [-2.0], [0.0], [2.0], [4.0]])
    >>> x = torch.tensor([[-3.0], [-2.0], [3.0], [4.0]])
    >>> run = ppgen.fit(pair, x, CAVI(), epochs=50, progress=False)
    >>> pair.num_clusters(x)
    2
    """

    needs_density = True
    needs_conjugate = True

    decay: Annotated[float, Gt(0.5), Le(1)] | None = None

    def pair_of(self, program: Program) -> Any:
        return conjugate_pair(program.model, type(self).__name__)

    def expected(self, pair: Any, batch: Batch) -> dict[str, Tensor]:
        found: dict[str, Tensor] = pair.expected_statistics(*batch)
        return found

    def valued(self, pair: Any, batch: Batch, num_data: float) -> tuple[Tensor, dict[str, Tensor]]:
        bound = num_data * pair.local_bound(*batch).mean() - pair.divergence()
        return -bound, {"bound": bound.detach() / num_data}
