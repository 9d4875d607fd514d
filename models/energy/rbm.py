"""The restricted Boltzmann machine: visible and hidden units, and an energy between them.

    log p(v, h) = phi(v) (b + W h) + log m(v) + n c h - log Z,        h in {0, 1}^H

    p(h | v) = Bernoulli(sigmoid(W' phi(v) + n c)),        p(v | h): the visible layer's family at eta = b + W h

    F(v) = -phi(v) b - log m(v) - sum_j softplus((W' phi(v) + n c)_j)        (nats)

phi, m and n are the visible layer's (:mod:`ppgen.layers.visibles`): for binary v they are v, 1 and 1. The model states
log p(v, h) without log Z and the guide is p(h | v), so that every log-weight is -F(v).

With labels the visible units are x and the one-hot of y, which share the hidden units, and

    p(y | x) = softmax_y(-F(x, y)),        F(x) = -log sum_y exp(-F(x, y))

are sums over C classes.

A rectified unit is a stack of N bits that share its weights and c_j, with biases -1/2, -3/2, ..., -(N - 1/2) of their
own: h_j is how many of them are on, from 0 to N, its mean is near log(1 + e^x) at an input x of up to N, and the
softplus of F becomes sum_{i=1}^N softplus(x - i + 1/2). N is finite, so that all of this is exact.

Tempered, b goes to (1 - t) b_0 + t b, W to t W and c to t c: at t = 0 the units are independent and v has the rates
of the training data (Salakhutdinov and Murray 2008).

Reference: Information Processing in Dynamical Systems (the "harmonium"), Smolensky, 1986; Training Products of
Experts by Minimizing Contrastive Divergence, Hinton, 2002. Other visible layers: Exponential Family Harmoniums,
Welling, Rosen-Zvi and Hinton, 2005. Labels: Classification using Discriminative Restricted Boltzmann Machines,
Larochelle and Bengio, 2008. Rectified units: Rectified Linear Units Improve Restricted Boltzmann Machines, Nair and
Hinton, 2010.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.util import is_validation_enabled
from torch import Tensor, nn

from ppgen.arguments import Count
from ppgen.data import DataSpec
from ppgen.distributions.binary_states import binary_states, check_states
from ppgen.errors import UsageError
from ppgen.layers.growing_documents import GrowingDocuments
from ppgen.layers.hiddens import hidden_layer
from ppgen.layers.labelled_layer import LabelledLayer
from ppgen.layers.labels import Labelled, classes_of, relabelled
from ppgen.layers.visibles import BernoulliLayer, CountsLayer, VisibleLayer, draw_one_hot, visible_layer
from ppgen.pairs.pair import Pair
from ppgen.pairs.running import Batch
from ppgen.pairs.sampling import Draws
from ppgen.registry import Recommended, register_model

__all__ = ["RBM"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    return RBM(spec, 3), (torch.rand(5, 6).round(),)


@register_model(
    "rbm",
    summary="restricted Boltzmann machine: binary hidden units; binary, real, categorical or count data",
    reference="Hinton, Training products of experts by minimizing contrastive divergence",
    year=2002,
    link="https://doi.org/10.1162/089976602760128018",
    tags=("energy-based", "discrete"),
    tiny=_tiny,
    recommended=Recommended("pcd", training={"steps": 20_000, "batch_size": 100}),
)
class RBM(Labelled):
    """Restricted Boltzmann machine. One batch is ``(x,)``, x of shape (B, D), or with labels ``(x, y)``, y (B,).

    Sites:
        h: (H,), in {0, 1}, in the plate ``data``; of rectified units (H N,), the bits of each side by side
        energy: (), a factor, in the plate ``data``: log p~(v, h) over the uniform probability of h

    Parameters: ``weight`` (visible, H), ``visible_bias`` (visible,), ``hidden_bias`` (H,); ``layer`` is the visible
    layer, with scales of its own for real data. ``visible`` is D, and D times the number of levels for
    categorical data. With labels ``label_weight`` (C, H) and ``label_bias`` (C,) too; a chain's state is then x and the
    one-hot of y side by side, (D + C,), and what takes data takes such too, with their labels.

    Args:
        spec: what one datum is; its mean, where known, is where ``visible_bias`` and the tempered path start.
        hidden: H.
        visible: ``"bernoulli"``, ``"gaussian"`` (learned scales), ``"categorical"`` or ``"counts"`` (replicated
            softmax); None: as ``spec.observation`` says.
        length: words in a document, for draws and log Z of counts; None: ``spec.length``.
        labels: whether the label is a visible unit too, of data loaded with ``labels=True``.
        units: the hidden ones: ``"binary"``, or ``"rectified"``, stacks of bits.
        copies: N, the bits of a rectified unit; None: 10.

    Raises:
        UsageError: a size is not positive, the kind of visible layer does not fit the data, they have no labels, or
            ``copies`` of binary units.

    >>> import ppgen
    >>> pair = RBM(DataSpec("bits", 4, "binary"), hidden=2)
    >>> _ = nn.init.zeros_(pair.weight)
    >>> log_z = ppgen.log_z(pair, exact=True).value
    >>> round(2.718281828459045**log_z, 4)  # 2^6 states of equal energy
    64.0
    """

    topics_are: ClassVar[str] = "Topic j is by what hidden unit j, on, multiplies the rates of words, as shares."
    """What a page says of ``topics``."""

    base_bias: Tensor

    def __init__(
        self,
        spec: DataSpec,
        hidden: Count = 500,
        *,
        visible: str | None = None,
        length: Count | None = None,
        labels: bool = False,
        units: Literal["binary", "rectified"] = "binary",
        copies: Count | None = None,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.hidden, self.observation = hidden, spec.observation
        self.layer: VisibleLayer = visible_layer(spec, visible, length)
        self.units = hidden_layer(hidden, units, copies)
        self.weight = nn.Parameter(0.01 * torch.randn(self.layer.num_units, hidden))
        self.visible_bias = nn.Parameter(self.layer.initial_bias(spec.mean))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.num_classes = classes_of(spec, "RBM with labels") if labels else None
        if self.num_classes is not None:
            self.layer = LabelledLayer(self.layer, self.num_classes)
            self.label_weight = nn.Parameter(0.01 * torch.randn(self.num_classes, hidden))
            self.label_bias = nn.Parameter(torch.zeros(self.num_classes))
        self.register_buffer("base_bias", self._visible_bias.detach().clone())

    def prepare(self, *batch: Tensor) -> None:
        """Check the batch, as Pyro's distributions do theirs: while its validation is on."""
        if is_validation_enabled():
            self.layer.check(self.datum(batch))

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        logits, own = self._terms(self.datum((x, y)))  # (B, H), (B,)
        prior = self.units.bit_logits(torch.zeros_like(self.hidden_bias))  # (S,)
        with self.data_plate(x):
            h = pyro.sample("h", dist.Bernoulli(logits=prior).to_event(1))  # (K, B, S)
            pyro.factor("energy", own + (self.units.values(h) * logits).sum(-1) + self._log_states())  # (K, B)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        with self.data_plate(x):
            logits = self.units.bit_logits(self._terms(self.datum((x, y)))[0])
            pyro.sample("h", dist.Bernoulli(logits=logits).to_event(1))  # (K, B, S)

    def free_energy(self, v: Tensor) -> Tensor:
        if self._lacks_label(v):
            return -self._of_classes(v).logsumexp(-1)
        logits, own = self._terms(v)
        return -own - self.units.log_partition(logits)

    def label_log_probs(self, x: Tensor) -> Tensor:
        """log p(y | x), exact, (..., D) -> (..., C), in nats."""
        return self._of_classes(x).log_softmax(-1)

    def next_word_log_probs(self, x: Tensor) -> Tensor:
        """log p(w | x) of one word more, of documents x (..., V), in the model of n + 1 words, (..., V), in nats.

        Exact: in the order of words, p(w | x) is proportional to exp(-F(x + w)), and log Z cancels.
        """
        n = x.sum(-1, keepdim=True) + 1
        logits = (x @ self.weight + n * self.hidden_bias).unsqueeze(-2) + self.weight  # (..., V, H)
        if self.num_classes is None:
            return (self.visible_bias + self.units.log_partition(logits)).log_softmax(-1)
        each = self.units.log_partition(logits.unsqueeze(-2) + self.label_weight)  # (..., V, C)
        return (self.visible_bias + (self.label_bias + each).logsumexp(-1)).log_softmax(-1)

    def state_at(self, v: Tensor) -> Tensor:
        """The datum; one without its label beside a draw of p(y | x)."""
        return torch.cat([v, draw_one_hot(self.label_log_probs(v)).detach()], -1) if self._lacks_label(v) else v

    def visible(self, s: Tensor) -> Tensor:
        return s if self.num_classes is None else s[..., : -self.num_classes]

    def holding_labels(self, s: Tensor, batch: Batch) -> Tensor:
        return relabelled(s, batch, self.num_classes)

    @property
    def holds_labels(self) -> bool:
        return self.num_classes is not None

    @property
    def has_own_state(self) -> bool:
        return self.num_classes is not None

    def filters(self) -> Tensor | None:
        return self.weight.detach() if len(self.weight) == self.layer.spec.num_features else None

    def advice_on(self, x: Tensor) -> str:
        return self._unlabelled.advice_on(x)

    def unit_means(self, v: Tensor) -> Tensor:
        """Of binary units p(h = 1 | v), of rectified ones how many of their bits are on."""
        return self.units.means(self._terms(v)[0])

    def flip_gains(self, v: Tensor, features: Tensor) -> Tensor:
        """As the base's, by how each flip moves the hidden units' logits: M B H terms and no product of matrices."""
        if self._lacks_label(v):
            return super().flip_gains(v, features)
        sign = (1 - 2 * v[:, features].T).unsqueeze(-1)  # (M, B, 1)
        logits = self._terms(v)[0]  # (B, H)
        moved = logits + sign * self.weight[features].unsqueeze(1)  # (M, B, H)
        own = sign.squeeze(-1) * self.visible_bias[features, None]
        return -own - (self.units.log_partition(moved) - self.units.log_partition(logits))

    @property
    def topics(self) -> Tensor | None:
        """Of counts, by what each hidden unit multiplies the rates of words, as shares: softmax(W_j), (H, V)."""
        return self.weight.T.softmax(-1) if isinstance(self._unlabelled, CountsLayer) else None

    @torch.no_grad()
    def remake_data(self, batch: Batch) -> Draws:
        """Every datum after one sweep from it, and the mean of x given the means of h."""
        drawn, v = super().remake_data(batch), self.datum(batch)
        u = self.units.means(self._terms(v)[0])  # (B, H)
        mean = self.layer.mean(self._visible_bias + u @ self._weight.T, self.layer.size(v))
        return replace(drawn, mean=self.visible(mean), of_mean="what is expected of it after one step, h at its means")

    @torch.no_grad()
    def sweep(self, v: Tensor) -> Tensor:
        h = self.units.values(self.units.sample(self._terms(v)[0]))  # (..., H)
        return self.layer.sample(self._visible_bias + h @ self._weight.T, self.layer.size(v))

    def log_tempered(self, v: Tensor, b: Tensor | float) -> Tensor:
        phi, b = self.layer.statistics(v), torch.as_tensor(b, dtype=v.dtype, device=v.device)
        base, own = phi @ self.base_bias, phi @ self._visible_bias  # (...,)
        logits = b.unsqueeze(-1) * self._logits(v, phi)  # (..., H)
        return (1 - b) * base + b * own + self.layer.log_measure(v) + self.units.log_partition(logits)

    @torch.no_grad()
    def tempered_sweep(self, v: Tensor, b: Tensor | float) -> Tensor:
        b = torch.as_tensor(b, dtype=v.dtype, device=v.device).unsqueeze(-1)
        h = self.units.values(self.units.sample(b * self._logits(v, self.layer.statistics(v))))  # (..., H)
        eta = (1 - b) * self.base_bias + b * (self._visible_bias + h @ self._weight.T)
        return self.layer.sample(eta, self.layer.size(v))

    @torch.no_grad()
    def base_sample(self, num: int) -> Tensor:
        eta = self.base_bias.expand(num, -1)
        return self.layer.sample(eta, self.layer.usual_size(eta))

    def base_log_z(self) -> Tensor:
        size = self.layer.usual_size(self.base_bias)
        return self.layer.log_normaliser(self.base_bias, size.reshape(1)).squeeze() + self._log_states()

    def log_z_sizes(self, x: Tensor) -> Tensor | None:
        return self._unlabelled.sizes(x)

    def are_usual(self, sizes: Tensor) -> bool:
        return isinstance(self._unlabelled, CountsLayer) and bool((sizes == (self._unlabelled.length or 0)).all())

    def growing(self) -> GrowingDocuments:
        if not isinstance(self._unlabelled, CountsLayer):
            raise UsageError("only documents, of a layer of counts, have a log Z for each size.")
        base, zeros = self.base_bias[: len(self.weight)], self.weight.new_zeros(1, self.hidden)
        labels = (zeros, zeros[:, 0]) if self.num_classes is None else (self.label_weight, self.label_bias)
        return GrowingDocuments(self.units, self.weight, self.visible_bias, base, self.hidden_bias, *labels)

    @torch.no_grad()
    def exact_log_z(self) -> Tensor:
        """Binary machines sum over the side with fewer units, others over the hidden units."""
        features = self.layer.num_features
        if isinstance(self.layer, BernoulliLayer) and features < self.units.num_bits:
            check_states(features, "exact log Z")
            totals = [(-self.free_energy(v)).logsumexp(0) for v in binary_states(features, self.weight)]
            return torch.stack(totals).logsumexp(0)
        return self.exact_log_zs(self.layer.usual_size(self.weight).reshape(1)).squeeze(0)

    @torch.no_grad()
    def exact_log_zs(self, sizes: Tensor) -> Tensor:
        """By a sum over the hidden units."""
        check_states(self.units.num_bits, "exact log Z")
        totals = [self._hidden_part(h, sizes) for h in binary_states(self.units.num_bits, self.weight)]
        return torch.stack(totals).logsumexp(0)

    def _hidden_part(self, h: Tensor, sizes: Tensor) -> Tensor:
        """The sum over the states h (S, bits) at each size (n,), and over all data of that size: (n,)."""
        u, n = self.units.values(h), sizes.to(h)[:, None]  # (S, H), (n, 1)
        eta = self._visible_bias + u @ self._weight.T  # (S, visible)
        at_size = torch.stack([self.layer.log_normaliser(eta, size) for size in n])  # (n, S)
        return (n * (u @ self.hidden_bias) + self.units.own(h) + at_size).logsumexp(-1)

    def _log_states(self) -> Tensor:
        """The log of the sum over all bits where nothing acts on them but their own logits."""
        return self.units.log_partition(torch.zeros_like(self.hidden_bias))

    @property
    def _unlabelled(self) -> VisibleLayer:
        return self.layer.unlabelled if isinstance(self.layer, LabelledLayer) else self.layer

    @property
    def _weight(self) -> Tensor:
        """Of x, and of the label below it: (visible + C, H)."""
        return self.weight if self.num_classes is None else torch.cat([self.weight, self.label_weight])

    @property
    def _visible_bias(self) -> Tensor:
        return self.visible_bias if self.num_classes is None else torch.cat([self.visible_bias, self.label_bias])

    def _lacks_label(self, v: Tensor) -> bool:
        return self.num_classes is not None and v.shape[-1] == self.layer.num_features - self.num_classes

    def _of_classes(self, x: Tensor) -> Tensor:
        """-F(x, y) of every class, (..., D) -> (..., C).

        Raises:
            UsageError: the machine has no labels.
        """
        if not isinstance(self.layer, LabelledLayer):
            raise UsageError("this RBM has no labels: make it with labels=True, of data loaded with labels=True.")
        layer = self.layer.unlabelled
        phi = layer.statistics(x)
        logits = phi @ self.weight + layer.size(x) * self.hidden_bias  # (..., H)
        own = phi @ self.visible_bias + layer.log_measure(x)  # (...,)
        each = self.units.log_partition(logits.unsqueeze(-2) + self.label_weight)  # (..., C)
        return own.unsqueeze(-1) + self.label_bias + each

    def _terms(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden units' logits, (..., H), and what of log p~(v, h) no hidden unit has a part in, (...,)."""
        phi = self.layer.statistics(v)
        return self._logits(v, phi), phi @ self._visible_bias + self.layer.log_measure(v)

    def _logits(self, v: Tensor, phi: Tensor) -> Tensor:
        return phi @ self._weight + self.layer.size(v) * self.hidden_bias
