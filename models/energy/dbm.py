"""The deep Boltzmann machine: layers of binary units, each joined with the next, and none within a layer.

    log p(v, h1, h2, ...) = b v + v W1 h1 + c1 h1 + h1 W2 h2 + c2 h2 + ... - log Z,        two hidden layers or three

    p(h1 | v, h2) = Bernoulli(sigmoid(c1 + v W1 + W2 h2)),    p(v | h1) = Bernoulli(sigmoid(b + W1 h1)),    ...

Odd layers (h1, h3) are independent given even ones (v, h2), and even ones given odd ones: a sweep draws the one half,
then the other. A chain's state is the even half, s = (v, h2), the odd one summed out:

    log p~(s) = b v + c2 h2 + sum over units of odd layers of softplus(their logit given s)

    F(v) = -log sum_{h2} p~(v, h2)        (nats)

Where that sum is short it is taken, and the guide is the exact p(h | v). Else q(h1) q(h2) ... is the mean field, for
each datum a fixed point to a stated tolerance (:mod:`ppgen.chains.mean_field`), and ``free_energy`` its bound

    F(v) <= -E_q[log p~(v, h)] - entropy of q,

whose gradient is the energy's at the means, since at the fixed point no mean can better it. The guide is then
*structured*: q(h2) of the mean field, and p(h1, h3 | v, h2), which is exact. Its log-weights are
log p~(v, h2) - log q(h2), in expectation nearer to -F(v) than the mean field's bound.

With labels the one-hot y of a datum is one more layer, joined with the top one, h_L:

    log p~(v, h, y) = log p~(v, h) + d y + y U h_L,        p(y | x) = softmax_y(-F(x, y))

Tempered, b: every weight and hidden bias goes to b times itself and the visible bias to (1 - b) b_0 + b times it; at
b = 0 the units are independent and v has the rates of the training data.

Learnt layer by layer (``greedy``), two layers lack a neighbour that they will have, and a copy stands in for it
(:mod:`ppgen.layers.copied_machine`): twice v in the bottom machine, twice the top layer in the top one. The machine
between learns weights of twice the size, which are halved. A hidden layer's bias becomes the mean of those it has in
the machine below and in the one above: the whole is a geometric mean of the machines.

*Centered*, the energy is written in states less an offset of each layer, o_0 the mean of the data and 1/2 elsewhere
(1 / C of C labels), and a bias is what a unit has when its neighbours stand there:

    log p~ = b v + (v - o_0) W1 (h1 - o_1) + c1 h1 + (h1 - o_1) W2 (h2 - o_2) + ...

The family is the same, each bias of the first line being the one here less W_k' o_{k-1} + W_{k+1} o_{k+1}. The gradient
is not: without offsets the weights of a layer whose units are all at 1/2 have one gradient in common, which moves the
biases next to it by as many steps as there are units, until those are saturated; here it is zero. So layers learn
together from random weights, without a stage of their own (Montavon and Mueller 2012, section 3).

Reference: Deep Boltzmann Machines, Salakhutdinov and Hinton, 2009. Centered: Deep Boltzmann Machines and the Centering
Trick, Montavon and Mueller, 2012.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from itertools import accumulate, pairwise
from typing import Annotated

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Len
from pyro.poutine.util import is_validation_enabled
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from ppgen.arguments import Count, Positive, Sizes
from ppgen.chains.mean_field import layered_means
from ppgen.data import DataSpec
from ppgen.distributions.binary_states import binary_states
from ppgen.distributions.joint_bernoulli import JointBernoulli
from ppgen.layers.copied_machine import CopiedMachine
from ppgen.layers.labels import Labelled, classes_of
from ppgen.layers.layered_machine import LayeredMachine, Layers
from ppgen.layers.visibles import BernoulliLayer, draw_binary, draw_one_hot, visible_layer
from ppgen.pairs.pair import Pair
from ppgen.pairs.running import Batch
from ppgen.pairs.stack import Stack
from ppgen.registry import Recommended, register_model

__all__ = ["DBM"]

SUMMED = 2**12
"""States of h2 times units of the odd layers, up to which a datum's h2 is summed out."""


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 5, "binary", num_data=20)
    return DBM(spec, (3, 2)), (torch.rand(5, 5).round(),)


