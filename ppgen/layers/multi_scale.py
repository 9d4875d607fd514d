"""Multi-scale flows of pictures: squeezed, mixed and coupled at each scale, where half of the numbers then leave.

    squeeze      (C, H, W) to (4 C, H/2, W/2): each 2 x 2 block of pixels becomes channels
    step         actnorm, 1 x 1 convolution, affine coupling; ``depth`` of them
    leave        half of the channels, h_2, are Gaussian given those that stay: z = (h_2 + t(h_1)) exp(s(h_1)) ~ N(0, I)

The last scale keeps all, and each number of it has a scale and a shift of its own before it is N(0, I).

Density estimation using real NVP, Dinh, Sohl-Dickstein and Bengio, 2017, section 3.6; Glow: generative flow with
invertible 1x1 convolutions, Kingma and Dhariwal, 2018, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ppgen.errors import UsageError
from ppgen.layers.invertible_pictures import (
    ActNorm,
    Coupling,
    InvertibleConvolution,
    PictureLayer,
    coupling_network,
    start_at,
)

__all__ = ["MultiScale"]


class MultiScale(nn.Module):
    """From flat pictures to noise and back, (N, C * H * W) to the same, with log |det| of the Jacobian.

    Args:
        image_shape: (H, W) or (C, H, W).
        channels: hidden channels of the couplings' networks, one number a scale.
        depth: steps a scale.

    Raises:
        UsageError: height or width cannot be halved as often as there are scales.

    >>> noise, log_det = MultiScale((4, 4), (8,), 2)(torch.rand(5, 16))
    >>> noise.shape, log_det.shape
    (torch.Size([5, 16]), torch.Size([5]))
    """

    def __init__(self, image_shape: Sequence[int], channels: Sequence[int], depth: int) -> None:
        super().__init__()
        colours, height, width = _halved(image_shape, len(channels))
        self.image_shape = (colours, height, width)
        self.steps, self.leaves = nn.ModuleList(), nn.ModuleList()
        for hidden in channels[:-1]:
            self.steps.append(_steps(4 * colours, hidden, depth))
            self.leaves.append(Coupling(2 * colours, coupling_network(2 * colours, 2 * colours)))
            colours, height, width = 2 * colours, height // 2, width // 2
        self.steps.append(_steps(4 * colours, channels[-1], depth))
        self.leaves.append(ActNorm(4 * colours, height // 2, width // 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Noise, (N, D), and log |det|, (N,)."""
        pictures, log_det, noise = x.reshape(-1, *self.image_shape), x.new_zeros(len(x)), []
        for steps, leave in self._scales():
            pictures = pixel_unshuffle(pictures, 2)  # (N, 4 C, H/2, W/2)
            for layer in (*steps, leave):
                pictures, more = layer(pictures)
                log_det = log_det + more
            kept = _kept(leave)
            noise.append(pictures[:, kept:].flatten(1))
            pictures = pictures[:, :kept]
        return torch.cat(noise, 1), log_det

    def inverse(self, noise: Tensor) -> Tensor:
        """The flat pictures, (N, D), that are mapped to this noise."""
        scales = list(self._scales())
        parts = self._parted(noise, scales)
        pictures = parts[-1][:, :0]
        for (steps, leave), part in zip(reversed(scales), reversed(parts), strict=True):
            pictures = torch.cat([pictures, part], 1)
            for layer in (leave, *reversed(steps)):
                pictures = layer.inverse(pictures)
            pictures = pixel_shuffle(pictures, 2)
        return pictures.flatten(1)

    @torch.no_grad()
    def start_at(self, x: Tensor) -> None:
        """Put every actnorm where what pictures of data, (N, D), give before it has mean 0 and scale 1."""
        pictures = x.reshape(-1, *self.image_shape)
        for steps, leave in self._scales():
            pictures = start_at([*steps, leave], pixel_unshuffle(pictures, 2))[:, : _kept(leave)]

    def _scales(self) -> list[tuple[list[PictureLayer], PictureLayer]]:
        return [(list(steps), leave) for steps, leave in zip(self.steps, self.leaves, strict=True)]  # type: ignore[call-overload, misc]

    def _parted(self, noise: Tensor, scales: Sequence[tuple[list[PictureLayer], PictureLayer]]) -> list[Tensor]:
        """What leaves at each scale, (N, C_l, H_l, W_l)."""
        colours, height, width = self.image_shape
        shapes = []
        for _, leave in scales:
            height, width, kept = height // 2, width // 2, _kept(leave)
            shapes.append((4 * colours - kept, height, width))
            colours = kept
        sizes = [planes * height * width for planes, height, width in shapes]
        return [part.view(-1, *shape) for part, shape in zip(noise.split(sizes, 1), shapes, strict=True)]


def _kept(leave: PictureLayer) -> int:
    """How many channels stay."""
    return leave.kept if isinstance(leave, Coupling) else 0


def _steps(channels: int, hidden: int, depth: int) -> nn.ModuleList:
    layers = nn.ModuleList()
    for _ in range(depth):
        half = channels // 2
        coupling = Coupling(half, coupling_network(half, channels - half, hidden))
        layers.extend([ActNorm(channels, 1, 1), InvertibleConvolution(channels), coupling])
    return layers


def _halved(image_shape: Sequence[int], scales: int) -> tuple[int, int, int]:
    """(C, H, W).

    Raises:
        UsageError: height or width cannot be halved so often.
    """
    (colours,), (height, width) = image_shape[:-2] or (1,), image_shape[-2:]
    most = min(_halvings(height), _halvings(width))
    if not 1 <= scales <= most:
        allowed = f"{most} at most" if most else "none: cut or pad them to even sizes"
        raise UsageError(
            f"each scale halves height and width, and pictures of {height} x {width} take {allowed}, got {scales}: "
            "give channels for as many scales."
        )
    return colours, height, width


def _halvings(side: int) -> int:
    return (side & -side).bit_length() - 1
