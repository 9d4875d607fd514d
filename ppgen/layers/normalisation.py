"""Normalisation of a hidden layer: by the batch that is given, or by a reference batch that never changes.

With h the inputs of a layer, (N, C) or (N, C, H, W), and for each of the C channels

    batch       y = (h - m) / sqrt(v + e),    m, v: mean and variance of the batch given, its running averages in eval()
    reference   m, v: mean and variance of the n reference data, wherever h comes from
    virtual     m, v: those of the n reference data and of the datum itself, as of n + 1 data

followed by a learned scale and shift, y s + b. By ``batch`` the output of a datum depends on the data beside it: it has
no output of its own in training, no slope of its own, and needs at least two data. By ``reference`` and ``virtual`` it
depends on itself and the reference alone, the same in training and evaluation, and nothing is carried from step to
step. The reference batch goes through the network at every call, for its statistics move with the weights: a call
costs as much as one of n more data. ``reference`` bounds no datum's output, however far it is from the n; ``virtual``
pulls the statistics towards it.

Improved Techniques for Training GANs, Salimans, Goodfellow, Zaremba, Cheung, Radford and Chen, 2016, section 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from ppgen.errors import UsageError

__all__ = ["BatchNorm", "Normalisation", "PictureNorm", "ReferenceNorm", "Referenced", "normalising"]

Normalisation: TypeAlias = Literal["none", "batch", "reference", "virtual"]


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over all dims but the last, which stays in place, and a learned ``shift``.

    In training by the mean and variance of what is given, in ``eval()`` by their running averages. It keeps the latents
    of an amortised guide from collapsing onto the prior in the first steps (Srivastava and Sutton 2017, section 3.3).

    Args:
        size: of the last dim.
        learn_scale: learn the standard deviation, too; else it is 1.

    Raises:
        UsageError: in training, when only one row is given: it has no variance.
    """

    def __init__(self, size: int, *, learn_scale: bool = False) -> None:
        super().__init__(size, affine=False)
        self.shift = nn.Parameter(torch.zeros(size))
        self.scale = nn.Parameter(torch.ones(size)) if learn_scale else None

    def forward(self, inputs: Tensor) -> Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1])
        _check_several(self, rows)
        normal = super().forward(rows).view_as(inputs)
        return (normal if self.scale is None else normal * self.scale) + self.shift


class PictureNorm(nn.BatchNorm2d):
    """Batch normalisation of the channels of pictures, (N, C, H, W), by the mean and variance over N, H and W.

    Raises:
        UsageError: in training, when only one picture is given.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        _check_several(self, inputs)
        return super().forward(inputs)


class ReferenceNorm(nn.Module):
    """Normalisation by the first ``num_reference`` rows of what is given: (n + N, C, ...) to the same.

    Args:
        size: C.
        num_reference: n.
        virtual: count each of the N data in, in the statistics that it is normalised by. The n data never are.

    >>> layer = ReferenceNorm(1, 2)
    >>> layer(torch.tensor([[-1.0], [1.0], [3.0]])).squeeze(1)
    tensor([-1.0000,  1.0000,  3.0000], grad_fn=<SqueezeBackward1>)
    """

    def __init__(self, size: int, num_reference: int, *, virtual: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_reference, self.virtual, self.eps = num_reference, virtual, eps
        self.scale = nn.Parameter(torch.ones(size))
        self.shift = nn.Parameter(torch.zeros(size))

    def forward(self, inputs: Tensor) -> Tensor:
        rows = inputs.flatten(2) if inputs.dim() > 2 else inputs[..., None]  # (n + N, C, P)
        reference, data = rows.split([self.num_reference, len(rows) - self.num_reference])
        variance, mean = torch.var_mean(reference, (0, 2), correction=0, keepdim=True)  # (1, C, 1)
        parts = [self._normal(reference, mean, variance)]
        if self.virtual:
            mean, variance = self._with_each(data, mean, variance)  # (N, C, 1)
        normal = torch.cat([*parts, self._normal(data, mean, variance)])
        return (normal * self.scale[:, None] + self.shift[:, None]).view_as(inputs)

    def _normal(self, rows: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return (rows - mean) * (variance + self.eps).rsqrt()

    def _with_each(self, data: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of n data and one more, for each of the N: (N, C, 1)."""
        n = self.num_reference
        own_variance, own_mean = torch.var_mean(data, 2, correction=0, keepdim=True)
        apart = n / (n + 1) ** 2 * (own_mean - mean).square()  # between the two groups
        return (n * mean + own_mean) / (n + 1), (n * variance + own_variance) / (n + 1) + apart


class Referenced(nn.Module):
    """A network whose layers normalise by a reference batch: it is shown that before whatever it is given.

    Args:
        network: of tensors with a row for each datum, with :class:`ReferenceNorm` of as many as ``reference`` has.
        reference: the batch, whose tensors have n rows and are constant buffers.
    """

    def __init__(self, network: nn.Module, *reference: Any) -> None:
        super().__init__()
        self.network, self.num_reference = network, len(reference[0])
        for place, part in enumerate(reference):
            self.register_buffer(f"reference_{place}", part.detach().clone() if torch.is_tensor(part) else None)

    def forward(self, *batch: Any) -> Tensor:
        """The network's outputs for the batch, (N, ...); what is no tensor in it is handed on as it is."""
        outputs: Tensor = self.network(*self._both(batch))
        return outputs[self.num_reference :]

    def features(self, *batch: Any) -> Tensor:
        """The network's features of the batch, (N, ...), where it tells them."""
        network: Any = self.network
        found: Tensor = network.features(*self._both(batch))
        return found[self.num_reference :]

    def _both(self, batch: Sequence[Any]) -> list[Any]:
        """The reference batch and this one."""
        reference = [getattr(self, f"reference_{place}") for place in range(len(batch))]
        return [
            part if first is None else torch.cat([first.to(part), part])
            for first, part in zip(reference, batch, strict=True)
        ]


def normalising(kind: Normalisation, size: int, num_reference: int = 0, *, pictures: bool = False) -> list[nn.Module]:
    """The layer that normalises ``size`` numbers, or as many channels of ``pictures``; no layer for ``"none"``."""
    if kind == "none":
        return []
    if kind == "batch":
        return [PictureNorm(size) if pictures else BatchNorm(size, learn_scale=True)]
    return [ReferenceNorm(size, num_reference, virtual=kind == "virtual")]


def _check_several(layer: nn.Module, rows: Tensor) -> None:
    if layer.training and len(rows) == 1:
        raise UsageError("batch normalisation takes batches of at least 2 data in training, got 1: raise batch_size.")
