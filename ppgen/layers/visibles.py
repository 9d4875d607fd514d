"""Visible layers of energy-based pairs: one exponential family a kind of data.

With natural parameters eta = bias + W h, one number a row of the weight matrix,

    p(v | h) = exp(phi(v) eta - A(eta)) m(v),        A(eta) = log sum_v exp(phi(v) eta) m(v)        (nats)

so that log p~(v, h) = phi(v) (bias + W h) + log m(v) + n c h, with c the hidden units' biases. Of n, the *size* of a
datum, A and the hidden biases are multiples for counts of n words; everything else has n = 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppgen.arguments import checked, one_of
from ppgen.data.spec import DataSpec
from ppgen.data.validate import check_kind
from ppgen.distributions.bag_of_words import BagOfWords, draw_counts
from ppgen.errors import UsageError, setting, shown
from ppgen.layers.words import check_no_symbols

__all__ = [
    "BernoulliLayer",
    "CategoricalLayer",
    "CountsLayer",
    "GaussianLayer",
    "VisibleLayer",
    "draw_binary",
    "draw_one_hot",
    "visible_layer",
]


def draw_binary(logits: Tensor) -> Tensor:
    """One draw of Bernoulli(sigmoid(logits)), in the logits' type: a quarter of the time of ``torch.bernoulli``."""
    return (torch.rand_like(logits) < logits.sigmoid()).to(logits.dtype)


def draw_one_hot(logits: Tensor) -> Tensor:
    """One draw of a softmax unit, as a one-hot, (..., C) -> (..., C), by the largest of logits with Gumbel noise."""
    noisy = logits - torch.rand_like(logits).log().neg().log()
    return torch.nn.functional.one_hot(noisy.argmax(-1), logits.shape[-1]).to(logits.dtype)


class VisibleLayer(nn.Module, ABC):
    """p(v | eta) of one datum v, (..., D), with natural parameters eta, (..., num_units).

    To add one: 1. subclass, 2. write the four methods, 3. name it in ``LAYERS`` and, where a kind of data asks for
    it, in ``DEFAULTS``.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.spec = spec
        self.num_features = self.num_units = spec.num_features

    @abstractmethod
    def statistics(self, v: Tensor) -> Tensor:
        """phi(v), (..., D) -> (..., num_units)."""

    @abstractmethod
    def log_normaliser(self, eta: Tensor, size: Tensor) -> Tensor:
        """A(eta), (..., num_units) -> (...,), for data of a size that broadcasts to (..., 1)."""

    @abstractmethod
    def sample(self, eta: Tensor, size: Tensor) -> Tensor:
        """One draw of p(v | eta), (..., num_units) -> (..., D)."""

    @abstractmethod
    def mean(self, eta: Tensor, size: Tensor) -> Tensor:
        """E[v | eta], (..., num_units) -> (..., D)."""

    def initial_bias(self, mean: Tensor | None) -> Tensor:
        """The bias at which p(v) without hidden units has the training mean; zeros without one. (num_units,)"""
        return torch.zeros(self.num_units) if mean is None else self.bias_at(mean)

    def bias_at(self, mean: Tensor) -> Tensor:
        """The bias at which p(v) without hidden units has that mean: here the mean itself. (num_units,)"""
        return mean.clone()

    def log_prob(self, v: Tensor, eta: Tensor) -> Tensor:
        """log p(v | eta), in nats: (..., D) and (..., visible) -> (...,)."""
        own = (self.statistics(v) * eta).sum(-1) + self.log_measure(v)
        return own - self.log_normaliser(eta, self.size(v))

    def log_measure(self, v: Tensor) -> Tensor:
        """log m(v), (..., D) -> (...,)."""
        return v.new_zeros(v.shape[:-1])

    def check(self, v: Tensor) -> None:
        """Whether v, (B, D), holds data of this kind.

        Raises:
            UsageError: a number is none of those that the layer can produce.
        """
        check_kind(f"a batch for a {DEFAULTS[self.spec.observation]} layer", v, self.spec)

    def advice_on(self, v: Tensor) -> str:
        """What speaks against data like v, (B, D), that the layer can take: a sentence, or empty."""
        return ""

    def sizes(self, v: Tensor) -> Tensor | None:
        """n of each datum, (B, D) -> (B,), where log Z depends on it; None: it does not."""
        return None

    def size(self, v: Tensor) -> Tensor:
        """n of each datum, of a shape that broadcasts to (..., 1)."""
        return v.new_ones(())

    def usual_size(self, like: Tensor) -> Tensor:
        """n of draws that follow no datum."""
        return like.new_ones(())


class BernoulliLayer(VisibleLayer):
    """v in {0, 1}^D: phi(v) = v, A(eta) = sum_i softplus(eta_i)."""

    def statistics(self, v: Tensor) -> Tensor:
        return v

    def log_normaliser(self, eta: Tensor, size: Tensor) -> Tensor:
        return softplus(eta).sum(-1)

    def sample(self, eta: Tensor, size: Tensor) -> Tensor:
        return draw_binary(eta)

    def mean(self, eta: Tensor, size: Tensor) -> Tensor:
        return eta.sigmoid()

    def bias_at(self, mean: Tensor) -> Tensor:
        """The mean's logit, the mean clipped to [0.001, 0.999]."""
        return mean.clamp(0.001, 0.999).logit()


