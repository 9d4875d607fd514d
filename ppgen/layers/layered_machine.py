"""Layers of binary units, each joined with the next, and perhaps one of labels on top: their energy by halves.

    log p~ = sum_k s_k b_k + sum_k s_{k-1} W_k s_k,        s_0 the visible layer, s_k in {0, 1}^{H_k}, a label one-hot

Odd layers are independent given even ones, and even ones given odd ones. A chain's state is the even half, side by
side, with the odd one summed out, and a sweep draws the odd half and then the even one.

Tempered, b: every weight and bias goes to b times itself, that of s_0 to (1 - b) b_base + b times it.

*Centered*, each s_k above stands less an offset o_k in the second sum, o_0 the mean of the data, 1/2 of hidden units
and 1 / C of C labels; a parameter is then the bias of a unit whose neighbours stand at their offsets, and b_k above it
less W_k' o_{k-1} + W_{k+1} o_{k+1}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppgen.distributions.binary_states import binary_states, check_states
from ppgen.layers.visibles import draw_binary, draw_one_hot
from ppgen.pairs.energy import EnergyPair

__all__ = ["LayeredMachine", "Layers"]

Layers: TypeAlias = Mapping[int, Tensor]
"""Values of some layers by their number, (..., units of the layer); v is layer 0."""


class LayeredMachine(EnergyPair):
    """The energy of layers, by their parameters.

    A subclass registers ``visible_bias``, ``weight_k`` and ``hidden_bias_k`` (k = 1, ..., L, from below), with labels
    ``label_weight`` (C, H_L) and ``label_bias`` (C,), and the buffer ``base_bias``; then it calls :meth:`centre` if it
    is centered.
    """

    base_bias: Tensor
    visible_bias: nn.Parameter
    sizes: tuple[int, ...]
    """Units of the visible layer and of the hidden ones, from below."""
    num_classes: int | None
    centered: bool = False

    @property
    def units(self) -> tuple[int, ...]:
        """Of every layer, that of the labels included."""
        return (*self.sizes, *((self.num_classes,) if self.num_classes else ()))

    def centre(self) -> None:
        """Make the offsets."""
        self.centered = True
        labels = [torch.full((size,), 1 / size) for size in self.units[len(self.sizes) :]]
        hidden = [torch.full((size,), 0.5) for size in self.sizes[1:]]
        for k, offset in enumerate([self.base_bias.sigmoid(), *hidden, *labels]):
            self.register_buffer(f"offset_{k}", offset)

    def sweep(self, s: Tensor) -> Tensor:
        return self.tempered_sweep(s, 1.0)

    def log_tempered(self, s: Tensor, b: Tensor | float) -> Tensor:
        return self.log_half(self._even(s), b)

    @torch.no_grad()
    def tempered_sweep(self, s: Tensor, b: Tensor | float) -> Tensor:
        even = self._even(s)
        odd = {k: self._draw(k, self.logits(k, even, b)) for k in range(1, len(self.units), 2)}
        return torch.cat([self._draw(k, self.logits(k, odd, b)) for k in even], -1)

    @torch.no_grad()
    def base_sample(self, num: int) -> Tensor:
        even = [self._draw(k, self._bias(k, 0.0).expand(num, -1)) for k in range(0, len(self.units), 2)]
        return torch.cat(even, -1)

    def base_log_z(self) -> Tensor:
        hidden = sum(self.sizes[1:]) * math.log(2) + math.log(self.num_classes or 1)
        return softplus(self.base_bias).sum() + hidden

    @torch.no_grad()
    def exact_log_z(self) -> Tensor:
        """Sums over the states of the half with fewer units, even layers or odd ones."""
        first = min((0, 1), key=lambda half: sum(self.sizes[half::2]))
        units = self.sizes[first::2]
        check_states(sum(units), "exact log Z")
        numbers, top = range(first, len(self.sizes), 2), len(self.sizes)
        classes = torch.eye(self.num_classes or 1, dtype=self.visible_bias.dtype, device=self.visible_bias.device)
        labels = {top: classes} if self.num_classes and (top - first) % 2 == 0 else {}
        totals = [
            self.log_half(dict(zip(numbers, states.unsqueeze(-2).split(units, -1), strict=True)) | labels).flatten()
            for states in binary_states(sum(units), self.visible_bias)
        ]
        return torch.stack([total.logsumexp(0) for total in totals]).logsumexp(0)

    def _even(self, s: Tensor) -> Layers:
        """v and h2 of a state, and the label where it is even too."""
        return dict(zip(range(0, len(self.units), 2), s.split(self.units[::2], -1), strict=True))

    def _draw(self, k: int, logits: Tensor) -> Tensor:
        return draw_binary(logits) if k < len(self.sizes) else draw_one_hot(logits)

    def _log_sum(self, k: int, logits: Tensor) -> Tensor:
        """log sum over the states of layer k of exp(state . logits), (...,)."""
        return softplus(logits).sum(-1) if k < len(self.sizes) else logits.logsumexp(-1)

    def weights(self, k: int) -> Tensor:
        """W_k, between layers k - 1 and k."""
        weight: Tensor = getattr(self, f"weight_{k}") if k < len(self.sizes) else self.label_weight.T
        return weight

    def own_bias(self, k: int) -> nn.Parameter:
        """The parameter of layer k, (units,)."""
        name = "visible_bias" if k == 0 else f"hidden_bias_{k}" if k < len(self.sizes) else "label_bias"
        bias: nn.Parameter = getattr(self, name)
        return bias

    def at_offsets(self, k: int) -> Tensor:
        """What layer k gets from its neighbours where they stand at their offsets, (units,)."""
        found = torch.zeros_like(self.own_bias(k))
        if k > 0:
            found = found + getattr(self, f"offset_{k - 1}") @ self.weights(k)
        if k + 1 < len(self.units):
            found = found + self.weights(k + 1) @ getattr(self, f"offset_{k + 1}")
        return found

    def plain_bias(self, k: int) -> Tensor:
        """The bias of layer k without offsets, that of the energy's first line."""
        return self.own_bias(k) - self.at_offsets(k) if self.centered else self.own_bias(k)

    def _bias(self, k: int, b: Tensor | float = 1.0) -> Tensor:
        """Of layer k, tempered."""
        bias = b * self.plain_bias(k)
        return bias if k else bias + (1 - b) * self.base_bias

    def logits(self, k: int, half: Layers, b: Tensor | float = 1.0) -> Tensor:
        """Of layer k given its neighbours, tempered, (..., units); b broadcasts with their leading dims."""
        logits, b = self._bias(k, _wide(b)), _wide(b)
        if k > 0:
            logits = logits + b * (half[k - 1] @ self.weights(k))
        if k + 1 < len(self.units):
            logits = logits + b * (half[k + 1] @ self.weights(k + 1).T)
        return logits

    def log_half(self, half: Layers, b: Tensor | float = 1.0, given: Layers | None = None) -> Tensor:
        """log p~_b of the even layers or the odd ones, the others at what is given or summed out, (...,)."""
        own = [(value * self._bias(k, _wide(b))).sum(-1) for k, value in half.items()]
        logits = {k: self.logits(k, half, b) for k in range(len(self.units)) if k not in half}
        others = [
            (given[k] * field).sum(-1) if given and k in given else self._log_sum(k, field)
            for k, field in logits.items()
        ]
        return reduce(torch.add, [*own, *others])


def _wide(b: Tensor | float) -> Tensor | float:
    """b beside the units of a layer."""
    return b.unsqueeze(-1) if isinstance(b, Tensor) else b
