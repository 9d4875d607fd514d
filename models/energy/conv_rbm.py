"""The convolutional RBM with probabilistic max-pooling: filters that are the same everywhere in a picture.

    I_fij = c_f + (w_f * phi(v))_ij        cross-correlation, filters w_f of k x k, of a picture with zeros about it

    log p~(v, h) = phi(v) b + log m(v) + sum_fij h_fij I_fij,        at most one h on in each block of P x P

    p(h_fij = 1 | v) = exp(I_fij) / (1 + sum over its block exp(I)),  p(v | h): the family at b + sum_f w_f * h_f

    F(v) = -phi(v) b - log m(v) - sum over blocks log(1 + sum in the block exp(I))        (nats)

b is one number a pixel, which says where in the picture something is, as filters cannot; or, as Lee et al. have it,
one for all of them. A pooling unit is on where one of its block is: p(pool on | v) = 1 - 1 / (1 + sum exp(I)). phi and
m are the visible layer's (:mod:`ppgen.layers.visibles`), binary or Gaussian. The guide is the exact p(h | v).

Tempered, t: b goes to (1 - t) b_0 + t b and I to t I; at t = 0 the units are independent and every pixel has the rate
of the training data.

Reference: Convolutional Deep Belief Networks for Scalable Unsupervised Learning of Hierarchical Representations, Lee,
Grosse, Ranganath and Ng, 2009.
"""

from __future__ import annotations

import math
from typing import Annotated

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Ge
from pyro.poutine.util import is_validation_enabled
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, one_hot, pad, pixel_shuffle, pixel_unshuffle

from ppgen.arguments import Count
from ppgen.data import DataSpec
from ppgen.distributions.binary_states import MAX_STATES, as_power, binary_states, digits
from ppgen.errors import UsageError, shown
from ppgen.layers.visibles import BernoulliLayer, draw_binary, draw_one_hot, visible_layer
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["ConvRBM"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 9, "binary", image_shape=(3, 3), num_data=20)
    return ConvRBM(spec, 2, kernel=2), (torch.rand(5, 9).round(),)


