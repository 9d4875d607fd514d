"""PixelRNN: pictures pixel by pixel, each given those above and left of it, by the states of Row LSTMs.

    p(x) = prod_i p(x_i | x_1, ..., x_{i-1})        i in raster order, the colours of a pixel in turn

A row's states are made from those of the row above, so that a pixel sees a triangle that widens upwards, however far
away; :mod:`ppgen.layers.row_lstm` has the network. All conditionals of a picture are one pass of H steps in sequence,
log p(x) is exact, and a draw computes each place of each layer once. p(x_i | ...) is as in
:mod:`ppgen.models.autoregressive.pixelcnn`.

Reference: Pixel Recurrent Neural Networks, van den Oord, Kalchbrenner and Kavukcuoglu, 2016.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppgen.arguments import Count
from ppgen.data import DataSpec
from ppgen.layers.in_turn import AutoregressivePair
from ppgen.layers.pixels import LevelKind, PixelConditionals, Side, pixel_conditionals
from ppgen.layers.row_lstm import RowLSTM
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["PixelRNN"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 4, "binary", image_shape=(2, 2), num_data=20)
    return PixelRNN(spec, 2, num_layers=1, first_kernel=3), (torch.rand(5, 4).round(),)


@register_model(
    "pixelrnn",
    summary="pictures pixel by pixel by Row LSTMs, row upon row; exact likelihood",
    reference="van den Oord, Kalchbrenner and Kavukcuoglu, Pixel recurrent neural networks",
    year=2016,
    link="https://arxiv.org/abs/1601.06759",
    tags=("discrete", "autoregressive", "exact"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 10_000, "batch_size": 25, "lr": 2e-3}),
)
class PixelRNN(AutoregressivePair):
    """PixelRNN of Row LSTMs. One batch is ``(x,)``, x of shape (B, D): flat pictures, (C, H, W) or (H, W).

    Sites:
        x: (D,), observed, in the plate ``data``

    Args:
        spec: what one datum is: pictures, binary or of grey levels; the outputs start at their mean.
        num_filters: units of an LSTM, at least the number of colours; twice as many channels between them.
        num_layers: of LSTMs.
        first_kernel: side of the kernel that reads the picture, odd.
        kernel: width of the kernels within, odd.
        levels: of grey levels: ``"softmax"`` over all, or a mixture of discretized ``"logistics"``.
        num_components: of that mixture.

    Raises:
        UsageError: the data are no pictures, or neither binary nor of grey levels; a kernel is even, or there are fewer
            filters than colours.

    >>> pair = PixelRNN(DataSpec("pictures", 16, "binary", image_shape=(4, 4)), 4)
    >>> x = pair.distribution().sample((3,))
    >>> pair.distribution().log_prob(x).shape
    torch.Size([3])
    """

    conditionals: PixelConditionals

    def __init__(
        self,
        spec: DataSpec,
        num_filters: Count = 16,
        *,
        num_layers: Count = 2,
        first_kernel: Side = 7,
        kernel: Side = 3,
        levels: LevelKind = "logistics",
        num_components: Count = 5,
    ) -> None:
        super().__init__(spec)

        def network(num_colours: int, num_outputs: int) -> RowLSTM:
            return RowLSTM(num_colours, num_outputs, num_filters, num_layers, first_kernel, kernel)

        self.conditionals = pixel_conditionals(spec, network, num_filters, levels, num_components)