_FAR = 5.0
"""Factor beyond which the scale of data is far from the one that a Gaussian layer begins at, 1."""


class GaussianLayer(VisibleLayer):
    """Real v with learned scales s (Cho et al. 2011): v | h ~ N(eta, s^2), phi(v) = v / s^2; s starts at 1."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.log_scale = nn.Parameter(torch.zeros(spec.num_features))

    def statistics(self, v: Tensor) -> Tensor:
        return v * (-2 * self.log_scale).exp()

    def log_measure(self, v: Tensor) -> Tensor:
        return -0.5 * (v * (-self.log_scale).exp()).square().sum(-1)

    def log_normaliser(self, eta: Tensor, size: Tensor) -> Tensor:
        each = 0.5 * (eta * (-self.log_scale).exp()).square() + self.log_scale + 0.5 * math.log(2 * math.pi)
        return each.sum(-1)

    def advice_on(self, v: Tensor) -> str:
        scale, mean = v.std(0, correction=0), v.mean(0)
        scale = scale[scale > 0]
        if not len(scale) or (float(scale.median()) >= 1 / _FAR and float(scale.max()) <= _FAR):
            return ""
        means, scales = (f"{float(a.min()):.3g} to {float(a.max()):.3g}" for a in (mean, scale))
        return (
            f"the features of data {shown(self.spec.name)} have standard deviations of {scales} and means of {means}, "
            "and a Gaussian layer begins at scales of 1, which are learned slowly: standardise the data "
            f"({setting('D', 'standardise', True)})."
        )

    def sample(self, eta: Tensor, size: Tensor) -> Tensor:
        return eta + self.log_scale.exp() * torch.randn_like(eta)

    def mean(self, eta: Tensor, size: Tensor) -> Tensor:
        return eta


class CategoricalLayer(VisibleLayer):
    """v_i = k / (L - 1), k = 0..L-1, each a softmax unit: phi(v) is one-hot, (D L,), A(eta) = sum_i logsumexp eta_i."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        assert spec.levels is not None  # visible_layer has checked it
        self.levels = spec.levels
        self.num_units = spec.num_features * spec.levels

    def statistics(self, v: Tensor) -> Tensor:
        level = (v * (self.levels - 1)).round().unsqueeze(-1)  # (..., D, 1)
        is_level = level == torch.arange(self.levels, device=v.device)  # (..., D, L)
        return is_level.to(v.dtype).flatten(-2)

    def log_normaliser(self, eta: Tensor, size: Tensor) -> Tensor:
        return self._by_feature(eta).logsumexp(-1).sum(-1)

    def sample(self, eta: Tensor, size: Tensor) -> Tensor:
        below = self._by_feature(eta).softmax(-1).cumsum(-1)[..., :-1]  # (..., D, L - 1)
        level = (torch.rand_like(below[..., :1]) >= below).sum(-1)
        return level.to(eta.dtype) / (self.levels - 1)

    def mean(self, eta: Tensor, size: Tensor) -> Tensor:
        values = torch.linspace(0, 1, self.levels, dtype=eta.dtype, device=eta.device)
        return self._by_feature(eta).softmax(-1) @ values

    def bias_at(self, mean: Tensor) -> Tensor:
        """Zeros: a mean does not tell how often each level occurs."""
        return torch.zeros(self.num_units)

    def _by_feature(self, eta: Tensor) -> Tensor:
        return eta.reshape(*eta.shape[:-1], self.num_features, self.levels)


