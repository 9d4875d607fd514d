"""The path along which documents of a replicated softmax grow, word by word, by its hidden bits h alone.

With eta = b + W u, u the values of the hidden units, m = floor(n) and t = n - m,

    p~_n(h) = exp(h a + m (c u + logsumexp(eta)) + t c u + logsumexp((1 - t) b_0 + t eta)) sum_y exp(d_y + U_y u)

is that of documents of m words and one word more that is tempered: b_0 are log-rates, so that it is that of m words at
t = 0, and of m + 1 at t = 1. At n = 0 the bits are independent given y. a are the bits' own logits; without labels the
last factor is 1. A sweep draws the words, the one more and the label given h, and h given these.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.distributions.bag_of_words import draw_words
from ppgen.layers.hiddens import HiddenLayer
from ppgen.layers.visibles import draw_one_hot

__all__ = ["GrowingDocuments"]


@dataclass(frozen=True, eq=False)
class GrowingDocuments:
    """A path over hidden bits h, (..., S), at any number of words n >= 0; a :class:`ppgen.pairs.path.Path`.

    Args:
        hidden: the hidden units.
        weight: W, (V, H).
        visible_bias: b, (V,).
        base_bias: log-rates of words, (V,), whatever their sum.
        hidden_bias: c, (H,), counted once a word.
        label_weight: U, (C, H); one row of zeros without labels.
        label_bias: d, (C,).
    """

    hidden: HiddenLayer
    weight: Tensor
    visible_bias: Tensor
    base_bias: Tensor
    hidden_bias: Tensor
    label_weight: Tensor
    label_bias: Tensor

    def base_sample(self, num: int) -> Tensor:
        y = draw_one_hot(self._of_labels().expand(num, -1))  # (num, C)
        return self.hidden.sample(y @ self.label_weight)

    def base_log_z(self) -> Tensor:
        return self._of_labels().logsumexp(-1)

    def log_tempered(self, s: Tensor, n: Tensor) -> Tensor:
        n = torch.as_tensor(n, dtype=s.dtype, device=s.device)
        m, u = n.floor(), self.hidden.values(s)
        eta, per_word = self.visible_bias + u @ self.weight.T, u @ self.hidden_bias  # (..., V), (...,)
        log_p = self.hidden.own(s) + (u @ self.label_weight.T + self.label_bias).logsumexp(-1)
        log_p = log_p + m * eta.logsumexp(-1) + n * per_word
        return log_p + self._one_more(eta, n - m).logsumexp(-1) if bool((n > m).any()) else log_p

    @torch.no_grad()
    def tempered_sweep(self, s: Tensor, n: Tensor) -> Tensor:
        n = torch.as_tensor(n, dtype=s.dtype, device=s.device).expand(s.shape[:-1])  # (M,)
        m, u = n.floor(), self.hidden.values(s)
        eta, t = self.visible_bias + u @ self.weight.T, (n - m).unsqueeze(-1)  # (M, V), (M, 1)
        words = draw_words(eta.softmax(-1), m)
        if bool((t > 0).any()):
            words = words + t * draw_one_hot(self._one_more(eta, n - m))
        y = draw_one_hot(u @ self.label_weight.T + self.label_bias)
        return self.hidden.sample(words @ self.weight + n.unsqueeze(-1) * self.hidden_bias + y @ self.label_weight)

    def _one_more(self, eta: Tensor, t: Tensor) -> Tensor:
        """The logits of the tempered word, (..., V)."""
        return torch.lerp(self.base_bias.log_softmax(-1).to(eta), eta, t.unsqueeze(-1))

    def _of_labels(self) -> Tensor:
        """log of the sum over h of p~_0(h, y), (C,)."""
        return self.label_bias + self.hidden.log_partition(self.label_weight)
