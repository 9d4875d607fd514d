"""Predictive sparse decomposition: sparse coding with an encoder that predicts the codes.

    p(z)     = prod_j Laplace(z_j; 0, s^2 / l)      z: (H,); l: ``sparsity``
    p(x | z) = N(W z + c, s^2 I)                    x: (D,); |w_j| <= 1, c is held at the training mean

    F(x)     = g tanh(U' (x - c) + b)               g, b: (H,),  U: (D, H)

    q(z | x) = a point at  argmin_z  |x - c - W z|^2 / 2 + l |z|_1 + a |z - F(x)|^2 / 2     in training, by FISTA
               a point at  F(x)                                                             else

What codes are off their prediction, -a |z - F(x)|^2 / (2 s^2), stands in the model as a factor, ``prediction``: minus
``elbo`` is the paper's energy over s^2, up to constants. Its gradient with codes held moves the dictionary towards what
codes make of x, and the encoder towards the codes, which lean to what it can predict. Afterwards a code is one product
and a tanh; it is near to sparse, and nowhere zero. (The paper has |x - W z|^2 and a |z - F(x)|^2 without halves.)

Reference: Fast Inference in Sparse Coding Algorithms with Applications to Object Recognition, Kavukcuoglu, Ranzato and
LeCun, 2008, equation 5.
"""

from __future__ import annotations

import pyro
import torch
from torch import Tensor, nn

from ppgen.arguments import Count, Positive
from ppgen.data import DataSpec
from ppgen.distributions.point import RoundedPoint
from ppgen.layers.lasso import lasso_codes
from ppgen.layers.sparse_codes import SparseCodes
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["PSD"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    return PSD(DataSpec("tiny", 4, "real", num_data=20), 6, sparsity=0.3), (torch.randn(5, 4),)


@register_model(
    "predictive_sparse_decomposition",
    summary="sparse coding with an encoder that predicts the codes: FISTA in training, one product afterwards",
    reference="Kavukcuoglu, Ranzato and LeCun, Fast inference in sparse coding algorithms",
    year=2008,
    link="https://arxiv.org/abs/1010.3467",
    tags=("continuous", "amortised", "point"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 3_000, "batch_size": 100, "lr": 5e-3}),
)
class PSD(SparseCodes):
    """Predictive sparse decomposition. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (H,), real, in the plate ``data``: the code
        prediction: (), a factor, in the plate ``data``
        x: (D,), observed, in the plate ``data``

    Parameters: ``weight`` (D, H), whose columns, those longer than 1 made as long as 1, are W; ``encoder_weight`` U,
    ``encoder_bias`` b and ``gain`` g.

    Args:
        spec: what one datum is: real.
        latent_dim: H.
        sparsity: l.
        prediction: a.
        noise: s; it moves neither codes nor W.
        iterations: steps of FISTA for a code, at most.

    Raises:
        UsageError: the data are not real, or a number is not positive.

    >>> pair, x = PSD(DataSpec("numbers", 3, "real"), 5), torch.randn(2, 3)
    >>> pair.encode(x).shape, pair.refined(x).shape
    (torch.Size([2, 5]), torch.Size([2, 5]))
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 100,
        *,
        sparsity: Positive = 1.0,
        prediction: Positive = 1.0,
        noise: Positive = 1.0,
        iterations: Count = 200,
    ) -> None:
        super().__init__(spec, latent_dim, sparsity, noise, iterations)
        self.prediction = prediction
        self.encoder_weight = nn.Parameter(self.dictionary.detach().clone())
        self.encoder_bias = nn.Parameter(torch.zeros(latent_dim))
        self.gain = nn.Parameter(torch.ones(latent_dim))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = self.draw_code(x)  # (K, B, H)
            off = (z - self.encode(x)).square().sum(-1)  # (K, B)
            pyro.factor("prediction", -self.prediction * off / (2 * self.noise**2))
            self.draw_datum(z, x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = self.refined(x) if self.training else self.encode(x)
            pyro.sample("z", RoundedPoint(z, event_dim=1))  # type: ignore[no-untyped-call]  # (K, B, H)

    def encode(self, x: Tensor) -> Tensor:
        """F(x), (..., D) to (..., H)."""
        return self.gain * torch.tanh((x - self.loc) @ self.encoder_weight + self.encoder_bias)

    def refined(self, x: Tensor) -> Tensor:
        """The code of least energy, which the encoder learns from, (..., D) to (..., H), without gradient."""
        W, a = self.dictionary.detach(), self.prediction
        gram = W.T @ W + a * torch.eye(self.latent_dim).to(W)
        return lasso_codes(gram, (x - self.loc) @ W + a * self.encode(x).detach(), self.sparsity, self.iterations)
