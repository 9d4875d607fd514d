"""Non-negative matrix factorisation: data are sums of non-negative parts, and amounts are Poisson.

    x_nd ~ Poisson(sum_k z_nk w_dk)                 z: (N, K), codes; w: (D, K), parts; all of them >= 0

    log p(x_n) = sum_d [ x_nd log m_nd - m_nd - log x_nd! ],        m = z w'        (nats)

Minus that is the generalised Kullback-Leibler divergence of x from m, up to a constant; of amounts that are not whole,
pixels, it is the same function, and no density. Amounts y_ndk ~ Poisson(z_nk w_dk), whose sum over parts k is x_nd, are
what EM sums out: given x they are divided as z_nk w_dk (Cemgil 2009). Its steps are the multiplicative updates of Lee
and Seung,

    z_nk <- z_nk sum_d w_dk x_nd / m_nd / sum_d w_dk,        w_dk <- w_dk sum_n z_nk x_nd / m_nd / sum_n z_nk,

codes first, and m anew between the two (the cycles of Meng and Rubin's ECM, 1993), so that log p(x) never falls. Codes
are N K parameters and have no prior. Data that it has not seen are folded in: z at its maximum, by ``iterations`` of
its steps from even codes, with w held; log p(x) at that is a maximum over z, not a probability of x.

References: Learning the Parts of Objects by Non-negative Matrix Factorization, Lee and Seung, Nature 1999; Algorithms
for Non-negative Matrix Factorization, Lee and Seung, 2001; Bayesian Inference for Nonnegative Matrix Factorisation
Models, Cemgil, 2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ppgen.arguments import Count, at_most_data
from ppgen.data import DataSpec
from ppgen.distributions.poisson_rates import PoissonRates
from ppgen.errors import UsageError, shown
from ppgen.layers.words import off_zero, ratio
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["NMF"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and its five data."""
    return NMF(DataSpec("tiny", 6, "counts", num_data=5), 2, iterations=3), (1 + torch.poisson(torch.ones(5, 6)),)


