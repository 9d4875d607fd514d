"""The masked autoregressive flow: every number shifted and scaled by those before it, one pass to score, D to draw.

    u ~ N(0, I)                                                    u: (D,)
    x = m + s * T_n o ... o T_1(u)
    T: x_i = mu_i(x_<i) + sigma_i(x_<i) u_i                        mu, sigma: a masked network; orders in turn reversed

    log p(x) = log N(u; 0, I) - sum over T of sum_i log sigma_i - sum_d log s_d        (nats), exact: nothing is latent

Grey levels are dequantised: a latent y ~ p(y) has the density above, and its level is seen; the guide fills the level's
cell (:mod:`ppgen.layers.dequantisation`), and log p(x), a log-probability, is bounded.

Reference: Masked Autoregressive Flow for Density Estimation, Papamakarios, Pavlakou and Murray, 2017; without its batch
normalisation.
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

__all__ = ["MAF"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    return MAF(DataSpec("tiny", 3, "real", num_data=20), num=2, hidden=(8,)), (torch.randn(5, 3),)


@register_model(
    "maf",
    summary="a flow of autoregressive layers: a number is shifted and scaled by those before it, one pass to score",
    reference="Papamakarios, Pavlakou and Murray, Masked autoregressive flow for density estimation",
    year=2017,
    link="https://arxiv.org/abs/1705.07057",
    tags=("continuous", "flow", "exact"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 10_000, "batch_size": 200}),
)
class MAF(FlowPair):
    """A flow of affine autoregressive layers. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        x: (D,), observed, in the plate ``data``; of grey levels after ``y``, (D,), real, a latent

    Args:
        spec: what one datum is: real, or grey levels.
        num: layers; one of them alone is a Gaussian x_i for each i given those before it.
        hidden: sizes of the hidden layers of a layer's network, none below D.
        dequantisation: how a grey level's cell is filled: ``"uniform"``, or by a flow, ``"variational"``.
        alpha: the flow is of logit(alpha + (1 - 2 alpha) y); 0: of y. None: 0.05 of data in [0, 1], else 0.

    Raises:
        UsageError: the data are neither real nor grey levels, a hidden layer is too small, or an option does not suit
            the data.

    >>> import ppgen
    >>> pair = MAF(DataSpec("numbers", 2, "real"))
    >>> ppgen.log_weights(pair, (torch.zeros(1, 2),), num_particles=1)  # untrained N(0, I)
    tensor([[-1.8379]])
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        num: Count = 5,
        hidden: Sizes = (64, 64),
        dequantisation: Dequantisation = "uniform",
        alpha: Alpha | None = None,
    ) -> None:
        observed = Observed(spec, dequantisation, alpha, tuple(hidden))
        layers = flow(f"maf(num={num}, hidden={[*hidden]})", spec.num_features, direction="scoring")
        super().__init__(spec, layers, observed)
