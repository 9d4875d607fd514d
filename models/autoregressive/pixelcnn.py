"""PixelCNN: pictures pixel by pixel, each given those above and left of it, by masked convolutions.

    p(x) = prod_i p(x_i | x_1, ..., x_{i-1})        i in raster order, the colours of a pixel in turn

Of binary pictures p(x_i | ...) is Bernoulli, of L grey levels a softmax over the L, or a mixture of discretized
logistics. All conditionals of a picture are one pass, log p(x) is exact, and a draw computes each place of each layer
once. The network is plain, with a blind spot, or gated, without one (:mod:`ppgen.layers.masked_convolutions`).

Pixel Recurrent Neural Networks, van den Oord, Kalchbrenner and Kavukcuoglu, 2016; Conditional Image Generation with
PixelCNN Decoders, van den Oord et al., 2016 (gated); PixelCNN++, Salimans et al., 2017 (mixtures of logistics).
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Len
from torch import Tensor

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.layers.in_turn import AutoregressivePair
from ppgen.layers.masked_convolutions import GatedStack, PlainStack
from ppgen.layers.pixels import LevelKind, PixelConditionals, Side, pixel_conditionals
from ppgen.layers.raster import RasterNetwork
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["PixelCNN"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "binary", image_shape=(2, 3), num_data=20)
    return PixelCNN(spec, 4, num_layers=2, first_kernel=3), (torch.rand(5, 6).round(),)


@register_model(
    "pixelcnn",
    summary="pictures pixel by pixel by masked convolutions, plain or gated; exact likelihood",
    reference="van den Oord, Kalchbrenner and Kavukcuoglu, Pixel recurrent neural networks",
    year=2016,
    link="https://arxiv.org/abs/1601.06759",
    tags=("discrete", "autoregressive", "exact"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 10_000, "batch_size": 25, "lr": 2e-3}),
)
class PixelCNN(AutoregressivePair):
    """PixelCNN. One batch is ``(x,)``, x of shape (B, D): flat pictures, (C, H, W) or (H, W).

    Sites:
        x: (D,), observed, in the plate ``data``

    Args:
        spec: what one datum is: pictures, binary or of grey levels; the outputs start at their mean.
        num_filters: channels of a layer; at least the number of colours.
        num_layers: of masked convolutions.
        gated: gated layers of a vertical and a horizontal stack; False: residual blocks of plain masked convolutions.
        first_kernel: side of the first layer's kernel, odd.
        kernel: side of the others', odd.
        dilations: of the layers after the first, taken in turn: how far apart the kernel's points are.
        levels: of grey levels: ``"softmax"`` over all, or a mixture of discretized ``"logistics"``.
        num_components: of that mixture.

    Raises:
        UsageError: the data are no pictures, or neither binary nor of grey levels; a kernel is even, or there are fewer
            filters than colours.

    >>> pair = PixelCNN(DataSpec("pictures", 16, "binary", image_shape=(4, 4)), 4, num_layers=2)
    >>> x = pair.distribution().sample((3,))
    >>> upper = torch.arange(16) < 8
    >>> lower_again = pair.distribution().complete(x, upper)
    >>> bool((lower_again[:, upper] == x[:, upper]).all())
    True
    """

    conditionals: PixelConditionals

    def __init__(
        self,
        spec: DataSpec,
        num_filters: Count = 32,
        *,
        num_layers: Count = 8,
        gated: bool = True,
        first_kernel: Side = 7,
        kernel: Side = 3,
        dilations: Annotated[Sizes, Len(1)] = (1,),
        levels: LevelKind = "logistics",
        num_components: Count = 5,
    ) -> None:
        super().__init__(spec)
        kernels = [first_kernel, *[kernel] * (num_layers - 1)]
        apart = [1, *(dilations[number % len(dilations)] for number in range(num_layers - 1))]
        stack = GatedStack if gated else PlainStack

        def network(num_colours: int, num_outputs: int) -> RasterNetwork:
            return stack(num_colours, num_outputs, num_filters, kernels, apart)

        self.conditionals = pixel_conditionals(spec, network, num_filters, levels, num_components)