@register_model(
    "dbm",
    summary="deep Boltzmann machine: two or three hidden layers of binary units, each joined with the next",
    reference="Salakhutdinov and Hinton, Deep Boltzmann machines",
    year=2009,
    link="https://proceedings.mlr.press/v5/salakhutdinov09a.html",
    tags=("energy-based", "discrete", "hierarchical"),
    tiny=_tiny,
    recommended=Recommended("greedy, mean_field_pcd", training={"steps": 20_000, "batch_size": 100}),
)
class DBM(Stack, Labelled, LayeredMachine):
    """Deep Boltzmann machine. One batch is ``(x,)``, x of shape (B, D), binary, or with labels ``(x, y)``, y (B,).

    Sites:
        h_1: (hidden[0],), in {0, 1}, in the plate ``data``; next to x
        h_2: (hidden[1],), in {0, 1}, in the plate ``data``; and h_3 where there are three
        energy: (), a factor, in the plate ``data``: log p~(v, h) over the uniform probability of h

    Parameters: ``visible_bias`` (D,); ``weight_1`` (D, hidden[0]), ``hidden_bias_1`` (hidden[0],); ``weight_2``
    (hidden[0], hidden[1]), ``hidden_bias_2`` (hidden[1],); ...; with labels ``label_weight`` U
    (C, hidden[-1]) and ``label_bias`` d (C,). ``machines`` are those of neighbouring layers, whose
    parameters these are.

    Args:
        spec: what one datum is; its mean, where known, is where ``visible_bias`` and the tempered path start.
        hidden: numbers of units, from the layer next to x upwards; two or three.
        tolerance: of the mean field: how far any mean of a datum may have moved in its last round. Its bound is off by
            the order of that squared.
        rounds: of the mean field, at most.
        labels: whether the label is a layer on top, of data loaded with ``labels=True``.
        centered: see above. ``greedy`` learns the biases of the first line, and turns them into these at its end.

    Raises:
        UsageError: data that are not binary or lack labels, another number of layers, or a size that is not positive.

    >>> import ppgen
    >>> pair = DBM(DataSpec("bits", 4, "binary"), hidden=(2, 3))
    >>> _ = [nn.init.zeros_(parameter) for parameter in pair.parameters()]
    >>> round(ppgen.log_z(pair, exact=True).value / math.log(2), 4)  # 2^9 states of equal energy
    9.0
    """

    weight_1: nn.Parameter

    def __init__(
        self,
        spec: DataSpec,
        hidden: Annotated[Sizes, Len(2, 3)] = (500, 1000),
        *,
        tolerance: Positive = 1e-2,
        rounds: Count = 30,
        labels: bool = False,
        centered: bool = False,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        layer = visible_layer(spec, "bernoulli")
        assert isinstance(layer, BernoulliLayer)
        self.layer, self.observation = layer, spec.observation
        self.hidden, self.tolerance, self.rounds = tuple(hidden), tolerance, rounds
        self.sizes = (layer.num_features, *self.hidden)
        terms = 2 ** self.sizes[2] * sum(self.sizes[1::2])
        self.exact_guide = self.free_energy_is_exact = terms <= SUMMED  # type: ignore[misc]  # of this machine
        self.visible_bias = nn.Parameter(layer.initial_bias(spec.mean))
        for k, (below, above) in enumerate(pairwise(self.sizes), start=1):
            self.register_parameter(f"weight_{k}", nn.Parameter(0.01 * torch.randn(below, above)))
            self.register_parameter(f"hidden_bias_{k}", nn.Parameter(torch.zeros(above)))
            self.register_buffer(f"bias_from_below_{k}", torch.zeros(above))
        self.num_classes = classes_of(spec, "DBM with labels") if labels else None
        if self.num_classes is not None:
            self.label_weight = nn.Parameter(0.01 * torch.randn(self.num_classes, self.hidden[-1]))
            self.label_bias = nn.Parameter(torch.zeros(self.num_classes))
        self.register_buffer("base_bias", self.visible_bias.detach().clone())
        if centered:
            self.centre()
        self.machines = nn.ModuleList(self._machine(k) for k in range(1, len(self.sizes)))

    def prepare(self, *batch: Tensor) -> None:
        """Check the batch, as Pyro's distributions do theirs: while its validation is on."""
        if is_validation_enabled():
            self.layer.check(batch[0])
            self.datum(batch)

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        v = self.datum((x, y))
        with self.data_plate(x):
            h = [
                pyro.sample(f"h_{k}", dist.Bernoulli(logits=x.new_zeros(size)).to_event(1))  # (K, B, hidden[k - 1])
                for k, size in enumerate(self.hidden, start=1)
            ]
            pyro.factor("energy", self._log_joint(v, self._bottom(v), h) + sum(self.hidden) * math.log(2))  # (K, B)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        v = self.datum((x, y))
        with self.data_plate(x):
            even = {**self._given(v), 2: pyro.sample("h_2", self.posterior(v))}  # (K, B, hidden[1])
            for k in range(1, len(self.sizes), 2):
                pyro.sample(f"h_{k}", dist.Bernoulli(logits=self.logits(k, even)).to_event(1))  # (K, B, hidden[k - 1])

    def posterior(self, v: Tensor) -> dist.TorchDistribution:
        """q(h2 | v), v with its label if any: exact where it can be summed, else that of the mean field."""
        if self.exact_guide:
            return JointBernoulli(self._joint(v))
        of_mean_field: dist.TorchDistribution = dist.Bernoulli(probs=self.mean_field(v)[1]).to_event(1)
        return of_mean_field

    def mean_field(self, v: Tensor) -> tuple[Tensor, ...]:
        """The means of h1, h2, ..., (..., hidden[k]) each, without a gradient."""
        return self._means(v, self._bottom(v))

    def free_energy(self, v: Tensor) -> Tensor:
        if self._lacks_label(v):
            return -self._of_classes(v).logsumexp(-1)
        return -self._joint(v).logsumexp(-1) if self.free_energy_is_exact else self.mean_field_free_energy(v)

    def mean_field_free_energy(self, v: Tensor) -> Tensor:
        if self._lacks_label(v):
            return -(-self.mean_field_free_energy(self._with_classes(v))).logsumexp(-1)
        bottom = self._bottom(v)
        means = self._means(v, bottom)
        m = torch.cat(means, -1)
        return -self._log_joint(v, bottom, means) - binary_cross_entropy(m, m, reduction="none").sum(-1)

    def label_log_probs(self, x: Tensor) -> Tensor:
        """log p(y | x), (..., D) -> (..., C), in nats; where F is a bound, of the bounds."""
        return self._of_classes(x).log_softmax(-1)

    def filters(self) -> Tensor | None:
        return self.weight_1.detach()

    def upper_filters(self) -> Sequence[Tensor]:
        weights = [self.weights(k).detach() for k in range(1, len(self.sizes))]
        return list(accumulate(weights, torch.matmul))[1:]

    def state_at(self, v: Tensor) -> Tensor:
        """The even half at a datum: h2 is a draw of the guide's, and a label that is lacking one of p(y | x)."""
        with torch.no_grad():
            if self._lacks_label(v):
                v = torch.cat([v, draw_one_hot(self.label_log_probs(v))], -1)
            even = {**self._given(v), 2: self.posterior(v).sample()}
            return torch.cat([even[k] for k in range(0, len(self.units), 2)], -1)

    def visible(self, s: Tensor) -> Tensor:
        return s[..., : self.layer.num_features]

    @property
    def can_be_held(self) -> bool:
        return self.num_classes is None

    def held_sweep(self, s: Tensor, b: Tensor | float) -> Tensor:
        size = self.layer.num_features
        return torch.cat([s[..., :size], self.tempered_sweep(s, b)[..., size:]], -1)

    @torch.no_grad()
    def shown_to(self, number: int, batch: Batch, *, sample: bool) -> Batch:
        h = batch[0]
        for k in range(1, number + 1):
            logits = self._bias_from_below(k) + 2 * (h @ self.weights(k))
            h = draw_binary(logits) if sample else logits.sigmoid()
        return (h,)

    @torch.no_grad()
    def settle(self, number: int) -> None:
        k = number + 1
        if k > 1:
            bias = self.own_bias(k - 1)
            bias.copy_((bias + self._bias_from_below(k - 1)) / 2)
        if 1 < k < len(self.hidden):
            self.weights(k).div_(2)
        self._bias_from_below(k).copy_(self.own_bias(k))
        if self.centered and k == len(self.hidden):
            for layer in range(len(self.units)):
                self.own_bias(layer).add_(self.at_offsets(layer))

    def _machine(self, k: int) -> CopiedMachine:
        """Of layers k - 1 and k, as it learns alone."""
        below, above = 2 if k == 1 else 1, 2 if k == len(self.hidden) else 1
        bias, base = self.own_bias(k - 1), torch.zeros(self.sizes[k - 1]) if k > 1 else self.base_bias
        return CopiedMachine(bias, self.get_parameter(f"weight_{k}"), self.own_bias(k), base, below=below, above=above)

    def _bias_from_below(self, k: int) -> Tensor:
        """The bias of layer k in the machine below it, once that has learnt."""
        bias: Tensor = getattr(self, f"bias_from_below_{k}")
        return bias

    def _given(self, v: Tensor) -> Layers:
        """x, and the label where the datum has one, by the number of the layer."""
        size = self.layer.num_features
        return {0: v[..., :size]} | ({len(self.sizes): v[..., size:]} if v.shape[-1] > size else {})

    def _lacks_label(self, v: Tensor) -> bool:
        return self.num_classes is not None and v.shape[-1] == self.layer.num_features

    def _with_classes(self, x: Tensor) -> Tensor:
        """x with each label, (..., D) -> (..., C, D + C)."""
        y = torch.eye(self.units[-1], dtype=x.dtype, device=x.device)
        leading = (*x.shape[:-1], len(y), -1)
        return torch.cat([x.unsqueeze(-2).expand(leading), y.expand(leading)], -1)

    def _of_classes(self, x: Tensor) -> Tensor:
        """-F(x, y) of each class, (..., D) -> (..., C)."""
        return -self.free_energy(self._with_classes(x))

    def _joint(self, v: Tensor) -> Tensor:
        """log p~(v, h2) of every h2 by its number, (..., 2^hidden[1])."""
        (h2,) = binary_states(self.sizes[2], v)
        given = {k: value.unsqueeze(-2) for k, value in self._given(v).items()}
        even = {k: value for k, value in given.items() if k % 2 == 0}
        return self.log_half({**even, 2: h2}, given=given)

    def _bottom(self, v: Tensor) -> Tensor:
        """What x and its bias give the logits of h1, (..., hidden[0])."""
        return self._given(v)[0] @ self.weight_1 + self.plain_bias(1)

    def _biases(self, v: Tensor) -> list[Tensor]:
        """Those of h2 and of h3, with what a label gives the top one."""
        biases: list[Tensor] = [self.plain_bias(k) for k in range(2, len(self.sizes))]
        if self.num_classes is not None:
            biases[-1] = biases[-1] + self._given(v)[len(self.sizes)] @ self.label_weight
        return biases

    def _means(self, v: Tensor, bottom: Tensor) -> tuple[Tensor, ...]:
        weights = [self.weights(k) for k in range(2, len(self.sizes))]
        return layered_means(bottom, self._biases(v), weights, self.tolerance, self.rounds)

    def _log_joint(self, v: Tensor, bottom: Tensor, h: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
        """log p~(v, h), (...,); at means in place of states its expectation."""
        own = [value @ self.plain_bias(k) for k, value in self._given(v).items()]
        total = reduce(torch.add, own) + (h[0] * bottom).sum(-1)
        for k, (bias, (below, above)) in enumerate(zip(self._biases(v), pairwise(h), strict=True), start=2):
            total = total + (above * (bias + below @ self.weights(k))).sum(-1)
        return total
