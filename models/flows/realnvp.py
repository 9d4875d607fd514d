"""Real NVP: half of the numbers shift and scale the other half, in turn, one pass to draw and one to score.

    u ~ N(0, I)                                                    u: (D,)
    x = m + s * T_n o ... o T_1(u)
    T: (a, b) -> (a, b * exp(g(a)) + t(a)),  then all in reverse   a, b: the halves; g, t: a network

    log p(x) = log N(u; 0, I) - sum over T of sum g(a) - sum_d log s_d         (nats), exact: nothing is latent

Grey levels are dequantised: a latent y ~ p(y) has the density above, and its level is seen; the guide fills the level's
cell (:mod:`ppgen.layers.dequantisation`), and log p(x), a log-probability, is bounded.

Reference: Density Estimation Using Real NVP, Dinh, Sohl-Dickstein and Bengio, 2017; on vectors, without pictures'
multi-scale layers.
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

__all__ = ["RealNVP"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: grey levels, dequantised by a flow."""
    spec = DataSpec("tiny", 4, "quantised", levels=3, num_data=20)
    pair = RealNVP(spec, num=2, hidden=(8,), dequantisation="variational")
    return pair, (torch.randint(3, (5, 4)) / 2,)


@register_model(
    "realnvp",
    summary="a flow of coupling layers: half of the numbers shift and scale the others, one pass both ways",
    reference="Dinh, Sohl-Dickstein and Bengio, Density estimation using real NVP",
    year=2017,
    link="https://arxiv.org/abs/1605.08803",
    tags=("continuous", "flow", "exact"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 10_000, "batch_size": 200}),
)
class RealNVP(FlowPair):
    """A flow of coupling layers. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        y: (D,), real, in the plate ``data``; of grey levels alone
        x: (D,), observed, in the plate ``data``

    Args:
        spec: what one datum is: real, two numbers or more, or grey levels.
        num: couplings.
        hidden: sizes of the hidden layers of a coupling's network.
        dequantisation: how a grey level's cell is filled: ``"uniform"``, or by a flow, ``"variational"``.
        alpha: the flow is of logit(alpha + (1 - 2 alpha) y); 0: of y. None: 0.05 of data in [0, 1], else 0.

    Raises:
        UsageError: the data are neither real nor grey levels or have one number, or an option does not suit them.

    >>> import ppgen
    >>> pair = RealNVP(DataSpec("numbers", 2, "real"))
    >>> ppgen.log_weights(pair, (torch.zeros(1, 2),), num_particles=1)  # untrained N(0, I)
    tensor([[-1.8379]])
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        num: Count = 8,
        hidden: Sizes = (64, 64),
        dequantisation: Dequantisation = "uniform",
        alpha: Alpha | None = None,
    ) -> None:
        observed = Observed(spec, dequantisation, alpha, tuple(hidden))
        couplings = flow(f"realnvp(num={num}, hidden={[*hidden]})", spec.num_features, direction="scoring")
        super().__init__(spec, couplings, observed)
