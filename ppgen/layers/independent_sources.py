"""Independent sources heavier than Gaussian, and data that have no maximum of likelihood under mixtures of them.

    s_i ~ Laplace, logistic or p(s) = 1 / (pi cosh s),       i = 1..K, independent: about 0, of scale 1

Reference: Infomax and Maximum Likelihood for Blind Source Separation, Cardoso, 1997.
"""

from __future__ import annotations

from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor

from ppgen.distributions.hyperbolic_secant import HyperbolicSecant

__all__ = ["Sources", "dimensions", "sources"]

Sources = Literal["laplace", "logistic", "cosh"]

_FAMILIES: dict[str, Any] = {"laplace": dist.Laplace, "logistic": dist.Logistic, "cosh": HyperbolicSecant}
_CONSTANT = 1e-5


def sources(kind: Sources, number: int, like: Tensor) -> Any:
    """p(s), of event shape (K,), K the ``number``, with the type and device of ``like``.

    >>> sources("laplace", 2, torch.zeros(())).log_prob(torch.zeros(2))  # -2 log 2
    tensor(-1.3863)
    """
    zero = like.new_zeros(number)
    return _FAMILIES[kind](zero, torch.ones_like(zero)).to_event(1)


def dimensions(x: Tensor) -> int:
    """How many dimensions data x, (N, D), span about their mean: below D where a combination of numbers is constant.

    >>> dimensions(torch.tensor([[1.0, 2.0, 5.0], [2.0, 4.0, 5.0], [3.0, 6.0, 5.0]]))
    1
    """
    spread = x.double() - x.double().mean(0)
    scaled = spread / spread.square().sum(0).sqrt().clamp_min(torch.finfo(x.dtype).tiny)
    return int((torch.linalg.svdvals(scaled) >= _CONSTANT).sum())
