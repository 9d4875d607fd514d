"""A semi-implicit guide: a Gaussian whose mean a network moves by noise, a mixture of as many as there is noise.

    q(z | x) = E_e N(z; loc(x) + f(h(x), e), scale(x)^2),    e ~ N(0, I)

e, (noise,), is drawn at a mixing site of the guide, auxiliary and masked out, which the model has not; f is a network.
The mixture has no closed form, and may have several modes, tails and dependences that no Gaussian has.

``sivi`` trains it. Every other objective takes the bound at q(z | x, e) with e known, whose mean over e is at most that
of the best single e: they are right, and have no use for the noise, so that at best a Gaussian comes of them. No
network that guesses e of z is beside the guide, as auxiliary-variable bounds have one.

Where f is nothing, the gradient by which a mixture would differ from a Gaussian is nothing too, and from near there it
ends as a Gaussian. So at first f moves the mean by numbers of about N(0, 1), and ``scale`` is 1/e of the network's.

References: Yin and Zhou, Semi-implicit variational inference, 2018, section 4.4 (of the autoencoder's guide, whose
scale is of x alone); Ranganath, Tran and Blei, Hierarchical variational models, 2016 (the network that guesses).
"""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from ppgen.arguments import Count, Sizes, check_names, checked
from ppgen.calls import parse_calls
from ppgen.errors import UsageError, shown
from ppgen.layers.dense import MLP

__all__ = ["NAME", "SemiImplicit", "semi_implicit"]

NAME = "semi_implicit"

_SHARE = math.exp(-1)
_TANH_SQUARED = 0.39
"""E tanh(u)^2, u ~ N(0, 1): of what the hidden layer gives, by which the shift's variance starts at 1."""


class SemiImplicit(nn.Module):
    """Moves a Gaussian's mean by a network of a context and of noise, drawn where it is called.

    Args:
        network: f, of (..., context_dim + noise) to (..., dim).
        context_dim: size of the context.
        noise: size of e.
        site: the mixing site's name.
    """

    both_ways = False
    """Whether it is scored at any z in one pass: its density is an average over e."""

    def __init__(self, network: nn.Module, context_dim: int, noise: int, site: str) -> None:
        super().__init__()
        self.network, self.context_dim, self.noise, self.site = network, context_dim, noise, site

    def forward(self, base: Any, context: Tensor) -> Any:
        """q(z | x, e) at an e of its own, of event shape (dim,); within the guide, in the data plate.

        Args:
            base: a Gaussian of event shape (dim,).
            context: (..., context_dim), of the base's batch shape or what broadcasts with it.
        """
        standard = dist.Normal(context.new_zeros(self.noise), context.new_ones(self.noise)).to_event(1)
        with poutine.mask(mask=False):
            e = pyro.sample(self.site, standard, infer={"is_auxiliary": True})  # (K, B, noise)
        return _moved(base, self._shift(context, e))

    def centre(self, base: Any, context: Tensor) -> Tensor:
        """The mean where e is 0, (..., dim): the mixture's is not known."""
        centre: Tensor = base.mean + self._shift(context, context.new_zeros(self.noise))
        return centre

    def _shift(self, context: Tensor, e: Tensor) -> Tensor:
        batch = torch.broadcast_shapes(context.shape[:-1], e.shape[:-1])
        shift: Tensor = self.network(torch.cat([each.expand(*batch, -1) for each in (context, e)], -1))
        return shift


def semi_implicit(text: str, dim: int, context_dim: int, site: str) -> SemiImplicit:
    """What a text names, ``"semi_implicit(noise=10)"``.

    Args:
        text: the name and its options: ``noise``, the size of e, and ``hidden``, the sizes of f's layers.
        dim: size of z.
        context_dim: size of what f is told of x.
        site: the mixing site's name.

    Raises:
        UsageError: an unknown option, or a value that is none.

    >>> mixture = semi_implicit("semi_implicit(noise=2)", dim=3, context_dim=4, site="e")
    >>> mixture(dist.Normal(torch.zeros(5, 3), 1.0).to_event(1), torch.ones(5, 4)).sample().shape
    torch.Size([5, 3])
    """
    wanted = f"a guide such as '{NAME}(noise=10)'"
    (_, options), *more = parse_calls(text, wanted)
    if more:
        raise UsageError(f"expected {wanted}, got {shown(text)}: name one.")
    made = checked(_made)
    check_names(f"guide {NAME}", made, options, skip=3)
    return made(dim, context_dim, site, **options)


def _made(dim: int, context_dim: int, site: str, noise: Count = 10, hidden: Sizes = (64,)) -> SemiImplicit:
    network = MLP(context_dim + noise, dim, hidden)
    first, last = network.layers[0], network.layers[-1]
    nn.init.normal_(first.weight[:, context_dim:], 0.0, noise**-0.5)  # type: ignore[index]  # a Linear's
    if hidden:
        nn.init.normal_(last.weight, 0.0, (_TANH_SQUARED * hidden[-1]) ** -0.5)  # type: ignore[arg-type]  # as above
    return SemiImplicit(network, context_dim, noise, site)


def _moved(base: Any, shift: Tensor) -> Any:
    """The Gaussian, narrower, with its mean moved by ``shift``, (..., dim)."""
    if isinstance(base, torch.distributions.MultivariateNormal):
        return dist.MultivariateNormal(base.loc + shift, scale_tril=_SHARE * base.scale_tril)
    return dist.Normal(base.mean + shift, _SHARE * base.stddev).to_event(1)
