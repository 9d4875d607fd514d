"""Small sigmoid belief networks, all of whose states are summed: what can be wrong with their guides and models.

    h_j ~ Bernoulli(sigmoid(b_j)), j = 1..F,    x_i | h ~ Bernoulli(sigmoid(W_i h + c_i)), i = 1..D

All 2^F states of h and all 2^D of x have a probability in a table. The guide draws h_1, then h_2 given h_1 and so on,
each by the conditional of any table q(h | x) that is asked for, so that it may be the posterior itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from ppgen.data import Dataset
from ppgen.pairs.pair import Pair
from ppgen.testing.planted.fault import Planted, as_data, planted
from ppgen.testing.planted.sizes import of_states

__all__ = ["Bits", "BitsPair", "states_of"]

_HIDDEN, _VISIBLE = 4, 8

Table = Callable[[Tensor], Tensor]
"""Of data (B, D), log q(h | x) of all states, (2^F, B)."""


def states_of(num: int) -> Tensor:
    """All states of so many bits, the first the one of most weight: (2^num, num), float64.

    >>> states_of(2).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    places = torch.arange(num - 1, -1, -1)
    return (torch.arange(2**num)[:, None] >> places & 1).double()


class BitsPair(Pair):
    """See the module; ``table`` is the guide's. Sites: h_0, h_1, ... (), x (D,) observed, all in the plate ``data``."""

    def __init__(self, weight: Tensor, bias: Tensor, visible_bias: Tensor, table: Table) -> None:
        super().__init__()
        self.weight, self.bias, self.visible_bias = map(nn.Parameter, (weight, bias, visible_bias))
        self.table = table

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            h = [pyro.sample(f"h_{j}", dist.Bernoulli(logits=b)) for j, b in enumerate(self.bias)]  # (K, B) each
            logits = torch.stack([each.expand(torch.broadcast_shapes(each.shape, x.shape[:1])) for each in h], -1)
            logits = logits @ self.weight.T + self.visible_bias  # (K, B, D)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        left = self.table(x).softmax(0)[None]  # (1, 2^F, B): of the states that go with what was drawn so far
        with self.data_plate(x):
            for j in range(len(self.bias)):
                off, on = left.chunk(2, 1)  # (K, states, B)
                mass_on, mass_off = on.sum(1), off.sum(1)
                fn = dist.Bernoulli(probs=(mass_on / (mass_on + mass_off)).clamp(1e-12, 1 - 1e-12).squeeze(0))
                h = pyro.sample(f"h_{j}", fn)  # (K, B)
                left = torch.where(h.reshape(-1, 1, h.shape[-1]) > 0, on, off)


@dataclass(frozen=True, eq=False)
class Bits:
    """W (D, F), b (F,) and c (D,)."""

    weight: Tensor
    bias: Tensor
    visible_bias: Tensor

    @classmethod
    def drawn(cls, scale: float = 1.5, shared: float = 0.0) -> Bits:
        """Weights of that scale, of which a share is the same for all h, so that these explain each other away."""
        own, same = torch.randn(_VISIBLE, _HIDDEN).double(), torch.randn(_VISIBLE, 1).double()
        weight = scale * ((1 - shared) ** 0.5 * own + shared**0.5 * same)
        return cls(weight, torch.randn(_HIDDEN).double() * 0.3, -weight.sum(1) / 2)

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, h) of data (B, D), for every state: (2^F, B)."""
        states = states_of(_HIDDEN)
        prior = (states * logsigmoid(self.bias) + (1 - states) * logsigmoid(-self.bias)).sum(1)
        logits = states @ self.weight.T + self.visible_bias  # (2^F, D)
        return prior[:, None] + logsigmoid(logits) @ x.T + logsigmoid(-logits) @ (1 - x).T

    def log_evidence(self) -> Tensor:
        """log p(x) of every x, (2^D,)."""
        return self.log_joint(states_of(_VISIBLE)).logsumexp(0)

    def pair(self, table: Table) -> BitsPair:
        """With that guide."""
        return BitsPair(self.weight, self.bias, self.visible_bias, table)

    def with_guide(self, change: Callable[[Tensor, Tensor], Tensor]) -> Planted:
        """The pair whose guide is a change of its posterior's table, given the data, on data of its model."""

        def table(x: Tensor) -> Tensor:
            return change(self.log_joint(x).log_softmax(0), x)

        data = drawn_from(self.log_evidence())
        x = data.rows("test")[0]
        off = of_states(table(x), self.log_joint(x), states_of(_HIDDEN))
        return Planted(self.pair(table), data, off.nats, off.deviations)

    def with_data(self, log_p: Tensor) -> Planted:
        """The pair with its posterior, on data of which every state has the given probability, (2^D,)."""
        p = log_p.softmax(0)
        nats = float((p * (log_p.log_softmax(0) - self.log_evidence())).sum())
        return Planted(self.pair(self.log_joint), drawn_from(log_p), nats)


