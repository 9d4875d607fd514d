"""Sparse codes of a dictionary: what the pairs of them share.

    p(z)     = prod_j Laplace(z_j; 0, s^2 / l)      z: (H,)
    p(x | z) = N(W z + c, s^2 I)                    x: (D,); |w_j| <= 1, c is held at the training mean

    -log p(x, z) = (|x - c - W z|^2 / 2 + l |z|_1) / s^2  +  D log(2 pi s^2) / 2  +  H log(2 s^2 / l)         (nats)

Without a bound on its columns W would grow and z shrink, and sparsity cost nothing. ``weight`` V is free, and

    w_j = v_j / max(1, |v_j|),

so that any optimizer keeps to the bound. The most probable code is the lasso's (:mod:`ppgen.layers.lasso`), and at
given codes W has its maximum by what the data's codes come to,

    A = sum_n z_n z_n',   B = sum_n (x_n - c) z_n',        W = argmin_W tr(W A W') / 2 - tr(W B'),    |w_j| <= 1,

one column after another, each exact, in ten sweeps (Mairal et al. 2009, algorithm 2):

    u_j = w_j + (b_j - W a_j) / A_jj,    w_j = u_j / max(1, |u_j|).

Where no bound is met that is B A^-1, the method of optimal directions (Engan et al. 1999). A column that no code uses
stays.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ppgen.arguments import at_most_data
from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.lasso import lasso_codes
from ppgen.pairs.pair import Pair
from ppgen.pairs.running import Batch
from ppgen.pairs.sampling import Draws

__all__ = ["SparseCodes", "bounded", "fitted_dictionary"]

_SWEEPS = 10
_NEAR = 1e-4


class SparseCodes(Pair):
    """Sparse codes. One batch is ``(x,)``, x of shape (B, D).

    Args:
        spec: what one datum is: real.
        latent_dim: H.
        sparsity: l.
        noise: s.
        iterations: steps of FISTA, at most.

    Raises:
        UsageError: the data are not real.
    """

    def __init__(self, spec: DataSpec, latent_dim: int, sparsity: float, noise: float, iterations: int) -> None:
        super().__init__(data_size=spec.num_data)
        if spec.observation != "real":
            name = type(self).__name__
            raise UsageError(f"{name} needs real data, but data {shown(spec.name)} are {spec.in_words}.")
        at_most_data(type(self).__name__, "latent_dim", latent_dim, spec.num_data)
        self.latent_dim, self.sparsity, self.noise, self.iterations = latent_dim, sparsity, noise, iterations
        start = torch.randn(spec.num_features, latent_dim)
        self.weight = nn.Parameter(start / start.norm(dim=0))
        self.register_buffer("loc", spec.centre)

    @property
    def dictionary(self) -> Tensor:
        """W, (D, H)."""
        return bounded(self.weight)

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """The code that the guide gives x, (..., D) to (..., H)."""

    def draw_code(self, x: Tensor) -> Tensor:
        """The model's site ``z``, (K, B, H)."""
        prior = dist.Laplace(x.new_zeros(self.latent_dim), self.noise**2 / self.sparsity)
        z: Tensor = pyro.sample("z", prior.to_event(1))
        return z

    def draw_datum(self, z: Tensor, x: Tensor) -> None:
        """The model's site ``x`` at codes z, (K, B, H)."""
        pyro.sample("x", dist.Normal(self.decode(z), self.noise).to_event(1), obs=x)  # (B, D)

    def log_joint_at(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z), of (B, D) and (B, H): (B,), in nats."""
        prior = dist.Laplace(torch.zeros_like(z), self.noise**2 / self.sparsity).to_event(1)
        joint: Tensor = prior.log_prob(z) + dist.Normal(self.decode(z), self.noise).to_event(1).log_prob(x)
        return joint

    def best_codes(self, x: Tensor) -> Tensor:
        """The most probable z given x, (..., D) to (..., H), by FISTA, without gradient."""
        W = self.dictionary.detach()
        return lasso_codes(W.T @ W, (x - self.loc) @ W, self.sparsity, self.iterations)

    def decode(self, z: Tensor) -> Tensor:
        """The mean of p(x | z), (..., H) to (..., D)."""
        return linear(z, self.dictionary, self.loc)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The mean of p(x | z) at the code of x, (B, D)."""
        return self.decode(self.encode(x))

    def remake_data(self, batch: Batch) -> Draws:
        """Every datum of ``batch`` made again from its code."""
        mean = self.reconstruct(batch[0])
        noisy = mean + self.noise * torch.randn_like(mean)
        return Draws(noisy, mean, "a draw of p(x | z) at its code", "the mean of p(x | z) at its code")

    def filters(self) -> Tensor | None:
        return self.dictionary

    def loadings(self) -> Tensor | None:
        return self.dictionary


def bounded(weight: Tensor) -> Tensor:
    """Columns of (D, H), those longer than 1 made as long as 1."""
    short: Tensor = weight / weight.norm(dim=0).clamp_min(1)
    return short


@torch.no_grad()
def fitted_dictionary(weight: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
    """W of least squares under the bound, (D, H), from ``weight``, at A, ``zz``, and B, ``xz``."""
    A, B = statistics["zz"], statistics["xz"]
    W = bounded(weight.to(A)).clone()
    used = A.diagonal().nonzero()[:, 0].tolist()
    for _ in range(_SWEEPS):
        before = W.clone()
        for j in used:
            u = W[:, j] + (B[:, j] - W @ A[:, j]) / A[j, j]
            W[:, j] = u / u.norm().clamp_min(1)
        if float((W - before).abs().max()) <= _NEAR:
            break
    return W
