"""What an autoencoder makes from a code: the datum again, and a context of it.

    p(x | h) = "rates"          bits of the rates x, with logits that are the outputs
               "binary"         the same of bits
               "real"           N(outputs, I)

A context s of x, such as what surrounds a patch, is a second vector of the same datum. The code makes s too, and a
log-weight has one term more, of weight a:

    a log p(s | h),     s of the same families,     outputs A' h + d        A: (H, D_s),  d: (D_s,)
"""

from __future__ import annotations

from typing import Any, Literal

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from ppgen.data import DataSpec
from ppgen.distributions.bernoulli_rates import BernoulliRates
from ppgen.errors import UsageError, setting, shown
from ppgen.layers.likelihoods import BernoulliLikelihood

__all__ = ["Context", "Observed", "given_outputs", "kind_of", "start_of"]

Observed = Literal["binary", "rates", "real"]

_KINDS: dict[str, Observed] = {"binary": "binary", "quantised": "rates", "real": "real"}


def kind_of(spec: DataSpec, needed_by: str) -> Observed:
    """What data are to an autoencoder.

    Raises:
        UsageError: they are of another kind.
    """
    if spec.observation not in _KINDS:
        raise UsageError(
            f"{needed_by} needs binary, quantised or real data, but data {shown(spec.name)} are {spec.in_words}: "
            "of counts take 'deep_autoencoder'."
        )
    return _KINDS[spec.observation]


def start_of(spec: DataSpec, observed: Observed) -> Tensor:
    """A bias, (D,), at the mean of the data; 0 where it is not known."""
    if spec.mean is None:
        return torch.zeros(spec.num_features)
    return spec.mean.clone() if observed == "real" else BernoulliLikelihood(spec).bias_at(spec.mean)


def given_outputs(observed: Observed, outputs: Tensor) -> Any:
    """p(x | outputs), (..., D): means of real x, logits of others."""
    if observed == "real":
        return dist.Normal(outputs, 1.0).to_event(1)
    family = dist.Bernoulli if observed == "binary" else BernoulliRates
    return family(logits=outputs).to_event(1)


class Context(nn.Module):
    """p(s | h) of the contexts s, (B, D_s), of data (x, s).

    Parameters: ``weight`` A (H, D_s), ``bias`` d (D_s,).

    Args:
        spec: of the data; its ``source`` is what a context is.
        size: H.
        strength: a.

    Raises:
        UsageError: the data have no such vectors beside x, or not those of the same row.
    """

    def __init__(self, spec: DataSpec, size: int, strength: float) -> None:
        super().__init__()
        if spec.source is None or spec.paired != "all":
            has = "one set" if spec.source is None else "two sets whose rows do not belong together"
            raise UsageError(
                f"context={strength:g} needs a context s beside each datum x, and data {shown(spec.name)} are {has}: "
                f"load x and s as data set 'two_sets', s its source, with {setting('D', 'paired', 'all')}, or leave "
                "context at 0."
            )
        self.observed, self.strength = kind_of(spec.source, "the context of an autoencoder"), strength
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(size, spec.source.num_features)))
        self.bias = nn.Parameter(start_of(spec.source, self.observed))

    def observe(self, h: Tensor, s: Tensor) -> None:
        """The site ``s``, in the plate of the data, of codes h (K, B, H); it counts ``strength`` times."""
        with poutine.scale(scale=self.strength):
            pyro.sample("s", self.given(h), obs=s)  # (B, D_s)

    def given(self, h: Tensor) -> Any:
        """p(s | h), event shape (D_s,)."""
        return given_outputs(self.observed, self.bias + h @ self.weight)
