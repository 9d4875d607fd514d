"""The deep belief net: directed layers below a restricted Boltzmann machine.

    log p(v, h_1 .. h_L) = log p(v | h_1) + sum_{l=1}^{L-2} log p(h_l | h_{l+1}) + log p(h_{L-1}, h_L)

    p(v | h_1): the visible layer's family at visible_bias + weight_1 h_1
    p(h_l | h_{l+1}) = Bernoulli(sigmoid(hidden_bias_l + weight_{l+1} h_{l+1}))
    log p(h_{L-1}, h_L) = hidden_bias_{L-1} h_{L-1} + h_{L-1}' weight_L h_L + hidden_bias_L h_L - log Z

    q(h_l | h_{l-1}) = Bernoulli(sigmoid(recognition_bias_l + recognition_weight_l' h_{l-1})),      l = 1 .. L-1

h_L is summed out. Z is that of the machine on top, and the layers below are normalised: with K draws of q, the
log-mean-exp of the log-weights less log Z is a lower bound of log p(v). A chain's state is h_{L-1}, moved by sweeps of
the machine on top; from there v is drawn downwards.

    F(v) = -log sum_{h_1 .. h_{L-1}} exp log p~(v, h_1 .. h_{L-1})        (nats)

With labels y the machine on top has h_{L-1} and the one-hot of y as its visible units, and

    p(y | x) = softmax_y(-F_L(m, y)),      m: the means that the guide passes upwards,

is that of the machine on top at means: an approximation of p(y | x), good where the guide is sure.

*Mirrored*, a machine begins as the one below it turned over: W_{l+1} is W_l', its hidden bias the bias of h_{l-1}, its
visible bias that of h_l. The net then begins with the distribution that its first machine has learnt, and of two layers
with its exact posterior (section 4 there); units beyond those below begin as they do in any machine, near independent.

F is summed over up to 2^12 states; beyond, ``free_energy`` is a draw of its bound, log q(h | v) - log p~(v, h), h ~ q.

Reference: A Fast Learning Algorithm for Deep Belief Nets, Hinton, Osindero and Teh, 2006. The bound and log Z by AIS:
On the Quantitative Analysis of Deep Belief Networks, Salakhutdinov and Murray, 2008.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Annotated, Any

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Len
from pyro.poutine.util import is_validation_enabled
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppgen.arguments import Sizes
from ppgen.data import DataSpec
from ppgen.distributions.binary_states import binary_states
from ppgen.layers.labels import Labelled, classes_of, relabelled
from ppgen.layers.visibles import BernoulliLayer, VisibleLayer, draw_binary
from ppgen.pairs.pair import Pair
from ppgen.pairs.running import Batch
from ppgen.pairs.stack import DirectedStack
from ppgen.registry import MODELS, Recommended, register_model

__all__ = ["DBN"]

SUMMED = 12
"""Units in h_1 .. h_{L-1} that are summed out exactly, at most."""


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    return DBN(spec, (3, 2)), (torch.rand(5, 6).round(),)


@register_model(
    "dbn",
    summary="deep belief net: directed layers below a restricted Boltzmann machine",
    reference="Hinton, Osindero and Teh, A fast learning algorithm for deep belief nets",
    year=2006,
    link="https://doi.org/10.1162/neco.2006.18.7.1527",
    tags=("energy-based", "discrete", "stages"),
    tiny=_tiny,
    recommended=Recommended("greedy, up_down", training={"epochs": 40, "batch_size": 100}),
)
class DBN(DirectedStack, Labelled):
    """Deep belief net. One batch is ``(x,)``, x of shape (B, D), or with labels ``(x, y)``, y (B,).

    Sites:
        h_1: (H_1,), in {0, 1}, in the plate ``data``; likewise h_2 .. h_{L-1}
        energy: (), a factor, in the plate ``data``: log p~(v, h) but for what the sites of h say

    Parameters: ``visible_bias``, and for l = 1 .. L ``weight_l`` (H_{l-1}, H_l) and ``hidden_bias_l`` (H_l,), those of
    the model; for l < L ``recognition_weight_l`` (H_{l-1}, H_l) and ``recognition_bias_l`` (H_l,), those of the guide.
    With labels also ``label_weight`` (C, H_L) and ``label_bias`` (C,).
    ``machines`` are the machines of neighbouring layers, whose parameters these are, but for the guide's weights, which
    are copies until ``up_down`` moves them apart.

    Args:
        spec: what one datum is; its mean, where known, is where ``visible_bias`` starts.
        hidden: H_1 .. H_L, from below; two to nine layers.
        labels: whether the label is a visible unit of the machine on top, of data loaded with ``labels=True``.
        mirrored: each machine that is as wide as the layer below the one below it begins as that one's mirror, once
            that has learnt (``greedy``), if that is of binary units.

    Raises:
        UsageError: a size is not positive, the data are of no kind that has a visible layer, or have no labels.

    >>> import ppgen
    >>> pair = DBN(DataSpec("bits", 4, "binary"), (3, 2))
    >>> [name for name, _ in pair.named_parameters()][:4]
    ['visible_bias', 'weight_1', 'hidden_bias_1', 'weight_2']
    """

    exact_guide = False
    weight_1: Tensor

    def __init__(
        self,
        spec: DataSpec,
        hidden: Annotated[Sizes, Len(2, 9)] = (500, 2000),
        *,
        labels: bool = False,
        mirrored: bool = False,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.hidden, self.observation, self.mirrored = tuple(hidden), spec.observation, mirrored
        self.num_classes = classes_of(spec, "DBN with labels") if labels else None
        kinds: list[dict[str, Any]] = [{}] * (len(hidden) - 2) + [{"num_classes": self.num_classes}]
        layers = zip(hidden[:-1], kinds, strict=True)
        specs = [spec, *(DataSpec("a layer of hidden units", size, "binary", **kind) for size, kind in layers)]
        sizes = zip(specs, hidden, strict=True)
        machines: list[Any] = [MODELS["rbm"].cls(b, size, labels=labels and b is specs[-1]) for b, size in sizes]
        self.layer: VisibleLayer = machines[0].layer
        self.visible_bias = machines[0].visible_bias
        for number, machine in enumerate(machines, start=1):
            above = machines[number].visible_bias if machine is not machines[-1] else machine.hidden_bias
            self.register_parameter(f"weight_{number}", machine.weight)
            self.register_parameter(f"hidden_bias_{number}", above)
        if labels:
            self.label_weight, self.label_bias = machines[-1].label_weight, machines[-1].label_bias
        for number, machine in enumerate(machines[:-1], start=1):
            self.register_parameter(f"recognition_weight_{number}", nn.Parameter(machine.weight.detach().clone()))
            self.register_parameter(f"recognition_bias_{number}", machine.hidden_bias)
        self.machines = nn.ModuleList(machines)
        self.free_energy_is_exact = sum(hidden[:-1]) <= SUMMED

    def prepare(self, *batch: Tensor) -> None:
        """Check the batch, as Pyro's distributions do theirs: while its validation is on."""
        if is_validation_enabled():
            self.layer.check(batch[0])
            self.datum(batch)

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        label = self._split(self.datum((x, y)))[1]  # (B, C)
        with self.data_plate(x):
            size = self.hidden[-2]
            free = torch.zeros_like(getattr(self, f"hidden_bias_{len(self.hidden) - 1}"))
            h = pyro.sample(self._names[-1], dist.Bernoulli(logits=free).to_event(1))  # (K, B, H_{L-1})
            energy = size * math.log(2) - self._top_free_energy(h, label)
            for name, logits in self._downwards():
                h = pyro.sample(name, dist.Bernoulli(logits=logits(h)).to_event(1))  # (K, B, H_l)
            pyro.factor("energy", energy + self._log_visible(x, h))  # (K, B)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        with self.data_plate(x):
            h = self.layer.statistics(x)
            for number, name in enumerate(self._names, start=1):
                h = pyro.sample(name, dist.Bernoulli(logits=self._recognised(number, h)).to_event(1))  # (K, B, H_l)

    def free_energy(self, v: Tensor) -> Tensor:
        x, label = self._split(v)
        if not self.free_energy_is_exact:
            h = self.ascend((x,))
            return self._log_q(x, h) - self._log_joint(x, h, label)
        (states,) = binary_states(sum(self.hidden[:-1]), v)  # (S, sum H_l)
        split = states.reshape(len(states), *(1,) * (v.dim() - 1), -1).split(self.hidden[:-1], -1)
        return -self._log_joint(x, dict(zip(self._names, split, strict=True)), label).logsumexp(0)

    def label_log_probs(self, x: Tensor) -> Tensor:
        """log p(y | x) at the means that the guide passes upwards, (..., D) -> (..., C), in nats."""
        m = self.layer.statistics(x)
        for number in range(1, len(self.hidden)):
            m = self._recognised(number, m).sigmoid()
        top: Any = self.top
        found: Tensor = top.label_log_probs(m)
        return found

    def filters(self) -> Tensor | None:
        return self.weight_1.detach() if self.layer.num_units == self.layer.num_features else None

    def upper_filters(self) -> Sequence[Tensor]:
        weights = [getattr(self, f"weight_{number}").detach() for number in range(1, len(self.hidden) + 1)]
        return list(accumulate(weights, torch.matmul))[1:] if self.filters() is not None else ()

    def holding_labels(self, s: Tensor, batch: Batch) -> Tensor:
        return relabelled(s, batch, self.num_classes)

    @property
    def holds_labels(self) -> bool:
        return self.num_classes is not None

    def state_at(self, v: Tensor) -> Tensor:
        x, label = self._split(v)
        h = self.ascend((x,))[self._names[-1]]
        return self.top.state_at(h if label is None else torch.cat([h, label], -1))

    @torch.no_grad()
    def ascend(self, batch: Batch) -> dict[str, Tensor]:
        h, found = self.layer.statistics(batch[0]), {}
        for number, name in enumerate(self._names, start=1):
            found[name] = h = draw_binary(self._recognised(number, h))
        return found

    def state_of(self, latents: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return self.top.datum((latents[self._names[-1]], *batch[1:]))

    @torch.no_grad()
    def descend(self, s: Tensor) -> tuple[Batch, dict[str, Tensor]]:
        h = self.top.visible(s)
        found, label = {self._names[-1]: h}, s[..., h.shape[-1] :].argmax(-1) if self.num_classes else None
        for name, logits in self._downwards():
            found[name] = h = draw_binary(logits(h))
        eta = self.visible_bias + h @ self.weight_1.T  # (M, visible)
        x = self.layer.sample(eta, self.layer.usual_size(eta))
        return (x,) if label is None else (x, label), found

    @torch.no_grad()
    def shown_to(self, number: int, batch: Batch, *, sample: bool) -> Batch:
        h = batch[0]
        for below in range(1, number + 1):
            logits = self._recognised(below, self.layer.statistics(h) if below == 1 else h)
            h = draw_binary(logits) if sample else logits.sigmoid()
        return (h, *batch[1:]) if self.machines[number] is self.top else (h,)

    def settle(self, number: int) -> None:
        if number < len(self.machines) - 1:
            machine: Any = self.machines[number]
            getattr(self, f"recognition_weight_{number + 1}").copy_(machine.weight)
            if self.mirrored:
                self._mirror(machine, self.machines[number + 1])

    def _mirror(self, machine: Any, above: Any) -> None:
        """Begin the machine above as this one turned over, where its hidden units are enough for the visible ones."""
        below = machine.layer.num_units
        if isinstance(machine.layer, BernoulliLayer) and below <= len(above.hidden_bias):
            above.weight[:, :below] = machine.weight.T
            above.hidden_bias[:below] = machine.visible_bias
            above.visible_bias.copy_(machine.hidden_bias)

    @property
    def _names(self) -> list[str]:
        return [f"h_{number}" for number in range(1, len(self.hidden))]

    def _recognised(self, number: int, below: Tensor) -> Tensor:
        """The logits of q(h_l | h_{l-1}), (..., H_l), l = ``number``."""
        weight, bias = (getattr(self, f"recognition_{what}_{number}") for what in ("weight", "bias"))
        found: Tensor = below @ weight + bias
        return found

    def _downwards(self) -> list[tuple[str, _Logits]]:
        """The names of h_{L-2} .. h_1, and of each its logits given the layer above."""
        layers = range(len(self.hidden) - 2, 0, -1)
        return [(self._names[number - 1], _Logits(self, number)) for number in layers]

    def _log_visible(self, v: Tensor, h: Tensor) -> Tensor:
        """log p(v | h_1), (...,)."""
        eta = self.visible_bias + h @ self.weight_1.T  # (..., visible)
        return self.layer.log_prob(v, eta)

    def _split(self, v: Tensor) -> tuple[Tensor, Tensor | None]:
        """x, and the one-hot of its label where the datum holds it."""
        size = self.layer.num_features
        return v[..., :size], v[..., size:] if v.shape[-1] > size else None

    def _top_free_energy(self, h: Tensor, label: Tensor | None) -> Tensor:
        """F_L of h_{L-1}, and of its label where that is given, (...,)."""
        if label is not None:
            leading = torch.broadcast_shapes(h.shape[:-1], label.shape[:-1])
            h = torch.cat([h.expand(*leading, -1), label.expand(*leading, -1)], -1)
        return self.top.free_energy(h)

    def _log_joint(self, v: Tensor, latents: Mapping[str, Tensor], label: Tensor | None = None) -> Tensor:
        """log p~(v, h_1 .. h_{L-1}), and of the label where that is given, (...,)."""
        h = latents[self._names[-1]]
        total = -self._top_free_energy(h, label)
        for name, logits in self._downwards():
            total = total + _log_bernoulli(logits(h), latents[name])
            h = latents[name]
        return total + self._log_visible(v, h)

    def _log_q(self, v: Tensor, latents: Mapping[str, Tensor]) -> Tensor:
        """log q(h_1 .. h_{L-1} | v), (...,)."""
        h, total = self.layer.statistics(v), v.new_zeros(v.shape[:-1])
        for number, name in enumerate(self._names, start=1):
            logits = self._recognised(number, h)
            h = latents[name]
            total = total + _log_bernoulli(logits, h)
        return total


def _log_bernoulli(logits: Tensor, h: Tensor) -> Tensor:
    """log Bernoulli(h | sigmoid(logits)), summed over units: (..., H) -> (...,)."""
    return (h * logits - softplus(logits)).sum(-1)


class _Logits:
    """Those of p(h_l | h_{l+1}), (..., H_{l+1}) -> (..., H_l)."""

    def __init__(self, pair: DBN, number: int) -> None:
        self.weight, self.bias = getattr(pair, f"weight_{number + 1}"), getattr(pair, f"hidden_bias_{number}")

    def __call__(self, above: Tensor) -> Tensor:
        found: Tensor = self.bias + above @ self.weight.T
        return found
