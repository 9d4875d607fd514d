"""A pair that is an autoregressive distribution of data, and nothing else.

log p(x) = sum_t log p(x_{o_t} | x_{o_1}, ..., x_{o_{t-1}})        (nats), exact: nothing is latent
"""

from __future__ import annotations

import pyro
from torch import Tensor

from ppgen.data.spec import DataSpec
from ppgen.distributions.autoregressive import Autoregressive, Conditionals
from ppgen.pairs.pair import Pair

__all__ = ["AutoregressivePair"]


class AutoregressivePair(Pair):
    """Features one after the other in one order. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        x: (D,), observed, in the plate ``data``

    To add one: set ``conditionals`` in its constructor, and say of which class they are.

    Args:
        spec: what one datum is.
    """

    conditionals: Conditionals

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(data_size=spec.num_data)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("x", self.distribution(), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        """No latents: nothing to infer."""

    def distribution(self) -> Autoregressive:
        """p(x), of event shape (D,): its ``log_prob`` is exact, and its ``complete`` draws what is not known of x."""
        return Autoregressive(self.conditionals)