@register_model(
    "nmf",
    summary="non-negative matrix factorisation, Poisson amounts: multiplicative updates as steps of EM",
    reference="Lee and Seung, Learning the parts of objects by non-negative matrix factorization",
    year=1999,
    link="https://doi.org/10.1038/44565",
    tags=("counts", "exact"),
    tiny=_tiny,
    recommended=Recommended("em", training={"steps": 200, "batch_size": 1_000_000}),
)
class NMF(Pair):
    """NMF. One batch is ``(x,)``, x of shape (B, D), none below 0; in training it is all the data, in their order.

    Sites:
        x: (D,), observed, in the plate ``data``

    Parameters: ``log_weight``, log w (D, K), and ``log_codes``, log z (N, K), read in training. In evaluation
    (``pair.eval()``) data are folded in.

    Args:
        spec: what one datum is, of a data set whose size N is known: counts, or amounts: binary, quantised, real.
        latent_dim: K.
        iterations: steps by which a datum is folded in.

    Raises:
        UsageError: the data are of the kind any, or N is not known.

    >>> pair = NMF(DataSpec("documents", 50, "counts", num_data=8), 3)
    >>> pair.weight.shape, pair.codes.shape
    (torch.Size([50, 3]), torch.Size([8, 3]))
    """

    folds_in: ClassVar[bool] = True

    def __init__(self, spec: DataSpec, latent_dim: Count = 20, *, iterations: Count = 200) -> None:
        super().__init__()  # a batch is all the data
        _check(spec)
        at_most_data("NMF", "latent_dim", latent_dim, spec.num_data)
        self.latent_dim, self.iterations, self.counts = latent_dim, iterations, spec.observation == "counts"
        mean = 1.0 if spec.mean is None else float(spec.mean.mean().clamp_min(1e-4))
        even = (mean / latent_dim) ** 0.5  # with which m is the mean on average
        starts = (even * (0.1 + torch.rand(size, latent_dim)) for size in (spec.num_features, spec.num_data or 1))
        self.log_weight, self.log_codes = (nn.Parameter(start.log()) for start in starts)

    def model(self, x: Tensor) -> None:
        z = self.codes_of(x)  # (B, K)
        with self.data_plate(x):
            pyro.sample("x", self._amounts(z), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        pass

    @property
    def weight(self) -> Tensor:
        """w (D, K)."""
        return self.log_weight.exp()

    @property
    def codes(self) -> Tensor:
        """z (N, K) of the training data."""
        return self.log_codes.exp()

    @torch.no_grad()
    def start_at(self, *, weight: Any, codes: Any) -> None:
        """Start training at these w (D, K) and z (N, K), all above 0.

        Raises:
            UsageError: they have other shapes, or one is not above 0.
        """
        for name, value in {"weight": weight, "codes": codes}.items():
            found, given = self.get_parameter(f"log_{name}"), torch.as_tensor(value).to(self.log_weight)
            if given.shape != found.shape or not bool((given > 0).all()):
                raise UsageError(
                    f"{name} of NMF must be {tuple(found.shape)} numbers above 0, got {tuple(given.shape)}, the least "
                    f"{float(given.min()):g}: a zero would stay one for good."
                )
            found.copy_(given.log())

    def codes_of(self, x: Tensor) -> Tensor:
        """z of data (B, D): (B, K); in training those of all the data, in evaluation folded in.

        Raises:
            UsageError: it is trained on another number of data than it has codes of.
        """
        if not self.training:
            return self.encode(x)
        if len(x) != len(self.log_codes):
            raise UsageError(
                f"NMF has codes of {len(self.log_codes)} data as parameters and is trained on all of them at once, got "
                f"a batch of {len(x)}: train with batch_size={len(self.log_codes)}."
            )
        return self.codes

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """The codes of greatest log p(x), folded in, (B, D) to (B, K)."""
        w = self.weight
        even = x.mean(-1, keepdim=True) / w.mean(0).sum()
        z = even.expand(len(x), self.latent_dim)
        for _ in range(self.iterations):
            z = z * (ratio(x, z @ w.T) @ w) / off_zero(w.sum(0))
        return z

    def decode(self, z: Tensor) -> Tensor:
        """m, (..., K) to (..., D)."""
        return z @ self.weight.T

    def reconstruct(self, x: Tensor) -> Tensor:
        """m at the codes of data (B, D), (B, D)."""
        return self.decode(self.encode(x))

    def filters(self) -> Tensor | None:
        return self.weight

    def expected_statistics(self, x: Tensor, *, hard: bool = False) -> dict[str, Tensor]:
        """New ``codes`` z (N, K), and at them ``amounts`` of each part (D, K), their sums over data; ``count`` N.

        Hard, every amount is of its most probable part, (N, D, K) in memory.
        """
        self._check_amounts(x)
        z, w = self.codes_of(x), self.weight
        z = self._divided(x, z, w, hard)[0] / off_zero(w.sum(0))
        return {"codes": z, "amounts": self._divided(x, z, w, hard)[1], "count": x.new_full((), len(x))}

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The logarithms of parts and codes.

        Raises:
            UsageError: a part has no amount.
        """
        total = statistics["codes"].sum(0)  # (K,)
        if not bool((total > 0).all()):
            raise UsageError(
                f"part {int(total.argmin())} of NMF is left without any amount: lower latent_dim, or start elsewhere."
            )
        found = {"weight": statistics["amounts"] / total, "codes": statistics["codes"]}
        return {f"log_{name}": off_zero(value).log() for name, value in found.items()}

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x), (B,), in nats; folded in, the maximum over z."""
        evidence: Tensor = self._amounts(self.codes_of(x)).log_prob(x)
        return evidence

    def _divided(self, x: Tensor, z: Tensor, w: Tensor, hard: bool) -> tuple[Tensor, Tensor]:
        """What of x each part has, summed over features, (N, K), and over data, (D, K)."""
        if hard:
            best = (z[:, None].log() + w.log()).argmax(-1)  # (N, D)
            given = x[..., None] * one_hot(best, self.latent_dim)
            return given.sum(1), given.sum(0)
        told = ratio(x, z @ w.T)  # (N, D)
        return z * (told @ w), w * (told.T @ z)

    def _amounts(self, z: Tensor) -> Any:
        family: Any = dist.Poisson if self.counts else PoissonRates
        return family(off_zero(self.decode(z))).to_event(1)

    def _check_amounts(self, x: Tensor) -> None:
        if bool((x < 0).any()):
            row, column = (x < 0).nonzero()[0].tolist()
            raise UsageError(
                f"NMF needs amounts of 0 or more, and row {row} of x has {float(x[row, column]):g} in column {column}: "
                "shift or rescale the data, or choose a pair for real numbers, 'linear_gaussian'."
            )


def _check(spec: DataSpec) -> None:
    if spec.observation in ("any", "mixed", "categorical", "symbols"):
        raise UsageError(f"NMF needs counts or amounts of 0 or more, but data {shown(spec.name)} are {spec.in_words}.")
    if spec.num_data is None:
        raise UsageError(
            f"NMF has parameters of each datum, and data {shown(spec.name)} do not say how many there are: give their "
            "DataSpec a num_data."
        )