class CountsLayer(VisibleLayer):
    """Replicated softmax (Salakhutdinov and Hinton 2009): v counts the n words of a document over D terms.

    phi(v) = v, A(eta) = n logsumexp(eta), m(v) the multinomial coefficient, and hidden biases count n times. There
    is one distribution for each n, with a log Z of its own: ``length`` says for which n it is asked.
    """

    def __init__(self, spec: DataSpec, length: int | None = None) -> None:
        super().__init__(spec)
        self.length = length

    def statistics(self, v: Tensor) -> Tensor:
        return v

    def log_measure(self, v: Tensor) -> Tensor:
        return BagOfWords.log_orders(v)

    def size(self, v: Tensor) -> Tensor:
        return v.sum(-1, keepdim=True)

    def sizes(self, v: Tensor) -> Tensor | None:
        return v.sum(-1)

    def usual_size(self, like: Tensor) -> Tensor:
        if self.length is None:
            raise UsageError(
                "draws and log Z of an RBM over counts are those of documents of one length, and neither pair nor data "
                "have one: make the pair with length=<words in a document>."
            )
        return like.new_tensor(float(self.length))

    def log_normaliser(self, eta: Tensor, size: Tensor) -> Tensor:
        return eta.logsumexp(-1) * size.squeeze(-1)

    def sample(self, eta: Tensor, size: Tensor) -> Tensor:
        return draw_counts(eta.softmax(-1), size.squeeze(-1).expand(eta.shape[:-1]))

    def mean(self, eta: Tensor, size: Tensor) -> Tensor:
        return size * eta.softmax(-1)

    def bias_at(self, mean: Tensor) -> Tensor:
        return mean.clamp_min(1e-6).log()


LAYERS: dict[str, type[VisibleLayer]] = {
    "bernoulli": BernoulliLayer,
    "gaussian": GaussianLayer,
    "categorical": CategoricalLayer,
    "counts": CountsLayer,
}
"""The layers by name."""

DEFAULTS = {"binary": "bernoulli", "real": "gaussian", "quantised": "categorical", "counts": "counts"}
"""The layer of a kind of data."""

_TAKES = {layer: observation for observation, layer in DEFAULTS.items()}


@checked
def visible_layer(spec: DataSpec, kind: str | None = None, length: int | None = None) -> VisibleLayer:
    """The layer of that kind, or the one that suits the data.

    Args:
        spec: what one datum is.
        kind: a name in ``LAYERS``; None: that of ``spec.observation``.
        length: words in a document, for counts and nothing else; None: ``spec.length``.

    Raises:
        UsageError: an unknown kind, one that does not fit the data, or a length where there is none.
    """
    check_no_symbols(spec)
    if spec.observation == "any":
        raise UsageError(
            f"data {shown(spec.name)} are as they were given and say no layer: make them with ppgen.dataset_from, "
            "which does."
        )
    if spec.observation not in DEFAULTS:
        raise UsageError(
            f"a visible layer needs binary, real, quantised or counts data, and data {shown(spec.name)} are "
            f"{spec.in_words}."
        )
    kind = DEFAULTS[spec.observation] if kind is None else kind
    one_of("expected a kind of visible layer, got", kind, LAYERS)
    if spec.observation != _TAKES[kind]:
        raise UsageError(
            f"a {kind} layer needs {_TAKES[kind]} data, and data {shown(spec.name)} are {spec.observation}: "
            f"leave visible out for a {DEFAULTS[spec.observation]} layer, or load the data as {_TAKES[kind]}."
        )
    if kind != "counts":
        if length is not None:
            raise UsageError(f"length is that of documents, for visible='counts'; the visible layer is {kind}.")
        return LAYERS[kind](spec)
    return CountsLayer(spec, spec.length if length is None else length)
