"""The neural spline flow: every number bent by a monotonic rational spline whose knots those before it choose.

    u ~ N(0, I)                                                    u: (D,)
    x = m + s * T_n o ... o T_1(u)
    T: u_i = S(x_i; knots_i(x_<i))                                 knots: a masked network; orders in turn reversed

    log p(x) = log N(u; 0, I) + sum over T of sum_i log S'(x_i) - sum_d log s_d        (nats), exact: nothing is latent

S is made of ratios of linear functions, differentiable where they meet, on [-3, 3], and the identity beyond; a number
that has several narrow modes given those before it takes many bins and one layer, where affine layers need many.

Grey levels are dequantised: a latent y ~ p(y) has the density above, and its level is seen; the guide fills the level's
cell (:mod:`ppgen.layers.dequantisation`), and log p(x), a log-probability, is bounded.

References: Neural Spline Flows, Durkan, Bekasov, Murray and Papamakarios, 2019 (autoregressive); Invertible generative
modeling using linear rational splines, Dolatabadi, Erfani and Leckie, 2020 (these splines).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.layers.dequantisation import Alpha, Dequantisation, Observed
from ppgen.layers.flow_densities import FlowPair
from ppgen.layers.flows import flow
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["NeuralSpline"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 2, "real", num_data=20)
    return NeuralSpline(spec, num=1, hidden=(8,), bins=4), (torch.randn(5, 2),)


@register_model(
    "neural_spline",
    summary="a flow of autoregressive splines: a number is bent by a monotonic spline that those before it choose",
    reference="Durkan, Bekasov, Murray and Papamakarios, Neural spline flows",
    year=2019,
    link="https://arxiv.org/abs/1906.04032",
    tags=("continuous", "flow", "exact"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 10_000, "batch_size": 200}),
)
class NeuralSpline(FlowPair):
    """A flow of autoregressive rational splines. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        x: (D,), observed, in the plate ``data``; of grey levels after ``y``, (D,), real, a latent

    Args:
        spec: what one datum is: real, or grey levels.
        num: layers.
        hidden: sizes of the hidden layers of a layer's network, none below D.
        bins: of a spline.
        dequantisation: how a grey level's cell is filled: ``"uniform"``, or by a flow, ``"variational"``.
        alpha: the flow is of logit(alpha + (1 - 2 alpha) y); 0: of y. None: 0.05 of data in [0, 1], else 0.

    Raises:
        UsageError: the data are neither real nor grey levels, a hidden layer is too small, or an option does not suit
            the data.

    >>> import ppgen
    >>> pair = NeuralSpline(DataSpec("numbers", 2, "real"))
    >>> ppgen.log_weights(pair, (torch.zeros(1, 2),), num_particles=1)  # untrained N(0, I)
    tensor([[-1.8379]])
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        num: Count = 2,
        hidden: Sizes = (64, 64),
        bins: Count = 8,
        dequantisation: Dequantisation = "uniform",
        alpha: Alpha | None = None,
    ) -> None:
        observed = Observed(spec, dequantisation, alpha, tuple(hidden))
        splines = flow(f"spline(num={num}, hidden={[*hidden]}, bins={bins})", spec.num_features, direction="scoring")
        super().__init__(spec, splines, observed)
