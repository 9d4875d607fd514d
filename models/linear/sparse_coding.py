"""Sparse coding: data are sums of a few columns of a dictionary, more of them than a datum has numbers.

    p(z)     = prod_j Laplace(z_j; 0, s^2 / l)      z: (H,); l: ``sparsity``
    p(x | z) = N(W z + c, s^2 I)                    x: (D,); |w_j| <= 1, c is held at the training mean

    q(z | x) = a point at  argmin_z  |x - c - W z|^2 / 2 + l |z|_1,     the lasso's code, by FISTA

The code is where p(z | x) is greatest, and ``elbo`` at it is log p(x, z): up to constants, minus the lasso's objective
over s^2. Its gradient with the code held is the whole one, since the code is at the objective's minimum: training
alternates codes and the dictionary, as Olshausen and Field do. ``em`` with ``hard=True`` takes both steps exactly: all
codes, then the W of least squares at them, the method of optimal directions under the bound; with ``decay`` it is the
online dictionary learning of Mairal et al. (2009). log p(x) has no closed form: what ``evaluate`` gives is log p(x, z)
at the code.

With ``prior="spike_and_slab"`` most numbers of a code are exactly zero,

    h_j ~ Bernoulli(a),  z_j ~ N(0, t^2),   p(x | h, z) = N(W (h z) + c, s^2 I)          a: ``active``, t: ``slab``

    q(h, z | x) = prod_j q(h_j) q(z_j | h_j),   the best of its kind for each datum (:mod:`ppgen.layers.spike_slab`)

and codes are means, E h z under q, whose bound is in closed form: ``cavi`` alternates q and the W of greatest bound at
it. It begins each q anew, among several optima, so that the bound may fall a little. Objectives for discrete latents
train W by its gradient. The guide has the spikes of q, and the exact p(z | h, x) after them; log p(x) is estimated by
its draws, as ever, and is exact by a sum over h where there are few.

References: Emergence of Simple-Cell Receptive Field Properties by Learning a Sparse Code for Natural Images, Olshausen
and Field, 1996; Method of Optimal Directions for Frame Design, Engan, Aase and Husoy, 1999; Online Dictionary Learning
for Sparse Coding, Mairal, Bach, Ponce and Sapiro, 2009; Spike and Slab Variational Inference for Multi-Task and
Multiple Kernel Learning, Titsias and Lazaro-Gredilla, 2011.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import pyro
import torch
from annotated_types import Gt, Lt
from torch import Tensor

from ppgen.arguments import Count, Positive
from ppgen.data import DataSpec
from ppgen.distributions.point import RoundedPoint
from ppgen.errors import UsageError, setting
from ppgen.layers.linear_latents import GuideKind
from ppgen.layers.sparse_codes import SparseCodes, fitted_dictionary
from ppgen.layers.spike_slab import SpikeAndSlab, Spikes
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["SparseCoding"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    return SparseCoding(DataSpec("tiny", 4, "real", num_data=20), 6, sparsity=0.3), (torch.randn(5, 4),)


@register_model(
    "sparse_coding",
    summary="sparse coding: an overcomplete dictionary, codes by FISTA of a Laplace prior, or of spikes and slabs",
    reference="Olshausen and Field, Emergence of simple-cell receptive field properties by learning a sparse code",
    year=1996,
    link="https://doi.org/10.1038/381607a0",
    tags=("continuous", "point"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 3_000, "batch_size": 100, "lr": 1e-2}),
)
class SparseCoding(SparseCodes):
    """Sparse coding. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (H,), real, in the plate ``data``: the code
        x: (D,), observed, in the plate ``data``

    With ``prior="spike_and_slab"`` also h: (H,), 0 or 1, in the plate ``data``, and the code is h z.

    Parameter: ``weight`` (D, H), whose columns, those longer than 1 made as long as 1, are W.

    Args:
        spec: what one datum is: real.
        latent_dim: H.
        prior: ``"laplace"`` or ``"spike_and_slab"``.
        sparsity: l, beside which the squared error counts a half: codes are zero where no column's product with what is
            left of x exceeds it. Of the Laplace prior alone.
        active: a, the probability that a number of a code is not zero; of spikes alone, as ``slab`` is.
        slab: t, the standard deviation of those that are not.
        guide: draws slabs given spikes ``"full"``, from their exact posterior, or ``"mean_field"``, from q.
        noise: s; under the Laplace prior it moves neither codes nor W, but what log p(x, z) and draws are.
        iterations: steps of FISTA for a code, at most, and sweeps over q.

    Raises:
        UsageError: the data are not real, or a number is out of its range.

    >>> pair = SparseCoding(DataSpec("numbers", 3, "real"), 5, sparsity=10.0)
    >>> pair.encode(torch.ones(1, 3))  # no product with a column of length one exceeds 10
    tensor([[0., 0., 0., 0., 0.]])
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 100,
        *,
        prior: Literal["laplace", "spike_and_slab"] = "laplace",
        sparsity: Positive = 1.0,
        active: Annotated[float, Gt(0), Lt(1)] = 0.1,
        slab: Positive = 1.0,
        guide: GuideKind = "full",
        noise: Positive = 1.0,
        iterations: Count = 200,
    ) -> None:
        super().__init__(spec, latent_dim, sparsity, noise, iterations)
        self.spikes = SpikeAndSlab(active, slab, noise, iterations, guide) if prior == "spike_and_slab" else None
        self.has_closed_form, self.is_conjugate = self.spikes is None, self.spikes is not None

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            code = self.draw_code(x) if self.spikes is None else self.spikes.draw(x, self.latent_dim)
            self.draw_datum(code, x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            if self.spikes is None:
                pyro.sample("z", RoundedPoint(self.encode(x), event_dim=1))  # type: ignore[no-untyped-call]  # (K, B, H)
            else:
                self.spikes.infer(x - self.loc, self.dictionary)

    def encode(self, x: Tensor) -> Tensor:
        """The most probable code, or with spikes its mean under q, (..., D) to (..., H), without gradient."""
        return self.best_codes(x) if self.spikes is None else self.inferred(x).mean

    def inferred(self, x: Tensor) -> Spikes:
        """q(h, z | x) of data x, (..., D), without gradient.

        Raises:
            UsageError: the prior has no spikes.
        """
        return self._with_spikes("inferred").best(x - self.loc, self.dictionary)

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, z) at the most probable z, (B, D) to (B,), in nats.

        Raises:
            UsageError: the prior has spikes, of which no most probable ones are known.
        """
        if self.spikes is not None:
            raise UsageError("log_joint is of the Laplace prior; with spikes take local_bound(x).")
        return self.log_joint_at(x, self.encode(x))

    def local_bound(self, x: Tensor) -> Tensor:
        """E_q log p(x, h, z) / q(h, z), a bound on log p(x), (B, D) to (B,), in nats.

        Raises:
            UsageError: the prior has no spikes.
        """
        return self._with_spikes("local_bound").bound(x - self.loc, self.dictionary, self.inferred(x))

    def divergence(self) -> Tensor:
        """0: W is a parameter, and has no prior."""
        return self.weight.new_zeros(())

    def summed_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x), by a sum over all h, (B, D) to (B,), in nats.

        Raises:
            UsageError: the prior has no spikes, or so many that the sum is too long.
        """
        return self._with_spikes("summed_evidence").log_evidence(x - self.loc, self.dictionary)

    def expected_statistics(self, x: Tensor, *, hard: bool = True) -> dict[str, Tensor]:
        """Sums over data x, (B, D), in float64: of z z', ``zz`` (H, H), and (x - c) z', ``xz`` (D, H).

        z is the most probable code; with spikes they are expected, of h z under q, whatever ``hard``.
        """
        q = None if self.spikes is None else self.inferred(x)
        z, x = (self.encode(x) if q is None else q.mean).double(), (x - self.loc).double()
        zz = z.T @ z if q is None else z.T @ z + (q.second.double() - z.square()).sum(0).diag()
        return {"count": x.new_full((), len(x)), "zz": zz, "xz": x.T @ z}

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The dictionary of least squares at the codes, or in expectation over them."""
        return {"weight": fitted_dictionary(self.weight, statistics).to(self.weight)}

    def _with_spikes(self, needed_by: str) -> SpikeAndSlab:
        if self.spikes is None:
            prior = setting("M", "prior", "spike_and_slab")
            raise UsageError(f"{needed_by} of SparseCoding is of spikes, and its prior is laplace: give {prior}.")
        return self.spikes
