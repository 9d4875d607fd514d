"""Autoencoding: the error of x made again from the latents that the guide infers of it.

    L = E_data E_q(z | x) sum_i |x_i - x'_i|^p,        x' ~ p(x | z), which for a generator is the point G(z);  p = 2

No density of x is read, so that it trains what has none; it says nothing of what the model draws from its prior. Its
gradient is pathwise, in the guide and in the model. With p = 2 the optimum of a linear encoder and decoder is the
subspace of the first principal components (Baldi and Hornik 1989).

Reference: Auto-association by multilayer perceptrons and singular value decomposition, Bourlard and Kamp, 1988.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import AVERAGED, Outcome, State
from ppgen.pairs.joint import check_infers, remade
from ppgen.pairs.rows import x_of
from ppgen.pairs.sampling import data_size
from ppgen.pairs.sites import check_reparameterized
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import register_objective

__all__ = ["Reconstruction"]


@register_objective(
    "reconstruction",
    summary="autoencoding: the error of x made again from its inferred latents",
    reference="Bourlard and Kamp, Auto-association by multilayer perceptrons and singular value decomposition",
    year=1988,
    link="https://doi.org/10.1007/BF00332918",
    tags=("samples", "amortised"),
    tiny=lambda: Reconstruction(),
)
@dataclass(frozen=True, kw_only=True)
class Reconstruction(Objective):
    """``exponent``: p, from 1, of absolute errors, to 2, of squared ones. Metric: ``error``, of a datum, L.

    >>> import ppgen, torch
    >>> pair = ppgen.models.BiGAN(ppgen.DataSpec("numbers", 3, "real"), 2, hidden=(), posterior="point")
    >>> x = torch.randn(50, 1) @ torch.ones(1, 3)  # on a line
    >>> run = ppgen.fit(pair, x, Reconstruction(), steps=300, lr=0.02, seed=0, progress=False)
    >>> bool((pair.reconstruct(x) - x).square().sum(1).mean() < 0.01)
    True
    """

    is_bound = False
    needs_samples = True
    needs_inference = True
    splits_data = True
    unit = ""
    shards = AVERAGED

    exponent: Annotated[float, Ge(1), Le(2)] = 2.0

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        x = x_of(batch, type(self).__name__)
        error = (x - remade(program, batch)).abs().pow(self.exponent).reshape(len(x), -1).sum(1).mean()
        num_data = data_size(program, batch)
        return Outcome(num_data * error, num_data, {"error": error}, state)

    def _look(self, program: Program, batch: Batch) -> None:
        super()._look(program, batch)
        check_reparameterized(check_infers(program, batch, type(self).__name__), type(self).__name__)
