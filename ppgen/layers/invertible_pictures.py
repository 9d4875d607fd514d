"""Invertible layers of pictures: normalisation begun at data, mixing of channels, affine couplings by convolutions.

A layer maps pictures h, (N, C, H, W), towards noise, and tells log |det dz/dh| in the same pass; ``inverse`` maps back.

    actnorm          z = (h + b) exp(s)               b, s one number a channel; sum over H W of s
    convolution      z_p = W h_p at each pixel p      W = P L (U + diag(d)), P fixed; H W sum_c log |d_c|
    coupling         z_1 = h_1,  z_2 = (h_2 + t(h_1)) exp(s(h_1)),  (s, t) a convolutional network; sum of s

Nothing is remembered from one call to the next. Actnorm is put where the first batch has mean 0 and scale 1 once, by
:func:`start_at`, and learned from there. The last layer of a coupling's network starts at zero, so that the coupling
starts as nothing. |s| < 2: a scale of a coupling is between 1/7 and 7.

Glow: generative flow with invertible 1x1 convolutions, Kingma and Dhariwal, 2018, section 3.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

__all__ = [
    "ActNorm",
    "Coupling",
    "InvertibleConvolution",
    "PictureLayer",
    "PictureNoise",
    "coupling_network",
    "start_at",
]


class PictureLayer(nn.Module, ABC):
    """An invertible layer of pictures.

    To add one: 1. subclass, 2. write ``forward`` and ``inverse``, 3. ``start_at`` where it begins at data.
    """

    @abstractmethod
    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """z, of the shape of the pictures (N, C, H, W), and log |det dz/dh|, (N,) or () where it is of all the same."""

    @abstractmethod
    def inverse(self, noise: Tensor) -> Tensor:
        """The pictures h that ``forward`` maps to z."""

    def start_at(self, pictures: Tensor) -> None:
        """Put parameters where pictures of data, (N, C, H, W), have the layer begin; here they stay as they are."""


class ActNorm(PictureLayer):
    """Scale and shift of each channel, or of each number of a picture.

    Args:
        shape: of ``shift`` and ``log_scale``: (C, 1, 1), or (C, H, W).
    """

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(shape))
        self.log_scale = nn.Parameter(torch.zeros(shape))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        times = pictures[0].numel() // self.log_scale.numel()
        return (pictures + self.shift) * self.log_scale.exp(), times * self.log_scale.sum()

    def inverse(self, noise: Tensor) -> Tensor:
        return noise * (-self.log_scale).exp() - self.shift

    @torch.no_grad()
    def start_at(self, pictures: Tensor) -> None:
        """Mean 0 and standard deviation 1 over pictures and pixels; what is constant is shifted alone."""
        dims = [0, *(dim + 1 for dim, size in enumerate(self.shift.shape) if size == 1)]
        variance, mean = torch.var_mean(pictures, dims, correction=0)
        scale = torch.where(variance > 1e-12, variance, 1.0).sqrt()
        self.shift.copy_(-mean.view_as(self.shift))
        self.log_scale.copy_(-scale.log().view_as(self.shift))


class InvertibleConvolution(PictureLayer):
    """A 1 x 1 convolution W = P L (U + diag(d)) that starts as a random rotation.

    The permutation P and the signs of d stay; L, U (strictly triangular) and log |d| are learned.
    """

    order: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = nn.init.orthogonal_(torch.empty(channels, channels))
        permutation, lower, upper = torch.linalg.lu(rotation)
        self.register_buffer("order", permutation.argmax(1))
        self.register_buffer("sign", upper.diagonal().sign())
        self.log_diagonal = nn.Parameter(upper.diagonal().abs().log())
        self.lower, self.upper = nn.Parameter(lower.tril(-1)), nn.Parameter(upper.triu(1))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        weight = (lower @ upper)[self.order]
        return conv2d(pictures, weight[..., None, None]), pictures[0, 0].numel() * self.log_diagonal.sum()

    def inverse(self, noise: Tensor) -> Tensor:
        lower, upper = self._factors()
        pixels = noise.movedim(1, 0).flatten(1)  # (C, N * H * W)
        ordered = torch.empty_like(pixels).index_copy(0, self.order, pixels)
        halfway = torch.linalg.solve_triangular(lower, ordered, upper=False, unitriangular=True)
        solved: Tensor = torch.linalg.solve_triangular(upper, halfway, upper=True)
        return solved.view_as(noise.movedim(1, 0)).movedim(0, 1)

    def _factors(self) -> tuple[Tensor, Tensor]:
        unit = torch.eye(len(self.sign), dtype=self.lower.dtype, device=self.lower.device)
        return self.lower.tril(-1) + unit, self.upper.triu(1) + (self.sign * self.log_diagonal.exp()).diag()


class Coupling(PictureLayer):
    """The first channels are kept, and shift and scale the others.

    Args:
        kept: how many channels are kept.
        network: of (N, kept, H, W), gives (N, 2 (C - kept), H, W): log-scales, before they are bounded, and shifts.
    """

    def __init__(self, kept: int, network: nn.Module) -> None:
        super().__init__()
        self.kept, self.network = kept, network

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = pictures[:, : self.kept], pictures[:, self.kept :]
        log_scale, shift = self._of(kept)
        return torch.cat([kept, (moved + shift) * log_scale.exp()], 1), log_scale.flatten(1).sum(1)

    def inverse(self, noise: Tensor) -> Tensor:
        kept, moved = noise[:, : self.kept], noise[:, self.kept :]
        log_scale, shift = self._of(kept)
        return torch.cat([kept, moved * (-log_scale).exp() - shift], 1)

    def _of(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.network(kept).chunk(2, 1)
        return 2 * torch.tanh(raw / 2), shift


def coupling_network(kept: int, moved: int, hidden: int = 0) -> nn.Module:
    """Convolutions 3 x 3, 1 x 1 and 3 x 3, the last zero at first; without hidden channels that one alone."""
    last = nn.Conv2d(hidden or kept, 2 * moved, 3, padding=1)
    nn.init.zeros_(last.weight)
    last.bias = nn.Parameter(torch.zeros(2 * moved))
    if not hidden:
        return last
    first, middle = nn.Conv2d(kept, hidden, 3, padding=1), nn.Conv2d(hidden, hidden, 1)
    return nn.Sequential(first, nn.ReLU(), middle, nn.ReLU(), last)


class PictureNoise(nn.Module):
    """N(m(x), diag(s(x))^2) for each number of flat pictures in [0, 1], by convolutions; at first N(0, e^-2).

    Args:
        image_shape: (H, W) or (C, H, W).
        hidden: channels between the convolutions.
    """

    def __init__(self, image_shape: Sequence[int], hidden: int = 16) -> None:
        super().__init__()
        self.image_shape = (*(image_shape[:-2] or (1,)), *image_shape[-2:])
        colours = self.image_shape[0]
        last = nn.Conv2d(hidden, 2 * colours, 3, padding=1)
        nn.init.zeros_(last.weight)
        last.bias = nn.Parameter(torch.tensor([0.0] * colours + [-1.0] * colours))
        self.network = nn.Sequential(nn.Conv2d(colours, hidden, 3, padding=1), nn.ReLU(), last)

    def forward(self, x: Tensor) -> Any:
        """(..., D) to a distribution of event shape (D,)."""
        pictures = 2 * x.reshape(-1, *self.image_shape) - 1
        loc, log_scale = (part.reshape(x.shape) for part in self.network(pictures).chunk(2, 1))
        return dist.Normal(loc, log_scale.exp()).to_event(1)


def start_at(layers: Iterable[PictureLayer], pictures: Tensor) -> Tensor:
    """Begin each layer at what those before it make of the pictures, and return what the last does."""
    for layer in layers:
        layer.start_at(pictures)
        pictures, _ = layer(pictures)
    return pictures
