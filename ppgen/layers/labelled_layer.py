"""A visible layer with one unit more, the class of a datum."""

from __future__ import annotations

import torch
from torch import Tensor

from ppgen.layers.visibles import VisibleLayer, draw_one_hot

__all__ = ["LabelledLayer"]


class LabelledLayer(VisibleLayer):
    """A datum of another layer beside the one-hot of its class: v = (x, y), phi(v) = (phi(x), y), and A(eta) is that
    layer's plus logsumexp(eta_y) (Larochelle and Bengio 2008)."""

    def __init__(self, layer: VisibleLayer, num_classes: int) -> None:
        super().__init__(layer.spec)
        self.unlabelled, self.num_classes = layer, num_classes
        self.num_features, self.num_units = layer.num_features + num_classes, layer.num_units + num_classes

    def statistics(self, v: Tensor) -> Tensor:
        x, y = self.split(v)
        return torch.cat([self.unlabelled.statistics(x), y], -1)

    def log_measure(self, v: Tensor) -> Tensor:
        return self.unlabelled.log_measure(self.split(v)[0])

    def log_normaliser(self, eta: Tensor, size: Tensor) -> Tensor:
        own, logits = self._parts(eta)
        return self.unlabelled.log_normaliser(own, size) + logits.logsumexp(-1)

    def sample(self, eta: Tensor, size: Tensor) -> Tensor:
        own, logits = self._parts(eta)
        return torch.cat([self.unlabelled.sample(own, size), draw_one_hot(logits)], -1)

    def mean(self, eta: Tensor, size: Tensor) -> Tensor:
        own, logits = self._parts(eta)
        return torch.cat([self.unlabelled.mean(own, size), logits.softmax(-1)], -1)

    def initial_bias(self, mean: Tensor | None) -> Tensor:
        return torch.cat([self.unlabelled.initial_bias(mean), torch.zeros(self.num_classes)])

    def check(self, v: Tensor) -> None:
        self.unlabelled.check(self.split(v)[0])

    def advice_on(self, v: Tensor) -> str:
        return self.unlabelled.advice_on(v)

    def sizes(self, v: Tensor) -> Tensor | None:
        return self.unlabelled.sizes(self.split(v)[0])

    def size(self, v: Tensor) -> Tensor:
        return self.unlabelled.size(self.split(v)[0])

    def usual_size(self, like: Tensor) -> Tensor:
        return self.unlabelled.usual_size(like)

    def split(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """x, (..., D), and the one-hot of y, (..., C)."""
        return v[..., : -self.num_classes], v[..., -self.num_classes :]

    def _parts(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        return eta[..., : -self.num_classes], eta[..., -self.num_classes :]