def drawn_from(log_p: Tensor) -> Dataset:
    """Data of which every state has the given probability, (2^D,)."""
    states = states_of(_VISIBLE)
    return as_data(lambda num: states[torch.multinomial(log_p.exp(), num, replacement=True)], "binary")


def by_bits(log_q: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The table of independent bits whose logits, (B, F), are changed from those of the marginals of a table."""
    states = states_of(_HIDDEN)
    logits = change((log_q.softmax(0).T @ states).clamp(1e-9, 1 - 1e-9).logit())
    return states @ logsigmoid(logits).T + (1 - states) @ logsigmoid(-logits).T


@planted("bits")
def sound(t: float) -> Planted:
    """The posterior is the guide."""
    return Bits.drawn().with_guide(lambda log_q, x: log_q)


@planted("bits", "correlation left out")
def correlation_left_out(t: float) -> Planted:
    """Independent bits of the posterior's own probabilities, where bits explain each other away."""
    return Bits.drawn(0.3 + 1.5 * t, shared=0.8).with_guide(lambda log_q, x: by_bits(log_q, lambda logits: logits))


@planted("bits", "too sure")
def too_sure(t: float) -> Planted:
    """The posterior to the power 1 + 3 t."""
    return Bits.drawn(1.0).with_guide(lambda log_q, x: (1 + 3 * t) * log_q)


@planted("bits", "shifted")
def shifted(t: float) -> Planted:
    """One bit is on more often than it should be, or less: its logit is off by up to 2.5."""
    toward = 2.5 * t * (1 if float(torch.rand(())) < 0.5 else -1)
    return Bits.drawn(1.0).with_guide(lambda log_q, x: log_q + toward * states_of(_HIDDEN)[:, :1])


@planted("bits", "mode left out")
def mode_left_out(t: float) -> Planted:
    """The first two bits do the same, so that either explains a datum: one alone that does keeps a share of 1 - t."""
    own = Bits.drawn(1.2)
    own.weight[:, 1] = own.weight[:, 0]
    states = states_of(_HIDDEN)
    alone = states[:, :1] * (1 - states[:, 1:2])
    return own.with_guide(lambda log_q, x: log_q + alone * math.log(1 - min(t, 0.999)))


@planted("bits", "wrong for a share")
def wrong_for_a_share(t: float) -> Planted:
    """Of the data whose first bits are on, a fourth or so, all logits are off by up to 4."""

    def change(log_q: Tensor, x: Tensor) -> Tensor:
        return log_q + 4 * t * x[:, 0] * x[:, 1] * states_of(_HIDDEN)[:, :2].sum(1, keepdim=True)

    return Bits.drawn(1.0).with_guide(change)


@planted("bits", "zeros too many", "model")
def zeros_too_many(t: float) -> Planted:
    """Of the data a share of up to 0.4 is all zeros."""
    own, share = Bits.drawn(), 0.4 * t
    p = (1 - share) * own.log_evidence().exp()
    p[0] += share
    return own.with_data(p.log())


@planted("bits", "dependence left out", "model")
def dependence_left_out(t: float) -> Planted:
    """The last two bits of the data are the same in a share of up to 0.95 of those that the model would tell apart."""
    own = Bits.drawn(1.0)
    p, states = own.log_evidence().exp(), states_of(_VISIBLE)
    tied = (states[:, -1] == states[:, -2]).double()
    moved = 0.95 * t * p * (1 - tied)
    partner = torch.arange(len(p)) ^ 1  # the state with the last bit flipped
    return own.with_data((p - moved + moved[partner]).log())