@register_model(
    "conv_rbm",
    summary="convolutional RBM with probabilistic max-pooling; binary or real pictures",
    reference="Lee, Grosse, Ranganath and Ng, Convolutional deep belief networks",
    year=2009,
    link="https://doi.org/10.1145/1553374.1553453",
    tags=("energy-based", "discrete"),
    tiny=_tiny,
    recommended=Recommended("pcd", training={"steps": 6_000, "batch_size": 100, "lr": 0.01}),
)
class ConvRBM(EnergyPair):
    """Convolutional RBM. One batch is ``(x,)``, x of shape (B, C * H * W), binary or real.

    Sites:
        h: (N, P^2 + 1), one-hot, in the plate ``data``: of each of N blocks, all of the first filter first, row by
            row, no unit (the first) or the one that is on
        energy: (), a factor, in the plate ``data``: log p~(v, h) over the uniform probability of h

    Parameters: ``weight`` (filters, C, k, k), ``visible_bias`` (C * H * W,), or (C,) where it is shared,
    ``hidden_bias`` (filters,); ``layer`` is the visible layer, with a scale for each pixel of real data.

    Args:
        spec: what one datum is, with its image shape; its mean, where known, is where ``visible_bias`` and the tempered
            path start.
        filters: their number.
        kernel: k, height and width of a filter.
        pool: P, height and width of a block: divides height and width of the hidden units' picture. 1: no pooling.
        padding: zeros about a picture, on each side, below k: there are H + 2 padding - k + 1 rows of hidden units, and
            columns likewise. None: (k - 1) // 2, a row of units for each of pixels where k is odd. 0: filters lie
            within the picture, whose edge is then under few of them.
        shared_bias: one visible bias for all pixels of a channel, for pictures of which no place is special.

    Raises:
        UsageError: data without image shape or of another kind, or blocks that do not fill the hidden units' picture.

    >>> import ppgen
    >>> pair = ConvRBM(DataSpec("bits", 9, "binary", image_shape=(3, 3)), filters=1, kernel=2)
    >>> _ = nn.init.zeros_(pair.weight)
    >>> round(math.exp(ppgen.log_z(pair, exact=True).value) / 2**9, 3)  # one block: off, or one of four units on
    5.0
    """

    base_bias: Tensor

    def __init__(
        self,
        spec: DataSpec,
        filters: Count = 40,
        *,
        kernel: Count = 5,
        pool: Count = 2,
        padding: Annotated[int, Ge(0)] | None = None,
        shared_bias: bool = False,
    ) -> None:
        padding = (kernel - 1) // 2 if padding is None else padding
        shape, extents = _shapes(spec, kernel, pool, padding)
        super().__init__(data_size=spec.num_data)
        self.image_shape, self.pool, self.padding, self.observation = shape, pool, padding, spec.observation
        self.pooled_shape = (filters, *(extent // pool for extent in extents))
        """(filters, H', W') of the pooling units' picture."""
        self.layer = visible_layer(spec)
        self.weight = nn.Parameter(0.01 * torch.randn(filters, shape[0], kernel, kernel))
        self.hidden_bias = nn.Parameter(torch.zeros(filters))
        self.register_buffer("base_bias", self.layer.initial_bias(spec.mean))
        self.visible_bias = nn.Parameter(self._shared_bias(spec.mean) if shared_bias else self.base_bias.clone())

    def prepare(self, *batch: Tensor) -> None:
        """Check the batch, as Pyro's distributions do theirs: while its validation is on."""
        if is_validation_enabled():
            self.layer.check(batch[0])

    def model(self, x: Tensor) -> None:
        logits, own = self.block_logits(x), self._own(x)  # (B, N, P^2 + 1), (B,)
        with self.data_plate(x):
            h = pyro.sample("h", dist.OneHotCategorical(logits=torch.zeros_like(logits[0])).to_event(1))
            pyro.factor("energy", own + (h * logits).sum((-2, -1)) + self._log_hidden_states())  # (K, B)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("h", dist.OneHotCategorical(logits=self.block_logits(x)).to_event(1))  # (K, B, N, P^2 + 1)

    def free_energy(self, v: Tensor) -> Tensor:
        return -self._own(v) - self.block_logits(v).logsumexp(-1).sum(-1)

    def block_logits(self, v: Tensor, weight: Tensor | None = None) -> Tensor:
        """The logits of p(h | v), in each block 0 for no unit and I of each, (..., C * H * W) -> (..., N, P^2 + 1).

        Args:
            v: data.
            weight: filters to see them by, where they are not the machine's.
        """
        pictures = self.layer.statistics(v).reshape(-1, *self.image_shape)
        weight = self.weight if weight is None else weight
        maps = conv2d(pictures, weight, self.hidden_bias, padding=self.padding)
        maps = pixel_unshuffle(maps, self.pool)  # (M, filters P^2, H', W')
        filters, *extents = self.pooled_shape
        blocks = maps.reshape(-1, filters, self.pool**2, *extents).movedim(2, -1)  # (M, filters, H', W', P^2)
        return pad(blocks.reshape(*v.shape[:-1], -1, self.pool**2), (1, 0))

    def eta(self, h: Tensor) -> Tensor:
        """The natural parameters of p(v | h), (..., N, P^2 + 1) -> (..., C * H * W)."""
        maps = self._maps(h)
        pictures = conv_transpose2d(maps.reshape(-1, *maps.shape[-3:]), self.weight, padding=self.padding)
        return self._biases() + pictures.reshape(*h.shape[:-2], -1)

    def hidden_means(self, v: Tensor) -> Tensor:
        """p(h = 1 | v) of every hidden unit, (..., C * H * W) -> (..., filters, P H', P W')."""
        return self._maps(self.block_logits(v).softmax(-1))

    def advice_on(self, x: Tensor) -> str:
        return self.layer.advice_on(x)

    def unit_means(self, v: Tensor) -> Tensor:
        """Of a filter, the mean over its places (Lee et al., section 3.3), (..., filters)."""
        return self.hidden_means(v).mean((-2, -1))

    def pooled(self, v: Tensor) -> Tensor:
        """p(pooling unit on | v), (..., C * H * W) -> (..., N), pictures of ``pooled_shape``: for a layer above."""
        return self._pooling_logits(v).sigmoid()

    @torch.no_grad()
    def sample_pooled(self, v: Tensor) -> Tensor:
        """A draw of the pooling units given v, in {0, 1}: (..., C * H * W) -> (..., N)."""
        return draw_binary(self._pooling_logits(v))

    def filters(self) -> Tensor | None:
        return self.weight.detach().movedim(0, -1)

    @torch.no_grad()
    def sweep(self, v: Tensor) -> Tensor:
        return self._visible_given(draw_one_hot(self.block_logits(v)), 1.0)

    def log_tempered(self, v: Tensor, b: Tensor | float) -> Tensor:
        b = torch.as_tensor(b, dtype=v.dtype, device=v.device)
        logits, own = self.block_logits(v), self._own(v)
        base = self.layer.statistics(v) @ self.base_bias + self.layer.log_measure(v)  # (...,)
        return (1 - b) * base + b * own + (b[..., None, None] * logits).logsumexp(-1).sum(-1)

    @torch.no_grad()
    def tempered_sweep(self, v: Tensor, b: Tensor | float) -> Tensor:
        b = torch.as_tensor(b, dtype=v.dtype, device=v.device)
        return self._visible_given(draw_one_hot(b[..., None, None] * self.block_logits(v)), b[..., None])

    @torch.no_grad()
    def base_sample(self, num: int) -> Tensor:
        eta = self.base_bias.expand(num, -1)
        return self.layer.sample(eta, eta.new_ones(()))

    def base_log_z(self) -> Tensor:
        return self.layer.log_normaliser(self.base_bias, self.base_bias.new_ones(())) + self._log_hidden_states()

    @torch.no_grad()
    def exact_log_z(self) -> Tensor:
        """Sums over the visible states, or over the hidden ones where they are fewer, or the data real."""
        blocks, levels = math.prod(self.pooled_shape), self.pool**2 + 1
        visible = 2**self.layer.num_features if isinstance(self.layer, BernoulliLayer) else math.inf
        if min(visible, levels**blocks) > MAX_STATES:
            raise UsageError(
                f"exact log Z would sum over {as_power(levels, blocks)} states, and at most {MAX_STATES:,} are: "
                "estimate it by annealed importance sampling (exact=False), or make a smaller machine."
            )
        if visible < levels**blocks:
            states = binary_states(self.layer.num_features, self.weight)
            return torch.stack([(-self.free_energy(v)).logsumexp(0) for v in states]).logsumexp(0)
        numbers = torch.arange(levels**blocks, device=self.weight.device).split(2**12)
        return torch.stack([self._hidden_part(digits(n, levels, blocks)) for n in numbers]).logsumexp(0)

    def _shared_bias(self, mean: Tensor | None) -> Tensor:
        """The bias of a channel whose pixels have all its mean, (C,)."""
        channels = self.image_shape[0]
        return torch.zeros(channels) if mean is None else self.layer.bias_at(mean.reshape(channels, -1).mean(1))

    def _pooling_logits(self, v: Tensor) -> Tensor:
        return self.block_logits(v)[..., 1:].logsumexp(-1)  # (..., N)

    def _hidden_part(self, on: Tensor) -> Tensor:
        """log of the sum of p~(v, h) over all v and the hidden states of these numbers, (S, N)."""
        h = one_hot(on, self.pool**2 + 1).to(self.weight.dtype)
        own = (self._maps(h).sum((-2, -1)) * self.hidden_bias).sum(-1)  # (S,)
        return (own + self.layer.log_normaliser(self.eta(h), h.new_ones(()))).logsumexp(0)

    def _own(self, v: Tensor) -> Tensor:
        """What of log p~(v, h) has no h, (...,)."""
        return self.layer.statistics(v) @ self._biases() + self.layer.log_measure(v)

    def _maps(self, h: Tensor) -> Tensor:
        """Blocks, (..., N, P^2 + 1), as pictures of hidden units, (..., filters, P H', P W')."""
        blocks = h[..., 1:].reshape(-1, *self.pooled_shape, self.pool**2).movedim(-1, 2)
        maps = pixel_shuffle(blocks.flatten(1, 2), self.pool)
        return maps.reshape(*h.shape[:-2], *maps.shape[1:])

    def _visible_given(self, h: Tensor, b: Tensor | float) -> Tensor:
        eta = (1 - b) * self.base_bias + b * self.eta(h)
        return self.layer.sample(eta, eta.new_ones(()))

    def _biases(self) -> Tensor:
        """b of every pixel, (D,)."""
        return self.visible_bias.repeat_interleave(math.prod(self.image_shape) // len(self.visible_bias))

    def _log_hidden_states(self) -> float:
        return math.prod(self.pooled_shape) * math.log(self.pool**2 + 1)


def _shapes(spec: DataSpec, kernel: int, pool: int, padding: int) -> tuple[tuple[int, int, int], tuple[int, int]]:
    """(C, H, W) of the data, and height and width of the hidden units' picture."""
    if spec.image_shape is None or spec.observation not in ("binary", "real"):
        kind = "no pictures (they have no image_shape)" if spec.image_shape is None else spec.observation
        raise UsageError(
            f"ConvRBM needs binary or real pictures, and data {shown(spec.name)} are {kind}: choose 'rbm', or load the "
            "data as binary pictures."
        )
    if padding >= kernel:
        raise UsageError(
            f"padding={padding} puts filters of kernel={kernel} where there is no picture: choose one below {kernel}."
        )
    height, width = spec.image_shape[-2:]
    extents = height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1
    if min(extents) < pool or extents[0] % pool or extents[1] % pool:
        raise UsageError(
            f"kernel={kernel} and padding={padding} leave {extents[0]} x {extents[1]} hidden units a filter of "
            f"pictures {height} x {width}, and blocks of pool={pool} must fill them: choose them such that both are "
            f"multiples of {pool}."
        )
    return (spec.num_features // (height * width), height, width), extents
