"""A pair without a density, given one: noise about what its generator makes.

    p(x | z) = N(G(z), sigma^2 I)        where the pair has a point, x = G(z)

sigma is no part of what was trained: it is chosen by whoever asks for a density, and every number that comes of it is
one of this model, with this sigma.

On the Quantitative Analysis of Decoder-Based Generative Models, Wu, Burda, Salakhutdinov and Grosse, 2017, section 3.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from pyro.poutine.messenger import Messenger

from ppgen.arguments import Positive
from ppgen.distributions.wrappers import core_of
from ppgen.pairs.pair import Pair

__all__ = ["Noised"]


class Noised(Pair):
    """The pair with noise: the points that its model observes are means of normal distributions.

    Sites:
        those of the pair; x observed under N(G(z), sigma^2 I)

    Args:
        pair: such as ``gan``; its parameters are those of this one.
        sigma: the standard deviation, in the units of x.

    >>> import ppgen, torch
    >>> pair = Noised(ppgen.models.GAN(ppgen.DataSpec("plane", 2, "real"), 2, hidden=(4,)), 0.1)
    >>> pair.has_density, ppgen.log_weights(pair, (torch.zeros(3, 2),), num_particles=5).shape
    (True, torch.Size([5, 3]))
    """

    def __init__(self, pair: Pair, sigma: Positive) -> None:
        super().__init__(pair.data_size)
        self.pair, self.sigma = pair, float(sigma)

    def prepare(self, *batch: Any, **options: Any) -> None:
        self.pair.prepare(*batch, **options)

    def model(self, *batch: Any) -> Any:
        with _Noise(self.sigma):
            return self.pair.model(*batch)

    def guide(self, *batch: Any) -> Any:
        return self.pair.guide(*batch)


class _Noise(Messenger):
    """Points that are observed are means."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def _pyro_sample(self, msg: Any) -> None:
        core = core_of(msg["fn"])
        if msg["is_observed"] and isinstance(core, dist.Delta):
            msg["fn"] = dist.Normal(core.v, self.sigma).to_event(msg["fn"].event_dim)
